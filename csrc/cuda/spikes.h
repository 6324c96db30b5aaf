// eccsnn/spikes.h on a CUDA device: pointers are device memory, the calls are asynchronous on `stream`.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/spikes.h"

namespace eccsnn {

// `first_offender`, -1 on entry, receives the position that the CPU function returns; null: nobody asks.
void pack_spikes_cuda(const PackSpikes& args, std::int64_t* first_offender, cudaStream_t stream);
void unpack_spikes_cuda(const UnpackSpikes& args, cudaStream_t stream);

}  // namespace eccsnn
