// The kernels of every instruction set; for channel_statistics.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/channel_statistics.h"

// `scratch` has room for three rows of channel_statistics_side_by_side(channels) * channels doubles.
ECCSNN_DECLARE_KERNEL(void, channel_statistics_kernel,
                      (const ChannelStatistics& args, std::int64_t begin, std::int64_t end, double* scratch))
