// The small vector type that kernels are written over: GCC/Clang vector extensions of the width that the
// instruction set at hand has. Only *_kernels.cpp files include this; see dispatch.h.
//
// Arithmetic on Vec<T> is elementwise and IEEE; `mask ? a : b` selects. Lanes<E> loads and stores elements of
// type E (float, double, BFloat16, Float16) as vectors of the type that arithmetic happens in.
#pragma once

#include <cstdint>
#include <cstring>

#include "eccsnn/dtype.h"

#if defined(ECCSNN_ISA_avx2) || defined(ECCSNN_ISA_avx512)
#include <immintrin.h>
#endif

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

#define ECCSNN_INLINE inline __attribute__((always_inline))

#if defined(ECCSNN_ISA_avx512)
inline constexpr int kVecBytes = 64;
#elif defined(ECCSNN_ISA_avx2)
inline constexpr int kVecBytes = 32;
#else
inline constexpr int kVecBytes = 16;
#endif

template <class T, int kBytes = kVecBytes>
struct VecOf {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class T>
inline constexpr int kWidth = kVecBytes / static_cast<int>(sizeof(T));

template <class T>
struct IntOf;
template <>
struct IntOf<float> {
  using type = std::int32_t;
};
template <>
struct IntOf<double> {
  using type = std::int64_t;
};
template <class T>
using VecInt = Vec<typename IntOf<T>::type>;

template <class To, class From>
ECCSNN_INLINE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

template <class T>
ECCSNN_INLINE Vec<T> splat(T value) {
  return value - Vec<T>{};  // value - 0: exact, and keeps the sign of a zero
}

template <class T>
ECCSNN_INLINE Vec<T> absolute(Vec<T> a) {
  using I = typename IntOf<T>::type;
  const I keep = static_cast<I>(~(I{1} << (sizeof(I) * 8 - 2) << 1));
  return bit_cast<Vec<T>>(bit_cast<VecInt<T>>(a) & keep);
}

template <class V, class E>
ECCSNN_INLINE V load_bytes(const E* from, int count) {
  V v{};
  if (count * sizeof(E) == sizeof(V)) {
    __builtin_memcpy(&v, from, sizeof(V));
  } else {
    __builtin_memcpy(&v, from, count * sizeof(E));
  }
  return v;
}
template <class V, class E>
ECCSNN_INLINE void store_bytes(E* to, const V& v, int count) {
  if (count * sizeof(E) == sizeof(V)) {
    __builtin_memcpy(to, &v, sizeof(V));
  } else {
    __builtin_memcpy(to, &v, count * sizeof(E));
  }
}

// Past the caches, for what is too large to be found there again; `to` is aligned to V.
template <class V, class E>
ECCSNN_INLINE void stream_bytes(E* to, const V& v) {
#if defined(ECCSNN_ISA_avx2) || defined(ECCSNN_ISA_avx512)
  if constexpr (sizeof(V) == 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), bit_cast<__m256i>(v));
  } else if constexpr (sizeof(V) == 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), bit_cast<__m128i>(v));
  } else {
#if defined(ECCSNN_ISA_avx512)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bit_cast<__m512i>(v));
#endif
  }
#else
  store_bytes(to, v, static_cast<int>(sizeof(V) / sizeof(E)));
#endif
}

// Makes what was streamed visible to whom the caller tells about it.
ECCSNN_INLINE void finish_streams() {
#if defined(ECCSNN_ISA_avx2) || defined(ECCSNN_ISA_avx512)
  _mm_sfence();
#endif
}

// `count` elements are touched in memory, the other lanes are zero; count == width costs nothing extra once
// inlined.
template <class E>
struct Lanes {
  using Compute = E;
  static constexpr int width = kWidth<E>;
  static ECCSNN_INLINE Vec<E> load(const E* from, int count = width) {
    return load_bytes<Vec<E>>(from, count);
  }
  static ECCSNN_INLINE void store(E* to, Vec<E> v, int count = width) { store_bytes(to, v, count); }
  static ECCSNN_INLINE void stream(E* to, Vec<E> v) { stream_bytes(to, v); }
  // 1 where `mask` is set, else 0, as stored.
  static ECCSNN_INLINE Vec<E> ones(VecInt<E> mask) { return mask ? splat(E{1}) : splat(E{0}); }
};

