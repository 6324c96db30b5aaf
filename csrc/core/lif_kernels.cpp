// Forward and backward of the LIF neuron, compiled once per instruction set (dispatch.h). Equations:
// eccsnn/lif.h.
//
// A strip of kUnroll vectors of neurons is carried through all timesteps with its membrane in registers; each
// input is read once and each output written once. The backward pass does so twice over: forwards to have h
// of a segment again, which stays in the first-level cache, and then back.
#include <cmath>

#include "eccsnn/lif.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kUnroll = 4;

// Parameters in the membrane's type, prepared once per call.
template <class C>
struct Neuron {
  C tau, inverse_tau, v_threshold, v_reset, v_start;
  bool divide_by_product, hard, decay_input;
  Surrogate surrogate;
  C alpha, atan_scale, atan_peak, rect_half_width, rect_height;
  double alpha_exact;

  explicit Neuron(const LifParams& p)
      : tau(static_cast<C>(p.tau)),
        inverse_tau(C{1} / tau),
        v_threshold(static_cast<C>(p.v_threshold)),
        v_reset(p.hard_reset ? static_cast<C>(p.v_reset) : C{0}),
        v_start(v_reset),
        divide_by_product(is_power_of_two(tau)),
        hard(p.hard_reset),
        decay_input(p.decay_input),
        surrogate(p.surrogate),
        alpha(static_cast<C>(p.alpha)),
        atan_scale(static_cast<C>(kPi / 2 * p.alpha)),
        atan_peak(static_cast<C>(p.alpha / 2)),
        rect_half_width(static_cast<C>(p.alpha / 2)),
        rect_height(static_cast<C>(1 / p.alpha)),
        alpha_exact(p.alpha) {}

  // Whether 1 / tau is exact and not subnormal, so that a product with it has the bits of the division.
  static bool is_power_of_two(C tau) {
    int exponent = 0;
    const double mantissa = ::frexp(static_cast<double>(tau), &exponent);
    return mantissa == 0.5 && exponent > -100 && exponent < 100;
  }
};

template <bool kProduct, class C>
ECCSNN_INLINE Vec<C> divide_by_tau(Vec<C> a, const Neuron<C>& n) {
  return kProduct ? a * n.inverse_tau : a / n.tau;
}

// The spike: a step, or its smooth stand-in for checking gradients (double only; libm, one lane at a time).
template <bool kSmooth, class C>
ECCSNN_INLINE Vec<C> fire(Vec<C> h, const Neuron<C>& n) {
  if constexpr (kSmooth) {
    const Vec<C> u = h - n.v_threshold;
    Vec<C> s{};
    for (int i = 0; i < kWidth<C>; ++i) {
      const double a = static_cast<double>(u[i]);
      double value = 0.0;
      switch (n.surrogate) {
        case Surrogate::kAtan:
          value = ::atan(kPi / 2 * n.alpha_exact * a) / kPi + 0.5;
          break;
        case Surrogate::kSigmoid:
          value = 1.0 / (1.0 + ::exp(-n.alpha_exact * a));
          break;
        case Surrogate::kRect:
          value = a / n.alpha_exact + 0.5;
          value = value < 0.0 ? 0.0 : value > 1.0 ? 1.0 : value;
          break;
      }
      s[i] = static_cast<C>(value);
    }
    return s;
  } else {
    return h >= n.v_threshold ? splat(C{1}) : splat(C{0});
  }
}

template <bool kHard, class C>
ECCSNN_INLINE Vec<C> reset(Vec<C> h, Vec<C> s, const Neuron<C>& n) {
  if constexpr (kHard) {
    return s * n.v_reset + (C{1} - s) * h;
  } else {
    return h - s * n.v_threshold;
  }
}

template <Surrogate kSurrogate, class C>
ECCSNN_INLINE Vec<C> surrogate_derivative(Vec<C> u, const Neuron<C>& n) {
  if constexpr (kSurrogate == Surrogate::kAtan) {
    const Vec<C> scaled = u * n.atan_scale;
    return n.atan_peak / (C{1} + scaled * scaled);
  } else if constexpr (kSurrogate == Surrogate::kSigmoid) {
    // s (1 - s) = e / (1 + e)^2 with e = exp(-|alpha u|), which neither overflows nor cancels.
    const Vec<C> e = exp_nonpositive(-absolute<C>(u * n.alpha));
    const Vec<C> one_plus = C{1} + e;
    return n.alpha * e / (one_plus * one_plus);
  } else {
    return absolute<C>(u) < n.rect_half_width ? splat(n.rect_height) : splat(C{0});
  }
}

template <bool kHard, bool kDecayInput, bool kProduct, class C>
ECCSNN_INLINE Vec<C> charge(Vec<C> v, Vec<C> input, const Neuron<C>& n) {
  const Vec<C> above = kHard ? v - n.v_reset : v;
  return kDecayInput ? v + divide_by_tau<kProduct, C>(input - above, n)
                     : v - divide_by_tau<kProduct, C>(above, n) + input;
}

