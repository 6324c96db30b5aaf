// What the CPU and the CUDA binding of batch norm with LIF neurons share: checks, and the coefficients per
// channel.
#pragma once

#include "eccsnn/channel_statistics.h"
#include "lif_common.h"

namespace eccsnn::torch_ops {

inline std::int64_t channels_of(const Tensor& x) {
  require(x.dim() >= 2, "x has shape ", ShapeOf{x}, "; expected [T, ..., C], channels last.");
  require(x.size(x.dim() - 1) > 0, "x has shape ", ShapeOf{x}, "; expected at least one channel.");
  return x.size(x.dim() - 1);
}

// Batch norm's tensors, all [C] in the membrane's type.
struct NormTensors {
  NormTensors(const Tensor& x, const Tensor& mean, const Tensor& variance,
              const std::optional<Tensor>& weight, const std::optional<Tensor>& bias)
      : channels(channels_of(x)), membrane(accumulate_type(check_x(x).scalar_type())) {
    mean_ = check(mean, x, "mean");
    variance_ = check(variance, x, "variance");
    if (weight.has_value()) weight_ = check(*weight, x, "weight");
    if (bias.has_value()) bias_ = check(*bias, x, "bias");
    const std::vector<std::int64_t> shape = {4, channels};
    coefficients = torch::stable::new_empty(x, shape, membrane);
  }

  // Row of `coefficients`: scale, bias, slope, offset.
  template <class C>
  C* row(std::int64_t k) const {
    return static_cast<C*>(coefficients.mutable_data_ptr()) + k * channels;
  }
  const void* row_pointer(std::int64_t k) const {
    return static_cast<const char*>(coefficients.const_data_ptr()) +
           k * channels * (membrane == ScalarType::Double ? 8 : 4);
  }
  LifNorm norm() const {
    LifNorm norm;
    norm.channels = channels;
    norm.mean = mean_.const_data_ptr();
    norm.scale = row_pointer(0);
    norm.bias = row_pointer(1);
    return norm;
  }

  std::int64_t channels;
  ScalarType membrane;
  Tensor mean_, variance_;
  std::optional<Tensor> weight_, bias_;
  Tensor coefficients;

 private:
  Tensor check(const Tensor& t, const Tensor& x, const char* name) const {
    check_same_device(t, x, name);
    require(t.dim() == 1 && t.size(0) == channels && t.scalar_type() == membrane, name, " is ",
            torch::headeronly::toString(t.scalar_type()), " ", ShapeOf{t}, "; expected ",
            torch::headeronly::toString(membrane), " [", channels, "].");
    return torch::stable::contiguous(t);
  }
};

// Inputs of a channel over the timesteps of `over`.
inline double inputs_of(const Tensor& over, const Tensor& x) {
  return static_cast<double>(over.size(0)) * static_cast<double>(count(neuron_shape(x)) / channels_of(x));
}

// x as [rows, C] for its statistics; a time of stride 0 counts once.
struct StatisticsCall {
  explicit StatisticsCall(const Tensor& x) : rows(as_rows(check_x(x))) {
    args.channels = channels_of(x);
    require(args.channels > 0 && count(shape_of(x)) > 0, "x has shape ", ShapeOf{x},
            "; batch norm needs at least one value a channel.");
    const bool repeated = rows.step == 0 && x.size(0) > 1;
    source = repeated || x.size(0) == 1 || rows.step == count(neuron_shape(x)) ? rows.tensor
                                                                               : torch::stable::contiguous(x);
    args.dtype = float_dtype(x.scalar_type(), "channel_statistics");
    args.rows = count(neuron_shape(x)) * (repeated ? 1 : x.size(0)) / args.channels;
    args.x = source.const_data_ptr();
    const std::vector<std::int64_t> shape = {args.channels};
    mean = torch::stable::new_empty(x, shape, accumulate_type(x.scalar_type()));
    variance = torch::stable::new_empty(x, shape, accumulate_type(x.scalar_type()));
  }

  Rows rows;
  Tensor source, mean, variance;
  ChannelStatistics args;
};

}  // namespace eccsnn::torch_ops
