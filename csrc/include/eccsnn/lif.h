// Integrate-and-fire neurons, leaky or not, over all timesteps in one pass.
//
//   charge   h = v + (x - (v - v_reset)) / tau          kDecayedInput
//            h = v - (v - v_reset) / tau + x            kLeaky
//            h = v + x                                  kIntegrate
//   fire     s = h >= v_threshold                       (NaN does not fire)
//   reset    v = s * v_reset + (1 - s) * h              hard
//            v = h - s * v_threshold                    soft; the leak is then towards 0, as if v_reset were
//            0
//
// Charge, fire and reset, and their derivatives, are computed as written, without contraction or
// reassociation, in float (double for kFloat64): the same bits on every instruction set, thread count and
// device. (On a GPU grad_tau is summed over neurons in another order, and `smooth` takes that library's
// functions.) A division by tau becomes a product with 1 / tau only where that is exact, for powers of two.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {

// Derivative that stands in for that of the step, with u = h - v_threshold and parameter `alpha`.
enum class Surrogate : std::uint8_t {
  kAtan,     // alpha / 2 / (1 + (pi / 2 * alpha * u)^2)
  kSigmoid,  // alpha * s * (1 - s), s = 1 / (1 + exp(-alpha * u))
  kRect,     // 1 / alpha where |u| < alpha / 2, else 0: alpha is the width
};

// How the input charges the membrane: see above. One struct each in csrc/core/charges.inc.
enum class Charge : std::uint8_t { kDecayedInput, kLeaky, kIntegrate };

struct LifParams {
  Charge charge = Charge::kDecayedInput;
  double tau = 2.0;
  double v_threshold = 1.0;
  double v_reset = 0.0;  // not used by a soft reset
  bool hard_reset = true;
  Surrogate surrogate = Surrogate::kAtan;  // forward needs it only where `smooth`
  double alpha = 2.0;
  // For checking gradients numerically: the spike is the surrogate's primitive in place of the step. kFloat64
  // only.
  bool smooth = false;
};

// The backward pass recomputes h from x, which costs less than writing and reading it. Over many timesteps
// it does so segment by segment, each from a membrane that the forward pass has kept.
inline constexpr std::int64_t kLifSegment = 16;

// Membranes that the forward pass keeps: one before every segment but the first.
constexpr std::int64_t lif_kept(std::int64_t timesteps) {
  return timesteps < 1 ? 0 : (timesteps - 1) / kLifSegment;
}

// Batch norm in front of the neurons: they get (x - mean) * scale + bias, computed in the membrane's type and
// as written. Channels are innermost in memory: neuron i is of channel i % channels.
struct LifNorm {
  std::int64_t channels = 0;   // 0: no batch norm
  const void* mean = nullptr;  // [channels] membrane type, like scale and bias
  const void* scale = nullptr;
  const void* bias = nullptr;
};

// Neurons in a block. Ranges begin at a multiple of it; partial sums belong to blocks (of grad_tau) or to
// chunks of blocks (of channels), so that their totals, added in order, do not depend on how the work was
// shared out among threads.
inline constexpr std::int64_t kLifBlock = 2048;
constexpr std::int64_t lif_norm_chunk(std::int64_t channels) {
  const std::int64_t wanted = 32 * channels;
  return wanted < 4 * kLifBlock ? 4 * kLifBlock : (wanted + kLifBlock - 1) / kLifBlock * kLifBlock;
}

inline constexpr std::int64_t kLifStreamAlignment = 64;

