// What the simulator's kernels work on: one row of the sensor between two steps.
#pragma once

#include <cstdint>

namespace eccsnn {

// Weights of the four frame pixels around a sensor pixel; they sum to kSubPixels squared.
struct SampleWeights {
  std::int32_t at[2][2];
};

// Pixels that a word of `crossed` stands for; rows are padded to a multiple.
inline constexpr std::int64_t kSimulatorGroup = 64;

struct SimulatorRow {
  std::int64_t width = 0;             // of the sensor; the arrays are padded
  std::int32_t* intensity = nullptr;  // at the step's end, in 1/16 of a pixel value
  float* log_intensity = nullptr;     // at the step's end; held from step to step
  float* difference = nullptr;        // from the reference, at the step's end; held from step to step
  float* before = nullptr;            // the difference at the step's begin, counted from the same reference
  const float* threshold_on = nullptr;
  const float* threshold_off = nullptr;
  const std::int32_t* next_noise_us = nullptr;
  std::uint64_t* crossed = nullptr;  // bit i of word j: there may be an event at pixel 64 j + i
};

}  // namespace eccsnn
