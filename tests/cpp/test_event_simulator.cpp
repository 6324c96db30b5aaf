// The event simulator: what pixels answer, and that threads and instruction sets change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "eccsnn/event_simulator.h"
#include "eccsnn/isa.h"
#include "event_simulator_dispatch.h"

namespace {

using eccsnn::SimulatedEvent;
using eccsnn::SimulateEvents;
using eccsnn::SimulatorStep;

struct Event {
  std::int64_t t_us, x, y;
  bool brighter;
  auto key() const { return std::tuple(t_us, y, x, brighter); }
  bool operator==(const Event& other) const { return key() == other.key(); }
};

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

// A sensor of height x width pixels before frames with a margin of one pixel.
struct Scene {
  Scene(std::int64_t frames, std::int64_t height, std::int64_t width)
      : pixels(at(frames * (height + 1) * (width + 1)), 1600),
        on(at(height * width), 0.2f),
        off(at(height * width), 0.25f),
        log_intensity(at(eccsnn::kIntensityLevels)) {
    // Natural logarithm above 1: one level of intensity is then known to be a factor.
    for (std::size_t i = 0; i < log_intensity.size(); ++i) {
      log_intensity[i] = std::log(static_cast<float>(std::max<std::size_t>(i, 16)));
    }
    args.frame_height = height + 1;
    args.frame_width = width + 1;
    args.height = height;
    args.width = width;
  }
  std::uint16_t& pixel(std::int64_t frame, std::int64_t y, std::int64_t x) {
    return pixels[at((frame * args.frame_height + y) * args.frame_width + x)];
  }
  SimulateEvents ready() {
    args.frames = pixels.data();
    args.steps = steps.data();
    args.step_count = static_cast<std::int64_t>(steps.size());
    args.log_intensity = log_intensity.data();
    args.threshold_on = on.data();
    args.threshold_off = off.data();
    return args;
  }
  std::vector<Event> run(std::int64_t begin = 0, std::int64_t end = -1) {
    const SimulateEvents given = ready();
    std::vector<SimulatedEvent> events, spare;
    eccsnn::simulate_rows(given, begin, end < 0 ? given.height : end, events);
    eccsnn::sort_by_time(events, spare);
    return decoded(events);
  }
  std::vector<Event> decoded(const std::vector<SimulatedEvent>& events) const {
    std::vector<Event> result;
    for (const SimulatedEvent& event : events) {
      const std::int64_t place = event.pixel_and_polarity / 2;
      result.push_back(
          {event.t_us, place % args.width, place / args.width, event.pixel_and_polarity % 2 == 1});
    }
    return result;
  }
  std::vector<std::uint16_t> pixels;
  std::vector<float> on, off, log_intensity;
  std::vector<SimulatorStep> steps;
  SimulateEvents args;
};

// Noise everywhere, two frames, a path with parts of pixels: everything that may depend on order.
Scene busy_scene(std::int64_t height = 13, std::int64_t width = 71) {
  Scene scene(2, height, width);
  std::mt19937 random(1);
  for (std::uint16_t& value : scene.pixels)
    value = static_cast<std::uint16_t>(random() % eccsnn::kIntensityLevels);
  for (float& value : scene.on) value = 0.15f + static_cast<float>(random() % 100) / 1000;
  for (std::int64_t k = 0; k < 40; ++k) scene.steps.push_back({k * 700, k / 20, k * 37 % 64, k * 11 % 64});
  scene.args.refractory_us = 50;
  scene.args.shot_noise_rate_hz = 200;
  scene.args.leak_rate_hz = 30;
  scene.args.seed = 0x123456789abcdefULL;
  return scene;
}

TEST(EventSimulator, NothingHappensWhereNothingChanges) {
  Scene scene(1, 5, 9);
  for (std::int64_t x = 0; x < 10; ++x) scene.pixel(0, 2, x) = static_cast<std::uint16_t>(400 * x);
  scene.steps = {{0, 0, 0, 0}, {1000, 0, 0, 0}, {1'000'000, 0, 0, 0}};
  EXPECT_TRUE(scene.run().empty());
  scene.steps.resize(1);  // one step is no time at all
  EXPECT_TRUE(scene.run().empty());
}

TEST(EventSimulator, AStepOfContrastGivesAsManyEventsAsThresholdsItCrosses) {
  Scene scene(2, 4, 6);
  scene.pixels.assign(scene.pixels.size(), 1000);
  // One pixel becomes brighter by 1.05 in log intensity, one darker by 0.8, one by less than a threshold.
  scene.pixel(1, 1, 2) = static_cast<std::uint16_t>(std::lround(1000 * std::exp(1.05)));
  scene.pixel(1, 3, 5) = static_cast<std::uint16_t>(std::lround(1000 * std::exp(-0.8)));
  scene.pixel(1, 0, 0) = static_cast<std::uint16_t>(std::lround(1000 * std::exp(0.19)));
  scene.steps = {{0, 0, 0, 0}, {10'000, 1, 0, 0}};
  const std::vector<Event> events = scene.run();
  std::vector<Event> on, off;
  for (const Event& event : events) (event.brighter ? on : off).push_back(event);
  ASSERT_EQ(on.size(), 5u);   // 1.05 / 0.2
  ASSERT_EQ(off.size(), 3u);  // 0.8 / 0.25
  for (std::size_t k = 0; k < on.size(); ++k) {
    EXPECT_EQ(std::pair(on[k].x, on[k].y), std::pair(std::int64_t{2}, std::int64_t{1}));
    // The line from 0 at 0 us to 1.05 at 10 ms is at the k-th threshold at this time.
    EXPECT_NEAR(static_cast<double>(on[k].t_us), 10'000 * 0.2 * static_cast<double>(k + 1) / 1.05, 3.0);
  }
  for (const Event& event : off)
    EXPECT_EQ(std::pair(event.x, event.y), std::pair(std::int64_t{5}, std::int64_t{3}));
}

TEST(EventSimulator, AnEdgeThatPassesGivesTheSameCountAtEveryPixelItPasses) {
  // A bright half moves by eight pixels to the right over a dark one.
  Scene scene(1, 3, 16);
  scene.args.frame_width = 32;
  scene.pixels.assign(at(4 * 32), 400);
  for (std::int64_t y = 0; y < 4; ++y) {
    for (std::int64_t x = 0; x < 12; ++x) scene.pixel(0, y, x) = 1600;
  }
  for (std::int64_t k = 0; k <= 64; ++k) {
    scene.steps.push_back({k * 1000, 0, 8 * eccsnn::kSubPixels - k * eccsnn::kSubPixels / 8, 0});
  }
  std::vector<int> count(at(3 * 16));
  for (const Event& event : scene.run()) {
    EXPECT_TRUE(event.brighter);
    ++count[at(event.y * 16 + event.x)];
  }
  for (std::int64_t y = 0; y < 3; ++y) {
    for (std::int64_t x = 0; x < 16; ++x) {
      const bool passed = x >= 4 && x < 12;
      EXPECT_EQ(count[at(y * 16 + x)], passed ? 6 : 0) << x;  // log(4) / 0.2 = 6.9
    }
  }
}

TEST(EventSimulator, RefractoryTimeDropsWhatComesTooSoon) {
  Scene scene = busy_scene();
  scene.args.refractory_us = 0;
  const std::size_t free = scene.run().size();
  std::size_t before = free;
  for (const std::int64_t refractory_us : {100, 1000, 5000}) {
    scene.args.refractory_us = refractory_us;
    const std::vector<Event> events = scene.run();
    std::vector<std::int64_t> last(at(scene.args.height * scene.args.width), -1'000'000);
    for (const Event& event : events) {
      std::int64_t& previous = last[at(event.y * scene.args.width + event.x)];
      ASSERT_GE(event.t_us - previous, refractory_us);
      previous = event.t_us;
    }
    EXPECT_LT(events.size(), before);
    EXPECT_GT(events.size(), 0u);
    before = events.size();
  }
}

TEST(EventSimulator, NoiseComesAtItsRateAndLessWhereItIsBright) {
  Scene dark(1, 32, 64), bright(1, 32, 64);
  dark.pixels.assign(dark.pixels.size(), 0);
  bright.pixels.assign(bright.pixels.size(), static_cast<std::uint16_t>(eccsnn::kIntensityLevels - 1));
  const auto noise = [](Scene& scene, std::uint64_t seed) {
    scene.steps = {{0, 0, 0, 0}, {500'000, 0, 0, 0}, {1'000'000, 0, 0, 0}};
    scene.args.shot_noise_rate_hz = 10;
    scene.args.seed = seed;
    return scene.run();
  };
  const std::vector<Event> in_the_dark = noise(dark, 1);
  // 32 x 64 pixels, 10 Hz, one second: 20,480 expected, with a standard deviation of 143.
  EXPECT_NEAR(static_cast<double>(in_the_dark.size()), 20'480, 6 * 143);
  EXPECT_NEAR(static_cast<double>(noise(bright, 1).size()), 20'480 / 4.0, 6 * 72);
  const auto brighter =
      std::count_if(in_the_dark.begin(), in_the_dark.end(), [](const Event& e) { return e.brighter; });
  EXPECT_NEAR(static_cast<double>(brighter), static_cast<double>(in_the_dark.size()) / 2, 6 * 72);
  EXPECT_EQ(noise(dark, 1), in_the_dark);
  EXPECT_NE(noise(dark, 2), in_the_dark);
}

TEST(EventSimulator, LeakGivesEventsOfOnePolarityAtItsRate) {
  Scene scene(1, 4, 70);
  scene.args.leak_rate_hz = 2;
  scene.steps = {{0, 0, 0, 0}, {1'300'000, 0, 0, 0}, {2'600'000, 0, 0, 0}};
  const std::vector<Event> events = scene.run();
  EXPECT_EQ(events.size(), 4u * 70u * 5u);  // 2.6 s at 2 Hz, a pixel
  EXPECT_TRUE(std::all_of(events.begin(), events.end(), [](const Event& event) { return event.brighter; }));
}

TEST(EventSimulator, EventsAreTheSameForEveryNumberOfThreads) {
  Scene scene = busy_scene();
  const SimulateEvents args = scene.ready();
  const std::vector<Event> expected = scene.run();
  ASSERT_GT(expected.size(), 5000u);
  EXPECT_TRUE(std::is_sorted(expected.begin(), expected.end(),
                             [](const Event& a, const Event& b) { return a.t_us < b.t_us; }));
  for (const std::int64_t threads : {1, 2, 3, 13}) {
    std::vector<std::vector<SimulatedEvent>> parts(at(threads));
    std::vector<std::thread> pool;
    for (std::int64_t k = 0; k < threads; ++k) {
      pool.emplace_back([&, k] {
        eccsnn::simulate_rows(args, args.height * k / threads, args.height * (k + 1) / threads, parts[at(k)]);
      });
    }
    for (std::thread& thread : pool) thread.join();
    std::vector<SimulatedEvent> events, spare;
    for (const auto& part : parts) events.insert(events.end(), part.begin(), part.end());
    eccsnn::sort_by_time(events, spare);
    EXPECT_EQ(scene.decoded(events), expected) << threads << " threads";
  }
}

TEST(EventSimulator, SortingKeepsTheOrderOfEventsOfOneTime) {
  std::mt19937 random(0);
  for (const std::uint32_t latest : {1u, 3000u, 5'000'000u, 1u << 30}) {
    std::vector<SimulatedEvent> events, spare;
    for (std::uint32_t i = 0; i < 5000; ++i)
      events.push_back({static_cast<std::uint32_t>(random() % latest), i});
    std::vector<SimulatedEvent> expected = events;
    std::stable_sort(expected.begin(), expected.end(),
                     [](const SimulatedEvent& a, const SimulatedEvent& b) { return a.t_us < b.t_us; });
    eccsnn::sort_by_time(events, spare);
    for (std::size_t i = 0; i < events.size(); ++i) {
      ASSERT_EQ(events[i].pixel_and_polarity, expected[i].pixel_and_polarity);
    }
  }
}

struct Kernels {
  std::string isa;
  void (*sample)(const eccsnn::SimulatorRow&, const std::uint16_t*, const std::uint16_t*,
                 const eccsnn::SampleWeights&);
  void (*advance)(const eccsnn::SimulatorRow&, const float*, float, std::int32_t);
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {
      {"baseline", eccsnn::baseline::sample_row_kernel, eccsnn::baseline::advance_row_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) {
    all.push_back({"avx2", eccsnn::avx2::sample_row_kernel, eccsnn::avx2::advance_row_kernel});
  }
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::sample_row_kernel, eccsnn::avx512::advance_row_kernel});
  }
#endif
  return all;
}

TEST(EventSimulator, EveryInstructionSetSamplesAndAdvancesAsAScalarLoop) {
  for (const std::int64_t width : {1, 15, 64, 71, 130}) {
    const std::size_t padded =
        at((width + eccsnn::kSimulatorGroup - 1) / eccsnn::kSimulatorGroup) * at(eccsnn::kSimulatorGroup);
    std::mt19937 random(static_cast<std::uint32_t>(width));
    const auto uniform = [&] { return static_cast<float>(random() % 2001) / 1000 - 1; };
    std::vector<std::uint16_t> upper(at(width + 1)), lower(at(width + 1));
    for (auto* rows : {&upper, &lower}) {
      for (std::uint16_t& value : *rows)
        value = static_cast<std::uint16_t>(random() % eccsnn::kIntensityLevels);
    }
    std::vector<float> table(at(eccsnn::kIntensityLevels));
    for (float& value : table) value = uniform();
    std::vector<float> held(padded), difference(padded), on(padded, 0.5f), off(padded, 0.6f);
    std::vector<std::int32_t> noise(padded, 2000);
    for (std::size_t x = 0; x < padded; ++x) {
      held[x] = uniform();
      difference[x] = uniform();
      noise[x] = static_cast<std::int32_t>(random() % 2000);
    }
    const eccsnn::SampleWeights weights{{{48 * 20, 48 * 44}, {16 * 20, 16 * 44}}};
    const float leak = 0.03125f;
    for (const Kernels& kernels : all_kernels()) {
      SCOPED_TRACE(kernels.isa + ", " + std::to_string(width) + " px");
      std::vector<std::int32_t> intensity(padded, 0);
      std::vector<float> log_intensity = held, after = difference, before(padded, 42.0f);
      std::vector<std::uint64_t> crossed(padded / 64, ~std::uint64_t{0});
      eccsnn::SimulatorRow row;
      row.width = width;
      row.intensity = intensity.data();
      row.log_intensity = log_intensity.data();
      row.difference = after.data();
      row.before = before.data();
      row.threshold_on = on.data();
      row.threshold_off = off.data();
      row.next_noise_us = noise.data();
      row.crossed = crossed.data();
      kernels.sample(row, upper.data(), lower.data(), weights);
      kernels.advance(row, table.data(), leak, 100);
      for (std::int64_t x = 0; x < width; ++x) {
        const std::size_t i = at(x);
        const std::int32_t sum = upper[i] * weights.at[0][0] + upper[i + 1] * weights.at[0][1] +
                                 lower[i] * weights.at[1][0] + lower[i + 1] * weights.at[1][1];
        ASSERT_EQ(intensity[i], (sum + 2048) / 4096);
        const float light = table[at(intensity[i])];
        const float now = difference[i] + (light - held[i]) + leak * on[i];
        ASSERT_EQ(before[i], difference[i]);
        ASSERT_EQ(log_intensity[i], light);
        ASSERT_EQ(after[i], now);
        ASSERT_EQ(crossed[i / 64] >> i % 64 & 1, now >= on[i] || now <= -off[i] || noise[i] <= 100 ? 1u : 0u);
      }
    }
  }
}

}  // namespace