// Lanes of vector k that lie before the end, when `left` neurons are left for a strip.
template <bool kWhole>
ECCSNN_INLINE int lanes(std::int64_t left, int k, int width) {
  if constexpr (kWhole) return width;
  const std::int64_t count = left - k * width;
  return count <= 0 ? 0 : count < width ? static_cast<int>(count) : width;
}

// ---- forward ----

template <class E, bool kHard, bool kDecayInput, bool kProduct, bool kSmooth, bool kBits>
struct Forward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  static constexpr int strip_width = kUnroll * L::width;

  // A strip of neurons through all timesteps; the last one of a range may be cut short.
  template <bool kWhole>
  static ECCSNN_INLINE void strip(const LifForward& a, const Neuron<C>& n, std::int64_t at,
                                  std::int64_t left) {
    const E* x = static_cast<const E*>(a.x) + at;
    Vec<C> v[kUnroll];
    for (int k = 0; k < kUnroll; ++k) {
      v[k] = a.v_init == nullptr ? splat(n.v_start)
                                 : M::load(static_cast<const C*>(a.v_init) + at + k * M::width,
                                           lanes<kWhole>(left, k, M::width));
    }
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      const E* x_t = x + t * a.x_step;
      if (a.v_kept != nullptr && t != 0 && t % kLifSegment == 0) {
        C* kept = static_cast<C*>(a.v_kept) + (t / kLifSegment - 1) * a.neurons + at;
        for (int k = 0; k < kUnroll; ++k)
          M::store(kept + k * M::width, v[k], lanes<kWhole>(left, k, M::width));
      }
      std::uint64_t bits = 0;
      for (int k = 0; k < kUnroll; ++k) {
        const int count = lanes<kWhole>(left, k, L::width);
        const Vec<C> h = charge<kHard, kDecayInput, kProduct, C>(v[k], L::load(x_t + k * L::width, count), n);
        const Vec<C> s = fire<kSmooth, C>(h, n);
        v[k] = reset<kHard, C>(h, s, n);
        if constexpr (kBits) {
          bits |= static_cast<std::uint64_t>(lanes_set<C>(h >= n.v_threshold)) << (k * L::width);
        } else {
          L::store(static_cast<E*>(a.spikes) + t * a.neurons + at + k * L::width, s, count);
        }
      }
      if constexpr (kBits) store_bits<kWhole>(a, t, at, left, bits);
    }
    if (a.v_final == nullptr) return;
    for (int k = 0; k < kUnroll; ++k) {
      M::store(static_cast<C*>(a.v_final) + at + k * M::width, v[k], lanes<kWhole>(left, k, M::width));
    }
  }

  // Lanes past the end have computed with zeros, and may have fired where the threshold is not above 0.
  template <bool kWhole>
  static ECCSNN_INLINE void store_bits(const LifForward& a, std::int64_t t, std::int64_t at,
                                       std::int64_t left, std::uint64_t bits) {
    static_assert(strip_width % 8 == 0 && strip_width <= 64);
    std::uint8_t* to = a.spike_bits + t * ((a.neurons + 7) / 8) + at / 8;
    const int valid = static_cast<int>(kWhole || left > strip_width ? strip_width : left);
    if (valid < 64) bits &= (std::uint64_t{1} << valid) - 1;
    for (int byte = 0; byte < (valid + 7) / 8; ++byte)
      to[byte] = static_cast<std::uint8_t>(bits >> (8 * byte));
  }

  static void range(const LifForward& a, std::int64_t begin, std::int64_t end) {
    const Neuron<C> n(a.params);
    std::int64_t at = begin;
    for (; at + strip_width <= end; at += strip_width) strip<true>(a, n, at, strip_width);
    if (at < end) strip<false>(a, n, at, end - at);
  }
};

template <class E, bool kHard, bool kDecayInput, bool kProduct>
void forward_fire(const LifForward& a, std::int64_t begin, std::int64_t end) {
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return Forward<E, kHard, kDecayInput, kProduct, true, false>::range(a, begin, end);
  }
  if (a.spike_bits != nullptr) {
    return Forward<E, kHard, kDecayInput, kProduct, false, true>::range(a, begin, end);
  }
  Forward<E, kHard, kDecayInput, kProduct, false, false>::range(a, begin, end);
}

template <class E, bool kHard, bool kDecayInput>
void forward_divide(const LifForward& a, std::int64_t begin, std::int64_t end) {
  using C = typename Lanes<E>::Compute;
  if (Neuron<C>::is_power_of_two(static_cast<C>(a.params.tau))) {
    forward_fire<E, kHard, kDecayInput, true>(a, begin, end);
  } else {
    forward_fire<E, kHard, kDecayInput, false>(a, begin, end);
  }
}

