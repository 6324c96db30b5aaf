// Event frames against a plain scalar reference, and the kernel of every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "eccsnn/event_frames.h"
#include "eccsnn/isa.h"
#include "event_frames_dispatch.h"

namespace {

using eccsnn::EventSlices;

struct Recording {
  std::vector<std::int64_t> t_us;
  std::vector<std::uint16_t> x, y;
  std::vector<std::uint8_t> polarity;
};

Recording random_recording(std::size_t count, std::uint32_t width, std::uint32_t height) {
  std::mt19937 random(0);
  Recording events;
  std::int64_t t = 100;
  for (std::size_t i = 0; i < count; ++i) {
    events.t_us.push_back(t += static_cast<std::int64_t>(random() % 5));
    events.x.push_back(static_cast<std::uint16_t>(random() % width));
    events.y.push_back(static_cast<std::uint16_t>(random() % height));
    events.polarity.push_back(static_cast<std::uint8_t>(random() % 2));
  }
  return events;
}

struct Case {
  std::int64_t sensor_height, sensor_width, height, width;
};

// The sensor's size (the kernel's case), bins that divide and bins that do not, one pixel.
const std::vector<Case> kCases = {
    {34, 34, 34, 34}, {18, 70, 18, 70}, {128, 128, 64, 32}, {90, 120, 48, 48}, {9, 5, 1, 1}};
// Slices with a gap, an overlap, an empty one, a single event, and more events than a block of the kernel's.
const std::vector<std::int64_t> kBounds = {0, 7, 5, 300, 300, 300, 999, 1000, 1000, 30000};

EventSlices slices(const Recording& events, const std::vector<std::int64_t>& bounds, const Case& k) {
  EventSlices args;
  args.t_us = events.t_us.data();
  args.x = events.x.data();
  args.y = events.y.data();
  args.polarity = events.polarity.data();
  args.count = static_cast<std::int64_t>(events.x.size());
  args.bounds = bounds.data();
  args.slices = static_cast<std::int64_t>(bounds.size() / 2);
  args.sensor_height = k.sensor_height;
  args.sensor_width = k.sensor_width;
  args.height = k.height;
  args.width = k.width;
  return args;
}

// Calls put(slice, pixel of the output, polarity, event) for every event that lies on the sensor.
template <class Put>
void each(const EventSlices& args, const Put& put) {
  for (std::int64_t slice = 0; slice < args.slices; ++slice) {
    for (std::int64_t i = args.bounds[2 * slice]; i < args.bounds[2 * slice + 1]; ++i) {
      if (args.x[i] >= args.sensor_width || args.y[i] >= args.sensor_height || args.polarity[i] > 1) continue;
      const std::int64_t column = args.x[i] * args.width / args.sensor_width;
      const std::int64_t row = args.y[i] * args.height / args.sensor_height;
      put(slice, row * args.width + column, std::int64_t{args.polarity[i]}, i);
    }
  }
}

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

TEST(EventFrames, AllRepresentationsAreThoseOfAScalarLoop) {
  for (const Case& k : kCases) {
    SCOPED_TRACE(std::to_string(k.sensor_width) + " px to " + std::to_string(k.width));
    const Recording events = random_recording(30000, static_cast<std::uint32_t>(k.sensor_width),
                                              static_cast<std::uint32_t>(k.sensor_height));
    const EventSlices args = slices(events, kBounds, k);
    const std::int64_t plane = k.height * k.width, bins = 4;
    std::vector<std::int32_t> counts(at(args.slices * 2 * plane)), expected_counts(counts.size());
    std::vector<std::uint8_t> bits(at(args.slices * plane)), expected_bits(bits.size());
    std::vector<std::int64_t> latest(counts.size()), expected_latest(counts.size(), -1);
    std::vector<std::int64_t> voxels(at(args.slices * bins * plane)), expected_voxels(voxels.size());
    each(args, [&](std::int64_t slice, std::int64_t pixel, std::int64_t polarity, std::int64_t i) {
      const std::size_t place = at((slice * 2 + polarity) * plane + pixel);
      ++expected_counts[place];
      expected_latest[place] = std::max(expected_latest[place], events.t_us[at(i)]);
      std::uint8_t& byte = expected_bits[at(slice * plane + pixel)];
      byte = static_cast<std::uint8_t>(byte | (polarity ? 2 : 1));
      // In units of 1 / duration, a point in time b has the weight max(0, duration - |scaled - b *
      // duration|).
      const std::int64_t start = events.t_us[at(args.bounds[2 * slice])];
      const std::int64_t end = events.t_us[at(args.bounds[2 * slice + 1] - 1)];
      const std::int64_t duration = std::max<std::int64_t>(1, end - start);
      for (std::int64_t b = 0; b < bins; ++b) {
        const std::int64_t apart = std::abs((bins - 1) * (events.t_us[at(i)] - start) - b * duration);
        expected_voxels[at((slice * bins + b) * plane + pixel)] +=
            (polarity ? 1 : -1) * std::max<std::int64_t>(0, duration - apart);
      }
    });

    // What was there before does not matter, and slices may be made in any order.
    std::fill(counts.begin(), counts.end(), 77);
    std::fill(bits.begin(), bits.end(), std::uint8_t{77});
    std::fill(latest.begin(), latest.end(), 77);
    std::fill(voxels.begin(), voxels.end(), 77);
    for (const auto& [begin, end] : {std::pair{3L, args.slices}, std::pair{0L, 3L}}) {
      EXPECT_EQ(eccsnn::count_events(args, counts.data(), begin, end), -1);
      EXPECT_EQ(eccsnn::mark_events(args, bits.data(), begin, end), -1);
      EXPECT_EQ(eccsnn::latest_events(args, latest.data(), begin, end), -1);
      EXPECT_EQ(eccsnn::sum_voxels(args, bins, voxels.data(), begin, end), -1);
    }
    EXPECT_EQ(counts, expected_counts);
    EXPECT_EQ(bits, expected_bits);
    EXPECT_EQ(latest, expected_latest);
    EXPECT_EQ(voxels, expected_voxels);
  }
}

TEST(EventFrames, StrayEventsAreLeftOutAndTheFirstIsNamed) {
  Recording events = random_recording(30000, 34, 34);
  events.x[20000] = 34;
  events.y[4321] = 65535;
  events.polarity[25000] = 2;
  for (const Case& k : {Case{34, 34, 34, 34}, Case{34, 34, 17, 17}}) {
    const std::vector<std::int64_t> bounds = {10000, 30000, 0,
                                              10000};  // the first event is in the second slice
    const EventSlices args = slices(events, bounds, k);
    std::vector<std::int32_t> counts(at(4 * k.height * k.width)), expected(counts.size());
    each(args, [&](std::int64_t slice, std::int64_t pixel, std::int64_t polarity, std::int64_t) {
      ++expected[at((slice * 2 + polarity) * k.height * k.width + pixel)];
    });
    EXPECT_EQ(eccsnn::count_events(args, counts.data(), 0, 2), 4321);
    EXPECT_EQ(counts, expected);
    std::vector<std::uint8_t> bits(at(2 * k.height * k.width));
    EXPECT_EQ(eccsnn::mark_events(args, bits.data(), 0, 1), 20000);
  }
}

struct Kernel {
  std::string isa;
  bool (*place)(const std::uint16_t*, const std::uint16_t*, const std::uint8_t*, std::int64_t, std::int32_t,
                std::int32_t, std::int32_t*);
};

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all = {{"baseline", eccsnn::baseline::place_events_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) all.push_back({"avx2", eccsnn::avx2::place_events_kernel});
  if (supported >= eccsnn::Isa::kAvx512) all.push_back({"avx512", eccsnn::avx512::place_events_kernel});
#endif
  return all;
}

TEST(EventFrames, EveryInstructionSetPlacesEventsAlike) {
  constexpr std::int32_t kHeight = 18, kWidth = 70;
  const Recording events = random_recording(200, kWidth, kHeight);
  for (const Kernel& kernel : all_kernels()) {
    for (std::int64_t count = 0; count <= 200;
         count += count < 70 ? 1 : 13) {  // around the widths of vectors
      SCOPED_TRACE(kernel.isa + ", " + std::to_string(count) + " events");
      std::vector<std::int32_t> places(201, -7);
      EXPECT_TRUE(kernel.place(events.x.data(), events.y.data(), events.polarity.data(), count, kHeight,
                               kWidth, places.data()));
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t row = events.polarity[at(i)] * kHeight + events.y[at(i)];
        ASSERT_EQ(places[at(i)], row * kWidth + events.x[at(i)]);
      }
      EXPECT_EQ(places[at(count)], -7);
    }
    for (std::size_t stray : {0u, 15u, 16u, 31u, 199u}) {
      Recording bad = events;
      bad.x[stray] = kWidth;
      std::vector<std::int32_t> places(200);
      EXPECT_FALSE(
          kernel.place(bad.x.data(), bad.y.data(), bad.polarity.data(), 200, kHeight, kWidth, places.data()));
      bad = events;
      bad.polarity[stray] = 2;
      EXPECT_FALSE(
          kernel.place(bad.x.data(), bad.y.data(), bad.polarity.data(), 200, kHeight, kWidth, places.data()));
    }
  }
}

}  // namespace
