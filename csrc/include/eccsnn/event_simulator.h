// A simulated event camera: frames that move before a sensor, as events.
//
// Every pixel keeps how far its log intensity has gone from the level at its last event. Between two steps
// that difference follows a straight line in time; wherever it crosses the pixel's ON or OFF threshold there
// is an event, and the reference moves by that threshold. Leak lifts the difference all the time. Shot noise
// is a Poisson process whose rate falls linearly with intensity; an event of noise takes the level at its
// moment as the new reference. Events within the refractory time after a pixel's last one are dropped.
//
// A pixel depends on nothing but its own past and on random numbers of (seed, pixel, draw): ranges of rows
// may be simulated in any order and by any thread. python/eccsnn/data/events/simulate_reference.py says the
// same in plain Python, event for event.
#pragma once

#include <cstdint>
#include <vector>

namespace eccsnn {

// Intensities are integers in 1/16 of a pixel value of 0..255, positions integers in 1/64 of a pixel.
inline constexpr std::int64_t kIntensityLevels = 255 * 16 + 1;
inline constexpr std::int64_t kSubPixels = 64;
// Times are counted from the first step; a recording is at most this long.
inline constexpr std::int64_t kMaxDurationUs = std::int64_t{1} << 30;

// Where the sensor's pixel (0, 0) lies on a frame when a step ends.
struct SimulatorStep {
  std::int64_t t_us = 0;  // the first step is at 0, and time grows
  std::int64_t frame = 0;
  std::int64_t x = 0, y = 0;  // in 1/kSubPixels of a pixel
};

struct SimulateEvents {
  const std::uint16_t* frames = nullptr;  // [F, frame_height, frame_width], below kIntensityLevels
  std::int64_t frame_height = 0, frame_width = 0;
  const SimulatorStep* steps = nullptr;  // the sensor, one pixel wider and higher, lies within the frame
  std::int64_t step_count = 0;
  const float* log_intensity = nullptr;  // [kIntensityLevels]
  std::int64_t height = 0, width = 0;    // of the sensor
  const float* threshold_on = nullptr;   // [height, width], above 0, in log intensity
  const float* threshold_off = nullptr;
  std::int64_t refractory_us = 0;
  double shot_noise_rate_hz = 0;  // of a pixel in the dark, ON and OFF together; a quarter of it at white
  double leak_rate_hz = 0;        // ON events of a pixel at rest
  std::uint64_t seed = 0;
};

struct SimulatedEvent {
  std::uint32_t t_us;
  std::uint32_t pixel_and_polarity;  // pixel * 2 + (1 where brighter)
};

// Appends the events of the sensor's rows [begin, end): by row, then in time, then by pixel.
void simulate_rows(const SimulateEvents& args, std::int64_t begin, std::int64_t end,
                   std::vector<SimulatedEvent>& events);

// Sorts by time; events of one time keep their order. `spare` is scratch.
void sort_by_time(std::vector<SimulatedEvent>& events, std::vector<SimulatedEvent>& spare);

}  // namespace eccsnn
