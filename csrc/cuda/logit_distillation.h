// eccsnn/logit_distillation.h on a CUDA device: pointers are device memory, the calls are asynchronous on
// `stream`.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/logit_distillation.h"

namespace eccsnn {

// A class id outside the teacher's columns gives NaN; nothing is read out of bounds.
void logit_distillation_cuda(const LogitDistillation& args, std::int64_t samples, cudaStream_t stream);
void logit_distillation_backward_cuda(const LogitDistillationBackward& args, std::int64_t samples,
                                      cudaStream_t stream);

}  // namespace eccsnn
