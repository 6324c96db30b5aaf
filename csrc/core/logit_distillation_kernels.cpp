// Logit distillation, compiled once per instruction set (dispatch.h). Rows are short (tens of classes), so
// this is plain scalar code; exp and log are libm's, which neither overflow nor lose a -inf logit.
#include <math.h>

#include "eccsnn/logit_distillation.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

inline float exp_of(float a) { return ::expf(a); }
inline double exp_of(double a) { return ::exp(a); }
inline float log_of(float a) { return ::logf(a); }
inline double log_of(double a) { return ::log(a); }

// log(sum_k exp(logit(k))) without overflow. A NaN among the logits makes the result NaN.
template <class C, class Logit>
C log_sum_exp(std::int64_t classes, const Logit& logit) {
  C largest = -static_cast<C>(INFINITY);
  for (std::int64_t k = 0; k < classes; ++k) {
    const C value = logit(k);
    if (value > largest) largest = value;
  }
  C sum = 0;
  for (std::int64_t k = 0; k < classes; ++k) sum += exp_of(logit(k) - largest);
  return largest + log_of(sum);
}

template <class E>
void forward_samples(const LogitDistillation& p, std::int64_t begin, std::int64_t end) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  const std::int64_t classes = p.student.columns;
  const C temperature = static_cast<C>(p.temperature);
  for (std::int64_t n = begin; n < end; ++n) {
    const E* student = static_cast<const E*>(p.student.data) + n * p.student.stride_n;
    const E* teacher = static_cast<const E*>(p.teacher.data) + n * p.teacher.stride_n;
    C* gradient = static_cast<C*>(p.gradient) + n * classes;
    const auto student_logit = [&](std::int64_t k) {
      return L::load(student + k * p.student.stride_k, 1)[0] / temperature;
    };
    const auto teacher_logit = [&](std::int64_t k) {
      const std::int64_t column = p.class_ids == nullptr ? k : p.class_ids[k];
      return L::load(teacher + column * p.teacher.stride_k, 1)[0] / temperature;
    };
    const C student_norm = log_sum_exp<C>(classes, student_logit);
    const C teacher_norm = log_sum_exp<C>(classes, teacher_logit);
    C divergence = 0;
    for (std::int64_t k = 0; k < classes; ++k) {
      const C log_q = student_logit(k) - student_norm;
      const C log_p = teacher_logit(k) - teacher_norm;
      const C probability = exp_of(log_p);
      // 0 log 0 = 0; NaN != 0, so that a NaN is not lost.
      if (probability != 0) divergence += probability * (log_p - log_q);
      gradient[k] = temperature * (exp_of(log_q) - probability);
    }
    static_cast<C*>(p.loss)[n] = temperature * temperature * divergence;
  }
}

template <class E>
void backward_samples(const LogitDistillationBackward& p, std::int64_t begin, std::int64_t end) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  for (std::int64_t n = begin; n < end; ++n) {
    const C grad_loss = static_cast<const C*>(p.grad_loss)[n];
    const C* gradient = static_cast<const C*>(p.gradient) + n * p.classes;
    E* grad_student = static_cast<E*>(p.grad_student) + n * p.classes;
    for (std::int64_t k = 0; k < p.classes; ++k)
      L::store(grad_student + k, splat(grad_loss * gradient[k]), 1);
  }
}

}  // namespace

void logit_distillation_kernel(const LogitDistillation& args, std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return forward_samples<float>(args, begin, end);
    case DType::kFloat64:
      return forward_samples<double>(args, begin, end);
    case DType::kBFloat16:
      return forward_samples<BFloat16>(args, begin, end);
    case DType::kFloat16:
      return forward_samples<Float16>(args, begin, end);
  }
}

void logit_distillation_backward_kernel(const LogitDistillationBackward& args, std::int64_t begin,
                                        std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return backward_samples<float>(args, begin, end);
    case DType::kFloat64:
      return backward_samples<double>(args, begin, end);
    case DType::kBFloat16:
      return backward_samples<BFloat16>(args, begin, end);
    case DType::kFloat16:
      return backward_samples<Float16>(args, begin, end);
  }
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
