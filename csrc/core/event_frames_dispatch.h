// The event frames' kernel of every instruction set; for event_frames.cpp, and for the tests that compare
// them.
#pragma once

#include <cstdint>

#include "dispatch.h"

// Where events are counted in a frame [2, height, width] of the sensor's size; false if one is outside.
ECCSNN_DECLARE_KERNEL(bool, place_events_kernel,
                      (const std::uint16_t* x, const std::uint16_t* y, const std::uint8_t* polarity,
                       std::int64_t count, std::int32_t height, std::int32_t width, std::int32_t* places))
