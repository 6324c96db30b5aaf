// What the CPU and the CUDA binding of the LIF ops share: checks, outputs, and the translation of arguments.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "eccsnn/lif.h"

namespace eccsnn::torch_ops {

inline Surrogate to_surrogate(const std::string& name) {
  if (name == "atan") return Surrogate::kAtan;
  if (name == "sigmoid") return Surrogate::kSigmoid;
  require(name == "rect", "surrogate is '", name, "'; expected 'atan', 'sigmoid' or 'rect'.");
  return Surrogate::kRect;
}

inline Charge to_charge(const std::string& name) {
  if (name == "decayed_input") return Charge::kDecayedInput;
  if (name == "leaky") return Charge::kLeaky;
  require(name == "integrate", "charge is '", name, "'; expected 'decayed_input', 'leaky' or 'integrate'.");
  return Charge::kIntegrate;
}

inline std::vector<std::int64_t> shape_of(const Tensor& t) {
  const auto sizes = t.sizes();
  return {sizes.begin(), sizes.end()};
}

inline std::vector<std::int64_t> neuron_shape(const Tensor& x) {
  const auto sizes = x.sizes();
  return {sizes.begin() + 1, sizes.end()};
}

inline std::int64_t count(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (std::int64_t size : shape) n *= size;
  return n;
}

// x as rows [T][neurons], each row contiguous. Time may have any stride; 0 (one input repeated) costs no
// copy.
struct Rows {
  Tensor tensor;  // keeps the memory alive
  std::int64_t step;
};

inline Rows as_rows(const Tensor& x) {
  std::int64_t expected = 1;
  bool dense = true;
  for (std::int64_t d = x.dim() - 1; d >= 1; --d) {
    if (x.size(d) != 1 && x.stride(d) != expected) dense = false;
    expected *= x.size(d);
  }
  if (dense) return {x, x.size(0) == 1 ? 0 : x.stride(0)};
  if (x.stride(0) == 0) return {torch::stable::contiguous(torch::stable::select(x, 0, 0)), 0};
  return {torch::stable::contiguous(x), x.size(0) == 1 ? 0 : expected};
}

inline void check_same_device(const Tensor& t, const Tensor& x, const char* name) {
  require(same_device(t, x), name, " is on another device than x; move it with .to(x.device).");
}

// Returns x, which every other check here relies on.
inline const Tensor& check_x(const Tensor& x) {
  require(x.dim() >= 1, "x has no dimensions; expected [T, ...] with time first.");
  require(x.size(0) >= 1, "x has T = 0 timesteps; expected at least one.");
  float_dtype(x.scalar_type(), "lif");
  return x;
}

// v_init or grad_v_final: [...] in the membrane's type, made contiguous.
inline std::optional<Tensor> check_state(const std::optional<Tensor>& state, const Tensor& x,
                                         const char* name) {
  if (!state.has_value()) return std::nullopt;
  check_same_device(*state, x, name);
  require(state->scalar_type() == accumulate_type(x.scalar_type()), name, " has dtype ",
          torch::headeronly::toString(state->scalar_type()), "; expected the membrane's, ",
          torch::headeronly::toString(accumulate_type(x.scalar_type())), ".");
  require(shape_of(*state) == neuron_shape(x), name, " does not have the shape of one timestep of x.");
  return torch::stable::contiguous(*state);
}

inline void check_tau(const std::optional<Tensor>& tau, const Tensor& x) {
  if (!tau.has_value()) return;
  check_same_device(*tau, x, "tau");
  require(tau->dim() == 0 && tau->scalar_type() == accumulate_type(x.scalar_type()),
          "tau as a tensor must have no dimensions and the membrane's dtype.");
}

inline LifParams to_params(double tau, double v_threshold, std::optional<double> v_reset,
                           const std::string& charge) {
  LifParams p;
  p.tau = tau;
  p.v_threshold = v_threshold;
  p.hard_reset = v_reset.has_value();
  p.v_reset = v_reset.value_or(0.0);
  p.charge = to_charge(charge);
  return p;
}

inline LifParams to_params(double tau, double v_threshold, std::optional<double> v_reset,
                           const std::string& charge, const std::string& surrogate, double surrogate_alpha,
                           bool smooth, const Tensor& x) {
  require(!smooth || x.scalar_type() == ScalarType::Double,
          "smooth = True is for checking gradients and takes float64 alone.");
  LifParams p = to_params(tau, v_threshold, v_reset, charge);
  p.surrogate = to_surrogate(surrogate);
  p.alpha = surrogate_alpha;
  p.smooth = smooth;
  return p;
}

inline const void* pointer(const std::optional<Tensor>& t) {
  return t.has_value() ? t->const_data_ptr() : nullptr;
}

// What the forward pass writes besides the spikes.
struct LifOutputs {
  bool kept = false;        // what the backward pass needs
  bool v_final = false;     // else v_final is empty
  bool window = false;      // the bits that LifMaskBackward needs, [2, T, ceil(neurons / 8)]
  bool dense = true;        // with `window`: spikes as elements, too
  bool packed = false;      // spikes as bits in memory order, in place of elements
  std::int64_t repeat = 0;  // timesteps for which an x of one timestep is repeated; 0: x has all timesteps
};

// Outputs and arguments of the forward pass; `args` points into the tensors.
struct LifForwardCall {
  LifForwardCall(const Tensor& x, const std::optional<Tensor>& v_init,
                 const std::optional<Tensor>& tau_tensor, const LifParams& params, const LifOutputs& outputs)
      : rows(as_rows(check_x(x))), v(check_state(v_init, x, "v_init")) {
    check_tau(tau_tensor, x);
    const auto membrane = accumulate_type(x.scalar_type());
    args.params = params;
    args.dtype = float_dtype(x.scalar_type(), "lif");
    args.timesteps = outputs.repeat > 0 ? outputs.repeat : x.size(0);
    require(x.size(0) == args.timesteps || x.size(0) == 1, "x has ", x.size(0), " timesteps; expected 1 or ",
            args.timesteps, ".");
    args.neurons = count(neuron_shape(x));
    args.x = rows.tensor.const_data_ptr();
    args.x_step = rows.step;
    args.v_init = pointer(v);
    auto shape = shape_of(x);
    shape[0] = args.timesteps;
    if (outputs.packed) {
      const std::vector<std::int64_t> bits = {args.timesteps, (args.neurons + 7) / 8};
      spikes = torch::stable::new_empty(x, bits, ScalarType::Byte);
      args.spike_bits = static_cast<std::uint8_t*>(spikes.mutable_data_ptr());
    } else {
      spikes = torch::stable::new_empty(x, outputs.dense ? shape : std::vector<std::int64_t>{0});
      args.spikes = outputs.dense ? spikes.mutable_data_ptr() : nullptr;
    }
    if (outputs.window) {
      const std::vector<std::int64_t> bits = {2, args.timesteps, (args.neurons + 7) / 8};
      mask = torch::stable::new_empty(x, bits, ScalarType::Byte);
      args.spike_bits = static_cast<std::uint8_t*>(mask.mutable_data_ptr());
      args.window_bits = args.spike_bits + bits[1] * bits[2];
    }
    if (outputs.kept) {
      shape[0] = lif_kept(args.timesteps);
      v_kept = torch::stable::new_empty(x, shape, membrane);
      args.v_kept = v_kept.mutable_data_ptr();
    }
    const std::vector<std::int64_t> nothing = {0};
    v_final = torch::stable::new_empty(x, outputs.v_final ? neuron_shape(x) : nothing, membrane);
    args.v_final = outputs.v_final ? v_final.mutable_data_ptr() : nullptr;
  }