template <class E>
void forward_of(const LifForward& a, std::int64_t begin, std::int64_t end) {
  const LifParams& p = a.params;
  if (p.hard_reset && p.decay_input) return forward_divide<E, true, true>(a, begin, end);
  if (p.hard_reset) return forward_divide<E, true, false>(a, begin, end);
  if (p.decay_input) return forward_divide<E, false, true>(a, begin, end);
  forward_divide<E, false, false>(a, begin, end);
}

// ---- backward ----

// Sums of grad_tau over neurons are taken in this many double accumulators, neuron i in number i modulo it,
// whatever the vector width: the same bits everywhere.
constexpr int kSums = 8;

// kCommon is the neuron that most networks have: hard reset, detached, with an input that decays and a tau
// that is a power of two. For all others these are asked inside the loop: predicted branches, for half the
// code.
template <class E, Surrogate kSurrogate, bool kSmooth, bool kCommon, bool kTau>
struct Backward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  static constexpr int strip_width = kUnroll * L::width;

  static ECCSNN_INLINE Vec<C> charge_of(Vec<C> v, Vec<C> input, const Neuron<C>& n) {
    if constexpr (kCommon) return charge<true, true, true, C>(v, input, n);
    const Vec<C> above = v - n.v_reset;  // v_reset is 0 with soft reset
    const Vec<C> change = n.decay_input ? input - above : above;
    const Vec<C> leak = n.divide_by_product ? change * n.inverse_tau : change / n.tau;
    return n.decay_input ? v + leak : v - leak + input;
  }
  static ECCSNN_INLINE Vec<C> reset_of(Vec<C> h, const Neuron<C>& n) {
    const Vec<C> s = fire<kSmooth, C>(h, n);
    return kCommon || n.hard ? reset<true, C>(h, s, n) : reset<false, C>(h, s, n);
  }

  template <bool kWhole>
  static ECCSNN_INLINE void strip(const LifBackward& a, const Neuron<C>& n, std::int64_t at,
                                  std::int64_t left, double* sums) {
    Vec<C> grad_v[kUnroll];
    Vec<C> grad_tau[kUnroll] = {};
    for (int k = 0; k < kUnroll; ++k) {
      grad_v[k] = a.grad_v_final == nullptr
                      ? splat(C{0})
                      : M::load(static_cast<const C*>(a.grad_v_final) + at + k * M::width,
                                lanes<kWhole>(left, k, M::width));
    }
    Vec<C> h[kLifSegment][kUnroll];
    for (std::int64_t segment = lif_kept(a.timesteps); segment >= 0; --segment) {
      const std::int64_t first = segment * kLifSegment;
      const std::int64_t steps = a.timesteps - first < kLifSegment ? a.timesteps - first : kLifSegment;
      Vec<C> before[kUnroll];
      for (int k = 0; k < kUnroll; ++k) {
        before[k] = membrane_before(a, n, segment, at + k * M::width, lanes<kWhole>(left, k, M::width));
      }
      recompute<kWhole>(a, n, first, steps, at, left, before, h);
      for (std::int64_t i = steps - 1; i >= 0; --i) {
        const std::int64_t row = (first + i) * a.neurons + at;
        const E* grad_spikes = static_cast<const E*>(a.grad_spikes) + row;
        E* grad_x = static_cast<E*>(a.grad_x) + row;
        for (int k = 0; k < kUnroll; ++k) {
          const int count = lanes<kWhole>(left, k, L::width);
          const Vec<C> s = fire<kSmooth, C>(h[i][k], n);
          const Vec<C> ds_dh = surrogate_derivative<kSurrogate, C>(h[i][k] - n.v_threshold, n);
          Vec<C> dv_dh = kCommon || n.hard ? C{1} - s : splat(C{1});
          if (!kCommon && !a.detach_reset) {
            dv_dh += n.hard ? (n.v_reset - h[i][k]) * ds_dh : -n.v_threshold * ds_dh;
          }
          const Vec<C> grad_h = L::load(grad_spikes + k * L::width, count) * ds_dh + grad_v[k] * dv_dh;
          const Vec<C> leak = kCommon || n.divide_by_product ? grad_h * n.inverse_tau : grad_h / n.tau;
          if constexpr (kTau) {
            const Vec<C> v = i > 0 ? reset_of(h[i - 1][k], n) : before[k];
            grad_tau[k] += n.decay_input ? -(grad_h * (h[i][k] - v) / n.tau)
                                         : grad_h * ((v - n.v_reset) / n.tau) / n.tau;
          }
          L::store(grad_x + k * L::width, kCommon || n.decay_input ? leak : grad_h, count);
          grad_v[k] = grad_h - leak;
        }
      }
    }
    for (int k = 0; k < kUnroll; ++k) {
      const int count = lanes<kWhole>(left, k, M::width);
      if (a.grad_v_init != nullptr) {
        M::store(static_cast<C*>(a.grad_v_init) + at + k * M::width, grad_v[k], count);
      }
      if constexpr (kTau) {
        for (int i = 0; i < count; ++i) {
          sums[(at + k * M::width + i) % kSums] += static_cast<double>(grad_tau[k][i]);
        }
      }
    }
  }

  // h of the `steps` timesteps from `first` on, from the membrane before them.
  template <bool kWhole>
  static ECCSNN_INLINE void recompute(const LifBackward& a, const Neuron<C>& n, std::int64_t first,
                                      std::int64_t steps, std::int64_t at, std::int64_t left,
                                      const Vec<C> (&before)[kUnroll], Vec<C> (&h)[kLifSegment][kUnroll]) {
    Vec<C> v[kUnroll];
    for (int k = 0; k < kUnroll; ++k) v[k] = before[k];
    for (std::int64_t i = 0; i < steps; ++i) {
      const E* x = static_cast<const E*>(a.x) + (first + i) * a.x_step + at;
      for (int k = 0; k < kUnroll; ++k) {
        h[i][k] = charge_of(v[k], L::load(x + k * L::width, lanes<kWhole>(left, k, L::width)), n);
        v[k] = reset_of(h[i][k], n);
      }
    }
  }

  static ECCSNN_INLINE Vec<C> membrane_before(const LifBackward& a, const Neuron<C>& n, std::int64_t segment,
                                              std::int64_t at, int count) {
    const void* from = segment > 0 ? a.v_kept : a.v_init;
    if (from == nullptr) return splat(n.v_start);
    const std::int64_t row = segment > 0 ? (segment - 1) * a.neurons : 0;
    return M::load(static_cast<const C*>(from) + row + at, count);
  }

  static void block(const LifBackward& a, const Neuron<C>& n, std::int64_t begin, std::int64_t end,
                    double* sums) {
    std::int64_t at = begin;
    for (; at + strip_width <= end; at += strip_width) strip<true>(a, n, at, strip_width, sums);
    if (at < end) strip<false>(a, n, at, end - at, sums);
  }

  static void range(const LifBackward& a, std::int64_t begin, std::int64_t end) {
    const Neuron<C> n(a.params);
    if constexpr (!kTau) {
      block(a, n, begin, end, nullptr);
    } else {
      for (std::int64_t at = begin; at < end; at += kLifBlock) {
        double sums[kSums] = {};
        block(a, n, at, at + kLifBlock < end ? at + kLifBlock : end, sums);
        double total = 0.0;
        for (double sum : sums) total += sum;
        a.grad_tau[at / kLifBlock] = total;
      }
    }
  }
};

