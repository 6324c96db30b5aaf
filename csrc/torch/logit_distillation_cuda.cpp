// eccsnn::logit_distillation and its backward on CUDA.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../cuda/logit_distillation.h"
#include "common_cuda.h"
#include "logit_distillation_common.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor> logit_distillation_device(const Tensor& student, const Tensor& teacher,
                                                     std::optional<Tensor> class_ids, double temperature) {
  LogitCall call(student, teacher, class_ids, temperature);
  const OnDeviceOf device(student);
  if (call.ids.has_value()) {
    // Checked in host memory above, then copied without waiting for the device.
    call.ids = call.ids->is_cpu() ? torch::stable::to(*call.ids, student.device(), /*non_blocking=*/true)
                                  : *call.ids;
    require(same_device(*call.ids, student),
            "logit_distillation: class_ids are on another GPU than the logits");
    call.args.class_ids = static_cast<const std::int64_t*>(call.ids->const_data_ptr());
  }
  logit_distillation_cuda(call.args, student.size(0), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {call.loss, call.gradient};
}

Tensor logit_distillation_backward_device(const Tensor& grad_loss, const Tensor& gradient, ScalarType dtype) {
  LogitBackwardCall call(grad_loss, gradient, dtype);
  const OnDeviceOf device(gradient);
  logit_distillation_backward_cuda(call.args, gradient.size(0), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.grad_student;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("logit_distillation", TORCH_BOX(&eccsnn::torch_ops::logit_distillation_device));
  m.impl("logit_distillation_backward", TORCH_BOX(&eccsnn::torch_ops::logit_distillation_backward_device));
}
