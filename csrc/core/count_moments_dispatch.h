// The count kernels of every instruction set; for count_moments.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/count_moments.h"

ECCSNN_DECLARE_KERNEL(void, pack_counts_kernel,
                      (const PackCounts& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, count_moments_kernel,
                      (const CountMoments& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, add_count_row_kernel,
                      (const void* row, CountType type, std::int64_t features, std::int64_t* sums))
ECCSNN_DECLARE_KERNEL(std::int64_t, find_count_outside_kernel,
                      (const void* values, CountType type, std::int64_t count, std::int64_t max_count))
