// eccsnn::lif_forward, lif_inference and lif_backward on CUDA, on torch's current stream.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <tuple>

#include "../cuda/lif.h"
#include "common_cuda.h"
#include "lif_common.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> lif_forward_cuda_op(const Tensor& x, std::optional<Tensor> v_init,
                                                       std::optional<Tensor> tau_tensor, double tau,
                                                       double v_threshold, std::optional<double> v_reset,
                                                       std::string charge, bool /*detach_reset*/,
                                                       std::string surrogate, double surrogate_alpha,
                                                       bool smooth, bool need_state) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                      {.kept = true, .v_final = need_state});
  const OnDeviceOf device(x);
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.v_kept, call.v_final};
}

std::tuple<Tensor, Tensor> lif_inference_cuda_op(const Tensor& x, std::optional<Tensor> v_init,
                                                 std::optional<Tensor> tau_tensor, double tau,
                                                 double v_threshold, std::optional<double> v_reset,
                                                 std::string charge, bool need_state, bool packed) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "atan", 2.0, false, x),
                      {.v_final = need_state, .packed = packed});
  const OnDeviceOf device(x);
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.v_final};
}

std::tuple<Tensor, Tensor> lif_of_packed_cuda_op(const Tensor& packed, std::int64_t channels, double gain,
                                                 ScalarType dtype, std::optional<Tensor> v_init,
                                                 std::optional<Tensor> tau_tensor, double tau,
                                                 double v_threshold, std::optional<double> v_reset,
                                                 std::string charge, bool need_state) {
  LifOfPackedCall call(packed, channels, gain, dtype, v_init, tau_tensor,
                       to_params(tau, v_threshold, v_reset, charge), need_state);
  const OnDeviceOf device(packed);
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.v_final};
}

std::tuple<Tensor, Tensor, Tensor> lif_backward_cuda_op(
    const Tensor& grad_spikes, std::optional<Tensor> grad_v_final, const Tensor& x, const Tensor& v_kept,
    std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor, double tau, double v_threshold,
    std::optional<double> v_reset, std::string charge, bool detach_reset, std::string surrogate,
    double surrogate_alpha, bool smooth, bool need_grad_tau) {
  LifBackwardCall call(
      grad_spikes, grad_v_final, x, v_kept, v_init, tau_tensor,
      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, grad_spikes),
      detach_reset);
  const OnDeviceOf device(grad_spikes);
  const auto membrane = accumulate_type(grad_spikes.scalar_type());
  Tensor grad_tau;
  if (need_grad_tau) {
    const std::vector<std::int64_t> partials = {lif_backward_cuda_partials(call.args.neurons)};
    Tensor partial = torch::stable::new_empty(grad_spikes, partials, ScalarType::Double);
    call.args.grad_tau = static_cast<double*>(partial.mutable_data_ptr());
    STD_CUDA_CHECK(lif_backward_cuda(call.args, pointer(tau_tensor), device.stream()));
    const std::vector<std::int64_t> over = {0};
    grad_tau = torch::stable::to(torch::stable::sum(partial, over), membrane);
  } else {
    STD_CUDA_CHECK(lif_backward_cuda(call.args, pointer(tau_tensor), device.stream()));
    grad_tau = torch::stable::new_zeros(grad_spikes, std::vector<std::int64_t>{}, membrane);
  }
  return {call.grad_x, call.grad_v_init, grad_tau};
}

std::tuple<Tensor, Tensor, Tensor> lif_mask_forward_cuda_op(const Tensor& x, std::optional<Tensor> v_init,
                                                            std::optional<Tensor> tau_tensor, double tau,
                                                            double v_threshold, std::optional<double> v_reset,
                                                            std::string charge, double surrogate_alpha,
                                                            bool need_state, bool packed) {
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "rect", surrogate_alpha, false, x),
                      {.v_final = need_state, .window = true, .dense = !packed});
  const OnDeviceOf device(x);
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.mask, call.v_final};
}

std::tuple<Tensor, Tensor> lif_mask_backward_cuda_op(const Tensor& grad_spikes,
                                                     std::optional<Tensor> grad_v_final, const Tensor& mask,
                                                     std::optional<Tensor> tau_tensor, double tau,
                                                     double v_threshold, std::optional<double> v_reset,
                                                     std::string charge, double surrogate_alpha,
                                                     bool need_grad_v_init) {
  LifMaskBackwardCall call(
      grad_spikes, grad_v_final, mask, tau_tensor,
      to_params(tau, v_threshold, v_reset, charge, "rect", surrogate_alpha, false, grad_spikes),
      need_grad_v_init);
  const OnDeviceOf device(grad_spikes);
  STD_CUDA_CHECK(lif_mask_backward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.grad_x, call.grad_v_init};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("lif_forward", TORCH_BOX(&eccsnn::torch_ops::lif_forward_cuda_op));
  m.impl("lif_inference", TORCH_BOX(&eccsnn::torch_ops::lif_inference_cuda_op));
  m.impl("lif_of_packed", TORCH_BOX(&eccsnn::torch_ops::lif_of_packed_cuda_op));
  m.impl("lif_backward", TORCH_BOX(&eccsnn::torch_ops::lif_backward_cuda_op));
  m.impl("lif_mask_forward", TORCH_BOX(&eccsnn::torch_ops::lif_mask_forward_cuda_op));
  m.impl("lif_mask_backward", TORCH_BOX(&eccsnn::torch_ops::lif_mask_backward_cuda_op));
}
