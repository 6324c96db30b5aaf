// The event simulator in NumPy arrays; `eccsnn.data.events.simulate` is what people use.
#include "event_simulator.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <vector>

#include "eccsnn/event_simulator.h"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

[[noreturn]] void refuse(const std::string& message) {
  throw std::invalid_argument("simulate_events: " + message);
}

// Makes the message in any case: not for the loops over pixels, where that took as long as the simulation.
void require(bool condition, const std::string& message) {
  if (!condition) refuse(message);
}

std::vector<eccsnn::SimulatorStep> read_steps(const Array<std::int64_t>& table,
                                              const eccsnn::SimulateEvents& args, std::int64_t frames) {
  require(table.ndim() == 2 && table.shape(1) == 4, "steps have no shape [S, 4] of t_us, frame, x, y");
  std::vector<eccsnn::SimulatorStep> steps(static_cast<std::size_t>(table.shape(0)));
  for (std::size_t k = 0; k < steps.size(); ++k) {
    const std::int64_t* row = table.data() + 4 * k;
    const eccsnn::SimulatorStep step = steps[k] = {row[0], row[1], row[2], row[3]};
    const std::string name = "step " + std::to_string(k);
    require(k == 0 ? step.t_us == 0 : step.t_us > steps[k - 1].t_us && step.t_us <= eccsnn::kMaxDurationUs,
            name + " ends at " + std::to_string(step.t_us) + " us; expected times that grow from 0 up to " +
                std::to_string(eccsnn::kMaxDurationUs));
    require(step.frame >= 0 && step.frame < frames,
            name + " shows frame " + std::to_string(step.frame) + " of " + std::to_string(frames));
    const auto fits = [](std::int64_t at, std::int64_t sensor, std::int64_t frame) {
      return at >= 0 && at / eccsnn::kSubPixels + sensor + 1 <= frame;
    };
    require(fits(step.x, args.width, args.frame_width) && fits(step.y, args.height, args.frame_height),
            name + " moves the sensor past the frame's edge");
  }
  return steps;
}

const float* thresholds(const Array<float>& array, const eccsnn::SimulateEvents& args, const char* name) {
  require(array.ndim() == 2 && array.shape(0) == args.height && array.shape(1) == args.width,
          std::string(name) + " is not of the sensor's shape [height, width]");
  for (std::int64_t i = 0; i < args.height * args.width; ++i) {
    if (array.data()[i] >= 0.001f && array.data()[i] < 1e6f) continue;
    refuse(std::string(name) + " holds " + std::to_string(array.data()[i]) +
           "; expected at least 0.001 and finite (in log intensity)");
  }
  return array.data();
}

// Chunks of rows go to whichever thread is free; their events are put together in the order of rows.
std::vector<eccsnn::SimulatedEvent> run(const eccsnn::SimulateEvents& args, std::int64_t threads) {
  const std::int64_t chunks = std::min(args.height, 4 * threads);
  std::vector<std::vector<eccsnn::SimulatedEvent>> found(static_cast<std::size_t>(chunks));
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t i = next++; i < chunks; i = next++) {
      eccsnn::simulate_rows(args, args.height * i / chunks, args.height * (i + 1) / chunks,
                            found[static_cast<std::size_t>(i)]);
    }
  };
  {
    std::vector<std::future<void>> others;
    for (std::int64_t i = 1; i < threads; ++i) others.push_back(std::async(std::launch::async, work));
    work();
    for (auto& other : others) other.get();
  }
  std::size_t count = 0;
  for (const auto& part : found) count += part.size();
  std::vector<eccsnn::SimulatedEvent> events, spare;
  events.reserve(count);
  for (const auto& part : found) events.insert(events.end(), part.begin(), part.end());
  eccsnn::sort_by_time(events, spare);
  return events;
}

