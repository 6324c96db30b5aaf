// Leaky integrate-and-fire neurons over all timesteps in one pass.
//
//   charge   h = v + (x - (v - v_reset)) / tau          decay_input
//            h = v - (v - v_reset) / tau + x            otherwise
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

struct LifParams {
  double tau = 2.0;
  double v_threshold = 1.0;
  double v_reset = 0.0;  // not used by a soft reset
  bool hard_reset = true;
  bool decay_input = true;
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

// Arrays are [timesteps, neurons] with neurons contiguous; membrane type is float, or double for kFloat64.
struct LifForward {
  LifParams params;
  DType dtype = DType::kFloat32;  // of x and spikes
  std::int64_t timesteps = 0;
  std::int64_t neurons = 0;
  const void* x = nullptr;
  std::int64_t x_step =
      0;  // elements from one timestep of x to the next; 0: the same input at every timestep
  const void* v_init = nullptr;  // [neurons] membrane type; null: v_reset, or 0 with soft reset
  void* spikes = nullptr;        // null: only spike_bits are written
  std::uint8_t* spike_bits =
      nullptr;             // [timesteps, ceil(neurons / 8)], bit i of byte j is neuron 8 j + i; may be null
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
  void* grad_x = nullptr;
  void* grad_v_init = nullptr;  // [neurons] membrane type; may be null
  double* grad_tau = nullptr;   // one partial sum per block of kLifBlock neurons; may be null
};

// Neurons in a block. Ranges begin at a multiple of it; partial sums of grad_tau belong to blocks, so that
// their total, added in order, does not depend on how blocks were shared out among threads.
inline constexpr std::int64_t kLifBlock = 2048;

// Compute neurons [begin, end); the caller owns the threads.
void lif_forward(const LifForward& args, std::int64_t begin, std::int64_t end);
void lif_backward(const LifBackward& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
