// What the forward and the backward kernels of the LIF neuron share: its parameters prepared for vectors,
// fire, reset, the surrogate's derivative, and rows of values per channel. Equations: eccsnn/lif.h.
//
// The kernels walk through blocks of kRow neurons: all timesteps of a block, its membranes in the first-level
// cache, before the next block. Rows that long keep the number of memory streams small and the prefetcher
// busy where timesteps are a power of two apart.
#pragma once

#include <cmath>

#include "eccsnn/lif.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

#define ECCSNN_MATH ECCSNN_INLINE
#include "charges.inc"
#undef ECCSNN_MATH

constexpr double kPi = 3.14159265358979323846;
constexpr int kUnroll = 4;

// Neurons in a block: divides kLifBlock, and its rows of membranes take 2 KiB.
template <class C>
inline constexpr int kRow = 2048 / static_cast<int>(sizeof(C));

template <class C>
struct alignas(64) Row {
  C at[kRow<C>];
};

// Parameters in the membrane's type, prepared once per call. kCommon is the neuron that most networks have: a
// decayed input, hard reset to 0, and a tau that is a power of two; for all others these are asked inside the
// loops, by predicted branches, for a fraction of the code.
template <class C, bool kCommon>
struct Neuron {
  C tau, inverse_tau, v_threshold, v_reset;
  bool divide_by_product, hard;
  Charge charge_kind;
  Surrogate surrogate;
  C alpha, alpha_in_base, atan_scale, atan_peak, rect_half_width, rect_height;
  double alpha_exact;

  explicit Neuron(const LifParams& p)
      : tau(static_cast<C>(p.tau)),
        inverse_tau(C{1} / tau),
        v_threshold(static_cast<C>(p.v_threshold)),
        v_reset(p.hard_reset ? static_cast<C>(p.v_reset) : C{0}),
        divide_by_product(is_power_of_two(p)),
        hard(p.hard_reset),
        charge_kind(p.charge),
        surrogate(p.surrogate),
        alpha(static_cast<C>(p.alpha)),
        alpha_in_base(static_cast<C>(p.alpha / kLogOfBase<C>)),
        atan_scale(static_cast<C>(kPi / 2 * p.alpha)),
        atan_peak(static_cast<C>(p.alpha / 2)),
        rect_half_width(static_cast<C>(p.alpha / 2)),
        rect_height(static_cast<C>(1 / p.alpha)),
        alpha_exact(p.alpha) {}

  static bool is_common(const LifParams& p) {
    return p.charge == Charge::kDecayedInput && p.hard_reset && p.v_reset == 0.0 &&
           !std::signbit(p.v_reset) && !p.smooth && is_power_of_two(p);
  }

  // Whether 1 / tau is exact and not subnormal, so that a product with it has the bits of the division.
  static bool is_power_of_two(const LifParams& p) {
    int exponent = 0;
    const double mantissa = ::frexp(static_cast<double>(static_cast<C>(p.tau)), &exponent);
    return mantissa == 0.5 && exponent > -100 && exponent < 100;
  }

  // v_reset, 0 with soft reset. A constant 0 is not subtracted: the result has the same bits.
  ECCSNN_INLINE C rest() const { return kCommon ? C{0} : v_reset; }

  ECCSNN_INLINE Vec<C> divide(Vec<C> a) const {
    return kCommon || divide_by_product ? a * inverse_tau : a / tau;
  }

  // Calls f with this neuron's charge.
  template <class F>
  ECCSNN_INLINE void with_its_charge(const F& f) const {
    if constexpr (kCommon) {
      f(DecayedInputCharge{});
    } else {
      with_charge(charge_kind, f);
    }
  }
  ECCSNN_INLINE Vec<C> charge(Vec<C> v, Vec<C> x) const {
    Vec<C> h{};
    with_its_charge([&](auto kind) __attribute__((always_inline)) { h = kind.charge(v, x, *this); });
    return h;
  }

