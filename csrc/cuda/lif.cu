// Forward and backward of the LIF neuron on the GPU: one thread carries a few neighbouring neurons through
// all timesteps, with the membrane in registers.
#include "lif_neuron.cuh"

namespace eccsnn {
namespace {

// kCount elements of timestep t of LifForward::x_bits.
template <class E, int kCount>
__device__ Pack<E, kCount> expand_bits(const LifForward& a, std::int64_t t, std::int64_t at) {
  const std::int64_t bytes = (a.x_channels + 7) / 8;
  Pack<E, kCount> x;
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    const std::int64_t pixel = (t * a.neurons + at + k) / a.x_channels, c = (at + k) % a.x_channels;
    std::uint64_t element = (a.x_bits[pixel * bytes + c / 8] >> c % 8 & 1) != 0 ? a.x_one : 0;
    memcpy(&x.e[k], &element, sizeof(E));
  }
  return x;
}

// kBits: the spikes of the thread's kCount = 8 neurons become one byte, and so does the surrogate's window
// where that is wanted.
template <class E, int kCount, bool kBits, bool kNorm>
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
  const auto run = [&](const auto& input) {
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      if (a.v_kept != nullptr && t != 0 && t % kLifSegment == 0) {
        store_pack(a.v_kept, (t / kLifSegment - 1) * a.neurons + at, v);
      }
      const auto x = a.x_bits == nullptr ? load_pack<kCount, E>(a.x, t * a.x_step + at)
                                         : expand_bits<E, kCount>(a, t, at);
      Pack<E, kCount> spikes;
      [[maybe_unused]] unsigned bits = 0, window = 0;
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        const C h = charge_of(a.params.charge, v.e[k], input(Element<E>::load(x.e[k]), k), n);
        const C s = fire(h, n, a.params.surrogate, a.params.smooth);
        v.e[k] = reset_of(a.params.hard_reset, h, s, n);
        spikes.e[k] = Element<E>::store(s);
        bits |= (h >= n.v_threshold ? 1u : 0u) << k;
        if constexpr (kBits) window |= (inside_window(h, n) ? 1u : 0u) << k;
      }
      if constexpr (kBits) {
        a.spike_bits[(t * a.neurons + at) / 8] = static_cast<std::uint8_t>(bits);
        if (a.window_bits != nullptr)
          a.window_bits[(t * a.neurons + at) / 8] = static_cast<std::uint8_t>(window);
        if (a.spikes != nullptr) store_pack(a.spikes, t * a.neurons + at, spikes);
      } else {
        store_pack(a.spikes, t * a.neurons + at, spikes);
      }
    }
  };
  if constexpr (kNorm) {
    run(NormPack<C, kCount>(a.norm, at % a.norm.channels));
  } else {
    run(NoNorm{});
  }
  if (a.v_final != nullptr) store_pack(a.v_final, at, v);
}

// Bits where the rows are no multiple of eight neurons, or a pointer is not aligned: one byte a thread, one
// neuron after the other.
template <class E>
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
    unsigned bits = 0, window = 0;
    for (int k = 0; k < count; ++k) {
      C input = Element<E>::load(x[k]);
      if (a.norm.channels > 0) input = NormPack<C, 1>(a.norm, (at + k) % a.norm.channels)(input, 0);
      const C h = charge_of(a.params.charge, v[k], input, n);
      const C s = fire(h, n, a.params.surrogate, false);
      v[k] = reset_of(a.params.hard_reset, h, s, n);
      bits |= (h >= n.v_threshold ? 1u : 0u) << k;
      window |= (inside_window(h, n) ? 1u : 0u) << k;
      if (a.spikes != nullptr) static_cast<E*>(a.spikes)[t * a.neurons + at + k] = Element<E>::store(s);
    }
    a.spike_bits[t * row_bytes + byte] = static_cast<std::uint8_t>(bits);
    if (a.window_bits != nullptr) a.window_bits[t * row_bytes + byte] = static_cast<std::uint8_t>(window);
  }
  if (a.v_final == nullptr) return;
  for (int k = 0; k < count; ++k) static_cast<C*>(a.v_final)[at + k] = v[k];
}

template <class E, int kCount, int kSteps>
__global__ void __launch_bounds__(kLifCudaThreads)
    backward_kernel(LifBackward a, Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  double sum = 0.0;
  if (at < a.neurons) {
    n.fetch_tau();
    Pack<C, kCount> grad_tau = {};
    const auto store = [&](std::int64_t t, const Pack<C, kCount>& grad_input) {
      Pack<E, kCount> grad_x;
#pragma unroll
      for (int k = 0; k < kCount; ++k) grad_x.e[k] = Element<E>::store(grad_input.e[k]);
      store_pack(a.grad_x, t * a.neurons + at, grad_x);
    };
    const auto grad_v = back_through_time<E, kCount, kSteps>(a, n, at, NoNorm{}, store, grad_tau);
    if (a.grad_v_init != nullptr) store_pack(a.grad_v_init, at, grad_v);
    for (int k = 0; k < kCount; ++k) sum += static_cast<double>(grad_tau.e[k]);
  }
  if (a.grad_tau != nullptr) {
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.grad_tau[blockIdx.x] = sum;
  }
}

