// eccsnn/count_moments.h on a CUDA device: pointers are device memory, the calls are asynchronous on
// `stream`.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/count_moments.h"

namespace eccsnn {

struct CountMomentsCuda {
  const void* rows = nullptr;  // [samples, features], values in 0..max_count
  CountType type = CountType::kUint8;
  const std::int64_t* classes = nullptr;  // [samples], in [0, num_classes)
  std::int64_t samples = 0;
  std::int64_t features = 0;
  std::int64_t max_count = 0;
  std::int64_t* moment = nullptr;  // [features, features], overwritten
  std::int64_t* sums = nullptr;    // [num_classes, features], zeros before
};

void count_moments_cuda(const CountMomentsCuda& args, cudaStream_t stream);

}  // namespace eccsnn
