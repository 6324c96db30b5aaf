// Forward and backward of the LIF neuron, compiled once per instruction set (dispatch.h). Equations:
// eccsnn/lif.h.
//
// A strip of kUnroll vectors of neurons is carried through all timesteps with its membrane in registers; each
// input is read once and each output written once.
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

// ---- forward ----

template <class E, bool kHard, bool kDecayInput, bool kProduct, bool kSmooth>
struct Forward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;

  template <int kVectors>
  static ECCSNN_INLINE void strip(const LifForward& a, const Neuron<C>& n, std::int64_t at, int count) {
    const E* x = static_cast<const E*>(a.x) + at;
    E* spikes = static_cast<E*>(a.spikes) + at;
    C* h_out = a.h == nullptr ? nullptr : static_cast<C*>(a.h) + at;
    Vec<C> v[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      v[k] = a.v_init == nullptr ? splat(n.v_start)
                                 : M::load(static_cast<const C*>(a.v_init) + at + k * M::width, count);
    }
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      const E* x_t = x + t * a.x_step;
      const std::int64_t row = t * a.neurons;
      for (int k = 0; k < kVectors; ++k) {
        const Vec<C> input = L::load(x_t + k * L::width, count);
        const Vec<C> above = kHard ? v[k] - n.v_reset : v[k];
        const Vec<C> h = kDecayInput ? v[k] + divide_by_tau<kProduct, C>(input - above, n)
                                     : v[k] - divide_by_tau<kProduct, C>(above, n) + input;
        const Vec<C> s = fire<kSmooth, C>(h, n);
        v[k] = reset<kHard, C>(h, s, n);
        L::store(spikes + row + k * L::width, s, count);
        if (h_out != nullptr) M::store(h_out + row + k * M::width, h, count);
      }
    }
    for (int k = 0; k < kVectors; ++k) {
      M::store(static_cast<C*>(a.v_final) + at + k * M::width, v[k], count);
    }
  }

  static void range(const LifForward& a, std::int64_t begin, std::int64_t end) {
    const Neuron<C> n(a.params);
    std::int64_t at = begin;
    for (; at + kUnroll * L::width <= end; at += kUnroll * L::width) strip<kUnroll>(a, n, at, L::width);
    for (; at < end; at += L::width) {
      strip<1>(a, n, at, static_cast<int>(end - at < L::width ? end - at : L::width));
    }
  }
};

template <class E, bool kHard, bool kDecayInput, bool kProduct>
void forward_fire(const LifForward& a, std::int64_t begin, std::int64_t end) {
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return Forward<E, kHard, kDecayInput, kProduct, true>::range(a, begin, end);
  }
  Forward<E, kHard, kDecayInput, kProduct, false>::range(a, begin, end);
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

// Which reset, and whether the input decays, are asked inside the loop: predicted branches beside divisions,
// for half the code.
template <class E, Surrogate kSurrogate, bool kSmooth>
struct Backward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;

  template <int kVectors, bool kTau>
  static ECCSNN_INLINE void strip(const LifBackward& a, const Neuron<C>& n, std::int64_t at, int count,
                                  double* sums) {
    Vec<C> grad_v[kVectors];
    Vec<C> grad_tau[kVectors] = {};
    for (int k = 0; k < kVectors; ++k) {
      grad_v[k] = a.grad_v_final == nullptr
                      ? splat(C{0})
                      : M::load(static_cast<const C*>(a.grad_v_final) + at + k * M::width, count);
    }
    for (std::int64_t t = a.timesteps - 1; t >= 0; --t) {
      const std::int64_t row = t * a.neurons + at;
      const C* h_in = static_cast<const C*>(a.h) + row;
      const E* grad_spikes = static_cast<const E*>(a.grad_spikes) + row;
      E* grad_x = static_cast<E*>(a.grad_x) + row;
      for (int k = 0; k < kVectors; ++k) {
        const Vec<C> h = M::load(h_in + k * M::width, count);
        const Vec<C> s = fire<kSmooth, C>(h, n);
        const Vec<C> ds_dh = surrogate_derivative<kSurrogate, C>(h - n.v_threshold, n);
        Vec<C> dv_dh = n.hard ? C{1} - s : splat(C{1});
        if (!a.detach_reset) dv_dh += n.hard ? (n.v_reset - h) * ds_dh : -n.v_threshold * ds_dh;
        const Vec<C> grad_h = L::load(grad_spikes + k * L::width, count) * ds_dh + grad_v[k] * dv_dh;
        const Vec<C> leak = n.divide_by_product ? grad_h * n.inverse_tau : grad_h / n.tau;
        if constexpr (kTau) {
          const Vec<C> v = previous_v(a, n, h_in, t, at, k, count);
          grad_tau[k] +=
              n.decay_input ? -(grad_h * (h - v) / n.tau) : grad_h * ((v - n.v_reset) / n.tau) / n.tau;
        }
        L::store(grad_x + k * L::width, n.decay_input ? leak : grad_h, count);
        grad_v[k] = grad_h - leak;
      }
    }
    for (int k = 0; k < kVectors; ++k) {
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

  // Membrane before the charge of timestep t, recomputed from h of the timestep before.
  static ECCSNN_INLINE Vec<C> previous_v(const LifBackward& a, const Neuron<C>& n, const C* h_in,
                                         std::int64_t t, std::int64_t at, int k, int count) {
    if (t > 0) {
      const Vec<C> h = M::load(h_in - a.neurons + k * M::width, count);
      const Vec<C> s = fire<kSmooth, C>(h, n);
      return n.hard ? reset<true, C>(h, s, n) : reset<false, C>(h, s, n);
    }
    if (a.v_init == nullptr) return splat(n.v_start);
    return M::load(static_cast<const C*>(a.v_init) + at + k * M::width, count);
  }

  template <bool kTau>
  static void block(const LifBackward& a, const Neuron<C>& n, std::int64_t begin, std::int64_t end,
                    double* sums) {
    std::int64_t at = begin;
    for (; at + kUnroll * L::width <= end; at += kUnroll * L::width)
      strip<kUnroll, kTau>(a, n, at, L::width, sums);
    for (; at < end; at += L::width) {
      strip<1, kTau>(a, n, at, static_cast<int>(end - at < L::width ? end - at : L::width), sums);
    }
  }

  static void range(const LifBackward& a, std::int64_t begin, std::int64_t end) {
    const Neuron<C> n(a.params);
    if (a.grad_tau == nullptr) return block<false>(a, n, begin, end, nullptr);
    for (std::int64_t at = begin; at < end; at += kLifBlock) {
      double sums[kSums] = {};
      block<true>(a, n, at, at + kLifBlock < end ? at + kLifBlock : end, sums);
      double total = 0.0;
      for (double sum : sums) total += sum;
      a.grad_tau[at / kLifBlock] = total;
    }
  }
};

template <class E, Surrogate kSurrogate>
void backward_fire(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return Backward<E, kSurrogate, true>::range(a, begin, end);
  }
  Backward<E, kSurrogate, false>::range(a, begin, end);
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
