#include "eccsnn/event_simulator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "counter_random.h"
#include "event_simulator.h"
#include "event_simulator_dispatch.h"

namespace eccsnn {
namespace {

constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
static_assert(kSubPixels * kSubPixels == 1 << 12, "sample_row_kernel shifts by 12");

struct Noise {
  std::int32_t interval_us;  // from the last candidate to this one
  bool brighter;
  std::uint32_t chance;  // uniform: decides whether the candidate becomes an event
};

// Candidates come at the rate in the dark; brighter pixels keep fewer of them.
Noise draw_noise(const SimulateEvents& args, std::int64_t pixel, std::uint32_t draw) {
  const auto words = philox(args.seed, static_cast<std::uint64_t>(pixel), draw);
  const double uniform = (words[0] + 0.5) / 4294967296.0;
  const double interval = -std::log(uniform) * (1e6 / args.shot_noise_rate_hz);
  const double most = static_cast<double>(kMaxDurationUs);  // past every recording's end
  const std::int32_t rounded = static_cast<std::int32_t>(interval < most ? interval : most);
  return {rounded < 1 ? 1 : rounded, (words[2] & 1u) != 0, words[1]};
}

// The share that is kept falls linearly from 1 in the dark to 1/4 at white, as in v2e; in integers.
bool keeps_noise(std::uint32_t chance, std::int32_t intensity) {
  constexpr std::uint64_t kWhite = kIntensityLevels - 1;
  const std::uint64_t kept = 4 * kWhite - 3 * static_cast<std::uint64_t>(intensity);
  return std::uint64_t{chance} * (4 * kWhite) < kept << 32;
}

// One row of pixels; its state stays in the first-level cache over all steps.
class Row {
 public:
  Row(const SimulateEvents& args, std::int64_t y, std::vector<SimulatedEvent>& events)
      : args_(args),
        y_(y),
        events_(events),
        width_(static_cast<std::size_t>(args.width)),
        padded_((width_ + kSimulatorGroup - 1) / kSimulatorGroup * kSimulatorGroup),
        floats_(5 * padded_),
        integers_(3 * padded_),
        draws_(width_),
        crossed_(padded_ / kSimulatorGroup) {
    row_.width = args.width;
    row_.log_intensity = floats_.data();
    row_.difference = floats_.data() + padded_;
    row_.before = floats_.data() + 2 * padded_;
    float* const on = floats_.data() + 3 * padded_;
    float* const off = floats_.data() + 4 * padded_;
    std::fill_n(on, 2 * padded_, 1.0f);
    row_.threshold_on = on;
    row_.threshold_off = off;
    std::copy_n(args.threshold_on + y * args.width, width_, on);
    std::copy_n(args.threshold_off + y * args.width, width_, off);
    row_.intensity = integers_.data();
    row_.next_noise_us = next_noise_ = integers_.data() + padded_;
    last_event_ = integers_.data() + 2 * padded_;
    row_.crossed = crossed_.data();
    std::fill_n(row_.log_intensity, padded_, args.log_intensity[0]);
    std::fill_n(next_noise_, padded_, kNever);
    std::fill_n(last_event_, padded_, -static_cast<std::int32_t>(kMaxDurationUs));
    if (args.shot_noise_rate_hz > 0) {
      for (std::size_t x = 0; x < width_; ++x) next_noise_[x] = draw_noise(args, pixel(x), 0).interval_us;
    }
  }

  void run() {
    if (args_.step_count == 0) return;
    const auto sample = ECCSNN_KERNEL(sample_row_kernel);
    const auto advance = ECCSNN_KERNEL(advance_row_kernel);
    sample_at(sample, args_.steps[0]);
    for (std::size_t x = 0; x < width_; ++x) row_.log_intensity[x] = args_.log_intensity[row_.intensity[x]];
    for (std::int64_t k = 1; k < args_.step_count; ++k) {
      const SimulatorStep& step = args_.steps[k];
      begin_us_ = static_cast<std::int32_t>(args_.steps[k - 1].t_us);
      duration_us_ = static_cast<std::int32_t>(step.t_us) - begin_us_;
      sample_at(sample, step);
      advance(row_, args_.log_intensity, static_cast<float>(args_.leak_rate_hz * 1e-6 * duration_us_),
              begin_us_ + duration_us_);
      for (std::size_t group = 0; group < crossed_.size(); ++group) {
        const std::size_t pixels = width_ - group * kSimulatorGroup;  // what pads the row only leaks
        const std::uint64_t real = pixels < 64 ? (std::uint64_t{1} << pixels) - 1 : ~std::uint64_t{0};
        for (std::uint64_t left = crossed_[group] & real; left != 0; left &= left - 1) {
          fire(group * kSimulatorGroup + static_cast<std::size_t>(std::countr_zero(left)));
        }
      }
    }
  }

 private:
  std::int64_t pixel(std::size_t x) const { return y_ * args_.width + static_cast<std::int64_t>(x); }

