// Logit distillation: per sample, with p = softmax(teacher[class_ids] / T) and q = softmax(student / T),
//
//   loss = T^2 * sum_k p_k (log p_k - log q_k)        d loss / d student_k = T (q_k - p_k)
//
// Source: Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2; ECC-SNN (arXiv 2505.20835), L_KD.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {

// Logits [N, columns] with strides in elements.
struct LogitView {
  const void* data = nullptr;
  std::int64_t columns = 0;
  std::int64_t stride_n = 0;
  std::int64_t stride_k = 0;
};

// Loss and gradient are float, double for kFloat64. A NaN among a sample's logits gives NaN for that sample.
struct LogitDistillation {
  DType dtype = DType::kFloat32;  // of both logits
  LogitView student;              // K = student.columns
  LogitView teacher;
  const std::int64_t* class_ids =
      nullptr;  // [K], the teacher's column of each of the student's; null: the same column
  double temperature = 1.0;
  void* loss = nullptr;      // [N]
  void* gradient = nullptr;  // [N, K] contiguous: of loss by the student's logits
};

// grad_student[n, k] = grad_loss[n] * gradient[n, k], rounded once to dtype; all contiguous.
struct LogitDistillationBackward {
  DType dtype = DType::kFloat32;  // of grad_student
  std::int64_t classes = 0;       // K
  const void* grad_loss = nullptr;
  const void* gradient = nullptr;
  void* grad_student = nullptr;
};

// Compute samples [begin, end); the caller owns the threads.
void logit_distillation(const LogitDistillation& args, std::int64_t begin, std::int64_t end);
void logit_distillation_backward(const LogitDistillationBackward& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
