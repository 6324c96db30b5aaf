#include "spike_lanes.h"

#if defined(ECCSNN_ISA_avx512)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns inside its own header
#include <immintrin.h>
#endif

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

#define ECCSNN_INLINE inline __attribute__((always_inline))

constexpr int kGroup = kLanes, kHalf = kLanes / 2;

// What every kernel walks over: one group of channels at one position.
struct Place {
  std::uint8_t* bytes;
  int byte_count;        // of this group, 1 to 4
  std::uint32_t active;  // channels that exist
};

ECCSNN_INLINE Place place_of(const LaneArgs& args, std::uint8_t* position, std::int64_t group) {
  const std::int64_t left = args.channels - group * kGroup;
  const std::int64_t bytes = args.stride - group * (kGroup / 8);
  return {position + group * (kGroup / 8), static_cast<int>(bytes < 4 ? bytes : 4),
          left >= kGroup ? 0xffffffffu : (1u << left) - 1};
}

ECCSNN_INLINE std::int64_t columns_of(const LaneArgs& args, std::int64_t row) {
  return row + 1 == args.height ? args.width - args.tail : args.width;
}

ECCSNN_INLINE std::uint32_t load_bits(const std::uint8_t* bytes, int count) {
  std::uint32_t bits = 0;
  if (count == 4) {
    __builtin_memcpy(&bits, bytes, 4);
  } else {
    for (int i = 0; i < count; ++i) bits |= static_cast<std::uint32_t>(bytes[i]) << (8 * i);
  }
  return bits;
}

ECCSNN_INLINE void store_bits(std::uint8_t* bytes, int count, std::uint32_t bits) {
  if (count == 4) {
    __builtin_memcpy(bytes, &bits, 4);
  } else {
    for (int i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(bits >> (8 * i));
  }
}

struct Features {
  std::uint32_t set[kLaneFeatures];
};

ECCSNN_INLINE Features features_of(const LaneArgs& args, const Place& place) {
  Features features;
  if (place.byte_count == 4) {
    for (int f = 0; f < kLaneNeighbours; ++f)
      __builtin_memcpy(&features.set[f], place.bytes + args.from[f], 4);
  } else {
    for (int f = 0; f < kLaneNeighbours; ++f) {
      features.set[f] = load_bits(place.bytes + args.from[f], place.byte_count);
    }
  }
  std::uint32_t* const products = features.set + kLaneNeighbours;
  products[0] = features.set[0] & features.set[1];
  products[1] = features.set[0] & features.set[3];
  products[2] = features.set[0] & features.set[4];
  products[3] = features.set[3] & features.set[4];
  return features;
}

#if defined(ECCSNN_ISA_avx512)

struct Predictor {
  __m512i chances[4];
  __m128i bias_shift, weight_shift;
  __m512i bias_half, weight_half;

  explicit ECCSNN_INLINE Predictor(const LaneArgs& args) {
    for (int i = 0; i < 4; ++i) chances[i] = _mm512_loadu_si512(args.chances + 32 * i);
    bias_shift = _mm_cvtsi32_si128(args.bias_shift);
    weight_shift = _mm_cvtsi32_si128(args.weight_shift);
    bias_half = _mm512_set1_epi16(static_cast<short>(1 << (args.bias_shift - 1)));
    weight_half = _mm512_set1_epi16(static_cast<short>(1 << args.weight_shift >> 1));
  }

  ECCSNN_INLINE __m512i predict(const std::int16_t* weights, const Features& features) const {
    __m512i sum = _mm512_loadu_si512(weights);
    __m512i other = _mm512_setzero_si512();
    for (int f = 0; f < kLaneFeatures; f += 2) {  // two chains; clamped as the sum of each, then of both
      sum = _mm512_mask_adds_epi16(sum, features.set[f], sum, _mm512_loadu_si512(weights + kGroup * (f + 1)));
      other = _mm512_mask_adds_epi16(other, features.set[f + 1], other,
                                     _mm512_loadu_si512(weights + kGroup * (f + 2)));
    }
    const __m512i index =
        _mm512_add_epi16(_mm512_srai_epi16(_mm512_adds_epi16(sum, other), 9), _mm512_set1_epi16(64));
    const __m512i low = _mm512_permutex2var_epi16(chances[0], index, chances[1]);
    const __m512i high = _mm512_permutex2var_epi16(chances[2], index, chances[3]);
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(index, _mm512_set1_epi16(64)), low, high);
  }

  template <bool kWeights>
  ECCSNN_INLINE void adapt(std::int16_t* weights, const Features& features, __m512i chance,
                           std::uint32_t bits) const {
    const __m512i error = _mm512_sub_epi16(_mm512_maskz_mov_epi16(bits, _mm512_set1_epi16(32767)), chance);
    const __m512i bias = _mm512_sra_epi16(_mm512_adds_epi16(error, bias_half), bias_shift);
    _mm512_storeu_si512(weights, _mm512_adds_epi16(_mm512_loadu_si512(weights), bias));
    if (!kWeights) return;
    const __m512i weight = _mm512_sra_epi16(_mm512_adds_epi16(error, weight_half), weight_shift);
    for (int f = 0; f < kLaneFeatures; ++f) {
      std::int16_t* row = weights + kGroup * (f + 1);
      const __m512i old = _mm512_loadu_si512(row);
      _mm512_storeu_si512(row, _mm512_mask_adds_epi16(old, features.set[f], old, weight));
    }
  }
};

