// What the CPU and the CUDA binding of pack_spikes and unpack_spikes share.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstring>

#include "common.h"

namespace eccsnn::torch_ops {

inline SpikeBits spike_bits(ScalarType type, const char* op) {
  switch (type) {
    case ScalarType::Bool:
    case ScalarType::Byte:
      return {1, 1, 0};
    case ScalarType::Half:
      return {2, 0x3c00, 0x8000};
    case ScalarType::BFloat16:
      return {2, 0x3f80, 0x8000};
    case ScalarType::Float:
      return {4, 0x3f800000, 0x80000000};
    case ScalarType::Double:
      return {8, 0x3ff0000000000000, 0x8000000000000000};
    default:
      require(false, op, ": expected float32, float64, float16, bfloat16, bool or uint8, got ",
              torch::headeronly::toString(type));
      return {};
  }
}

// One element of a spike tensor as a number, for an error message. `data` is host memory.
inline double spike_value(const void* data, ScalarType type) {
  const auto as = [data](auto value) {
    std::memcpy(&value, data, sizeof(value));
    return value;
  };
  switch (type) {
    case ScalarType::Half:
      return static_cast<float>(as(torch::headeronly::Half{}));
    case ScalarType::BFloat16:
      return static_cast<float>(as(torch::headeronly::BFloat16{}));
    case ScalarType::Float:
      return as(float{});
    case ScalarType::Double:
      return as(double{});
    default:
      return as(std::uint8_t{});
  }
}

// Indices [t, n, c, h, w] of a position that pack_spikes reported, and its distance from the first element.
struct Offender {
  Offender(const SpikeView& view, std::int64_t position) {
    c = position % view.channels;
    w = position / view.channels % view.width;
    const std::int64_t row = position / view.channels / view.width;
    h = row % view.height;
    n = row / view.height % view.batch;
    t = row / view.height / view.batch;
    offset =
        t * view.stride_t + n * view.stride_n + c * view.stride_c + h * view.stride_h + w * view.stride_w;
  }
  std::int64_t t, n, c, h, w, offset;
};

[[noreturn]] inline void throw_not_binary(const Tensor& spikes, const Offender& at, const void* element) {
  std::ostringstream message;
  message << "pack_spikes: spikes[" << at.t << ", " << at.n << ", " << at.c;
  if (spikes.dim() == 5) message << ", " << at.h << ", " << at.w;
  message << "] is " << spike_value(element, spikes.scalar_type())
          << ", expected 0 or 1; pack the output of a spiking layer, or threshold it first";
  throw std::runtime_error(message.str());
}

// Output and arguments of packing; `args` points into the tensors.
struct PackCall {
  explicit PackCall(const Tensor& spikes) {
    require(spikes.dim() == 3 || spikes.dim() == 5,
            "pack_spikes: expected spikes [T, N, C, H, W] or [T, N, C], got ", ShapeOf{spikes});
    args.bits = spike_bits(spikes.scalar_type(), "pack_spikes");
    args.view = view_of(spikes);
    std::vector<std::int64_t> shape{spikes.size(0), spikes.size(1)};
    if (spikes.dim() == 5) shape.insert(shape.end(), {spikes.size(3), spikes.size(4)});
    shape.push_back(args.view.packed_channels());
    packed = torch::stable::new_empty(spikes, shape, ScalarType::Byte);
    args.spikes = spikes.const_data_ptr();
    args.packed = static_cast<std::uint8_t*>(packed.mutable_data_ptr());
  }

  Tensor packed;
  PackSpikes args;
};

struct UnpackCall {
  UnpackCall(const Tensor& packed, std::int64_t channels, ScalarType dtype)
      : source(torch::stable::contiguous(packed)) {
    require(packed.dim() == 3 || packed.dim() == 5,
            "unpack_spikes: expected packed spikes [T, N, H, W, ceil(C / 8)] or [T, N, ceil(C / 8)], got ",
            ShapeOf{packed});
    require(packed.scalar_type() == ScalarType::Byte,
            "unpack_spikes: expected packed spikes of dtype uint8, got ",
            torch::headeronly::toString(packed.scalar_type()));
    require(channels >= 0 && packed.size(packed.dim() - 1) == (channels + 7) / 8,
            "unpack_spikes: expected ceil(channels / 8) bytes in the last dimension, got ", ShapeOf{packed},
            " for channels=", channels);
    std::vector<std::int64_t> shape{packed.size(0), packed.size(1), channels};
    if (packed.dim() == 5) shape.insert(shape.end(), {packed.size(2), packed.size(3)});
    spikes = torch::stable::new_empty(packed, shape, dtype);
    args.bits = spike_bits(dtype, "unpack_spikes");
    args.view = view_of(spikes);
    args.packed = static_cast<const std::uint8_t*>(source.const_data_ptr());
    args.spikes = spikes.mutable_data_ptr();
  }

  Tensor source, spikes;
  UnpackSpikes args;
};

}  // namespace eccsnn::torch_ops