  // The spike: a step, or its smooth stand-in for checking gradients (double only; libm, one lane at a time).
  template <bool kSmooth>
  ECCSNN_INLINE Vec<C> fire(Vec<C> h) const {
    if constexpr (kSmooth) {
      return primitive(h - v_threshold);
    } else {
      return h >= v_threshold ? splat(C{1}) : splat(C{0});
    }
  }

  ECCSNN_INLINE Vec<C> reset(Vec<C> h, Vec<C> s) const {
    // s * 0 + (1 - s) * h; the sum makes a zero positive.
    if constexpr (kCommon) return (C{1} - s) * h + C{0};
    return hard ? s * v_reset + (C{1} - s) * h : h - s * v_threshold;
  }

  // Bits of the lanes where the rectangular surrogate is not 0.
  ECCSNN_INLINE std::uint32_t inside_window(Vec<C> h) const {
    return lanes_set<C>(absolute<C>(h - v_threshold) < rect_half_width);
  }

  // Errors in float, against the exact derivative at the rounded u = h - v_threshold and the unrounded alpha
  // (tests/python/ops/test_lif_surrogates.py):
  //   ATan     at most 8 ulp (5.3 seen); 0 where (pi / 2 alpha u)^2 overflows, from |alpha u| = 1.2e19 on.
  //   sigmoid  at most 7 + 2 |alpha u| ulp (3.5 + 1.8 |alpha u| seen): the exponent of e is a rounded product
  //            of u and a rounded constant. alpha * 2^-126 from |alpha u| = 126 ln 2 on.
  //   rect     exact, 1 / alpha rounded; its edge is alpha / 2 rounded and lies outside, as does NaN.
  template <Surrogate kSurrogate>
  ECCSNN_INLINE Vec<C> derivative(Vec<C> h) const {
    const Vec<C> u = h - v_threshold;
    if constexpr (kSurrogate == Surrogate::kAtan) {
      const Vec<C> scaled = u * atan_scale;
      return atan_peak / (C{1} + scaled * scaled);
    } else if constexpr (kSurrogate == Surrogate::kSigmoid) {
      // s (1 - s) = e / (1 + e)^2 with e = exp(-|alpha u|), which neither overflows nor cancels.
      const Vec<C> e = decay(u * alpha_in_base);
      const Vec<C> one_plus = C{1} + e;
      return alpha * e / (one_plus * one_plus);
    } else {
      return absolute<C>(u) < rect_half_width ? splat(rect_height) : splat(C{0});
    }
  }

 private:
  Vec<C> primitive(Vec<C> u) const {
    Vec<C> s{};
    for (int i = 0; i < kWidth<C>; ++i) {
      const double a = static_cast<double>(u[i]);
      double value = 0.0;
      switch (surrogate) {
        case Surrogate::kAtan:
          value = ::atan(kPi / 2 * alpha_exact * a) / kPi + 0.5;
          break;
        case Surrogate::kSigmoid:
          value = 1.0 / (1.0 + ::exp(-alpha_exact * a));
          break;
        case Surrogate::kRect:
          value = a / alpha_exact + 0.5;
          value = value < 0.0 ? 0.0 : value > 1.0 ? 1.0 : value;
          break;
      }
      s[i] = static_cast<C>(value);
    }
    return s;
  }
};

// Calls strip(lane) for the first lane of every strip of kUnroll vectors that a row of `count` neurons
// begins.
template <int kStrip, class Strip>
ECCSNN_INLINE void over_row(int count, const Strip& strip) {
  for (int lane = 0; lane < count; lane += kStrip) strip(lane);
}

template <class C>
ECCSNN_INLINE void copy_row(C* to, const C* from, int count) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(count) * sizeof(C));
}

// Rows are computed in whole strips. Only the last row of an array can end within one; it is read from and
// written to a copy with room for the strip.
template <class E, int kStrip>
struct Padded {
  alignas(64) E at[kRow<typename Lanes<E>::Compute>] = {};