template <class E, Surrogate kSurrogate, bool kSmooth>
void backward_tau(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  using C = typename Lanes<E>::Compute;
  if (a.grad_tau != nullptr) return Backward<E, kSurrogate, kSmooth, false, true>::range(a, begin, end);
  if constexpr (!kSmooth) {
    const LifParams& p = a.params;
    if (p.hard_reset && p.decay_input && a.detach_reset &&
        Neuron<C>::is_power_of_two(static_cast<C>(p.tau))) {
      return Backward<E, kSurrogate, false, true, false>::range(a, begin, end);
    }
  }
  Backward<E, kSurrogate, kSmooth, false, false>::range(a, begin, end);
}

template <class E, Surrogate kSurrogate>
void backward_fire(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return backward_tau<E, kSurrogate, true>(a, begin, end);
  }
  backward_tau<E, kSurrogate, false>(a, begin, end);
}

template <class E>
void backward_of(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  switch (a.params.surrogate) {
    case Surrogate::kAtan:
      return backward_fire<E, Surrogate::kAtan>(a, begin, end);
    case Surrogate::kSigmoid:
      return backward_fire<E, Surrogate::kSigmoid>(a, begin, end);
    case Surrogate::kRect:
      return backward_fire<E, Surrogate::kRect>(a, begin, end);
  }
}

}  // namespace

void lif_forward_kernel(const LifForward& args, std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return forward_of<float>(args, begin, end);
    case DType::kFloat64:
      return forward_of<double>(args, begin, end);
    case DType::kBFloat16:
      return forward_of<BFloat16>(args, begin, end);
    case DType::kFloat16:
      return forward_of<Float16>(args, begin, end);
  }
}

void lif_backward_kernel(const LifBackward& args, std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return backward_of<float>(args, begin, end);
    case DType::kFloat64:
      return backward_of<double>(args, begin, end);
    case DType::kBFloat16:
      return backward_of<BFloat16>(args, begin, end);
    case DType::kFloat16:
      return backward_of<Float16>(args, begin, end);
  }
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
