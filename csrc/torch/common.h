// What the bindings share: checks, element types, devices, views of spike tensors and threads.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "eccsnn/dtype.h"
#include "eccsnn/spikes.h"

namespace eccsnn::torch_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The Python functions check arguments first; these are for direct calls and compiled graphs.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  ((message << parts), ...);
  throw std::runtime_error(message.str());
}

// Prints a tensor's shape; costs nothing until it is printed.
struct ShapeOf {
  const Tensor& tensor;
  friend std::ostream& operator<<(std::ostream& out, const ShapeOf& shape) {
    out << "[";
    for (std::int64_t d = 0; d < shape.tensor.dim(); ++d) out << (d ? ", " : "") << shape.tensor.size(d);
    return out << "]";
  }
};

inline DType float_dtype(ScalarType type, const char* op) {
  switch (type) {
    case ScalarType::Float:
      return DType::kFloat32;
    case ScalarType::Double:
      return DType::kFloat64;
    case ScalarType::BFloat16:
      return DType::kBFloat16;
    case ScalarType::Half:
      return DType::kFloat16;
    default:
      require(false, op, ": expected float32, float64, bfloat16 or float16, got ",
              torch::headeronly::toString(type));
      return DType::kFloat32;
  }
}

// The type that membranes, sums and losses are computed in.
inline ScalarType accumulate_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline bool same_device(const Tensor& a, const Tensor& b) {
  return a.is_cpu() == b.is_cpu() && a.get_device_index() == b.get_device_index();
}

// [T, N, C, H, W], or [T, N, C] with height = width = 1.
inline SpikeView view_of(const Tensor& spikes) {
  SpikeView view{spikes.size(0),   spikes.size(1),   spikes.size(2),   1, 1,
                 spikes.stride(0), spikes.stride(1), spikes.stride(2), 0, 0};
  if (spikes.dim() == 5) {
    view.height = spikes.size(3);
    view.width = spikes.size(4);
    view.stride_h = spikes.stride(3);
    view.stride_w = spikes.stride(4);
  }
  return view;
}

// Calls kernel(begin, end) over [0, count) on torch's threads; `work` is what one item costs in elements
// touched.
template <class Kernel>
void in_parallel_over(std::int64_t count, std::int64_t work, const Kernel& kernel) {
  constexpr std::int64_t kGrainElements = 32768;  // below this a thread is not worth waking
  if (count == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, work));
  torch::stable::parallel_for(0, count, grain, kernel);
}

}  // namespace eccsnn::torch_ops