  Rows rows;
  std::optional<Tensor> v;
  Tensor spikes, mask, v_kept, v_final;
  LifForward args;
};

// The bits of a number as an element of a tensor.
inline std::uint64_t element_bits(double value, ScalarType type) {
  std::uint64_t bits = 0;
  const auto keep = [&bits](auto element) { std::memcpy(&bits, &element, sizeof(element)); };
  switch (type) {
    case ScalarType::Double:
      keep(value);
      break;
    case ScalarType::BFloat16:
      keep(torch::headeronly::BFloat16(static_cast<float>(value)));
      break;
    case ScalarType::Half:
      keep(torch::headeronly::Half(static_cast<float>(value)));
      break;
    default:
      keep(static_cast<float>(value));
  }
  return bits;
}

// The forward pass from packed spikes, for inference.
struct LifOfPackedCall {
  LifOfPackedCall(const Tensor& packed, std::int64_t channels, double gain, ScalarType dtype,
                  const std::optional<Tensor>& v_init, const std::optional<Tensor>& tau_tensor,
                  const LifParams& params, bool need_state)
      : bits(torch::stable::contiguous(packed)), v(v_init) {
    require(packed.dim() >= 2 && packed.scalar_type() == ScalarType::Byte && packed.size(0) >= 1 &&
                channels >= 1 && packed.size(packed.dim() - 1) == (channels + 7) / 8,
            "packed is not uint8 [T, ..., ceil(channels / 8)] with at least one timestep and channel.");
    args.params = params;
    args.dtype = float_dtype(dtype, "lif_of_packed");
    auto shape = shape_of(packed);
    shape.back() = channels;
    spikes = torch::stable::new_empty(packed, shape, dtype);
    if (v.has_value()) v = check_state(v, spikes, "v_init");
    check_tau(tau_tensor, spikes);
    args.timesteps = shape[0];
    args.neurons = count(neuron_shape(spikes));
    args.x_bits = static_cast<const std::uint8_t*>(bits.const_data_ptr());
    args.x_channels = channels;
    args.x_one = element_bits(gain, dtype);
    args.v_init = pointer(v);
    args.spikes = spikes.mutable_data_ptr();
    const std::vector<std::int64_t> nothing = {0};
    v_final =
        torch::stable::new_empty(packed, need_state ? neuron_shape(spikes) : nothing, accumulate_type(dtype));
    args.v_final = need_state ? v_final.mutable_data_ptr() : nullptr;
  }