// Asks for the cache line at `from`, which need not be valid memory, into the second-level cache: of many
// streams a row each, twice as much arrives in time as through the few miss buffers of the first level.
ECCSNN_INLINE void prefetch(const void* from) { __builtin_prefetch(from, 0, 2); }

// Bit i is set where lane i of a comparison's result is true.
template <class T>
ECCSNN_INLINE std::uint32_t lanes_set(VecInt<T> mask) {
#if defined(ECCSNN_ISA_avx512)
  if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask(bit_cast<__m512i>(mask));
  return _mm512_movepi64_mask(bit_cast<__m512i>(mask));
#elif defined(ECCSNN_ISA_avx2)
  if constexpr (sizeof(T) == 4) return static_cast<std::uint32_t>(_mm256_movemask_ps(bit_cast<__m256>(mask)));
  return static_cast<std::uint32_t>(_mm256_movemask_pd(bit_cast<__m256d>(mask)));
#else
  std::uint32_t bits = 0;
  for (int i = 0; i < kWidth<T>; ++i) bits |= (mask[i] != 0 ? 1u : 0u) << i;
  return bits;
#endif
}

// The other way: lane i is all ones where bit i of `bits` is set.
template <class T>
ECCSNN_INLINE VecInt<T> lanes_where(std::uint64_t bits) {
  using I = typename IntOf<T>::type;
  VecInt<T> bit_of_lane{};
  for (int i = 0; i < kWidth<T>; ++i) bit_of_lane[i] = I{1} << i;
  return (static_cast<I>(bits) & bit_of_lane) != I{0};
}

// Halves: as many lanes as floats fit.
using HalfBits = typename VecOf<std::uint16_t, kVecBytes / 2>::type;
using WordBits = Vec<std::uint32_t>;

template <>
struct Lanes<BFloat16> {
  using Compute = float;
  static constexpr int width = kWidth<float>;
  static ECCSNN_INLINE Vec<float> load(const BFloat16* from, int count = width) {
    const WordBits words = __builtin_convertvector(load_bytes<HalfBits>(from, count), WordBits);
    return bit_cast<Vec<float>>(words << 16);
  }
  static ECCSNN_INLINE void store(BFloat16* to, Vec<float> v, int count = width) {
    store_bytes(to, halves(v), count);
  }
  static ECCSNN_INLINE void stream(BFloat16* to, Vec<float> v) { stream_bytes(to, halves(v)); }
  static ECCSNN_INLINE HalfBits ones(VecInt<float> mask) {
    return __builtin_convertvector(mask, HalfBits) & 0x3f80;
  }
  static ECCSNN_INLINE HalfBits halves(Vec<float> v) {
    // Round to nearest, ties to even.
    const WordBits words = bit_cast<WordBits>(v);
    const WordBits rounded = (words + 0x7fffu + ((words >> 16) & 1u)) >> 16;
    const WordBits quiet_nan = WordBits{} + 0x7fc0u;
    return __builtin_convertvector(v == v ? rounded : quiet_nan, HalfBits);
  }
};

