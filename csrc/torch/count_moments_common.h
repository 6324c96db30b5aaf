// What the CPU and the CUDA binding of count_moments share.
#pragma once

#include "common.h"
#include "eccsnn/count_moments.h"

namespace eccsnn::torch_ops {

// Outputs and checked arguments.
struct CountMomentsCall {
  CountMomentsCall(const Tensor& features, const Tensor& classes, std::int64_t num_classes)
      : rows(torch::stable::contiguous(features)), ids(torch::stable::contiguous(classes)) {
    const ScalarType dtype = features.scalar_type();
    require(dtype == ScalarType::Byte || dtype == ScalarType::Short,
            "count_moments: expected features of dtype uint8 or int16, got ",
            torch::headeronly::toString(dtype));
    require(features.dim() == 2 && features.size(1) >= 1, "count_moments: expected features [N, D], got ",
            ShapeOf{features});
    require(classes.scalar_type() == ScalarType::Long && classes.dim() == 1 &&
                classes.size(0) == features.size(0) && same_device(features, classes),
            "count_moments: expected classes int64 [", features.size(0), "] on the features' device, got ",
            ShapeOf{classes});
    require(num_classes >= 0, "count_moments: expected num_classes of at least 0, got ", num_classes);
    type = dtype == ScalarType::Byte ? CountType::kUint8 : CountType::kInt16;
    const std::vector<std::int64_t> square{features.size(1), features.size(1)},
        table{num_classes, features.size(1)};
    moment = torch::stable::new_zeros(features, square, ScalarType::Long);
    sums = torch::stable::new_zeros(features, table, ScalarType::Long);
  }

  const std::int64_t* class_data() const { return static_cast<const std::int64_t*>(ids.const_data_ptr()); }
  std::int64_t* moment_data() { return static_cast<std::int64_t*>(moment.mutable_data_ptr()); }
  std::int64_t* sums_data() { return static_cast<std::int64_t*>(sums.mutable_data_ptr()); }

  Tensor rows, ids, moment, sums;
  CountType type;
};

}  // namespace eccsnn::torch_ops