// Arrays are [timesteps, neurons] with neurons contiguous; membrane type is float, or double for kFloat64.
struct LifForward {
  LifParams params;
  DType dtype = DType::kFloat32;  // of x and spikes
  std::int64_t timesteps = 0;
  std::int64_t neurons = 0;
  const void* x = nullptr;
  std::int64_t x_step =
      0;  // elements from one timestep of x to the next; 0: the same input at every timestep
  // In place of x, spikes [timesteps, neurons / x_channels, ceil(x_channels / 8)] with bit i of byte j for
  // channel 8 j + i: a neuron gets the element with the bits x_one, or 0. Null: x. Takes no norm.
  const std::uint8_t* x_bits = nullptr;
  std::int64_t x_channels = 0;
  std::uint64_t x_one = 0;
  LifNorm norm;
  const void* v_init = nullptr;  // [neurons] membrane type; null: v_reset, or 0 with soft reset
  void* spikes = nullptr;        // may be null
  std::uint8_t* spike_bits =
      nullptr;  // [timesteps, ceil(neurons / 8)], bit i of byte j is neuron 8 j + i; may be null
  // [timesteps, ceil(neurons / 8)], bits where the rectangular surrogate is not 0; may be null. With
  // spike_bits it is all that LifMaskBackward needs. kRect only.
  std::uint8_t* window_bits = nullptr;
  // Write spikes past the caches; they must be aligned to kLifStreamAlignment, and rows a multiple of it.
  // lif_forward decides by itself.
  bool stream = false;
  void* v_kept = nullptr;  // [lif_kept(timesteps), neurons] membrane type, for the backward pass; may be null
  void* v_final = nullptr;  // [neurons] membrane type; may be null
};

struct LifBackward {
  LifParams params;
  bool detach_reset = true;       // no gradient through the spike in the reset
  DType dtype = DType::kFloat32;  // of grad_spikes and grad_x
  std::int64_t timesteps = 0;
  std::int64_t neurons = 0;
  const void* grad_spikes = nullptr;
  const void* grad_v_final = nullptr;  // membrane type; null: zero
  const void* x = nullptr;             // as given to LifForward, like x_step and v_init
  std::int64_t x_step = 0;
  const void* v_init = nullptr;
  const void* v_kept = nullptr;  // as LifForward left it
  void* grad_x = nullptr;        // [timesteps, neurons]; [neurons] with sum_over_time
  bool stream = false;           // write grad_x past the caches, as in LifForward
  bool sum_over_time = false;    // for an x that is the same at every timestep
  // With batch norm, grad_x (which may then be null) is the gradient g of what the neurons get, and norm_sums
  // [chunks of lif_norm_chunk, 2, channels], which holds zeros before, gets its sums over time and a chunk's
  // neurons: of g and of g * (x - mean).
  LifNorm norm;
  double* norm_sums = nullptr;
  void* grad_v_init = nullptr;  // [neurons] membrane type; may be null
  double* grad_tau = nullptr;   // one partial sum per block of kLifBlock neurons; may be null
};

// The backward pass of a rectangular surrogate, whose derivative takes two values, from two bits a
// neuron-step in place of x: for a reset that no gradient passes through, and a tau that needs none. The same
// bits as LifBackward.
struct LifMaskBackward {
  LifParams params;
  DType dtype = DType::kFloat32;
  std::int64_t timesteps = 0;
  std::int64_t neurons = 0;
  const void* grad_spikes = nullptr;
  const void* grad_v_final = nullptr;        // membrane type; null: zero
  const std::uint8_t* spike_bits = nullptr;  // as LifForward left them
  const std::uint8_t* window_bits = nullptr;
  void* grad_x = nullptr;
  bool stream = false;          // write grad_x past the caches, as in LifForward
  void* grad_v_init = nullptr;  // [neurons] membrane type; may be null
};

// From the gradient g of batch norm's output to that of its input, in place: grad_x = scale * g - slope * (x
// - mean)
// - offset, with slope and offset from all sums (csrc/core/norm_coefficients.inc).
struct NormBackward {
  DType dtype = DType::kFloat32;
  std::int64_t timesteps = 0;  // of x and grad_x: 1 where x was repeated
  std::int64_t neurons = 0;
  std::int64_t channels = 0;
  const void* x = nullptr;
  std::int64_t x_step = 0;
  const void* mean = nullptr;  // [channels] membrane type, like the others
  const void* scale = nullptr;
  const void* slope = nullptr;  // null, like offset: zeros
  const void* offset = nullptr;
  void* grad_x = nullptr;  // [timesteps, neurons]
};

// Compute neurons [begin, end); the caller owns the threads. With a norm, ranges of lif_backward begin at
// chunks.
void lif_forward(const LifForward& args, std::int64_t begin, std::int64_t end);
void lif_backward(const LifBackward& args, std::int64_t begin, std::int64_t end);
void lif_mask_backward(const LifMaskBackward& args, std::int64_t begin, std::int64_t end);
void norm_backward(const NormBackward& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