ECCSNN_INLINE Vec<float> halves_to_floats(HalfBits halves) {
#if defined(ECCSNN_ISA_avx512)
  // The masked forms: GCC 12 warns inside its own header about the plain ones.
  return bit_cast<Vec<float>>(_mm512_maskz_cvtph_ps(0xffff, bit_cast<__m256i>(halves)));
#elif defined(ECCSNN_ISA_avx2)
  return bit_cast<Vec<float>>(_mm256_cvtph_ps(bit_cast<__m128i>(halves)));
#else
  // Move exponent and mantissa into place and let a product with 2^112 correct the bias, subnormals included;
  // what was infinite or NaN keeps all exponent bits.
  const WordBits words = __builtin_convertvector(halves, WordBits);
  const WordBits sign = (words & 0x8000u) << 16;
  const WordBits magnitude = (words & 0x7fffu) << 13;
  const Vec<float> scaled = bit_cast<Vec<float>>(magnitude) * 0x1p112f;
  const WordBits special = magnitude | 0x7f800000u;
  const WordBits bits = (words & 0x7fffu) >= 0x7c00u ? special : bit_cast<WordBits>(scaled);
  return bit_cast<Vec<float>>(bits | sign);
#endif
}

ECCSNN_INLINE HalfBits floats_to_halves(Vec<float> v) {
#if defined(ECCSNN_ISA_avx512)
  return bit_cast<HalfBits>(
      _mm512_maskz_cvtps_ph(0xffff, bit_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(ECCSNN_ISA_avx2)
  return bit_cast<HalfBits>(
      _mm256_cvtps_ph(bit_cast<__m256>(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  // Round to nearest, ties to even. Subnormal results: adding 0.5 lets the adder round at the right bit.
  const WordBits words = bit_cast<WordBits>(v);
  const WordBits sign = (words >> 16) & 0x8000u;
  const WordBits magnitude = words & 0x7fffffffu;
  const WordBits normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const WordBits small = bit_cast<WordBits>(bit_cast<Vec<float>>(magnitude) + 0.5f) - 0x3f000000u;
  WordBits bits = magnitude < 0x38800000u ? small : normal;
  bits = magnitude >= 0x477ff000u ? WordBits{} + 0x7c00u : bits;
  bits = magnitude > 0x7f800000u ? WordBits{} + 0x7e00u : bits;
  return __builtin_convertvector(bits | sign, HalfBits);
#endif
}

template <>
struct Lanes<Float16> {
  using Compute = float;
  static constexpr int width = kWidth<float>;
  static ECCSNN_INLINE Vec<float> load(const Float16* from, int count = width) {
    return halves_to_floats(load_bytes<HalfBits>(from, count));
  }
  static ECCSNN_INLINE void store(Float16* to, Vec<float> v, int count = width) {
    store_bytes(to, floats_to_halves(v), count);
  }
  static ECCSNN_INLINE void stream(Float16* to, Vec<float> v) { stream_bytes(to, floats_to_halves(v)); }
  static ECCSNN_INLINE HalfBits ones(VecInt<float> mask) {
    return __builtin_convertvector(mask, HalfBits) & 0x3c00;
  }
};

// Calls f with an element of the type.
template <class F>
void with_element(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(float{});
    case DType::kFloat64:
      return f(double{});
    case DType::kBFloat16:
      return f(BFloat16{});
    case DType::kFloat16:
      return f(Float16{});
  }
}

#define ECCSNN_MATH ECCSNN_INLINE
#include "exponential.inc"
#undef ECCSNN_MATH

ECCSNN_INLINE Vec<float> exp_nonpositive(Vec<float> a) {
  return exp_nonpositive_float<Vec<float>, WordBits>(a);
}
ECCSNN_INLINE Vec<double> exp_nonpositive(Vec<double> a) {
  return exp_nonpositive_double<Vec<double>, Vec<std::uint64_t>>(a);
}

// base^-|a| with the base that is quickest: a float's is 2, a double's e.
template <class C>
inline constexpr double kLogOfBase = sizeof(C) == 4 ? 0.693147180559945309 : 1.0;
ECCSNN_INLINE Vec<float> decay(Vec<float> a) {
  return exp2_nonpositive_float<Vec<float>, WordBits>(-absolute<float>(a));
}
ECCSNN_INLINE Vec<double> decay(Vec<double> a) { return exp_nonpositive(-absolute<double>(a)); }

}  // namespace
}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
