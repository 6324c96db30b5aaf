// The LIF kernels of every instruction set; for lif.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/lif.h"

ECCSNN_DECLARE_KERNEL(void, lif_forward_kernel,
                      (const LifForward& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, lif_mask_backward_kernel,
                      (const LifMaskBackward& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, norm_backward_kernel,
                      (const NormBackward& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, lif_backward_kernel,
                      (const LifBackward& args, std::int64_t begin, std::int64_t end))
