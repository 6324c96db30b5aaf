// eccsnn::spike_count_pool and its backward on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include "feature_distillation_common.h"

namespace eccsnn::torch_ops {
namespace {

Tensor spike_count_pool_cpu(const Tensor& spikes, std::int64_t kernel_h, std::int64_t kernel_w,
                            std::int64_t divisor) {
  PoolCall call(spikes, kernel_h, kernel_w, divisor);
  const SpikeView& view = call.args.view;
  in_parallel_over(call.args.rows(), view.timesteps * view.channels * kernel_h * view.width,
                   [&](std::int64_t begin, std::int64_t end) { spike_count_pool(call.args, begin, end); });
  return call.counts;
}

Tensor spike_count_pool_backward_cpu(const Tensor& grad, std::int64_t kernel_h, std::int64_t kernel_w,
                                     std::int64_t divisor, ScalarType dtype) {
  PoolBackwardCall call(grad, kernel_h, kernel_w, divisor, dtype);
  in_parallel_over(
      call.args.planes, call.args.pooled_h * kernel_h * call.args.pooled_w * kernel_w,
      [&](std::int64_t begin, std::int64_t end) { spike_count_pool_backward(call.args, begin, end); });
  return call.grad_spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("spike_count_pool", TORCH_BOX(&eccsnn::torch_ops::spike_count_pool_cpu));
  m.impl("spike_count_pool_backward", TORCH_BOX(&eccsnn::torch_ops::spike_count_pool_backward_cpu));
}
