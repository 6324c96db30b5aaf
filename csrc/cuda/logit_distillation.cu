#include "elements.cuh"
#include "logit_distillation.h"

namespace eccsnn {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <class C>
__device__ C warp_max(C value) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2) {
    const C other = __shfl_xor_sync(kAllLanes, value, lane);
    value = other > value ? other : value;
  }
  return value;
}

template <class C>
__device__ C warp_sum(C value) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(kAllLanes, value, lane);
  return value;
}

// log(sum_k exp(logit(k))) over the classes that the lanes of a warp share. A NaN among them makes the result
// NaN.
template <class C, class Logit>
__device__ C warp_log_sum_exp(std::int64_t classes, int lane, const Logit& logit) {
  C largest = -INFINITY;
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    const C value = logit(k);
    if (value > largest) largest = value;
  }
  largest = warp_max(largest);
  C sum = 0;
  for (std::int64_t k = lane; k < classes; k += kWarp) sum += exp(logit(k) - largest);
  return largest + log(warp_sum(sum));
}

struct Strides {
  std::int64_t columns, n, k;
};

// One warp a sample.
template <class E, class C>
__global__ void loss_kernel(const E* __restrict__ student, Strides s, const E* __restrict__ teacher,
                            Strides t, const std::int64_t* __restrict__ class_ids, C temperature,
                            C* __restrict__ loss, C* __restrict__ gradient, std::int64_t samples) {
  const int lane = threadIdx.x % kWarp;
  for (std::int64_t n = first_index() / kWarp; n < samples; n += index_step() / kWarp) {
    const auto student_logit = [&](std::int64_t k) {
      return load(student + n * s.n + k * s.k) / temperature;
    };
    const auto teacher_logit = [&](std::int64_t k) {
      const std::int64_t column = class_ids == nullptr ? k : class_ids[k];
      if (column < 0 || column >= t.columns) return static_cast<C>(NAN);
      return load(teacher + n * t.n + column * t.k) / temperature;
    };
    const C student_norm = warp_log_sum_exp<C>(s.columns, lane, student_logit);
    const C teacher_norm = warp_log_sum_exp<C>(s.columns, lane, teacher_logit);
    C divergence = 0;
    for (std::int64_t k = lane; k < s.columns; k += kWarp) {
      const C log_q = student_logit(k) - student_norm;
      const C log_p = teacher_logit(k) - teacher_norm;
      const C probability = exp(log_p);
      // 0 log 0 = 0; NaN != 0, so that a NaN is not lost.
      if (probability != 0) divergence += probability * (log_p - log_q);
      gradient[n * s.columns + k] = temperature * (exp(log_q) - probability);
    }
    divergence = warp_sum(divergence);
    if (lane == 0) loss[n] = temperature * temperature * divergence;
  }
}

template <class E, class C>
__global__ void backward_kernel(const C* __restrict__ grad_loss, const C* __restrict__ gradient,
                                E* __restrict__ grad_student, std::int64_t classes, std::int64_t count) {
  for (std::int64_t index = first_index(); index < count; index += index_step()) {
    store(grad_student + index, grad_loss[index / classes] * gradient[index]);
  }
}

}  // namespace

void logit_distillation_cuda(const LogitDistillation& args, std::int64_t samples, cudaStream_t stream) {
  if (samples == 0) return;
  const auto strides = [](const LogitView& view) {
    return Strides{view.columns, view.stride_n, view.stride_k};
  };
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    using C = typename Element<E>::Compute;
    loss_kernel<<<blocks_for(samples * kWarp), kThreads, 0, stream>>>(
        static_cast<const E*>(args.student.data), strides(args.student),
        static_cast<const E*>(args.teacher.data), strides(args.teacher), args.class_ids,
        static_cast<C>(args.temperature), static_cast<C*>(args.loss), static_cast<C*>(args.gradient),
        samples);
  });
}

void logit_distillation_backward_cuda(const LogitDistillationBackward& args, std::int64_t samples,
                                      cudaStream_t stream) {
  const std::int64_t count = samples * args.classes;
  if (count == 0) return;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    using C = typename Element<E>::Compute;
    backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        static_cast<const C*>(args.grad_loss), static_cast<const C*>(args.gradient),
        static_cast<E*>(args.grad_student), args.classes, count);
  });
}

}  // namespace eccsnn
