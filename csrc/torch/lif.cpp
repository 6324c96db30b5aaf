// eccsnn::lif_forward, lif_inference and lif_backward on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "lif_cpu.h"

namespace eccsnn::torch_ops {
namespace {

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

std::tuple<Tensor, Tensor> lif_of_packed_cpu(const Tensor& packed, std::int64_t channels, double gain,
                                             ScalarType dtype, std::optional<Tensor> v_init,
                                             std::optional<Tensor> tau_tensor, double tau, double v_threshold,
                                             std::optional<double> v_reset, std::string charge,
                                             bool need_state) {
  LifOfPackedCall call(packed, channels, gain, dtype, v_init, tau_tensor,
                       to_params(tau, v_threshold, v_reset, charge), need_state);
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
  TauGradient tau_gradient(call.args, need_grad_tau);
  in_parallel(&lif_backward, call.args);
  return {call.grad_x, call.grad_v_init, tau_gradient.total(grad_spikes)};
}

std::tuple<Tensor, Tensor, Tensor> lif_mask_forward_cpu(const Tensor& x, std::optional<Tensor> v_init,
                                                        std::optional<Tensor> tau_tensor, double tau,
                                                        double v_threshold, std::optional<double> v_reset,
                                                        std::string charge, double surrogate_alpha,
                                                        bool need_state, bool packed) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "rect", surrogate_alpha, false, x),
                      {.v_final = need_state, .window = true, .dense = !packed});
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_forward, call.args);
  return {call.spikes, call.mask, call.v_final};
}

std::tuple<Tensor, Tensor> lif_mask_backward_cpu(const Tensor& grad_spikes,
                                                 std::optional<Tensor> grad_v_final, const Tensor& mask,
                                                 std::optional<Tensor> tau_tensor, double tau,
                                                 double v_threshold, std::optional<double> v_reset,
                                                 std::string charge, double surrogate_alpha,
                                                 bool need_grad_v_init) {
  LifMaskBackwardCall call(
      grad_spikes, grad_v_final, mask, tau_tensor,
      to_params(tau, v_threshold, v_reset, charge, "rect", surrogate_alpha, false, grad_spikes),
      need_grad_v_init);
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_mask_backward, call.args);
  return {call.grad_x, call.grad_v_init};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("lif_forward", TORCH_BOX(&eccsnn::torch_ops::lif_forward_cpu));
  m.impl("lif_inference", TORCH_BOX(&eccsnn::torch_ops::lif_inference_cpu));
  m.impl("lif_of_packed", TORCH_BOX(&eccsnn::torch_ops::lif_of_packed_cpu));
  m.impl("lif_backward", TORCH_BOX(&eccsnn::torch_ops::lif_backward_cpu));
  m.impl("lif_mask_forward", TORCH_BOX(&eccsnn::torch_ops::lif_mask_forward_cpu));
  m.impl("lif_mask_backward", TORCH_BOX(&eccsnn::torch_ops::lif_mask_backward_cpu));
}