  ECCSNN_INLINE const E* read(const E* from, int count) {
    if (count % kStrip == 0) return from;
    copy_row(at, from, count);
    return at;
  }
  ECCSNN_INLINE E* write(E* to, int count) { return to == nullptr || count % kStrip == 0 ? to : at; }
  ECCSNN_INLINE void written(E* to, int count) const {
    if (to != nullptr && count % kStrip != 0) copy_row(to, at, count);
  }
};

// LifForward::x_bits as elements: eight at a time, by a table of all bytes.
template <class E>
struct BitRows {
  static constexpr int kRowSize = kRow<typename Lanes<E>::Compute>;
  std::int64_t channels, bytes;
  E table[256][8];
  alignas(64) E at[kRowSize + 8];

  void fill(std::int64_t x_channels, std::uint64_t x_one) {
    channels = x_channels;
    bytes = (channels + 7) / 8;
    E one, zero{};
    __builtin_memcpy(&one, &x_one, sizeof(E));
    for (E& element : at) element = zero;  // lanes past a row's end are computed with, too
    for (int byte = 0; byte < 256; ++byte) {
      for (int k = 0; k < 8; ++k) table[byte][k] = byte >> k & 1 ? one : zero;
    }
  }

  // Elements `first` and on of a timestep, whose bits these are.
  ECCSNN_INLINE const E* expand(const std::uint8_t* bits, std::int64_t first, int count) {
    bits += first / channels * bytes;
    std::int64_t c = first % channels;
    int i = 0;
    for (; c % 8 != 0 && c < channels && i < count; ++c) at[i++] = table[bits[c / 8]][c % 8];
    if (channels == 2 && c % 2 == 0) {  // frames of events: four bytes are one of the table
      for (bits += c / 2, c = 0; i + 8 <= count; i += 8, bits += 4) {
        std::uint32_t four;
        __builtin_memcpy(&four, bits, sizeof(four));
        const std::uint32_t byte = (four & 3) | (four >> 6 & 12) | (four >> 12 & 48) | (four >> 18 & 192);
        __builtin_memcpy(at + i, table[byte], sizeof(table[0]));
      }
    }
    for (; i < count; bits += bytes, c = 0) {
      for (; c < channels && i < count; c += 8) {
        __builtin_memcpy(at + i, table[bits[c / 8]], sizeof(table[0]));  // what is too much is written over
        i += static_cast<int>(channels - c < 8 ? channels - c : 8);
      }
    }
    return at;
  }
};

// Membranes of a block: from `from`, or `rest` where that is null.
template <class C>
ECCSNN_INLINE void start_row(Row<C>& v, const void* from, std::int64_t at, int count, C rest) {
  if (from == nullptr || count < kRow<C>) {
    for (C& value : v.at) value = rest;
  }
  if (from != nullptr) copy_row(v.at, static_cast<const C*>(from) + at, count);
}

// Values per channel laid out along a row of neurons, neuron i of channel i % channels. They are laid out
// again only where the row begins at another channel than the one before.
template <class C, int kValues>
struct ChannelRows {
  std::int64_t channels;
  const void* values[kValues];
  std::int64_t first = -1;
  Row<C> rows[kValues];

  void move_to(std::int64_t at) {
    const std::int64_t begin = at % channels;
    if (begin == first) return;
    first = begin;
    for (int k = 0; k < kValues; ++k) {
      if (values[k] == nullptr) continue;
      const C* from = static_cast<const C*>(values[k]);
      std::int64_t c = begin;
      for (int i = 0; i < kRow<C>;) {
        const std::int64_t run = channels - c < kRow<C> - i ? channels - c : kRow<C> - i;
        copy_row(rows[k].at + i, from + c, static_cast<int>(run));
        i += static_cast<int>(run);
        c = 0;
      }
    }
  }
};

}  // namespace
}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
