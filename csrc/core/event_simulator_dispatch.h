// The simulator's kernels of every instruction set; for event_simulator.cpp, and for the tests that compare
// them.
#pragma once

#include "dispatch.h"
#include "event_simulator.h"

// Bilinear samples of a frame: `upper` and `lower` are the rows around, width + 1 pixels each.
ECCSNN_DECLARE_KERNEL(void, sample_row_kernel,
                      (const SimulatorRow& row, const std::uint16_t* upper, const std::uint16_t* lower,
                       const SampleWeights& weights))
// Moves a row's differences on to the step's end. `leak` is the part of the ON threshold that leaks in a
// step.
ECCSNN_DECLARE_KERNEL(void, advance_row_kernel,
                      (const SimulatorRow& row, const float* table, float leak, std::int32_t end_us))
