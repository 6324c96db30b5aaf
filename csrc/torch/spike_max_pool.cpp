// eccsnn::spike_max_pool2d_backward on the CPU. Threads are torch's own.
#include "eccsnn/spike_max_pool.h"

#include <torch/csrc/stable/library.h>

#include "common.h"

namespace eccsnn::torch_ops {
namespace {

using Pair = std::vector<std::int64_t>;

void require_pair(const char* name, const Pair& pair, std::int64_t least) {
  require(pair.size() == 2 && pair[0] >= least && pair[1] >= least,
          "spike_max_pool2d_backward: expected two numbers of at least ", least, " for ", name);
}

// grad [N, h, w, C], bits of spikes [N, H, W, C] -> [N, H, W, C].
Tensor spike_max_pool2d_backward_cpu(const Tensor& grad, const Tensor& bits, std::int64_t height,
                                     std::int64_t width, Pair kernel_size, Pair stride, Pair padding) {
  require(grad.dim() == 4, "spike_max_pool2d_backward: expected grad [N, h, w, C], got ", ShapeOf{grad});
  require_pair("kernel_size", kernel_size, 1);
  require_pair("stride", stride, 1);
  require_pair("padding", padding, 0);
  const std::int64_t sides[2] = {height, width};
  for (int d = 0; d < 2; ++d) {
    require(2 * padding[d] <= kernel_size[d],
            "spike_max_pool2d_backward: expected a padding of at most half the kernel");
    const std::int64_t room = sides[d] + 2 * padding[d] - kernel_size[d];
    require(room >= 0 && grad.size(d + 1) == room / stride[d] + 1,
            "spike_max_pool2d_backward: expected the gradient of pooling ", height, " x ", width, ", got ",
            ShapeOf{grad});
  }
  const std::vector<std::int64_t> size{grad.size(0), height, width, grad.size(3)};
  const std::int64_t image = height * width * grad.size(3);
  require(bits.scalar_type() == ScalarType::Byte && bits.dim() == 1 &&
              bits.numel() == (grad.size(0) * image + 7) / 8,
          "spike_max_pool2d_backward: expected uint8 bits [", (grad.size(0) * image + 7) / 8, "], got ",
          ShapeOf{bits});
  const Tensor grad_source = torch::stable::contiguous(grad);
  const Tensor bits_source = torch::stable::contiguous(bits);
  Tensor grad_spikes = torch::stable::new_empty(grad, size);

  SpikeMaxPoolBackward args;
  args.dtype = float_dtype(grad.scalar_type(), "spike_max_pool2d_backward");
  args.channels = grad.size(3);
  args.height = height;
  args.width = width;
  args.pooled_h = grad.size(1);
  args.pooled_w = grad.size(2);
  args.kernel_h = kernel_size[0];
  args.kernel_w = kernel_size[1];
  args.stride_h = stride[0];
  args.stride_w = stride[1];
  args.padding_h = padding[0];
  args.padding_w = padding[1];
  args.bits = static_cast<const std::uint8_t*>(bits_source.const_data_ptr());
  args.bytes = bits_source.numel();
  args.grad = grad_source.const_data_ptr();
  args.grad_spikes = grad_spikes.mutable_data_ptr();
  if (args.channels == 0) return grad_spikes;
  in_parallel_over(grad.size(0), image,
                   [&](std::int64_t begin, std::int64_t end) { spike_max_pool_backward(args, begin, end); });
  return grad_spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("spike_max_pool2d_backward", TORCH_BOX(&eccsnn::torch_ops::spike_max_pool2d_backward_cpu));
}
