// eccsnn::pack_spikes and unpack_spikes on CUDA.
#include <torch/csrc/stable/library.h>

#include <array>

#include "../cuda/spikes.h"
#include "common_cuda.h"
#include "spikes_common.h"

namespace eccsnn::torch_ops {
namespace {

template <class T>
void copy_to_host(T* host, const void* device, std::size_t bytes, cudaStream_t stream) {
  STD_CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
}

Tensor pack_spikes_device(const Tensor& spikes, bool check) {
  PackCall call(spikes);
  const OnDeviceOf device(spikes);
  if (!check) {
    pack_spikes_cuda(call.args, nullptr, device.stream());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    return call.packed;
  }
  Tensor first = torch::stable::new_empty(spikes, std::vector<std::int64_t>{1}, ScalarType::Long);
  torch::stable::fill_(first, -1.0);
  pack_spikes_cuda(call.args, static_cast<std::int64_t*>(first.mutable_data_ptr()), device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  std::int64_t position = -1;
  copy_to_host(&position, first.const_data_ptr(), sizeof(position), device.stream());
  if (position >= 0) {
    const Offender at(call.args.view, position);
    std::array<char, 8> element{};
    copy_to_host(element.data(),
                 static_cast<const char*>(call.args.spikes) + at.offset * call.args.bits.element_bytes,
                 static_cast<std::size_t>(call.args.bits.element_bytes), device.stream());
    throw_not_binary(spikes, at, element.data());
  }
  return call.packed;
}

Tensor unpack_spikes_device(const Tensor& packed, std::int64_t channels, ScalarType dtype) {
  UnpackCall call(packed, channels, dtype);
  const OnDeviceOf device(packed);
  unpack_spikes_cuda(call.args, device.stream());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("pack_spikes", TORCH_BOX(&eccsnn::torch_ops::pack_spikes_device));
  m.impl("unpack_spikes", TORCH_BOX(&eccsnn::torch_ops::unpack_spikes_device));
}
