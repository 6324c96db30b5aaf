// The neuron as a plain scalar loop over stored elements, which the kernels are compared with.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "eccsnn/lif.h"

namespace lif_scalar {

using eccsnn::Charge;
using eccsnn::DType;
using eccsnn::LifBackward;
using eccsnn::LifForward;
using eccsnn::LifParams;
using eccsnn::Surrogate;

inline std::uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return 0x7fc0;
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float from_bfloat16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

inline float from_float16(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                    : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return std::copysign(value, sign);
}
inline std::uint16_t to_float16(float value) {
  // The nearest of all; ties go to the even one. Slow and obviously right.
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7e00 | sign;
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return 0x7c00 | sign;
  int low = 0, high = 0x7bff;
  while (low < high) {  // the largest half that is not above
    const int middle = (low + high + 1) / 2;
    if (from_float16(static_cast<std::uint16_t>(middle)) <= magnitude) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const double below = from_float16(static_cast<std::uint16_t>(low));
  const double above = low == 0x7bff ? 65536.0 : from_float16(static_cast<std::uint16_t>(low + 1));
  const double to_below = magnitude - below, to_above = above - magnitude;
  if (to_above < to_below || (to_above == to_below && low % 2 != 0)) ++low;
  return static_cast<std::uint16_t>(low) | sign;
}

struct Float32 {
  using Stored = float;
  using Membrane = float;
  static constexpr DType dtype = DType::kFloat32;
  static float load(float a) { return a; }
  static float store(float a) { return a; }
};
struct Float64 {
  using Stored = double;
  using Membrane = double;
  static constexpr DType dtype = DType::kFloat64;
  static double load(double a) { return a; }
  static double store(double a) { return a; }
};
struct BFloat16 {
  using Stored = std::uint16_t;
  using Membrane = float;
  static constexpr DType dtype = DType::kBFloat16;
  static float load(std::uint16_t a) { return from_bfloat16(a); }
  static std::uint16_t store(float a) { return to_bfloat16(a); }
};
struct Float16 {
  using Stored = std::uint16_t;
  using Membrane = float;
  static constexpr DType dtype = DType::kFloat16;
  static float load(std::uint16_t a) { return from_float16(a); }
  static std::uint16_t store(float a) { return to_float16(a); }
};

template <class M>
M reset_of(M h, M s, const LifParams& p) {
  return p.hard_reset ? s * static_cast<M>(p.v_reset) + (M{1} - s) * h
                      : h - s * static_cast<M>(p.v_threshold);
}

template <class M>
M charge_of(M v, M input, M rest, M tau, Charge charge) {
  if (charge == Charge::kDecayedInput) return v + (input - (v - rest)) / tau;
  if (charge == Charge::kLeaky) return v - (v - rest) / tau + input;
  return v + input;
}

// `h_out` [timesteps, neurons] gets the charged membranes; it may be null.
template <class T>
void scalar_forward(const LifForward& a, typename T::Membrane* h_out = nullptr) {
  using M = typename T::Membrane;
  const auto* x = static_cast<const typename T::Stored*>(a.x);
  const M rest = a.params.hard_reset ? static_cast<M>(a.params.v_reset) : M{0};
  const M tau = static_cast<M>(a.params.tau);
  for (std::int64_t i = 0; i < a.neurons; ++i) {
    M v = a.v_init != nullptr ? static_cast<const M*>(a.v_init)[i] : rest;
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      if (a.v_kept != nullptr && t > 0 && t % eccsnn::kLifSegment == 0) {
        static_cast<M*>(a.v_kept)[(t / eccsnn::kLifSegment - 1) * a.neurons + i] = v;
      }
      const M input = T::load(x[t * a.x_step + i]);
      const M h = charge_of(v, input, rest, tau, a.params.charge);
      const M s = h >= static_cast<M>(a.params.v_threshold) ? M{1} : M{0};
      v = reset_of(h, s, a.params);
      if (a.spikes != nullptr) static_cast<typename T::Stored*>(a.spikes)[t * a.neurons + i] = T::store(s);
      if (a.spike_bits != nullptr && s != M{0}) {
        a.spike_bits[t * ((a.neurons + 7) / 8) + i / 8] |= static_cast<std::uint8_t>(1 << (i % 8));
      }
      if (h_out != nullptr) h_out[t * a.neurons + i] = h;
    }
    if (a.v_final != nullptr) static_cast<M*>(a.v_final)[i] = v;
  }
}

template <class M>
M derivative(M u, const LifParams& p) {
  if (p.surrogate == Surrogate::kAtan) {
    const M scaled = u * static_cast<M>(3.14159265358979323846 / 2 * p.alpha);
    return static_cast<M>(p.alpha / 2) / (M{1} + scaled * scaled);
  }
  return std::fabs(u) < static_cast<M>(p.alpha / 2) ? static_cast<M>(1 / p.alpha) : M{0};
}

template <class T>
void scalar_backward(const LifBackward& a) {
  using M = typename T::Membrane;
  const LifParams& p = a.params;
  std::vector<M> h_in(a.timesteps * a.neurons);
  LifForward forward;
  forward.params = p;
  forward.timesteps = a.timesteps;
  forward.neurons = a.neurons;
  forward.x = a.x;
  forward.x_step = a.x_step;
  forward.v_init = a.v_init;
  scalar_forward<T>(forward, h_in.data());
  const M tau = static_cast<M>(p.tau);
  for (std::int64_t i = 0; i < a.neurons; ++i) {
    M grad_v = a.grad_v_final != nullptr ? static_cast<const M*>(a.grad_v_final)[i] : M{0};
    for (std::int64_t t = a.timesteps - 1; t >= 0; --t) {
      const M h = h_in[t * a.neurons + i];
      const M s = h >= static_cast<M>(p.v_threshold) ? M{1} : M{0};
      const M ds = derivative(h - static_cast<M>(p.v_threshold), p);
      M dv = p.hard_reset ? M{1} - s : M{1};
      if (!a.detach_reset) {
        dv += p.hard_reset ? (static_cast<M>(p.v_reset) - h) * ds : -static_cast<M>(p.v_threshold) * ds;
      }
      const M grad_s = T::load(static_cast<const typename T::Stored*>(a.grad_spikes)[t * a.neurons + i]);
      const M grad_h = grad_s * ds + grad_v * dv;
      const M leak = p.charge == Charge::kIntegrate ? M{0} : grad_h / tau;
      const M grad_x = p.charge == Charge::kDecayedInput ? leak : grad_h;
      static_cast<typename T::Stored*>(a.grad_x)[t * a.neurons + i] = T::store(grad_x);
      grad_v = grad_h - leak;
    }
    static_cast<M*>(a.grad_v_init)[i] = grad_v;
  }
}

}  // namespace lif_scalar