#else

// The same over plain arrays, which the compiler turns into vectors of what there is.
struct Row {
  std::int16_t of[kGroup];
};

ECCSNN_INLINE std::int16_t add(int a, int b) {
  const int sum = a + b;
  return static_cast<std::int16_t>(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
}

// All ones where a bit is set.
ECCSNN_INLINE Row expand(std::uint32_t bits) {
  Row row;
  for (int i = 0; i < kGroup; ++i) row.of[i] = static_cast<std::int16_t>(-static_cast<int>(bits >> i & 1));
  return row;
}

struct Predictor {
  const std::int16_t* chances;
  int bias_shift, weight_shift;

  explicit ECCSNN_INLINE Predictor(const LaneArgs& args)
      : chances(args.chances), bias_shift(args.bias_shift), weight_shift(args.weight_shift) {}

  ECCSNN_INLINE Row predict(const std::int16_t* weights, const Features& features) const {
    Row sum, other{}, chance;
    for (int i = 0; i < kGroup; ++i) sum.of[i] = weights[i];
    for (int f = 0; f < kLaneFeatures; f += 2) {
      const Row a = expand(features.set[f]), b = expand(features.set[f + 1]);
      const std::int16_t* row = weights + kGroup * (f + 1);
      for (int i = 0; i < kGroup; ++i) {
        sum.of[i] = add(sum.of[i], row[i] & a.of[i]);
        other.of[i] = add(other.of[i], row[kGroup + i] & b.of[i]);
      }
    }
    for (int i = 0; i < kGroup; ++i) chance.of[i] = chances[(add(sum.of[i], other.of[i]) >> 9) + 64];
    return chance;
  }

  template <bool kWeights>
  ECCSNN_INLINE void adapt(std::int16_t* weights, const Features& features, const Row& chance,
                           std::uint32_t bits) const {
    const Row fired = expand(bits);
    Row weight;
    for (int i = 0; i < kGroup; ++i) {
      const int error = (fired.of[i] & 32767) - chance.of[i];
      weights[i] = add(weights[i], add(error, 1 << (bias_shift - 1)) >> bias_shift);
      weight.of[i] = static_cast<std::int16_t>(add(error, 1 << weight_shift >> 1) >> weight_shift);
    }
    if (!kWeights) return;
    for (int f = 0; f < kLaneFeatures; ++f) {
      const Row on = expand(features.set[f]);
      std::int16_t* row = weights + kGroup * (f + 1);
      for (int i = 0; i < kGroup; ++i) row[i] = add(row[i], weight.of[i] & on.of[i]);
    }
  }
};

#endif

// ---- the coders' states ----

#if defined(ECCSNN_ISA_avx512)

using Halfword = const __m256i*;

// Sixteen of the states, and what does not wait for them: only the chain from one spike of a state to the
// next takes time.
struct PutHalf {
  __m512i x, f, rest, start;
  __m512 reciprocal;
  __mmask16 lanes;

  ECCSNN_INLINE void prepare(const std::uint16_t* chances, std::uint32_t bits, std::uint32_t active) {
    const __m512i total = _mm512_set1_epi32(1 << kLaneChanceBits);
    const __mmask16 fired = static_cast<__mmask16>(bits);
    lanes = static_cast<__mmask16>(active);
    const __m512i one = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<Halfword>(chances)));
    f = _mm512_mask_mov_epi32(_mm512_sub_epi32(total, one), fired, one);
    rest = _mm512_sub_epi32(total, f);
    start = _mm512_maskz_mov_epi32(static_cast<__mmask16>(~fired), one);
    // A little below 1 / f, so that quotients (below 2^17) are exact or one too low.
    reciprocal = _mm512_div_ps(_mm512_set1_ps(1.0f - 0x1p-21f), _mm512_cvtepi32_ps(f));
  }

  ECCSNN_INLINE __mmask16 full() const {
    return _mm512_mask_cmpge_epu32_mask(lanes, x, _mm512_slli_epi32(f, 32 - kLaneChanceBits));
  }

  // Writes the lower words of full states below `at`. They go to the upper end of what is stored; what is
  // below is overwritten by the next. (A masked store takes many times as long on some processors.)
  ECCSNN_INLINE std::uint16_t* spill(__mmask16 full, std::uint16_t* at) const {
    const int count = __builtin_popcount(full);
    const __m512i order = _mm512_add_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(count));
    const __m512i words = _mm512_permutexvar_epi32(order, _mm512_maskz_compress_epi32(full, x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at - kHalf), _mm512_cvtepi32_epi16(words));
    return at - count;
  }

  ECCSNN_INLINE void put(__mmask16 full) {
    const __m512i y = _mm512_mask_srli_epi32(x, full, x, 16);
    const __m512i q = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_cvtepu32_ps(y), reciprocal));
    // q * 2^15 + (y - q f) + start
    const __m512i next = _mm512_add_epi32(_mm512_add_epi32(y, start), _mm512_mullo_epi32(q, rest));
    const __m512i remainder =
        _mm512_sub_epi32(_mm512_sub_epi32(next, start), _mm512_slli_epi32(q, kLaneChanceBits));
    const __mmask16 low = _mm512_cmpge_epi32_mask(remainder, f);
    x = _mm512_mask_mov_epi32(x, lanes, _mm512_mask_add_epi32(next, low, next, rest));
  }
};

