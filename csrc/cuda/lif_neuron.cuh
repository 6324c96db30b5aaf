// What the LIF kernels on the GPU share: the neuron's parameters and arithmetic, packs of neighbouring
// elements, and the way back through time. Compiled with --fmad=false and IEEE division: both passes have the
// bits of the CPU's, but for the order of sums over neurons. Equations: eccsnn/lif.h.
#pragma once

#include <cmath>
#include <cstring>

#include "elements.cuh"
#include "lif.h"

namespace eccsnn {
namespace {

#define ECCSNN_MATH __device__
#include "../core/charges.inc"
#include "../core/exponential.inc"
#undef ECCSNN_MATH

constexpr double kPi = 3.14159265358979323846;

// kCount neighbouring elements, moved by as few instructions as their alignment allows.
template <class E, int kCount>
struct alignas(sizeof(E) * kCount > 16 ? 16 : sizeof(E) * kCount) Pack {
  E e[kCount];
};
template <int kCount, class E>
__device__ Pack<E, kCount> load_pack(const void* array, std::int64_t index) {
  return *reinterpret_cast<const Pack<E, kCount>*>(static_cast<const E*>(array) + index);
}
template <class E, int kCount>
__device__ void store_pack(void* array, std::int64_t index, const Pack<E, kCount>& pack) {
  *reinterpret_cast<Pack<E, kCount>*>(static_cast<E*>(array) + index) = pack;
}

// base^-a for a >= 0, in the bases of the CPU's kernels (csrc/core/vec.h).
template <class C>
constexpr double kLogOfBase = sizeof(C) == 4 ? 0.693147180559945309 : 1.0;
__device__ float decay(float a) { return exp2_nonpositive_float<float, std::uint32_t>(-a); }
__device__ double decay(double a) { return exp_nonpositive_double<double, std::uint64_t>(-a); }

// Eight elements, or the first `count` of them.
template <bool kWhole, class E>
__device__ Pack<E, 8> load_some(const void* array, std::int64_t index, int count) {
  if constexpr (kWhole) {
    return load_pack<8, E>(array, index);
  } else {
    Pack<E, 8> pack = {};
    for (int k = 0; k < count; ++k) pack.e[k] = static_cast<const E*>(array)[index + k];
    return pack;
  }
}
template <bool kWhole, class E>
__device__ void store_some(void* array, std::int64_t index, const Pack<E, 8>& pack, int count) {
  if constexpr (kWhole) {
    store_pack(array, index, pack);
  } else {
    for (int k = 0; k < count; ++k) static_cast<E*>(array)[index + k] = pack.e[k];
  }
}

// Parameters in the membrane's type.
template <class C>
struct Neuron {
  C tau, v_threshold, v_reset, alpha, alpha_in_base, atan_scale, atan_peak, rect_half_width, rect_height;
  double alpha_exact;
  const C* tau_on_device;

  Neuron(const LifParams& p, const void* tau_pointer)
      : tau(static_cast<C>(p.tau)),
        v_threshold(static_cast<C>(p.v_threshold)),
        v_reset(p.hard_reset ? static_cast<C>(p.v_reset) : C{0}),
        alpha(static_cast<C>(p.alpha)),
        alpha_in_base(static_cast<C>(p.alpha / kLogOfBase<C>)),
        atan_scale(static_cast<C>(kPi / 2 * p.alpha)),
        atan_peak(static_cast<C>(p.alpha / 2)),
        rect_half_width(static_cast<C>(p.alpha / 2)),
        rect_height(static_cast<C>(1 / p.alpha)),
        alpha_exact(p.alpha),
        tau_on_device(static_cast<const C*>(tau_pointer)) {}

