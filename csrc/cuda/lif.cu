// Forward and backward of the LIF neuron on the GPU: one thread carries a few neighbouring neurons through
// all timesteps, with the membrane in registers. Compiled with --fmad=false and IEEE division: both passes
// have the bits of the CPU's, but for the order in which grad_tau is summed over neurons. Equations:
// eccsnn/lif.h.
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

// kBits: the spikes of the thread's kCount = 8 neurons become one byte.
template <class E, bool kHard, int kCount, bool kBits>
__global__ void __launch_bounds__(kLifCudaThreads)
    forward_kernel(LifForward a, Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  static_assert(!kBits || kCount == 8);
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  if (at >= a.neurons) return;
  n.fetch_tau();
  Pack<C, kCount> v;
  if (a.v_init == nullptr) {
    for (int k = 0; k < kCount; ++k) v.e[k] = n.v_reset;
  } else {
    v = load_pack<kCount, C>(a.v_init, at);
  }
  for (std::int64_t t = 0; t < a.timesteps; ++t) {
    if (a.v_kept != nullptr && t != 0 && t % kLifSegment == 0) {
      store_pack(a.v_kept, (t / kLifSegment - 1) * a.neurons + at, v);
    }
    const auto x = load_pack<kCount, E>(a.x, t * a.x_step + at);
    Pack<E, kCount> spikes;
    unsigned bits = 0;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const C h = charge_of(a.params.charge, v.e[k], Element<E>::load(x.e[k]), n);
      const C s = fire(h, n, a.params.surrogate, a.params.smooth);
      v.e[k] = reset<kHard>(h, s, n);
      spikes.e[k] = Element<E>::store(s);
      bits |= (h >= n.v_threshold ? 1u : 0u) << k;
    }
    if constexpr (kBits) {
      a.spike_bits[(t * a.neurons + at) / 8] = static_cast<std::uint8_t>(bits);
    } else {
      store_pack(a.spikes, t * a.neurons + at, spikes);
    }
  }
  if (a.v_final != nullptr) store_pack(a.v_final, at, v);
}

// Bits where the rows are no multiple of eight neurons, or a pointer is not aligned: one byte a thread, one
// neuron after the other.
template <class E, bool kHard>
__global__ void __launch_bounds__(kLifCudaThreads)
    forward_bits_kernel(LifForward a, Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  const std::int64_t row_bytes = (a.neurons + 7) / 8;
  const std::int64_t byte = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (byte >= row_bytes) return;
  const std::int64_t at = 8 * byte;
  const int count = static_cast<int>(a.neurons - at < 8 ? a.neurons - at : 8);
  n.fetch_tau();
  C v[8];
  for (int k = 0; k < count; ++k)
    v[k] = a.v_init == nullptr ? n.v_reset : static_cast<const C*>(a.v_init)[at + k];
  for (std::int64_t t = 0; t < a.timesteps; ++t) {
    const E* x = static_cast<const E*>(a.x) + t * a.x_step + at;
    unsigned bits = 0;
    for (int k = 0; k < count; ++k) {
      const C h = charge_of(a.params.charge, v[k], Element<E>::load(x[k]), n);
      const C s = fire(h, n, a.params.surrogate, false);
      v[k] = reset<kHard>(h, s, n);
      bits |= (h >= n.v_threshold ? 1u : 0u) << k;
    }
    a.spike_bits[t * row_bytes + byte] = static_cast<std::uint8_t>(bits);
  }
  if (a.v_final == nullptr) return;
  for (int k = 0; k < count; ++k) static_cast<C*>(a.v_final)[at + k] = v[k];
}

