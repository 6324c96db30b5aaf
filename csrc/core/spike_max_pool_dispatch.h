// The pooling kernels of every instruction set; for spike_max_pool.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/spike_max_pool.h"

ECCSNN_DECLARE_KERNEL(void, spike_max_pool_backward_kernel,
                      (const SpikeMaxPoolBackward& args, std::int64_t begin, std::int64_t end))
