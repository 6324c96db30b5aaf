// What the CPU and the CUDA binding of logit_distillation share.
#pragma once

#include <optional>

#include "common.h"
#include "eccsnn/logit_distillation.h"

namespace eccsnn::torch_ops {

inline LogitView logit_view(const Tensor& logits) {
  return {logits.const_data_ptr(), logits.size(1), logits.stride(0), logits.stride(1)};
}

// Ids in host memory are checked before every call; ids on a device cannot be without waiting for it.
inline void check_class_ids(const Tensor& class_ids, std::int64_t teacher_classes) {
  if (!class_ids.is_cpu()) return;
  const std::int64_t* ids = static_cast<const std::int64_t*>(class_ids.const_data_ptr());
  std::vector<bool> seen(static_cast<std::size_t>(teacher_classes));
  for (std::int64_t k = 0; k < class_ids.size(0); ++k) {
    require(ids[k] >= 0 && ids[k] < teacher_classes, "logit_distillation: class_ids[", k, "] is ", ids[k],
            ", expected one of the teacher's columns 0 to ", teacher_classes - 1);
    require(!seen[ids[k]], "logit_distillation: class_ids[", k, "] repeats ", ids[k],
            ", expected each class once");
    seen[ids[k]] = true;
  }
}

// Outputs and arguments; `args` points into the tensors. The caller sets args.class_ids to memory of its
// device.
struct LogitCall {
  LogitCall(const Tensor& student, const Tensor& teacher, const std::optional<Tensor>& class_ids,
            double temperature) {
    require(student.dim() == 2 && teacher.dim() == 2 && student.size(0) == teacher.size(0) &&
                student.size(1) >= 1,
            "logit_distillation: expected student logits [N, K] with K >= 1 and teacher logits [N, M], got ",
            ShapeOf{student}, " and ", ShapeOf{teacher});
    require(same_device(student, teacher),
            "logit_distillation: student and teacher are on different devices; move one with .to(device)");
    require(student.scalar_type() == teacher.scalar_type(), "logit_distillation: student logits are ",
            torch::headeronly::toString(student.scalar_type()), ", teacher logits ",
            torch::headeronly::toString(teacher.scalar_type()), "; expected the same dtype");
    require(temperature > 0, "logit_distillation: expected a positive temperature, got ", temperature);
    if (class_ids.has_value()) {
      require(class_ids->scalar_type() == ScalarType::Long && class_ids->dim() == 1 &&
                  class_ids->size(0) == student.size(1),
              "logit_distillation: expected class_ids int64 [K] with K = ", student.size(1), ", got ",
              torch::headeronly::toString(class_ids->scalar_type()), " ", ShapeOf{*class_ids});
      ids = torch::stable::contiguous(*class_ids);
      check_class_ids(*ids, teacher.size(1));
    } else {
      require(student.size(1) == teacher.size(1),
              "logit_distillation: without class_ids, expected as many student as "
              "teacher classes, got ",
              student.size(1), " and ", teacher.size(1));
    }
    args.dtype = float_dtype(student.scalar_type(), "logit_distillation");
    args.student = logit_view(student);
    args.teacher = logit_view(teacher);
    args.temperature = temperature;
    const ScalarType type = accumulate_type(student.scalar_type());
    loss = torch::stable::new_empty(student, std::vector<std::int64_t>{student.size(0)}, type);
    gradient =
        torch::stable::new_empty(student, std::vector<std::int64_t>{student.size(0), student.size(1)}, type);
    args.loss = loss.mutable_data_ptr();
    args.gradient = gradient.mutable_data_ptr();
  }

  std::optional<Tensor> ids;
  Tensor loss, gradient;
  LogitDistillation args;
};

struct LogitBackwardCall {
  LogitBackwardCall(const Tensor& grad, const Tensor& gradient, ScalarType dtype)
      : grad_loss(torch::stable::contiguous(grad)), saved(torch::stable::contiguous(gradient)) {
    require(grad.dim() == 1 && gradient.dim() == 2 && grad.size(0) == gradient.size(0) &&
                same_device(grad, gradient),
            "logit_distillation_backward: expected grad_loss [N] and gradient [N, K] on one device, got ",
            ShapeOf{grad}, " and ", ShapeOf{gradient});
    args.dtype = float_dtype(dtype, "logit_distillation_backward");
    require(grad.scalar_type() == accumulate_type(dtype) && gradient.scalar_type() == accumulate_type(dtype),
            "logit_distillation_backward: expected grad_loss and gradient of dtype ",
            torch::headeronly::toString(accumulate_type(dtype)));
    grad_student = torch::stable::new_empty(
        gradient, std::vector<std::int64_t>{gradient.size(0), gradient.size(1)}, dtype);
    args.classes = gradient.size(1);
    args.grad_loss = grad_loss.const_data_ptr();
    args.gradient = saved.const_data_ptr();
    args.grad_student = grad_student.mutable_data_ptr();
  }

  Tensor grad_loss, saved, grad_student;
  LogitDistillationBackward args;
};

}  // namespace eccsnn::torch_ops
