// eccsnn::logit_distillation and its backward on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "logit_distillation_common.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor> logit_distillation_cpu(const Tensor& student, const Tensor& teacher,
                                                  std::optional<Tensor> class_ids, double temperature) {
  LogitCall call(student, teacher, class_ids, temperature);
  if (call.ids.has_value()) {
    require(call.ids->is_cpu(),
            "logit_distillation: class_ids are on another device than the logits; "
            "move them with .cpu()");
    call.args.class_ids = static_cast<const std::int64_t*>(call.ids->const_data_ptr());
  }
  constexpr std::int64_t kWork = 32;  // an exponential costs about as much as this many plain elements
  in_parallel_over(student.size(0), kWork * student.size(1),
                   [&](std::int64_t begin, std::int64_t end) { logit_distillation(call.args, begin, end); });
  return {call.loss, call.gradient};
}

Tensor logit_distillation_backward_cpu(const Tensor& grad_loss, const Tensor& gradient, ScalarType dtype) {
  LogitBackwardCall call(grad_loss, gradient, dtype);
  in_parallel_over(gradient.size(0), gradient.size(1), [&](std::int64_t begin, std::int64_t end) {
    logit_distillation_backward(call.args, begin, end);
  });
  return call.grad_student;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("logit_distillation", TORCH_BOX(&eccsnn::torch_ops::logit_distillation_cpu));
  m.impl("logit_distillation_backward", TORCH_BOX(&eccsnn::torch_ops::logit_distillation_backward_cpu));
}
