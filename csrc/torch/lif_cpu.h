// What the LIF ops on the CPU share: threads over blocks of neurons, tau, and the gradient of tau.
#pragma once

#include <algorithm>
#include <vector>

#include "lif_common.h"

namespace eccsnn::torch_ops {

template <class Kernel, class Args>
void in_parallel(Kernel kernel, const Args& args) {
  const std::int64_t blocks = (args.neurons + kLifBlock - 1) / kLifBlock;
  in_parallel_over(blocks, kLifBlock * args.timesteps, [&](std::int64_t begin, std::int64_t end) {
    kernel(args, begin * kLifBlock, std::min(end * kLifBlock, args.neurons));
  });
}

inline double tau_value(double tau, const std::optional<Tensor>& tensor) {
  if (!tensor.has_value()) return tau;
  return tensor->scalar_type() == ScalarType::Double
             ? *static_cast<const double*>(tensor->const_data_ptr())
             : static_cast<double>(*static_cast<const float*>(tensor->const_data_ptr()));
}

// Partial sums of the gradient of tau where it is asked for, and their total.
class TauGradient {
 public:
  TauGradient(LifBackward& args, bool needed) {
    if (!needed) return;
    partial_.resize(static_cast<std::size_t>((args.neurons + kLifBlock - 1) / kLifBlock));
    args.grad_tau = partial_.data();
  }

  // Without dimensions, in the membrane's type; zero unless asked for.
  Tensor total(const Tensor& like) const {
    double total = 0.0;
    for (double sum : partial_)
      total += sum;  // in the order of the blocks: the same for any number of threads
    const auto type = accumulate_type(like.scalar_type());
    Tensor result = torch::stable::new_empty(like, std::vector<std::int64_t>{}, type);
    // Not fill_, which refuses a total beyond float's range; this makes it infinite, as the sum in float
    // would be.
    if (type == ScalarType::Double) {
      *static_cast<double*>(result.mutable_data_ptr()) = total;
    } else {
      *static_cast<float*>(result.mutable_data_ptr()) = static_cast<float>(total);
    }
    return result;
  }

 private:
  std::vector<double> partial_;
};

}  // namespace eccsnn::torch_ops