  // To be called once, first of all.
  __device__ void fetch_tau() {
    if (tau_on_device != nullptr) tau = *tau_on_device;
  }
  __device__ C rest() const { return v_reset; }
  __device__ C divide(C a) const { return a / tau; }
};

template <class C>
__device__ C fire(C h, const Neuron<C>& n, Surrogate surrogate, bool smooth) {
  if constexpr (sizeof(C) == 8) {
    if (smooth) {
      const double u = h - n.v_threshold;
      if (surrogate == Surrogate::kAtan) return ::atan(kPi / 2 * n.alpha_exact * u) / kPi + 0.5;
      if (surrogate == Surrogate::kSigmoid) return 1.0 / (1.0 + ::exp(-n.alpha_exact * u));
      const double s = u / n.alpha_exact + 0.5;
      return s < 0.0 ? 0.0 : s > 1.0 ? 1.0 : s;
    }
  }
  return h >= n.v_threshold ? C{1} : C{0};
}

template <bool kHard, class C>
__device__ C reset(C h, C s, const Neuron<C>& n) {
  return kHard ? s * n.v_reset + (C{1} - s) * h : h - s * n.v_threshold;
}

// Where the rectangular surrogate is not 0.
template <class C>
__device__ bool inside_window(C h, const Neuron<C>& n) {
  const C u = h - n.v_threshold;
  return (u < C{0} ? -u : u) < n.rect_half_width;
}

template <class C>
__device__ C surrogate_derivative(C u, const Neuron<C>& n, Surrogate surrogate) {
  if (surrogate == Surrogate::kAtan) {
    const C scaled = u * n.atan_scale;
    return n.atan_peak / (C{1} + scaled * scaled);
  }
  const C magnitude = u < C{0} ? -u : u;
  if (surrogate == Surrogate::kSigmoid) {
    const C e = decay(magnitude * n.alpha_in_base);
    const C one_plus = C{1} + e;
    return n.alpha * e / (one_plus * one_plus);
  }
  return magnitude < n.rect_half_width ? n.rect_height : C{0};
}

template <class C>
__device__ C charge_of(Charge charge, C v, C input, const Neuron<C>& n) {
  C h{};
  with_charge(charge, [&](auto kind) { h = kind.charge(v, input, n); });
  return h;
}

template <class C>
__device__ C reset_of(bool hard, C h, C s, const Neuron<C>& n) {
  return hard ? reset<true>(h, s, n) : reset<false>(h, s, n);
}

// Batch norm's coefficients of a thread's neurons (LifNorm).
template <class C, int kCount>
struct NormPack {
  Pack<C, kCount> mean, scale, bias;

