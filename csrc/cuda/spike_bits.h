// eccsnn/spike_bits.h on a CUDA device: pointers are device memory, the calls are asynchronous on `stream`.
// What is neither 0 nor 1 is not looked for.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/spike_bits.h"

namespace eccsnn {

void pack_bits_cuda(const PackBits& args, std::int64_t count, cudaStream_t stream);
void unpack_bits_cuda(const UnpackBits& args, std::int64_t count, cudaStream_t stream);

}  // namespace eccsnn