py::tuple simulate_events(const Array<std::uint16_t>& frames, const Array<std::int64_t>& steps,
                          const Array<float>& log_intensity, const Array<float>& threshold_on,
                          const Array<float>& threshold_off, std::int64_t refractory_us,
                          double shot_noise_rate_hz, double leak_rate_hz, std::uint64_t seed,
                          std::int64_t threads) {
  require(frames.ndim() == 3, "frames have no shape [F, height, width]");
  require(log_intensity.ndim() == 1 && log_intensity.shape(0) == eccsnn::kIntensityLevels,
          "log_intensity has no shape [" + std::to_string(eccsnn::kIntensityLevels) + "]");
  require(threshold_on.ndim() == 2, "threshold_on has no shape [height, width]");
  require(threads >= 1 && threads <= 1024, "threads is " + std::to_string(threads) + "; expected 1 to 1024");
  require(refractory_us >= 0 && refractory_us <= eccsnn::kMaxDurationUs, "refractory_us is out of range");
  require(shot_noise_rate_hz >= 0 && shot_noise_rate_hz < 1e6, "shot_noise_rate_hz is out of range");
  require(leak_rate_hz >= 0 && leak_rate_hz < 1e6, "leak_rate_hz is out of range");
  eccsnn::SimulateEvents args;
  args.frames = frames.data();
  args.frame_height = frames.shape(1);
  args.frame_width = frames.shape(2);
  args.height = threshold_on.shape(0);
  args.width = threshold_on.shape(1);
  require(args.height <= 65536 && args.width <= 65536 && args.height * args.width < std::int64_t{1} << 30,
          "the sensor has more pixels than the 2^30 that are possible");
  args.log_intensity = log_intensity.data();
  args.threshold_on = thresholds(threshold_on, args, "threshold_on");
  args.threshold_off = thresholds(threshold_off, args, "threshold_off");
  args.refractory_us = refractory_us;
  args.shot_noise_rate_hz = shot_noise_rate_hz;
  args.leak_rate_hz = leak_rate_hz;
  args.seed = seed;
  for (py::ssize_t i = 0; i < frames.size(); ++i) {
    if (frames.data()[i] < eccsnn::kIntensityLevels) continue;
    refuse("a frame holds " + std::to_string(frames.data()[i]) + "; expected less than " +
           std::to_string(eccsnn::kIntensityLevels));
  }
  const std::vector<eccsnn::SimulatorStep> path = read_steps(steps, args, frames.shape(0));
  args.steps = path.data();
  args.step_count = static_cast<std::int64_t>(path.size());

  std::vector<eccsnn::SimulatedEvent> events;
  {
    py::gil_scoped_release release;
    events = run(args, threads);
  }
  const py::ssize_t count = static_cast<py::ssize_t>(events.size());
  Array<std::int64_t> t(count);
  Array<std::uint16_t> x(count), y(count);
  Array<std::uint8_t> polarity(count);
  std::int64_t* const ts = t.mutable_data();
  std::uint16_t *const xs = x.mutable_data(), *const ys = y.mutable_data();
  std::uint8_t* const ps = polarity.mutable_data();
  const std::uint32_t width = static_cast<std::uint32_t>(args.width);
  for (std::size_t i = 0; i < events.size(); ++i) {
    const std::uint32_t pixel = events[i].pixel_and_polarity >> 1;
    ts[i] = events[i].t_us;
    xs[i] = static_cast<std::uint16_t>(pixel % width);
    ys[i] = static_cast<std::uint16_t>(pixel / width);
    ps[i] = static_cast<std::uint8_t>(events[i].pixel_and_polarity & 1);
  }
  return py::make_tuple(t, x, y, polarity);
}

}  // namespace

void bind_event_simulator(py::module_& m) {
  m.def("simulate_events", &simulate_events, py::arg("frames").noconvert(), py::arg("steps").noconvert(),
        py::arg("log_intensity").noconvert(), py::arg("threshold_on").noconvert(),
        py::arg("threshold_off").noconvert(), py::arg("refractory_us"), py::arg("shot_noise_rate_hz"),
        py::arg("leak_rate_hz"), py::arg("seed"), py::arg("threads"),
        "Events (t, x, y, polarity) of frames uint16 [F, h, w] that pass a sensor [H, W] by steps int64 [S, "
        "4].");
  m.attr("SIMULATOR_INTENSITY_LEVELS") = eccsnn::kIntensityLevels;
  m.attr("SIMULATOR_SUB_PIXELS") = eccsnn::kSubPixels;
  m.attr("SIMULATOR_MAX_DURATION_US") = eccsnn::kMaxDurationUs;
}