  __device__ NormPack(const LifNorm& norm, std::int64_t channel)
      : mean(load_pack<kCount, C>(norm.mean, channel)),
        scale(load_pack<kCount, C>(norm.scale, channel)),
        bias(load_pack<kCount, C>(norm.bias, channel)) {}
  __device__ C operator()(C x, int k) const { return (x - mean.e[k]) * scale.e[k] + bias.e[k]; }
};

struct NoNorm {
  template <class C>
  __device__ C operator()(C x, int /*k*/) const {
    return x;
  }
};

// From the last timestep to the first, for the kCount neurons from `at` on. `input` maps x to what charges
// the neurons; `sink` gets the timestep, x and the gradient of what charged them. Returns the gradient of
// v_init, and that of tau in `grad_tau`, where asked for.
//
// h of a segment stays in registers where the loops are unrolled to kSteps, a bound of its length: 4 or
// kLifSegment. What few ask for (float64, rows that do not divide, grad_tau) is not unrolled, to compile in
// seconds, and keeps h in local memory.
template <class E, int kCount, int kSteps, class Input, class Sink>
__device__ auto back_through_time(const LifBackward& a, const Neuron<typename Element<E>::Compute>& n,
                                  std::int64_t at, const Input& input, const Sink& sink,
                                  Pack<typename Element<E>::Compute, kCount>& grad_tau) {
  using C = typename Element<E>::Compute;
  constexpr int kUnrolled = kCount > 1 && sizeof(E) < 8 ? kSteps : 1;
  const Surrogate surrogate = a.params.surrogate;
  const bool smooth = a.params.smooth;
  const Charge charge = a.params.charge;
  const bool hard =
      a.params.hard_reset;  // asked at run time: half the kernels to compile, and memory is the limit
  const bool need_tau = a.grad_tau != nullptr;
  Pack<C, kCount> grad_v = {};
  if (a.grad_v_final != nullptr) grad_v = load_pack<kCount, C>(a.grad_v_final, at);
  for (std::int64_t segment = (a.timesteps - 1) / kLifSegment; segment >= 0; --segment) {
    const std::int64_t first = segment * kLifSegment;
    const int steps = static_cast<int>(a.timesteps - first < kSteps ? a.timesteps - first : kSteps);
    Pack<C, kCount> start;  // membrane before this segment
    if (segment > 0) {
      start = load_pack<kCount, C>(a.v_kept, (segment - 1) * a.neurons + at);
    } else if (a.v_init != nullptr) {
      start = load_pack<kCount, C>(a.v_init, at);
    } else {
      for (int k = 0; k < kCount; ++k) start.e[k] = n.v_reset;
    }
    C h[kSteps][kCount];
    Pack<C, kCount> v = start;
#pragma unroll kUnrolled
    for (int i = 0; i < kSteps; ++i) {
      if (i < steps) {
        const auto x = load_pack<kCount, E>(a.x, (first + i) * a.x_step + at);
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          h[i][k] = charge_of(charge, v.e[k], input(Element<E>::load(x.e[k]), k), n);
          v.e[k] = reset_of(hard, h[i][k], fire(h[i][k], n, surrogate, smooth), n);
        }
      }
    }
#pragma unroll kUnrolled
    for (int i = kSteps - 1; i >= 0; --i) {
      if (i < steps) {
        const auto grad_spikes = load_pack<kCount, E>(a.grad_spikes, (first + i) * a.neurons + at);
        Pack<C, kCount> grad_input;
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          const C s = fire(h[i][k], n, surrogate, smooth);
          const C ds_dh = surrogate_derivative(h[i][k] - n.v_threshold, n, surrogate);
          C dv_dh = hard ? C{1} - s : C{1};
          if (!a.detach_reset) dv_dh += hard ? (n.v_reset - h[i][k]) * ds_dh : -n.v_threshold * ds_dh;
          const C grad_h = Element<E>::load(grad_spikes.e[k]) * ds_dh + grad_v.e[k] * dv_dh;
          with_charge(charge, [&](auto kind) { kind.backward(grad_h, n, grad_input.e[k], grad_v.e[k]); });
          if (need_tau) {
            C before = start.e[k];  // membrane before this timestep's charge
            if (i > 0) {
              const C h_before = h[i > 0 ? i - 1 : 0][k];
              before = reset_of(hard, h_before, fire(h_before, n, surrogate, smooth), n);
            }
            with_charge(charge,
                        [&](auto kind) { grad_tau.e[k] += kind.grad_tau(grad_h, h[i][k], before, n); });
          }
        }
        sink(first + i, grad_input);
      }
    }
  }
  return grad_v;
}

// Sum over the threads of a block in a fixed order; valid in thread 0.
inline __device__ double block_sum(double value) {
  __shared__ double sums[kLifCudaThreads];
  sums[threadIdx.x] = value;
  __syncthreads();
  for (int half = kLifCudaThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

// Widest pack of `E` (and of the membrane's type beside it).
template <class E>
constexpr int kWide = sizeof(E) == 8 ? 2 : 4;

inline bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

inline unsigned lif_blocks(std::int64_t neurons, int per_thread) {
  const std::int64_t per_block = static_cast<std::int64_t>(kLifCudaThreads) * per_thread;
  return static_cast<unsigned>((neurons + per_block - 1) / per_block);
}

// Whether packs of `count` neurons can be moved at once: they divide the rows and suit every pointer's
// alignment.
template <class... Pointers>
bool packs_fit(std::int64_t neurons, std::int64_t x_step, std::int64_t channels, int count,
               Pointers... pointers) {
  return neurons % count == 0 && x_step % count == 0 && channels % count == 0 && (aligned(pointers) && ...);
}

}  // namespace
}  // namespace eccsnn
