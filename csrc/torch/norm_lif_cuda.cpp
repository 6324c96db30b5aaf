// Batch norm with LIF neurons behind it on CUDA, on torch's current stream.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <tuple>

#include "../cuda/lif.h"
#include "../cuda/norm_lif.h"
#include "common_cuda.h"
#include "norm_lif_common.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor> channel_statistics_cuda_op(const Tensor& x) {
  StatisticsCall call(x);
  const OnDeviceOf device(x);
  const std::vector<std::int64_t> shape = {norm_cuda_blocks(call.args.rows, call.args.channels).of_channels,
                                           2, call.args.channels};
  Tensor sums = torch::stable::new_empty(x, shape, ScalarType::Double);
  call.args.sums = static_cast<double*>(sums.mutable_data_ptr());
  STD_CUDA_CHECK(channel_statistics_cuda(call.args, call.mean.mutable_data_ptr(),
                                         call.variance.mutable_data_ptr(), device.stream()));
  return {call.mean, call.variance};
}

NormCoefficients coefficients_of(const NormTensors& t, DType dtype, double eps) {
  NormCoefficients args;
  args.dtype = dtype;
  args.channels = t.channels;
  args.variance = t.variance_.const_data_ptr();
  args.weight = pointer(t.weight_);
  args.bias = pointer(t.bias_);
  args.eps = eps;
  args.coefficients = t.coefficients.mutable_data_ptr();
  return args;
}

std::tuple<Tensor, Tensor, Tensor> norm_lif_forward_cuda_op(
    const Tensor& x, std::int64_t timesteps, const Tensor& mean, const Tensor& variance,
    std::optional<Tensor> weight, std::optional<Tensor> bias, double eps, bool /*batch_statistics*/,
    std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor, double tau, double v_threshold,
    std::optional<double> v_reset, std::string charge, bool /*detach_reset*/, std::string surrogate,
    double surrogate_alpha, bool smooth, bool need_state) {
  const NormTensors norm(x, mean, variance, weight, bias);
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                      {.kept = true, .v_final = need_state, .repeat = timesteps});
  call.args.norm = norm.norm();
  const OnDeviceOf device(x);
  STD_CUDA_CHECK(norm_coefficients_cuda(coefficients_of(norm, call.args.dtype, eps), device.stream()));
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.v_kept, call.v_final};
}

std::tuple<Tensor, Tensor> norm_lif_inference_cuda_op(
    const Tensor& x, std::int64_t timesteps, const Tensor& mean, const Tensor& variance,
    std::optional<Tensor> weight, std::optional<Tensor> bias, double eps, std::optional<Tensor> v_init,
    std::optional<Tensor> tau_tensor, double tau, double v_threshold, std::optional<double> v_reset,
    std::string charge, bool need_state, bool packed) {
  const NormTensors norm(x, mean, variance, weight, bias);
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "atan", 2.0, false, x),
                      {.v_final = need_state, .packed = packed, .repeat = timesteps});
  call.args.norm = norm.norm();
  const OnDeviceOf device(x);
  STD_CUDA_CHECK(norm_coefficients_cuda(coefficients_of(norm, call.args.dtype, eps), device.stream()));
  STD_CUDA_CHECK(lif_forward_cuda(call.args, pointer(tau_tensor), device.stream()));
  return {call.spikes, call.v_final};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> norm_lif_backward_cuda_op(
    const Tensor& grad_spikes, std::optional<Tensor> grad_v_final, const Tensor& x, const Tensor& v_kept,
    const Tensor& mean, const Tensor& variance, std::optional<Tensor> weight, std::optional<Tensor> bias,
    double eps, bool batch_statistics, std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor,
    double tau, double v_threshold, std::optional<double> v_reset, std::string charge, bool detach_reset,
    std::string surrogate, double surrogate_alpha, bool smooth, bool need_grad_x, bool need_grad_tau) {
  const NormTensors norm(x, mean, variance, weight, bias);
  LifBackwardCall call(grad_spikes, grad_v_final, x, v_kept, v_init, tau_tensor,
                       to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                       detach_reset, true, need_grad_x);
  const OnDeviceOf device(x);
  const NormCudaBlocks blocks = norm_cuda_blocks(call.args.neurons / norm.channels, norm.channels);
  const std::vector<std::int64_t> partial_shape = {blocks.of_channels, 2, norm.channels};
  Tensor partial = torch::stable::new_empty(x, partial_shape, ScalarType::Double);
  const std::vector<std::int64_t> tau_shape = {need_grad_tau ? blocks.in_all : 0};
  Tensor tau_partial = torch::stable::new_zeros(x, tau_shape, ScalarType::Double);
  call.args.norm = norm.norm();
  call.args.norm_sums = static_cast<double*>(partial.mutable_data_ptr());
  call.args.grad_tau = need_grad_tau ? static_cast<double*>(tau_partial.mutable_data_ptr()) : nullptr;
  NormCoefficients coefficients = coefficients_of(norm, call.args.dtype, eps);
  STD_CUDA_CHECK(norm_coefficients_cuda(coefficients, device.stream()));
  std::int64_t written = 0;
  STD_CUDA_CHECK(
      norm_lif_backward_cuda(call.args, nullptr, nullptr, pointer(tau_tensor), device.stream(), written));
  const std::vector<std::int64_t> sums_shape = {2, norm.channels}, channels = {norm.channels};
  Tensor sums = torch::stable::new_empty(x, sums_shape, ScalarType::Double);
  Tensor grad_weight = torch::stable::new_empty(x, channels, norm.membrane);
  Tensor grad_bias = torch::stable::new_empty(x, channels, norm.membrane);
  STD_CUDA_CHECK(finish_norm_sums_cuda(
      call.args.norm_sums, written, coefficients, static_cast<double*>(sums.mutable_data_ptr()),
      grad_weight.mutable_data_ptr(), grad_bias.mutable_data_ptr(), device.stream()));
  if (need_grad_x) {
    if (batch_statistics) {
      coefficients.sums = static_cast<const double*>(sums.const_data_ptr());
      coefficients.count = inputs_of(grad_spikes, x);  // what is subtracted is, at every timestep
      STD_CUDA_CHECK(norm_coefficients_cuda(coefficients, device.stream()));
    }
    call.args.norm_sums = nullptr;
    call.args.grad_tau = nullptr;
    call.args.grad_v_init = nullptr;
    STD_CUDA_CHECK(norm_lif_backward_cuda(call.args, batch_statistics ? norm.row_pointer(2) : nullptr,
                                          batch_statistics ? norm.row_pointer(3) : nullptr,
                                          pointer(tau_tensor), device.stream(), written));
  } else {
    call.grad_x = torch::stable::new_empty(x, std::vector<std::int64_t>{0});
  }
  const std::vector<std::int64_t> over = {0};
  Tensor grad_tau = torch::stable::to(torch::stable::sum(tau_partial, over), norm.membrane);
  return {call.grad_x, grad_weight, grad_bias, call.grad_v_init, grad_tau};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CUDA, m) {
  m.impl("channel_statistics", TORCH_BOX(&eccsnn::torch_ops::channel_statistics_cuda_op));
  m.impl("norm_lif_forward", TORCH_BOX(&eccsnn::torch_ops::norm_lif_forward_cuda_op));
  m.impl("norm_lif_inference", TORCH_BOX(&eccsnn::torch_ops::norm_lif_inference_cuda_op));
  m.impl("norm_lif_backward", TORCH_BOX(&eccsnn::torch_ops::norm_lif_backward_cuda_op));
}
