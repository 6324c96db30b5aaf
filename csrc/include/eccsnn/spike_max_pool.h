// The gradient of max pooling over binary spikes, from the spikes' bits (eccsnn/spike_bits.h) in place of the
// indices of maxima. Spikes are [N, C, H, W] with channels innermost in memory.
//
// A window's gradient goes where torch sends it: to the first spike in the order of rows, then columns, or to
// the first position inside the image where nothing fired. Gradients that meet are added in the order of
// windows, in the element type, so that the result has torch's bits.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {

struct SpikeMaxPoolBackward {
  DType dtype = DType::kFloat32;
  std::int64_t channels = 0, height = 0, width = 0;  // of the spikes
  std::int64_t pooled_h = 0, pooled_w = 0;
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  std::int64_t padding_h = 0, padding_w = 0;  // at most half the kernel: every window meets the image
  const std::uint8_t* bits = nullptr;
  std::int64_t bytes = 0;       // of bits
  const void* grad = nullptr;   // [N, pooled_h, pooled_w, C]
  void* grad_spikes = nullptr;  // [N, height, width, C]
};

// Images [begin, end) of the batch; the caller owns the threads.
void spike_max_pool_backward(const SpikeMaxPoolBackward& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