// Sum over the threads of a block in a fixed order; valid in thread 0.
__device__ double block_sum(double value) {
  __shared__ double sums[kLifCudaThreads];
  sums[threadIdx.x] = value;
  __syncthreads();
  for (int half = kLifCudaThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

template <class C>
__device__ C reset_of(bool hard, C h, C s, const Neuron<C>& n) {
  return hard ? reset<true>(h, s, n) : reset<false>(h, s, n);
}

// h of a segment stays in registers where the loops are unrolled to kSteps, a bound of its length: 4 or
// kLifSegment. What few ask for (float64, rows that do not divide, grad_tau) is not unrolled, to compile in
// seconds, and keeps h in local memory.
template <class E, int kCount, int kSteps>
__global__ void __launch_bounds__(kLifCudaThreads)
    backward_kernel(LifBackward a, Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  constexpr int kUnrolled = kCount > 1 && sizeof(E) < 8 ? kSteps : 1;
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  const Surrogate surrogate = a.params.surrogate;
  const bool smooth = a.params.smooth;
  const Charge charge = a.params.charge;
  const bool hard =
      a.params.hard_reset;  // asked at run time: half the kernels to compile, and memory is the limit
  const bool need_tau = a.grad_tau != nullptr;
  double sum = 0.0;
  if (at < a.neurons) {
    n.fetch_tau();
    Pack<C, kCount> grad_v = {};
    if (a.grad_v_final != nullptr) grad_v = load_pack<kCount, C>(a.grad_v_final, at);
    Pack<C, kCount> grad_tau = {};
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
            h[i][k] = charge_of(charge, v.e[k], Element<E>::load(x.e[k]), n);
            v.e[k] = reset_of(hard, h[i][k], fire(h[i][k], n, surrogate, smooth), n);
          }
        }
      }
#pragma unroll kUnrolled
      for (int i = kSteps - 1; i >= 0; --i) {
        if (i < steps) {
          const std::int64_t row = (first + i) * a.neurons + at;
          const auto grad_spikes = load_pack<kCount, E>(a.grad_spikes, row);
          Pack<E, kCount> grad_x;
#pragma unroll
          for (int k = 0; k < kCount; ++k) {
            const C s = fire(h[i][k], n, surrogate, smooth);
            const C ds_dh = surrogate_derivative(h[i][k] - n.v_threshold, n, surrogate);
            C dv_dh = hard ? C{1} - s : C{1};
            if (!a.detach_reset) dv_dh += hard ? (n.v_reset - h[i][k]) * ds_dh : -n.v_threshold * ds_dh;
            const C grad_h = Element<E>::load(grad_spikes.e[k]) * ds_dh + grad_v.e[k] * dv_dh;
            C grad_input{};
            with_charge(charge, [&](auto kind) { kind.backward(grad_h, n, grad_input, grad_v.e[k]); });
            if (need_tau) {
              C before = start.e[k];  // membrane before this timestep's charge
              if (i > 0) {
                const C h_before = h[i > 0 ? i - 1 : 0][k];
                before = reset_of(hard, h_before, fire(h_before, n, surrogate, smooth), n);
              }
              with_charge(charge,
                          [&](auto kind) { grad_tau.e[k] += kind.grad_tau(grad_h, h[i][k], before, n); });
            }
            grad_x.e[k] = Element<E>::store(grad_input);
          }
          store_pack(a.grad_x, row, grad_x);
        }
      }
    }
    if (a.grad_v_init != nullptr) store_pack(a.grad_v_init, at, grad_v);
    for (int k = 0; k < kCount; ++k) sum += static_cast<double>(grad_tau.e[k]);
  }
  if (need_tau) {
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.grad_tau[blockIdx.x] = sum;
  }
}

// Widest pack of `E` (and of the membrane's type beside it) that divides the rows and suits every pointer's
// alignment.
template <class E>
constexpr int kWide = sizeof(E) == 8 ? 2 : 4;

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

unsigned lif_blocks(std::int64_t neurons, int per_thread) {
  const std::int64_t per_block = static_cast<std::int64_t>(kLifCudaThreads) * per_thread;
  return static_cast<unsigned>((neurons + per_block - 1) / per_block);
}

template <class E, bool kHard>
void forward_of(const LifForward& a, const void* tau, cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  constexpr int wide = kWide<E>;
  const bool all_aligned =
      aligned(a.x) && aligned(a.v_init) && aligned(a.spikes) && aligned(a.v_kept) && aligned(a.v_final);
  const auto divides = [&](int count) { return a.neurons % count == 0 && a.x_step % count == 0; };
  if (a.spike_bits != nullptr) {
    if (all_aligned && divides(8)) {
      forward_kernel<E, kHard, 8, true><<<lif_blocks(a.neurons, 8), kLifCudaThreads, 0, stream>>>(a, n);
    } else {
      forward_bits_kernel<E, kHard><<<lif_blocks(a.neurons, 8), kLifCudaThreads, 0, stream>>>(a, n);
    }
  } else if (all_aligned && divides(wide)) {
    forward_kernel<E, kHard, wide, false><<<lif_blocks(a.neurons, wide), kLifCudaThreads, 0, stream>>>(a, n);
  } else {
    forward_kernel<E, kHard, 1, false><<<lif_blocks(a.neurons, 1), kLifCudaThreads, 0, stream>>>(a, n);
  }
}

template <class E>
void backward_of(const LifBackward& a, const void* tau, cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  constexpr int wide = kWide<E>;
  constexpr int segment = static_cast<int>(kLifSegment);
  // With grad_tau one neuron a thread: its partial sums are counted so.
  if (a.grad_tau != nullptr || a.neurons % wide != 0 || a.x_step % wide != 0 || !aligned(a.grad_spikes) ||
      !aligned(a.grad_v_final) || !aligned(a.x) || !aligned(a.v_init) || !aligned(a.v_kept) ||
      !aligned(a.grad_x) || !aligned(a.grad_v_init)) {
    backward_kernel<E, 1, segment><<<lif_blocks(a.neurons, 1), kLifCudaThreads, 0, stream>>>(a, n);
    return;
  }
  const unsigned blocks = lif_blocks(a.neurons, wide);
  if constexpr (sizeof(E) < 8) {
    if (a.timesteps <= 4) {
      backward_kernel<E, wide, 4><<<blocks, kLifCudaThreads, 0, stream>>>(a, n);
      return;
    }
  }
  backward_kernel<E, wide, segment><<<blocks, kLifCudaThreads, 0, stream>>>(a, n);
}

}  // namespace

std::int64_t lif_backward_cuda_partials(std::int64_t neurons) { return lif_blocks(neurons, 1); }

cudaError_t lif_forward_cuda(const LifForward& args, const void* tau, cudaStream_t stream) {
  if (args.neurons == 0) return cudaSuccess;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    args.params.hard_reset ? forward_of<E, true>(args, tau, stream) : forward_of<E, false>(args, tau, stream);
  });
  return cudaGetLastError();
}

cudaError_t lif_backward_cuda(const LifBackward& args, const void* tau, cudaStream_t stream) {
  if (args.neurons == 0) return cudaSuccess;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    backward_of<E>(args, tau, stream);
  });
  return cudaGetLastError();
}

}  // namespace eccsnn
