// The bit kernels of every instruction set; for spike_bits.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/spike_bits.h"

ECCSNN_DECLARE_KERNEL(std::int64_t, pack_bits_kernel,
                      (const PackBits& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, unpack_bits_kernel,
                      (const UnpackBits& args, std::int64_t begin, std::int64_t end))
