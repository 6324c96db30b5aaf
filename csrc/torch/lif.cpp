// eccsnn::lif_forward, lif_inference and lif_backward on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "lif_common.h"

namespace eccsnn::torch_ops {
namespace {

template <class Kernel, class Args>
void in_parallel(Kernel kernel, const Args& args) {
  const std::int64_t blocks = (args.neurons + kLifBlock - 1) / kLifBlock;
  in_parallel_over(blocks, kLifBlock * args.timesteps, [&](std::int64_t begin, std::int64_t end) {
    kernel(args, begin * kLifBlock, std::min(end * kLifBlock, args.neurons));
  });
}

double tau_value(double tau, const std::optional<Tensor>& tensor) {
  if (!tensor.has_value()) return tau;
  return tensor->scalar_type() == ScalarType::Double
             ? *static_cast<const double*>(tensor->const_data_ptr())
             : static_cast<double>(*static_cast<const float*>(tensor->const_data_ptr()));
}

std::tuple<Tensor, Tensor, Tensor> lif_forward_cpu(const Tensor& x, std::optional<Tensor> v_init,
                                                   std::optional<Tensor> tau_tensor, double tau,
                                                   double v_threshold, std::optional<double> v_reset,
                                                   std::string charge, bool /*detach_reset*/,
                                                   std::string surrogate, double surrogate_alpha, bool smooth,
                                                   bool need_state) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                      {.kept = true, .v_final = need_state});
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_forward, call.args);
  return {call.spikes, call.v_kept, call.v_final};
}

std::tuple<Tensor, Tensor> lif_inference_cpu(const Tensor& x, std::optional<Tensor> v_init,
                                             std::optional<Tensor> tau_tensor, double tau, double v_threshold,
                                             std::optional<double> v_reset, std::string charge,
                                             bool need_state, bool packed) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "atan", 2.0, false, x),
                      {.v_final = need_state, .packed = packed});
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_forward, call.args);
  return {call.spikes, call.v_final};
}

std::tuple<Tensor, Tensor, Tensor> lif_backward_cpu(
    const Tensor& grad_spikes, std::optional<Tensor> grad_v_final, const Tensor& x, const Tensor& v_kept,
    std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor, double tau, double v_threshold,
    std::optional<double> v_reset, std::string charge, bool detach_reset, std::string surrogate,
    double surrogate_alpha, bool smooth, bool need_grad_tau) {
  LifBackwardCall call(
      grad_spikes, grad_v_final, x, v_kept, v_init, tau_tensor,
      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, grad_spikes),
      detach_reset);
  call.args.params.tau = tau_value(tau, tau_tensor);
  std::vector<double> partial;
  if (need_grad_tau) {
    partial.resize((call.args.neurons + kLifBlock - 1) / kLifBlock);
    call.args.grad_tau = partial.data();
  }
  in_parallel(&lif_backward, call.args);
  double total = 0.0;
  for (double sum : partial) total += sum;  // in the order of the blocks: the same for any number of threads
  const auto type = accumulate_type(grad_spikes.scalar_type());
  Tensor grad_tau = torch::stable::new_empty(grad_spikes, std::vector<std::int64_t>{}, type);
  // Not fill_, which refuses a total beyond float's range; this makes it infinite, as the sum in float would
  // be.
  if (type == ScalarType::Double) {
    *static_cast<double*>(grad_tau.mutable_data_ptr()) = total;
  } else {
    *static_cast<float*>(grad_tau.mutable_data_ptr()) = static_cast<float>(total);
  }
  return {call.grad_x, call.grad_v_init, grad_tau};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("lif_forward", TORCH_BOX(&eccsnn::torch_ops::lif_forward_cpu));
  m.impl("lif_inference", TORCH_BOX(&eccsnn::torch_ops::lif_inference_cpu));
  m.impl("lif_backward", TORCH_BOX(&eccsnn::torch_ops::lif_backward_cpu));
}