struct Putter {
  PutHalf half[2];
  std::uint16_t* at;

  ECCSNN_INLINE Putter(const std::uint32_t* states, std::uint16_t* end) : at(end) {
    for (int i = 0; i < 2; ++i) half[i].x = _mm512_loadu_si512(states + kHalf * i);
  }
  ECCSNN_INLINE void save(std::uint32_t* states) const {
    for (int i = 0; i < 2; ++i) _mm512_storeu_si512(states + kHalf * i, half[i].x);
  }

  ECCSNN_INLINE void put(const std::uint16_t* chances, std::uint32_t bits, std::uint32_t active) {
    for (int i = 0; i < 2; ++i)
      half[i].prepare(chances + kHalf * i, bits >> (kHalf * i), active >> (kHalf * i));
    for (int i = 1; i >= 0; --i) {
      const __mmask16 full = half[i].full();
      at = half[i].spill(full, at);
      half[i].put(full);
    }
  }
};

struct Getter {
  __m512i x[2];
  const std::uint16_t *at, *end;

  ECCSNN_INLINE Getter(const std::uint32_t* states, const std::uint16_t* words, std::int64_t count)
      : at(words), end(words + count) {
    for (int i = 0; i < 2; ++i) x[i] = _mm512_loadu_si512(states + kHalf * i);
  }
  ECCSNN_INLINE void save(std::uint32_t* states) const {
    for (int i = 0; i < 2; ++i) _mm512_storeu_si512(states + kHalf * i, x[i]);
  }
  ECCSNN_INLINE bool ran_out() const { return at > end; }

