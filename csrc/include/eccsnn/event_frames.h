// Slices of a stream of events as arrays: counts, bits, latest times and voxels a pixel.
//
// A slice is a range of events [first, last); slices may overlap. Ranges [begin, end) count slices; every
// slice has an output of its own, which is cleared first. The caller owns the threads. Each function returns
// the first event of its slices that lies outside the sensor or has a polarity other than 0 and 1, or -1;
// such events are left out.
#pragma once

#include <cstdint>

namespace eccsnn {

struct EventSlices {
  const std::int64_t* t_us = nullptr;  // only for times and voxels
  const std::uint16_t* x = nullptr;
  const std::uint16_t* y = nullptr;
  const std::uint8_t* polarity = nullptr;
  std::int64_t count = 0;                // of all events
  const std::int64_t* bounds = nullptr;  // [slices, 2]
  std::int64_t slices = 0;
  std::int64_t sensor_height = 0, sensor_width = 0;
  std::int64_t height = 0, width = 0;  // of the output: pixel (x, y) goes to (x * width / sensor_width, ...)
};

// int32 [slices, 2, height, width]: events of polarity 0 and 1.
std::int64_t count_events(const EventSlices& args, std::int32_t* counts, std::int64_t begin,
                          std::int64_t end);

// uint8 [slices, height, width]: bit p is set where there is an event of polarity p; two channels of packed
// spikes (eccsnn/spikes.h).
std::int64_t mark_events(const EventSlices& args, std::uint8_t* packed, std::int64_t begin, std::int64_t end);

// int64 [slices, 2, height, width]: time of the latest event, or -1.
std::int64_t latest_events(const EventSlices& args, std::int64_t* latest_us, std::int64_t begin,
                           std::int64_t end);

// int64 [slices, bins, height, width]: polarities (+1, -1) shared between the two nearest of `bins` points in
// time, in units of 1 / duration of the slice (its last time minus its first, at least 1 us).
std::int64_t sum_voxels(const EventSlices& args, std::int64_t bins, std::int64_t* sums, std::int64_t begin,
                        std::int64_t end);

}  // namespace eccsnn
