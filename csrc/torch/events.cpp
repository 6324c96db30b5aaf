// The event ops on the CPU. Threads are torch's own, over slices.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <limits>

#include "events_common.h"

namespace eccsnn::torch_ops {
namespace {

void check_bounds(const char* op, const EventSlices& args) {
  for (std::int64_t slice = 0; slice < args.slices; ++slice) {
    const std::int64_t first = args.bounds[2 * slice], last = args.bounds[2 * slice + 1];
    require(0 <= first && first <= last && last <= args.count, op, ": slice ", slice, " is [", first, ", ",
            last, ") of ", args.count, " events; expected a range of them");
  }
}

// Within slices alone: the next recording of a batch begins at its own zero. Bounds have been checked.
void check_order(const char* op, const EventSlices& args) {
  for (std::int64_t slice = 0; slice < args.slices; ++slice) {
    for (std::int64_t i = args.bounds[2 * slice] + 1; i < args.bounds[2 * slice + 1]; ++i) {
      require(args.t_us[i - 1] <= args.t_us[i], op, ": time goes back at event ", i, " of slice ", slice,
              "; expected events in the order of time");
    }
  }
}

// Calls kernel(begin, end) over slices, whose bounds have been checked; an event outside the sensor is an
// error that names the first one.
template <class Kernel>
void over_slices(const char* op, const EventSlices& args, const Kernel& kernel) {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> stray{kNone};
  const std::int64_t work =
      2 * args.height * args.width + args.count / std::max<std::int64_t>(1, args.slices);
  in_parallel_over(args.slices, work, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t found = kernel(begin, end);
    if (found < 0) return;
    std::int64_t seen = stray.load();
    while (found < seen && !stray.compare_exchange_weak(seen, found)) {
    }
  });
  const std::int64_t i = stray.load();
  if (i == kNone) return;
  require(false, op, ": event ", i, " is at (", args.x[i], ", ", args.y[i], ") with polarity ",
          static_cast<int>(args.polarity[i]), "; expected x below ", args.sensor_width, ", y below ",
          args.sensor_height, " and polarity 0 or 1");
}

Tensor events_to_frames_cpu(const Tensor& x, const Tensor& y, const Tensor& polarity, const Tensor& bounds,
                            std::int64_t sensor_height, std::int64_t sensor_width, std::int64_t height,
                            std::int64_t width) {
  const EventsCall call("events_to_frames", nullptr, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  Tensor frames = call.output({2, height, width}, ScalarType::Int);
  auto* const to = static_cast<std::int32_t*>(frames.mutable_data_ptr());
  check_bounds("events_to_frames", call.args);
  over_slices("events_to_frames", call.args,
              [&](std::int64_t begin, std::int64_t end) { return count_events(call.args, to, begin, end); });
  return frames;
}

Tensor events_to_packed_frames_cpu(const Tensor& x, const Tensor& y, const Tensor& polarity,
                                   const Tensor& bounds, std::int64_t sensor_height,
                                   std::int64_t sensor_width, std::int64_t height, std::int64_t width) {
  const EventsCall call("events_to_packed_frames", nullptr, x, y, polarity, bounds, sensor_height,
                        sensor_width, height, width);
  Tensor packed = call.output({height, width, 1}, ScalarType::Byte);
  auto* const to = static_cast<std::uint8_t*>(packed.mutable_data_ptr());
  check_bounds("events_to_packed_frames", call.args);
  over_slices("events_to_packed_frames", call.args,
              [&](std::int64_t begin, std::int64_t end) { return mark_events(call.args, to, begin, end); });
  return packed;
}

Tensor latest_event_times_cpu(const Tensor& t_us, const Tensor& x, const Tensor& y, const Tensor& polarity,
                              const Tensor& bounds, std::int64_t sensor_height, std::int64_t sensor_width,
                              std::int64_t height, std::int64_t width) {
  const EventsCall call("latest_event_times", &t_us, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  Tensor latest = call.output({2, height, width}, ScalarType::Long);
  auto* const to = static_cast<std::int64_t*>(latest.mutable_data_ptr());
  check_bounds("latest_event_times", call.args);
  over_slices("latest_event_times", call.args,
              [&](std::int64_t begin, std::int64_t end) { return latest_events(call.args, to, begin, end); });
  return latest;
}

Tensor sum_event_voxels_cpu(const Tensor& t_us, const Tensor& x, const Tensor& y, const Tensor& polarity,
                            const Tensor& bounds, std::int64_t bins, std::int64_t sensor_height,
                            std::int64_t sensor_width, std::int64_t height, std::int64_t width) {
  const EventsCall call("sum_event_voxels", &t_us, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  require(bins >= 2, "sum_event_voxels: expected at least 2 bins, got ", bins);
  check_bounds("sum_event_voxels", call.args);
  check_order("sum_event_voxels", call.args);
  Tensor sums = call.output({bins, height, width}, ScalarType::Long);
  auto* const to = static_cast<std::int64_t*>(sums.mutable_data_ptr());
  over_slices("sum_event_voxels", call.args, [&](std::int64_t begin, std::int64_t end) {
    return sum_voxels(call.args, bins, to, begin, end);
  });
  return sums;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("events_to_frames", TORCH_BOX(&eccsnn::torch_ops::events_to_frames_cpu));
  m.impl("events_to_packed_frames", TORCH_BOX(&eccsnn::torch_ops::events_to_packed_frames_cpu));
  m.impl("latest_event_times", TORCH_BOX(&eccsnn::torch_ops::latest_event_times_cpu));
  m.impl("sum_event_voxels", TORCH_BOX(&eccsnn::torch_ops::sum_event_voxels_cpu));
}
