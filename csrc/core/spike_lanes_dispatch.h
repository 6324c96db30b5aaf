// The lanes' kernels of every instruction set; for spike_lanes.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "spike_lanes.h"

ECCSNN_DECLARE_KERNEL(void, predict_lanes_kernel, (const LaneArgs& args, std::uint16_t* chances))
ECCSNN_DECLARE_KERNEL(std::uint16_t*, put_lanes_kernel,
                      (const LaneArgs& args, const std::uint16_t* chances, std::uint32_t* states,
                       std::uint16_t* end))
ECCSNN_DECLARE_KERNEL(void, get_lane_tail_kernel, (const LaneArgs& args, TailDecoder decode, void* coder))
ECCSNN_DECLARE_KERNEL(std::int64_t, get_lanes_kernel,
                      (const LaneArgs& args, std::uint32_t* states, const std::uint16_t* words,
                       std::int64_t count))