  template <class Sample>
  void sample_at(const Sample& sample, const SimulatorStep& step) {
    const std::int64_t left = step.x / kSubPixels, top = step.y / kSubPixels + y_;
    const std::int32_t fx = static_cast<std::int32_t>(step.x % kSubPixels);
    const std::int32_t fy = static_cast<std::int32_t>(step.y % kSubPixels);
    constexpr std::int32_t kOne = kSubPixels;
    const SampleWeights weights{{{(kOne - fy) * (kOne - fx), (kOne - fy) * fx}, {fy * (kOne - fx), fy * fx}}};
    const std::uint16_t* upper =
        args_.frames + (step.frame * args_.frame_height + top) * args_.frame_width + left;
    sample(row_, upper, upper + args_.frame_width, weights);
  }

  // The events of one pixel in this step. Its difference runs from `from` to `to`; both are counted from the
  // reference, which moves with every event. Events lie in (begin, end], so that steps do not overlap.
  void fire(std::size_t x) {
    float from = row_.before[x], to = row_.difference[x];
    const float on = row_.threshold_on[x], off = row_.threshold_off[x];
    const std::int32_t end_us = begin_us_ + duration_us_;
    const float duration = static_cast<float>(duration_us_);
    for (;;) {
      const bool brighter = to >= on, darker = to <= -off;
      const float level = brighter ? on : -off;
      std::int32_t crossing_us = kNever;
      if (brighter || darker) {
        // Rounding may put `from` itself past the level, where the line has no slope to divide by.
        const float part = to != from ? (level - from) / (to - from) : 0.0f;
        const float after = part > 0.0f ? part < 1.0f ? part * duration : duration : 0.0f;
        const std::int32_t whole = static_cast<std::int32_t>(after);
        crossing_us = begin_us_ + 1 + (whole < duration_us_ ? whole : duration_us_ - 1);
      }
      const std::int32_t noise_us = next_noise_[x];
      if (noise_us <= end_us && noise_us < crossing_us) {
        const Noise noise = draw_noise(args_, pixel(x), draws_[x]);
        draws_[x] += 1;
        const Noise next = draw_noise(args_, pixel(x), draws_[x]);
        next_noise_[x] = next.interval_us < kNever - noise_us ? noise_us + next.interval_us : kNever;
        if (keeps_noise(noise.chance, row_.intensity[x]) && emit(x, noise_us, noise.brighter)) {
          const float here = from + (to - from) * (static_cast<float>(noise_us - begin_us_) / duration);
          from -= here;
          to -= here;
        }
      } else if (crossing_us != kNever) {
        emit(x, crossing_us, brighter);
        from -= level;
        to -= level;
      } else {
        break;
      }
    }
    row_.difference[x] = to;
  }

  bool emit(std::size_t x, std::int32_t t_us, bool brighter) {
    if (t_us - last_event_[x] < args_.refractory_us) return false;
    last_event_[x] = t_us;
    events_.push_back({static_cast<std::uint32_t>(t_us),
                       static_cast<std::uint32_t>(pixel(x) * 2 + static_cast<std::int64_t>(brighter))});
    return true;
  }

  const SimulateEvents& args_;
  std::int64_t y_;
  std::vector<SimulatedEvent>& events_;
  std::size_t width_, padded_;
  std::vector<float> floats_;
  std::vector<std::int32_t> integers_;
  std::vector<std::uint32_t> draws_;
  std::vector<std::uint64_t> crossed_;
  SimulatorRow row_;
  std::int32_t *next_noise_ = nullptr, *last_event_ = nullptr;
  std::int32_t begin_us_ = 0, duration_us_ = 0;
};

}  // namespace

void simulate_rows(const SimulateEvents& args, std::int64_t begin, std::int64_t end,
                   std::vector<SimulatedEvent>& events) {
  for (std::int64_t y = begin; y < end; ++y) Row(args, y, events).run();
}

void sort_by_time(std::vector<SimulatedEvent>& events, std::vector<SimulatedEvent>& spare) {
  std::uint32_t latest = 0;
  for (const SimulatedEvent& event : events) latest = event.t_us > latest ? event.t_us : latest;
  spare.resize(events.size());
  // A radix sort from the lowest digit on, which is stable.
  constexpr int kDigitBits = 11;
  for (int shift = 0; shift < 32 && latest >> shift != 0; shift += kDigitBits) {
    constexpr std::uint32_t kMask = (1u << kDigitBits) - 1;
    std::array<std::size_t, kMask + 1> start{};
    for (const SimulatedEvent& event : events) ++start[event.t_us >> shift & kMask];
    std::size_t sum = 0;
    for (std::size_t& count : start) {
      const std::size_t here = count;
      count = sum;
      sum += here;
    }
    for (const SimulatedEvent& event : events) spare[start[event.t_us >> shift & kMask]++] = event;
    events.swap(spare);
  }
}

}  // namespace eccsnn
