// What the CPU and the CUDA binding of pack_bits and unpack_bits share.
#pragma once

#include "common.h"
#include "eccsnn/spike_bits.h"

namespace eccsnn::torch_ops {

// Output and arguments of packing; `args` points into the tensors.
struct PackBitsCall {
  explicit PackBitsCall(const Tensor& spikes)
      : source(torch::stable::contiguous(spikes)), count(spikes.numel()) {
    args.dtype = float_dtype(spikes.scalar_type(), "pack_bits");
    const std::vector<std::int64_t> size{(count + 7) / 8};
    bits = torch::stable::new_empty(spikes, size, ScalarType::Byte);
    args.spikes = source.const_data_ptr();
    args.bits = static_cast<std::uint8_t*>(bits.mutable_data_ptr());
  }

  Tensor source, bits;
  std::int64_t count;
  PackBits args;
};

struct UnpackBitsCall {
  UnpackBitsCall(const Tensor& bits, const std::vector<std::int64_t>& size, ScalarType dtype)
      : source(torch::stable::contiguous(bits)) {
    args.dtype = float_dtype(dtype, "unpack_bits");
    require(bits.scalar_type() == ScalarType::Byte, "unpack_bits: expected bits of dtype uint8, got ",
            torch::headeronly::toString(bits.scalar_type()));
    for (const std::int64_t extent : size) {
      require(extent >= 0, "unpack_bits: expected a size without negative numbers, got ", extent);
      count *= extent;
    }
    require(bits.dim() == 1 && bits.numel() == (count + 7) / 8, "unpack_bits: expected bits [",
            (count + 7) / 8, "] for ", count, " elements, got ", ShapeOf{bits});
    spikes = torch::stable::new_empty(bits, size, dtype);
    args.bits = static_cast<const std::uint8_t*>(source.const_data_ptr());
    args.spikes = spikes.mutable_data_ptr();
  }

  Tensor source, spikes;
  std::int64_t count = 1;
  UnpackBits args;
};

}  // namespace eccsnn::torch_ops
