// What the CPU and the CUDA binding of the event ops share.
#pragma once

#include <initializer_list>

#include "common.h"
#include "eccsnn/event_frames.h"

namespace eccsnn::torch_ops {

// Arguments of the event ops; `args` points into the tensors that it holds.
struct EventsCall {
  EventsCall(const char* op, const Tensor* t_us, const Tensor& x, const Tensor& y, const Tensor& polarity,
             const Tensor& bounds, std::int64_t sensor_height, std::int64_t sensor_width, std::int64_t height,
             std::int64_t width)
      : x(torch::stable::contiguous(x)),
        y(torch::stable::contiguous(y)),
        polarity(torch::stable::contiguous(polarity)),
        bounds(torch::stable::contiguous(bounds)),
        t_us(torch::stable::contiguous(t_us ? *t_us : bounds)) {
    require(x.scalar_type() == ScalarType::UInt16 && y.scalar_type() == ScalarType::UInt16 &&
                polarity.scalar_type() == ScalarType::Byte && bounds.scalar_type() == ScalarType::Long &&
                this->t_us.scalar_type() == ScalarType::Long,
            op, ": expected uint16 x and y, uint8 polarity, int64 times and bounds");
    require(x.dim() == 1 && y.dim() == 1 && polarity.dim() == 1 && y.size(0) == x.size(0) &&
                polarity.size(0) == x.size(0) &&
                (t_us == nullptr || (t_us->dim() == 1 && t_us->size(0) == x.size(0))),
            op, ": expected one value of x, y, polarity and time for each event");
    require(bounds.dim() >= 1 && bounds.size(bounds.dim() - 1) == 2, op, ": expected bounds [..., 2], got ",
            ShapeOf{bounds});
    require(sensor_height >= 1 && sensor_height <= 65536 && sensor_width >= 1 && sensor_width <= 65536 &&
                height >= 1 && height <= sensor_height && width >= 1 && width <= sensor_width,
            op, ": expected frames of ", height, " x ", width, " px to be at most as large as the sensor of ",
            sensor_height, " x ", sensor_width, " px");
    for (const Tensor* tensor : std::initializer_list<const Tensor*>{&y, &polarity, &bounds, &this->t_us}) {
      require(same_device(*tensor, x), op, ": expected all tensors on one device");
    }
    for (std::int64_t d = 0; d + 1 < bounds.dim(); ++d) shape.push_back(bounds.size(d));
    args.x = static_cast<const std::uint16_t*>(this->x.const_data_ptr());
    args.y = static_cast<const std::uint16_t*>(this->y.const_data_ptr());
    args.polarity = static_cast<const std::uint8_t*>(this->polarity.const_data_ptr());
    args.bounds = static_cast<const std::int64_t*>(this->bounds.const_data_ptr());
    args.t_us = static_cast<const std::int64_t*>(this->t_us.const_data_ptr());
    args.count = x.size(0);
    args.slices = bounds.numel() / 2;
    args.sensor_height = sensor_height;
    args.sensor_width = sensor_width;
    args.height = height;
    args.width = width;
  }

  // An output of the slices' shape and `tail`.
  Tensor output(std::initializer_list<std::int64_t> tail, ScalarType dtype) const {
    std::vector<std::int64_t> size = shape;
    size.insert(size.end(), tail);
    return torch::stable::new_empty(x, size, dtype);
  }

  Tensor x, y, polarity, bounds, t_us;
  std::vector<std::int64_t> shape;
  EventSlices args;
};

}  // namespace eccsnn::torch_ops
