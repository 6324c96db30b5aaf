// The event ops on CUDA, on torch's current stream.
#include <torch/csrc/stable/library.h>

#include "../cuda/event_frames.h"
#include "common_cuda.h"
#include "events_common.h"

namespace eccsnn::torch_ops {
namespace {

Tensor events_to_frames_device(const Tensor& x, const Tensor& y, const Tensor& polarity, const Tensor& bounds,
                               std::int64_t sensor_height, std::int64_t sensor_width, std::int64_t height,
                               std::int64_t width) {
  const EventsCall call("events_to_frames", nullptr, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  Tensor frames = call.output({2, height, width}, ScalarType::Int);
  const OnDeviceOf device(x);
  count_events_cuda(call.args, static_cast<std::int32_t*>(frames.mutable_data_ptr()), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return frames;
}

Tensor events_to_packed_frames_device(const Tensor& x, const Tensor& y, const Tensor& polarity,
                                      const Tensor& bounds, std::int64_t sensor_height,
                                      std::int64_t sensor_width, std::int64_t height, std::int64_t width) {
  const EventsCall call("events_to_packed_frames", nullptr, x, y, polarity, bounds, sensor_height,
                        sensor_width, height, width);
  Tensor counts = call.output({2, height, width}, ScalarType::Int);
  Tensor packed = call.output({height, width, 1}, ScalarType::Byte);
  const OnDeviceOf device(x);
  mark_events_cuda(call.args, static_cast<std::int32_t*>(counts.mutable_data_ptr()),
                   static_cast<std::uint8_t*>(packed.mutable_data_ptr()), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return packed;
}

Tensor latest_event_times_device(const Tensor& t_us, const Tensor& x, const Tensor& y, const Tensor& polarity,
                                 const Tensor& bounds, std::int64_t sensor_height, std::int64_t sensor_width,
                                 std::int64_t height, std::int64_t width) {
  const EventsCall call("latest_event_times", &t_us, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  Tensor latest = call.output({2, height, width}, ScalarType::Long);
  const OnDeviceOf device(x);
  latest_events_cuda(call.args, static_cast<std::int64_t*>(latest.mutable_data_ptr()), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return latest;
}

Tensor sum_event_voxels_device(const Tensor& t_us, const Tensor& x, const Tensor& y, const Tensor& polarity,
                               const Tensor& bounds, std::int64_t bins, std::int64_t sensor_height,
                               std::int64_t sensor_width, std::int64_t height, std::int64_t width) {
  const EventsCall call("sum_event_voxels", &t_us, x, y, polarity, bounds, sensor_height, sensor_width,
                        height, width);
  require(bins >= 2, "sum_event_voxels: expected at least 2 bins, got ", bins);
  Tensor sums = call.output({bins, height, width}, ScalarType::Long);
  const OnDeviceOf device(x);
  sum_voxels_cuda(call.args, bins, static_cast<std::int64_t*>(sums.mutable_data_ptr()), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return sums;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("events_to_frames", TORCH_BOX(&eccsnn::torch_ops::events_to_frames_device));
  m.impl("events_to_packed_frames", TORCH_BOX(&eccsnn::torch_ops::events_to_packed_frames_device));
  m.impl("latest_event_times", TORCH_BOX(&eccsnn::torch_ops::latest_event_times_device));
  m.impl("sum_event_voxels", TORCH_BOX(&eccsnn::torch_ops::sum_event_voxels_device));
}
