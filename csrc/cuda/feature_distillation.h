// eccsnn/feature_distillation.h on a CUDA device: pointers are device memory, the calls are asynchronous on
// `stream`.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/feature_distillation.h"

namespace eccsnn {

void spike_count_pool_cuda(const SpikeCountPool& args, cudaStream_t stream);
void spike_count_pool_backward_cuda(const SpikeCountPoolBackward& args, cudaStream_t stream);

}  // namespace eccsnn
