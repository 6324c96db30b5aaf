// Batch norm with LIF neurons behind it, on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <tuple>

#include "lif_cpu.h"
#include "norm_lif_common.h"

namespace eccsnn::torch_ops {
namespace {

#define ECCSNN_MATH inline
#define ECCSNN_SQRT std::sqrt
#include "../core/norm_coefficients.inc"
#undef ECCSNN_SQRT
#undef ECCSNN_MATH

std::tuple<Tensor, Tensor> channel_statistics_cpu(const Tensor& x) {
  StatisticsCall call(x);
  const std::int64_t chunk = channel_statistics_chunk(call.args.channels);
  const std::int64_t chunks = (call.args.rows + chunk - 1) / chunk;
  std::vector<double> sums(static_cast<std::size_t>(chunks * 2 * call.args.channels));
  call.args.sums = sums.data();
  in_parallel_over(chunks, chunk * call.args.channels,
                   [&](std::int64_t begin, std::int64_t end) { channel_statistics(call.args, begin, end); });
  finish_channel_statistics(call.args, call.mean.mutable_data_ptr(), call.variance.mutable_data_ptr());
  return {call.mean, call.variance};
}

template <class C>
const C* values(const Tensor& t) {
  return static_cast<const C*>(t.const_data_ptr());
}

// Fills scale and bias; with `sums` [2, C] over `count` inputs also slope and offset.
template <class C>
void fill_of(const NormTensors& t, double eps, const double* sums, double count) {
  for (std::int64_t c = 0; c < t.channels; ++c) {
    const C inverse = norm_inverse_deviation(values<C>(t.variance_)[c], static_cast<C>(eps));
    const C scale = t.weight_.has_value() ? values<C>(*t.weight_)[c] * inverse : inverse;
    t.row<C>(0)[c] = scale;
    t.row<C>(1)[c] = t.bias_.has_value() ? values<C>(*t.bias_)[c] : C{0};
    if (sums == nullptr) continue;
    norm_gradient(inverse, scale, sums[c], sums[t.channels + c], count, t.row<C>(2)[c], t.row<C>(3)[c]);
  }
}
void fill(const NormTensors& t, double eps, const double* sums = nullptr, double count = 1.0) {
  t.membrane == ScalarType::Double ? fill_of<double>(t, eps, sums, count)
                                   : fill_of<float>(t, eps, sums, count);
}

NormTensors prepared(const Tensor& x, const Tensor& mean, const Tensor& variance,
                     const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, double eps) {
  NormTensors t(x, mean, variance, weight, bias);
  fill(t, eps);
  return t;
}

std::tuple<Tensor, Tensor, Tensor> norm_lif_forward_cpu(
    const Tensor& x, std::int64_t timesteps, const Tensor& mean, const Tensor& variance,
    std::optional<Tensor> weight, std::optional<Tensor> bias, double eps, bool /*batch_statistics*/,
    std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor, double tau, double v_threshold,
    std::optional<double> v_reset, std::string charge, bool /*detach_reset*/, std::string surrogate,
    double surrogate_alpha, bool smooth, bool need_state) {
  const NormTensors norm = prepared(x, mean, variance, weight, bias, eps);
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                      {.kept = true, .v_final = need_state, .repeat = timesteps});
  call.args.norm = norm.norm();
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_forward, call.args);
  return {call.spikes, call.v_kept, call.v_final};
}

std::tuple<Tensor, Tensor> norm_lif_inference_cpu(const Tensor& x, std::int64_t timesteps, const Tensor& mean,
                                                  const Tensor& variance, std::optional<Tensor> weight,
                                                  std::optional<Tensor> bias, double eps,
                                                  std::optional<Tensor> v_init,
                                                  std::optional<Tensor> tau_tensor, double tau,
                                                  double v_threshold, std::optional<double> v_reset,
                                                  std::string charge, bool need_state, bool packed) {
  const NormTensors norm = prepared(x, mean, variance, weight, bias, eps);
  LifForwardCall call(x, v_init, tau_tensor,
                      to_params(tau, v_threshold, v_reset, charge, "atan", 2.0, false, x),
                      {.v_final = need_state, .packed = packed, .repeat = timesteps});
  call.args.norm = norm.norm();
  call.args.params.tau = tau_value(tau, tau_tensor);
  in_parallel(&lif_forward, call.args);
  return {call.spikes, call.v_final};
}