// One byte of each kind of bits a thread and timestep, eight neurons; kWhole where rows and pointers allow
// packs.
template <class E, bool kWhole>
__global__ void __launch_bounds__(kLifCudaThreads)
    mask_backward_kernel(LifMaskBackward a, Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  const std::int64_t row_bytes = (a.neurons + 7) / 8;
  const std::int64_t byte = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (byte >= row_bytes) return;
  const std::int64_t at = 8 * byte;
  const int count = static_cast<int>(a.neurons - at < 8 ? a.neurons - at : 8);
  n.fetch_tau();
  Pack<C, 8> grad_v = {};
  if (a.grad_v_final != nullptr) grad_v = load_some<kWhole, C>(a.grad_v_final, at, count);
  for (std::int64_t t = a.timesteps - 1; t >= 0; --t) {
    const unsigned fired = a.spike_bits[t * row_bytes + byte], inside = a.window_bits[t * row_bytes + byte];
    const auto grad_spikes = load_some<kWhole, E>(a.grad_spikes, t * a.neurons + at, count);
    Pack<E, 8> grad_x;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const C s = (fired >> k & 1u) != 0 ? C{1} : C{0};
      const C ds_dh = (inside >> k & 1u) != 0 ? n.rect_height : C{0};
      const C dv_dh = a.params.hard_reset ? C{1} - s : C{1};
      const C grad_h = Element<E>::load(grad_spikes.e[k]) * ds_dh + grad_v.e[k] * dv_dh;
      C grad_input{};
      with_charge(a.params.charge, [&](auto kind) { kind.backward(grad_h, n, grad_input, grad_v.e[k]); });
      grad_x.e[k] = Element<E>::store(grad_input);
    }
    store_some<kWhole>(a.grad_x, t * a.neurons + at, grad_x, count);
  }
  if (a.grad_v_init != nullptr) store_some<kWhole>(a.grad_v_init, at, grad_v, count);
}

template <class E, bool kNorm>
void forward_of(const LifForward& a, const void* tau, cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  constexpr int wide = kWide<E>;
  const auto fit = [&](int count) {
    return packs_fit(a.neurons, a.x_step, kNorm ? a.norm.channels : 0, count, a.x, a.v_init, a.spikes,
                     a.v_kept, a.v_final, a.norm.mean, a.norm.scale, a.norm.bias);
  };
  if (a.spike_bits != nullptr) {
    if (fit(8)) {
      forward_kernel<E, 8, true, kNorm><<<lif_blocks(a.neurons, 8), kLifCudaThreads, 0, stream>>>(a, n);
    } else {
      forward_bits_kernel<E><<<lif_blocks(a.neurons, 8), kLifCudaThreads, 0, stream>>>(a, n);
    }
  } else if (fit(wide)) {
    forward_kernel<E, wide, false, kNorm><<<lif_blocks(a.neurons, wide), kLifCudaThreads, 0, stream>>>(a, n);
  } else {
    forward_kernel<E, 1, false, kNorm><<<lif_blocks(a.neurons, 1), kLifCudaThreads, 0, stream>>>(a, n);
  }
}

template <class E>
void backward_of(const LifBackward& a, const void* tau, cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  constexpr int wide = kWide<E>;
  constexpr int segment = static_cast<int>(kLifSegment);
  // With grad_tau one neuron a thread: its partial sums are counted so.
  if (a.grad_tau != nullptr || !packs_fit(a.neurons, a.x_step, 0, wide, a.grad_spikes, a.grad_v_final, a.x,
                                          a.v_init, a.v_kept, a.grad_x, a.grad_v_init)) {
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

template <class E>
void mask_backward_of(const LifMaskBackward& a, const void* tau, cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  const unsigned blocks = lif_blocks(a.neurons, 8);
  if (packs_fit(a.neurons, 0, 0, 8, a.grad_spikes, a.grad_v_final, a.grad_x, a.grad_v_init)) {
    mask_backward_kernel<E, true><<<blocks, kLifCudaThreads, 0, stream>>>(a, n);
  } else {
    mask_backward_kernel<E, false><<<blocks, kLifCudaThreads, 0, stream>>>(a, n);
  }
}

}  // namespace

std::int64_t lif_backward_cuda_partials(std::int64_t neurons) { return lif_blocks(neurons, 1); }

cudaError_t lif_forward_cuda(const LifForward& args, const void* tau, cudaStream_t stream) {
  if (args.neurons == 0) return cudaSuccess;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    args.norm.channels > 0 ? forward_of<E, true>(args, tau, stream) : forward_of<E, false>(args, tau, stream);
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

cudaError_t lif_mask_backward_cuda(const LifMaskBackward& args, const void* tau, cudaStream_t stream) {
  if (args.neurons == 0) return cudaSuccess;
  with_element(args.dtype, [&](auto element) { mask_backward_of<decltype(element)>(args, tau, stream); });
  return cudaGetLastError();
}

}  // namespace eccsnn
