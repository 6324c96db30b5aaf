// eccsnn::spike_count_pool and its backward on CUDA.
#include <torch/csrc/stable/library.h>

#include "../cuda/feature_distillation.h"
#include "common_cuda.h"
#include "feature_distillation_common.h"

namespace eccsnn::torch_ops {
namespace {

Tensor spike_count_pool_device(const Tensor& spikes, std::int64_t kernel_h, std::int64_t kernel_w,
                               std::int64_t divisor) {
  PoolCall call(spikes, kernel_h, kernel_w, divisor);
  const OnDeviceOf device(spikes);
  spike_count_pool_cuda(call.args, device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.counts;
}

Tensor spike_count_pool_backward_device(const Tensor& grad, std::int64_t kernel_h, std::int64_t kernel_w,
                                        std::int64_t divisor, ScalarType dtype) {
  PoolBackwardCall call(grad, kernel_h, kernel_w, divisor, dtype);
  const OnDeviceOf device(grad);
  spike_count_pool_backward_cuda(call.args, device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.grad_spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("spike_count_pool", TORCH_BOX(&eccsnn::torch_ops::spike_count_pool_device));
  m.impl("spike_count_pool_backward", TORCH_BOX(&eccsnn::torch_ops::spike_count_pool_backward_device));
}