  Tensor bits;
  std::optional<Tensor> v;
  Tensor spikes, v_final;
  LifForward args;
};

// Outputs and arguments of the backward pass from bits.
struct LifMaskBackwardCall {
  LifMaskBackwardCall(const Tensor& grad_spikes, const std::optional<Tensor>& grad_v_final,
                      const Tensor& mask, const std::optional<Tensor>& tau_tensor, const LifParams& params,
                      bool need_grad_v_init)
      : grad_s(torch::stable::contiguous(check_x(grad_spikes))),
        grad_v(check_state(grad_v_final, grad_spikes, "grad_v_final")),
        bits(torch::stable::contiguous(mask)) {
    check_same_device(mask, grad_spikes, "mask");
    check_tau(tau_tensor, grad_spikes);
    args.params = params;
    args.dtype = float_dtype(grad_spikes.scalar_type(), "lif");
    args.timesteps = grad_spikes.size(0);
    args.neurons = count(neuron_shape(grad_spikes));
    const std::vector<std::int64_t> expected = {2, args.timesteps, (args.neurons + 7) / 8};
    require(shape_of(mask) == expected && mask.scalar_type() == ScalarType::Byte,
            "mask is not what lif_mask_forward returns for an input of this shape.");
    grad_x = torch::stable::new_empty(grad_spikes, shape_of(grad_spikes));
    grad_v_init = torch::stable::new_empty(
        grad_spikes, need_grad_v_init ? neuron_shape(grad_spikes) : std::vector<std::int64_t>{0},
        accumulate_type(grad_spikes.scalar_type()));
    args.grad_spikes = grad_s.const_data_ptr();
    args.grad_v_final = pointer(grad_v);
    args.spike_bits = static_cast<const std::uint8_t*>(bits.const_data_ptr());
    args.window_bits = args.spike_bits + expected[1] * expected[2];
    args.grad_x = grad_x.mutable_data_ptr();
    args.grad_v_init = need_grad_v_init ? grad_v_init.mutable_data_ptr() : nullptr;
  }

  Tensor grad_s;
  std::optional<Tensor> grad_v;
  Tensor bits, grad_x, grad_v_init;
  LifMaskBackward args;
};

// The same for the backward pass; grad_tau is the binding's own affair. `may_repeat`: x may have a single
// timestep, which was repeated.
struct LifBackwardCall {
  LifBackwardCall(const Tensor& grad_spikes, const std::optional<Tensor>& grad_v_final, const Tensor& x,
                  const Tensor& v_kept, const std::optional<Tensor>& v_init,
                  const std::optional<Tensor>& tau_tensor, const LifParams& params, bool detach_reset,
                  bool may_repeat = false, bool need_grad_x = true)
      : grad_s(torch::stable::contiguous(check_x(grad_spikes))),
        grad_v(check_state(grad_v_final, grad_spikes, "grad_v_final")),
        rows(as_rows(check_x(x))),
        kept(torch::stable::contiguous(v_kept)),
        v(check_state(v_init, grad_spikes, "v_init")) {
    check_same_device(x, grad_spikes, "x");
    check_same_device(v_kept, grad_spikes, "v_kept");
    check_tau(tau_tensor, grad_spikes);
    auto shape = shape_of(grad_spikes);
    const auto membrane = accumulate_type(grad_spikes.scalar_type());
    args.sum_over_time = may_repeat && x.size(0) == 1 && shape[0] > 1;
    if (args.sum_over_time) shape[0] = 1;
    require(shape_of(x) == shape && x.scalar_type() == grad_spikes.scalar_type(),
            "x does not have the shape and dtype of grad_spikes.");
    shape[0] = grad_spikes.size(0);
    auto kept_shape = shape;
    kept_shape[0] = lif_kept(shape[0]);
    require(shape_of(v_kept) == kept_shape && v_kept.scalar_type() == membrane,
            "v_kept is not what lif_forward returns for this x.");
    if (need_grad_x) grad_x = torch::stable::new_empty(grad_spikes, shape_of(x));
    const bool need_v = v_init.has_value();
    grad_v_init = torch::stable::new_empty(
        grad_spikes, need_v ? neuron_shape(grad_spikes) : std::vector<std::int64_t>{0}, membrane);
    args.params = params;
    args.detach_reset = detach_reset;
    args.dtype = float_dtype(grad_spikes.scalar_type(), "lif");
    args.timesteps = grad_spikes.size(0);
    args.neurons = count(neuron_shape(grad_spikes));
    args.grad_spikes = grad_s.const_data_ptr();
    args.grad_v_final = pointer(grad_v);
    args.x = rows.tensor.const_data_ptr();
    args.x_step = rows.step;
    args.v_kept = kept.const_data_ptr();
    args.v_init = pointer(v);
    args.grad_x = need_grad_x ? grad_x.mutable_data_ptr() : nullptr;
    args.grad_v_init = need_v ? grad_v_init.mutable_data_ptr() : nullptr;
  }

  Tensor grad_s;
  std::optional<Tensor> grad_v;
  Rows rows;
  Tensor kept;
  std::optional<Tensor> v;
  Tensor grad_x, grad_v_init;
  LifBackward args;
};

}  // namespace eccsnn::torch_ops
