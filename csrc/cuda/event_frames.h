// eccsnn/event_frames.h on a CUDA device: pointers are device memory, the calls are asynchronous on `stream`
// and fill the outputs of all slices. Events outside the sensor, and bounds outside the events, are left out.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/event_frames.h"

namespace eccsnn {

void count_events_cuda(const EventSlices& args, std::int32_t* counts, cudaStream_t stream);
// `counts` is scratch, int32 [slices, 2, height, width].
void mark_events_cuda(const EventSlices& args, std::int32_t* counts, std::uint8_t* packed,
                      cudaStream_t stream);
void latest_events_cuda(const EventSlices& args, std::int64_t* latest_us, cudaStream_t stream);
void sum_voxels_cuda(const EventSlices& args, std::int64_t bins, std::int64_t* sums, cudaStream_t stream);

}  // namespace eccsnn