// grad_weight and grad_bias from the sums.
template <class C>
void fill_parameter_gradients(const NormTensors& t, double eps, const double* sums, C* grad_weight,
                              C* grad_bias) {
  for (std::int64_t c = 0; c < t.channels; ++c) {
    const C inverse = norm_inverse_deviation(values<C>(t.variance_)[c], static_cast<C>(eps));
    grad_bias[c] = static_cast<C>(sums[c]);
    grad_weight[c] = static_cast<C>(sums[t.channels + c] * static_cast<double>(inverse));
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> norm_lif_backward_cpu(
    const Tensor& grad_spikes, std::optional<Tensor> grad_v_final, const Tensor& x, const Tensor& v_kept,
    const Tensor& mean, const Tensor& variance, std::optional<Tensor> weight, std::optional<Tensor> bias,
    double eps, bool batch_statistics, std::optional<Tensor> v_init, std::optional<Tensor> tau_tensor,
    double tau, double v_threshold, std::optional<double> v_reset, std::string charge, bool detach_reset,
    std::string surrogate, double surrogate_alpha, bool smooth, bool need_grad_x, bool need_grad_tau) {
  const NormTensors norm = prepared(x, mean, variance, weight, bias, eps);
  LifBackwardCall call(grad_spikes, grad_v_final, x, v_kept, v_init, tau_tensor,
                       to_params(tau, v_threshold, v_reset, charge, surrogate, surrogate_alpha, smooth, x),
                       detach_reset, true, need_grad_x);
  const std::int64_t chunk = lif_norm_chunk(norm.channels);
  const std::int64_t chunks = (call.args.neurons + chunk - 1) / chunk;
  std::vector<double> sums(static_cast<std::size_t>(std::max<std::int64_t>(chunks, 1) * 2 * norm.channels));
  call.args.norm = norm.norm();
  call.args.norm_sums = sums.data();
  call.args.params.tau = tau_value(tau, tau_tensor);
  TauGradient tau_gradient(call.args, need_grad_tau);
  in_parallel_over(chunks, chunk * call.args.timesteps, [&](std::int64_t begin, std::int64_t end) {
    lif_backward(call.args, begin * chunk, std::min(end * chunk, call.args.neurons));
  });
  for (std::int64_t i = 1; i < chunks; ++i) {  // in this order for any number of threads
    for (std::int64_t c = 0; c < 2 * norm.channels; ++c) sums[c] += sums[i * 2 * norm.channels + c];
  }
  const std::vector<std::int64_t> channels = {norm.channels};
  Tensor grad_weight = torch::stable::new_empty(x, channels, norm.membrane);
  Tensor grad_bias = torch::stable::new_empty(x, channels, norm.membrane);
  if (norm.membrane == ScalarType::Double) {
    fill_parameter_gradients(norm, eps, sums.data(), static_cast<double*>(grad_weight.mutable_data_ptr()),
                             static_cast<double*>(grad_bias.mutable_data_ptr()));
  } else {
    fill_parameter_gradients(norm, eps, sums.data(), static_cast<float*>(grad_weight.mutable_data_ptr()),
                             static_cast<float*>(grad_bias.mutable_data_ptr()));
  }
  if (need_grad_x) {
    fill(norm, eps, batch_statistics ? sums.data() : nullptr, inputs_of(x, x));
    NormBackward args;
    args.dtype = call.args.dtype;
    args.timesteps = x.size(0);
    args.neurons = call.args.neurons;
    args.channels = norm.channels;
    args.x = call.args.x;
    args.x_step = call.args.x_step;
    args.mean = call.args.norm.mean;
    args.scale = call.args.norm.scale;
    args.slope = batch_statistics ? norm.row_pointer(2) : nullptr;
    args.offset = batch_statistics ? norm.row_pointer(3) : nullptr;
    args.grad_x = call.args.grad_x;
    in_parallel(&norm_backward, args);
  } else {
    call.grad_x = torch::stable::new_empty(x, std::vector<std::int64_t>{0});
  }
  return {call.grad_x, grad_weight, grad_bias, call.grad_v_init, tau_gradient.total(x)};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("channel_statistics", TORCH_BOX(&eccsnn::torch_ops::channel_statistics_cpu));
  m.impl("norm_lif_forward", TORCH_BOX(&eccsnn::torch_ops::norm_lif_forward_cpu));
  m.impl("norm_lif_inference", TORCH_BOX(&eccsnn::torch_ops::norm_lif_inference_cpu));
  m.impl("norm_lif_backward", TORCH_BOX(&eccsnn::torch_ops::norm_lif_backward_cpu));
}