  ECCSNN_INLINE std::uint32_t get(__m512i chance, std::uint32_t active) {
    const __m512i total = _mm512_set1_epi32(1 << kLaneChanceBits);
    std::uint32_t bits = 0;
    __mmask16 low[2];
    for (int i = 0; i < 2; ++i) {
      const __mmask16 lanes = static_cast<__mmask16>(active >> (kHalf * i));
      const __m512i one =
          _mm512_cvtepu16_epi32(i ? _mm512_extracti64x4_epi64(chance, 1) : _mm512_castsi512_si256(chance));
      const __m512i slot = _mm512_and_si512(x[i], _mm512_set1_epi32((1 << kLaneChanceBits) - 1));
      const __mmask16 fired = _mm512_mask_cmplt_epi32_mask(lanes, slot, one);
      const __m512i high = _mm512_srli_epi32(x[i], kLaneChanceBits);
      const __m512i f = _mm512_mask_mov_epi32(_mm512_sub_epi32(total, one), fired, one);
      const __m512i rest = _mm512_mask_mov_epi32(_mm512_sub_epi32(slot, one), fired, slot);
      x[i] = _mm512_mask_add_epi32(x[i], lanes, _mm512_mullo_epi32(high, f), rest);
      low[i] = _mm512_cmplt_epu32_mask(x[i], _mm512_set1_epi32(kLaneLow));
      bits |= static_cast<std::uint32_t>(fired) << (kHalf * i);
    }
    for (int i = 0; i < 2; ++i) {
      const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<Halfword>(at)));
      x[i] = _mm512_mask_or_epi32(x[i], low[i], _mm512_slli_epi32(x[i], 16),
                                  _mm512_maskz_expand_epi32(low[i], words));
      at += __builtin_popcount(low[i]);
    }
    return bits;
  }
};

#else

struct Putter {
  std::uint32_t x[kLanes];
  std::uint16_t* at;

  ECCSNN_INLINE Putter(const std::uint32_t* states, std::uint16_t* end) : at(end) {
    for (int i = 0; i < kLanes; ++i) x[i] = states[i];
  }
  ECCSNN_INLINE void save(std::uint32_t* states) const {
    for (int i = 0; i < kLanes; ++i) states[i] = x[i];
  }

  ECCSNN_INLINE void put(const std::uint16_t* chances, std::uint32_t bits, std::uint32_t active) {
    for (int i = kLanes - 1; i >= 0; --i) {
      if (!(active >> i & 1)) continue;
      const bool fired = bits >> i & 1;
      const std::uint32_t one = chances[i], f = fired ? one : (1u << kLaneChanceBits) - one;
      std::uint32_t y = x[i];
      if (y >= f << (32 - kLaneChanceBits)) {
        *--at = static_cast<std::uint16_t>(y);
        y >>= 16;
      }
      x[i] = (y / f << kLaneChanceBits) + y % f + (fired ? 0 : one);
    }
  }
};

struct Getter {
  std::uint32_t x[kLanes];
  const std::uint16_t *at, *end;

  ECCSNN_INLINE Getter(const std::uint32_t* states, const std::uint16_t* words, std::int64_t count)
      : at(words), end(words + count) {
    for (int i = 0; i < kLanes; ++i) x[i] = states[i];
  }
  ECCSNN_INLINE void save(std::uint32_t* states) const {
    for (int i = 0; i < kLanes; ++i) states[i] = x[i];
  }
  ECCSNN_INLINE bool ran_out() const { return at > end; }

  ECCSNN_INLINE std::uint32_t get(const Row& chance, std::uint32_t active) {
    std::uint32_t bits = 0;
    for (int i = 0; i < kLanes; ++i) {
      if (!(active >> i & 1)) continue;
      const std::uint32_t one = static_cast<std::uint32_t>(chance.of[i]),
                          slot = x[i] & ((1u << kLaneChanceBits) - 1);
      const bool fired = slot < one;
      const std::uint32_t f = fired ? one : (1u << kLaneChanceBits) - one;
      std::uint32_t y = (x[i] >> kLaneChanceBits) * f + slot - (fired ? 0 : one);
      if (y < kLaneLow) y = y << 16 | *at++;
      x[i] = y;
      bits |= static_cast<std::uint32_t>(fired) << i;
    }
    return bits;
  }
};

#endif

