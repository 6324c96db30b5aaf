// What the CPU and the CUDA binding of spike_count_pool share.
#pragma once

#include "common.h"
#include "eccsnn/feature_distillation.h"

namespace eccsnn::torch_ops {

inline PoolWindow check_window(std::int64_t kernel_h, std::int64_t kernel_w, std::int64_t divisor) {
  require(kernel_h >= 1 && kernel_w >= 1 && divisor >= 1,
          "spike_count_pool: expected a positive kernel and divisor, got kernel ", kernel_h, " x ", kernel_w,
          " and divisor ", divisor);
  return {kernel_h, kernel_w, divisor};
}

// Output and arguments; `args` points into the tensors.
struct PoolCall {
  PoolCall(const Tensor& spikes, std::int64_t kernel_h, std::int64_t kernel_w, std::int64_t divisor) {
    require(spikes.dim() == 5, "spike_count_pool: expected spikes [T, N, C, H, W], got ", ShapeOf{spikes});
    args.dtype = float_dtype(spikes.scalar_type(), "spike_count_pool");
    args.window = check_window(kernel_h, kernel_w, divisor);
    args.view = view_of(spikes);
    require(args.view.height % kernel_h == 0 && args.view.width % kernel_w == 0,
            "spike_count_pool: expected a kernel that divides height and width, got kernel ", kernel_h, " x ",
            kernel_w, " for ", ShapeOf{spikes});
    const std::vector<std::int64_t> shape{args.view.batch, args.view.channels, args.view.height / kernel_h,
                                          args.view.width / kernel_w};
    counts = torch::stable::new_empty(spikes, shape, accumulate_type(spikes.scalar_type()));
    args.spikes = spikes.const_data_ptr();
    args.counts = counts.mutable_data_ptr();
  }

  Tensor counts;
  SpikeCountPool args;
};

struct PoolBackwardCall {
  PoolBackwardCall(const Tensor& grad, std::int64_t kernel_h, std::int64_t kernel_w, std::int64_t divisor,
                   ScalarType dtype)
      : source(torch::stable::contiguous(grad)) {
    require(grad.dim() == 4, "spike_count_pool_backward: expected grad [N, C, H / k, W / k], got ",
            ShapeOf{grad});
    args.dtype = float_dtype(dtype, "spike_count_pool_backward");
    require(grad.scalar_type() == accumulate_type(dtype), "spike_count_pool_backward: grad has dtype ",
            torch::headeronly::toString(grad.scalar_type()), ", expected that of the counts, ",
            torch::headeronly::toString(accumulate_type(dtype)));
    args.window = check_window(kernel_h, kernel_w, divisor);
    args.planes = grad.size(0) * grad.size(1);
    args.pooled_h = grad.size(2);
    args.pooled_w = grad.size(3);
    const std::vector<std::int64_t> shape{grad.size(0), grad.size(1), args.pooled_h * kernel_h,
                                          args.pooled_w * kernel_w};
    grad_spikes = torch::stable::new_empty(grad, shape, dtype);
    args.grad = source.const_data_ptr();
    args.grad_spikes = grad_spikes.mutable_data_ptr();
  }

  Tensor source, grad_spikes;
  SpikeCountPoolBackward args;
};

}  // namespace eccsnn::torch_ops
