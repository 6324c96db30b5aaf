#include "elements.cuh"
#include "feature_distillation.h"

namespace eccsnn {
namespace {

// One thread computes one output, adding in the order of the CPU kernel. Neighbouring threads read
// neighbouring memory: channels of one pixel when those are innermost, else windows of one row.
template <class E, class C>
__global__ void pool_kernel(const E* __restrict__ spikes, SpikeView view, PoolWindow window,
                            C* __restrict__ counts, std::int64_t pooled_h, std::int64_t pooled_w,
                            std::int64_t count) {
  for (std::int64_t index = first_index(); index < count; index += index_step()) {
    std::int64_t n, c, i, j;
    if (view.stride_c == 1) {
      c = index % view.channels;
      j = index / view.channels % pooled_w;
      i = index / view.channels / pooled_w % pooled_h;
      n = index / view.channels / pooled_w / pooled_h;
    } else {
      j = index % pooled_w;
      i = index / pooled_w % pooled_h;
      c = index / pooled_w / pooled_h % view.channels;
      n = index / pooled_w / pooled_h / view.channels;
    }
    const E* source = spikes + n * view.stride_n + c * view.stride_c + i * window.kernel_h * view.stride_h +
                      j * window.kernel_w * view.stride_w;
    C sum = 0;
    for (std::int64_t b = 0; b < window.kernel_w; ++b) {
      C column = 0;
      for (std::int64_t t = 0; t < view.timesteps; ++t) {
        for (std::int64_t a = 0; a < window.kernel_h; ++a) {
          column += load(source + t * view.stride_t + a * view.stride_h + b * view.stride_w);
        }
      }
      sum += column;
    }
    counts[((n * view.channels + c) * pooled_h + i) * pooled_w + j] = sum / static_cast<C>(window.divisor);
  }
}

template <class E, class C>
__global__ void pool_backward_kernel(const C* __restrict__ grad, PoolWindow window,
                                     E* __restrict__ grad_spikes, std::int64_t pooled_h,
                                     std::int64_t pooled_w, std::int64_t count) {
  const std::int64_t height = pooled_h * window.kernel_h;
  const std::int64_t width = pooled_w * window.kernel_w;
  for (std::int64_t index = first_index(); index < count; index += index_step()) {
    const std::int64_t j = index % width / window.kernel_w;
    const std::int64_t i = index / width % height / window.kernel_h;
    const std::int64_t plane = index / width / height;
    store(grad_spikes + index, grad[(plane * pooled_h + i) * pooled_w + j] / static_cast<C>(window.divisor));
  }
}

}  // namespace

void spike_count_pool_cuda(const SpikeCountPool& args, cudaStream_t stream) {
  const std::int64_t pooled_h = args.view.height / args.window.kernel_h;
  const std::int64_t pooled_w = args.view.width / args.window.kernel_w;
  const std::int64_t count = args.view.batch * args.view.channels * pooled_h * pooled_w;
  if (count == 0) return;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    using C = typename Element<E>::Compute;
    pool_kernel<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<const E*>(args.spikes), args.view,
                                                            args.window, static_cast<C*>(args.counts),
                                                            pooled_h, pooled_w, count);
  });
}

void spike_count_pool_backward_cuda(const SpikeCountPoolBackward& args, cudaStream_t stream) {
  const std::int64_t count =
      args.planes * args.pooled_h * args.window.kernel_h * args.pooled_w * args.window.kernel_w;
  if (count == 0) return;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    using C = typename Element<E>::Compute;
    pool_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        static_cast<const C*>(args.grad), args.window, static_cast<E*>(args.grad_spikes), args.pooled_h,
        args.pooled_w, count);
  });
}

}  // namespace eccsnn