template <bool kWeights>
void predict(const LaneArgs& args, std::uint16_t* chances) {
  const Predictor predictor(args);
  const std::int64_t groups = args.groups();
  for (std::int64_t row = 0; row < args.height; ++row) {
    std::uint8_t* position = args.origin + row * args.pitch_bytes;
    for (std::int64_t column = 0; column < args.width; ++column, position += args.stride) {
      for (std::int64_t group = 0; group < groups; ++group, chances += kGroup) {
        const Place place = place_of(args, position, group);
        const Features features = features_of(args, place);
        std::int16_t* weights = args.weights[group].data();
        const auto chance = predictor.predict(weights, features);
        __builtin_memcpy(chances, &chance, sizeof(chance));
        predictor.template adapt<kWeights>(weights, features, chance,
                                           load_bits(place.bytes, place.byte_count));
      }
    }
  }
}

template <bool kWeights>
std::int64_t get(const LaneArgs& args, std::uint32_t* states, const std::uint16_t* words,
                 std::int64_t count) {
  const Predictor predictor(args);
  Getter getter(states, words, count);
  const std::int64_t groups = args.groups();
  for (std::int64_t row = 0; row < args.height; ++row) {
    std::uint8_t* position = args.origin + row * args.pitch_bytes;
    const std::int64_t columns = columns_of(args, row);
    for (std::int64_t column = 0; column < columns; ++column, position += args.stride) {
      for (std::int64_t group = 0; group < groups; ++group) {
        const Place place = place_of(args, position, group);
        const Features features = features_of(args, place);
        std::int16_t* weights = args.weights[group].data();
        const auto chance = predictor.predict(weights, features);
        const std::uint32_t bits = getter.get(chance, place.active);
        // A step reads 32 words at most, as many as follow the last.
        if (getter.ran_out()) return -1;
        store_bits(place.bytes, place.byte_count, bits);
        predictor.template adapt<kWeights>(weights, features, chance, bits);
      }
    }
  }
  getter.save(states);
  return getter.at - words;
}

template <bool kWeights>
void get_tail(const LaneArgs& args, TailDecoder decode, void* coder) {
  const Predictor predictor(args);
  const std::int64_t groups = args.groups();
  std::uint8_t* position =
      args.origin + (args.height - 1) * args.pitch_bytes + (args.width - args.tail) * args.stride;
  for (std::int64_t column = 0; column < args.tail; ++column, position += args.stride) {
    for (std::int64_t group = 0; group < groups; ++group) {
      const Place place = place_of(args, position, group);
      const Features features = features_of(args, place);
      std::int16_t* weights = args.weights[group].data();
      const auto chance = predictor.predict(weights, features);
      std::uint16_t chances[kGroup];
      __builtin_memcpy(chances, &chance, sizeof(chances));
      const std::uint32_t bits = decode(coder, chances, place.active);
      store_bits(place.bytes, place.byte_count, bits);
      predictor.template adapt<kWeights>(weights, features, chance, bits);
    }
  }
}

}  // namespace

void get_lane_tail_kernel(const LaneArgs& args, TailDecoder decode, void* coder) {
  args.weight_shift ? get_tail<true>(args, decode, coder) : get_tail<false>(args, decode, coder);
}

void predict_lanes_kernel(const LaneArgs& args, std::uint16_t* chances) {
  args.weight_shift ? predict<true>(args, chances) : predict<false>(args, chances);
}

std::uint16_t* put_lanes_kernel(const LaneArgs& args, const std::uint16_t* chances, std::uint32_t* states,
                                std::uint16_t* end) {
  Putter putter(states, end);
  const std::int64_t groups = args.groups();
  chances += (args.height * args.width - args.tail) * groups * kGroup;
  for (std::int64_t row = args.height - 1; row >= 0; --row) {
    const std::int64_t columns = columns_of(args, row);
    std::uint8_t* position = args.origin + row * args.pitch_bytes + (columns - 1) * args.stride;
    for (std::int64_t column = 0; column < columns; ++column, position -= args.stride) {
      for (std::int64_t group = groups - 1; group >= 0; --group) {
        chances -= kGroup;
        const Place place = place_of(args, position, group);
        putter.put(chances, load_bits(place.bytes, place.byte_count), place.active);
      }
    }
  }
  putter.save(states);
  return putter.at;
}

std::int64_t get_lanes_kernel(const LaneArgs& args, std::uint32_t* states, const std::uint16_t* words,
                              std::int64_t count) {
  return args.weight_shift ? get<true>(args, states, words, count) : get<false>(args, states, words, count);
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
