// eccsnn::pack_bits and unpack_bits on CUDA, on torch's current stream.
#include <torch/csrc/stable/library.h>

#include "../cuda/spike_bits.h"
#include "common_cuda.h"
#include "spike_bits_common.h"

namespace eccsnn::torch_ops {
namespace {

Tensor pack_bits_device(const Tensor& spikes, bool check) {
  require(!check, "pack_bits: expected check=False for a CUDA tensor: checking would wait for the device");
  PackBitsCall call(spikes);
  const OnDeviceOf device(spikes);
  pack_bits_cuda(call.args, call.count, device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.bits;
}

Tensor unpack_bits_device(const Tensor& bits, std::vector<std::int64_t> size, ScalarType dtype) {
  UnpackBitsCall call(bits, size, dtype);
  const OnDeviceOf device(bits);
  unpack_bits_cuda(call.args, call.count, device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("pack_bits", TORCH_BOX(&eccsnn::torch_ops::pack_bits_device));
  m.impl("unpack_bits", TORCH_BOX(&eccsnn::torch_ops::unpack_bits_device));
}
