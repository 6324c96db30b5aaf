// eccsnn::count_moments on CUDA, on torch's current stream.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../cuda/count_moments.h"
#include "common_cuda.h"
#include "count_moments_common.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor> count_moments_device(const Tensor& features, const Tensor& classes,
                                                std::int64_t num_classes, std::int64_t max_count) {
  CountMomentsCall call(features, classes, num_classes);
  require(max_count >= 1 && max_count <= 32767, "count_moments: expected max_count in 1..32767, got ",
          max_count);
  const OnDeviceOf device(features);
  count_moments_cuda({call.rows.const_data_ptr(), call.type, call.class_data(), features.size(0),
                      features.size(1), max_count, call.moment_data(), call.sums_data()},
                     device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {call.moment, call.sums};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("count_moments", TORCH_BOX(&eccsnn::torch_ops::count_moments_device));
}
