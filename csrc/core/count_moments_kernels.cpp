// Second moments of spike counts, compiled once per instruction set (dispatch.h).
#include "eccsnn/count_moments.h"

#if defined(ECCSNN_ISA_avx2) || defined(ECCSNN_ISA_avx512)
#include <immintrin.h>
#endif

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

using Tile32 = void (*)(const std::uint8_t* a, const std::uint8_t* b, std::int64_t steps, std::int32_t* acc);
using Tile64 = void (*)(const std::uint8_t* a, const std::uint8_t* b, std::int64_t steps, std::int64_t* acc);

// --- plain loops: the truth, and what runs where there are no instructions for it
// ------------------------------

template <class Entry, int kSamples>
[[maybe_unused]] void plain_tile(const std::uint8_t* a, const std::uint8_t* b, std::int64_t steps,
                                 std::int32_t* acc) {
  const Entry* const a_entries = reinterpret_cast<const Entry*>(a);
  const Entry* const b_entries = reinterpret_cast<const Entry*>(b);
  for (int i = 0; i < kCountTile; ++i) acc[i] = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    for (int i = 0; i < kCountBlock; ++i) {
      const Entry* const x = a_entries + (step * kCountBlock + i) * kSamples;
      const Entry* const y = b_entries + step * kCountBlock * kSamples;
      for (int j = 0; j < kCountBlock; ++j) {
        std::int32_t sum = 0;
        for (int s = 0; s < kSamples; ++s) sum += std::int32_t{x[s]} * y[j * kSamples + s];
        acc[i * kCountBlock + j] += sum;
      }
    }
  }
}

void plain_bits(const std::uint8_t* a, const std::uint8_t* b, std::int64_t steps, std::int64_t* acc) {
  const std::uint64_t* const x = reinterpret_cast<const std::uint64_t*>(a);
  const std::uint64_t* const y = reinterpret_cast<const std::uint64_t*>(b);
  for (int i = 0; i < kCountBlock; ++i) {
    for (int j = 0; j < kCountBlock; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t step = 0; step < steps; ++step) {
        sum += __builtin_popcountll(x[step * kCountBlock + i] & y[step * kCountBlock + j]);
      }
      acc[i * kCountBlock + j] = sum;
    }
  }
}

// --- vector instructions
// -----------------------------------------------------------------------------------------

#if defined(ECCSNN_ISA_avx512)

#define ECCSNN_TILE_ROWS 8
#define ECCSNN_TILE_VECTOR __m512i
#define ECCSNN_TILE_ENTRY std::int32_t
#define ECCSNN_TILE_SPLAT(entry) _mm512_set1_epi32(entry)

#define ECCSNN_TILE int16_tile
#define ECCSNN_TILE_TARGET
#define ECCSNN_TILE_STEP(acc, a, b) _mm512_add_epi32(acc, _mm512_madd_epi16(a, b))
#include "count_tile.inc"

// Products of two counts to 127 and their sum fit into int16, so nothing saturates.
#define ECCSNN_TILE int8_tile
#define ECCSNN_TILE_TARGET
#define ECCSNN_TILE_STEP(acc, a, b) \
  _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1)))
#include "count_tile.inc"

#define ECCSNN_TILE int8_vnni_tile
#define ECCSNN_TILE_TARGET __attribute__((target("avx512vnni")))
#define ECCSNN_TILE_STEP(acc, a, b) _mm512_dpbusd_epi32(acc, a, b)
#include "count_tile.inc"

#undef ECCSNN_TILE_ROWS
#undef ECCSNN_TILE_ENTRY
#undef ECCSNN_TILE_SPLAT
#define ECCSNN_TILE_ROWS 4
#define ECCSNN_TILE_ENTRY std::int64_t
#define ECCSNN_TILE_SPLAT(entry) _mm512_set1_epi64(entry)
#define ECCSNN_TILE bits_popcnt_tile
#define ECCSNN_TILE_TARGET __attribute__((target("avx512vpopcntdq")))
#define ECCSNN_TILE_STEP(acc, a, b) _mm512_add_epi64(acc, _mm512_popcnt_epi64(_mm512_and_si512(a, b)))
#include "count_tile.inc"

Tile32 choose_int8() { return __builtin_cpu_supports("avx512vnni") ? int8_vnni_tile : int8_tile; }
Tile32 choose_int16() { return int16_tile; }
Tile64 choose_bits() { return __builtin_cpu_supports("avx512vpopcntdq") ? bits_popcnt_tile : plain_bits; }

#elif defined(ECCSNN_ISA_avx2)

#define ECCSNN_TILE_ROWS 2
#define ECCSNN_TILE_VECTOR __m256i
#define ECCSNN_TILE_ENTRY std::int32_t
#define ECCSNN_TILE_SPLAT(entry) _mm256_set1_epi32(entry)

#define ECCSNN_TILE int16_tile
#define ECCSNN_TILE_TARGET
#define ECCSNN_TILE_STEP(acc, a, b) _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
#include "count_tile.inc"

// Products of two counts to 127 and their sum fit into int16, so nothing saturates.
#define ECCSNN_TILE int8_tile
#define ECCSNN_TILE_TARGET
#define ECCSNN_TILE_STEP(acc, a, b) \
  _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)))
#include "count_tile.inc"

Tile32 choose_int8() { return int8_tile; }
Tile32 choose_int16() { return int16_tile; }
Tile64 choose_bits() { return plain_bits; }

#else

Tile32 choose_int8() { return plain_tile<std::uint8_t, 4>; }
Tile32 choose_int16() { return plain_tile<std::int16_t, 2>; }
Tile64 choose_bits() { return plain_bits; }

#endif

// --- tiles into the state
// ----------------------------------------------------------------------------------------

template <class To, class From>
void add_tile(To* to, const From* from, bool subtract) {
  if (subtract) {
    for (int i = 0; i < kCountTile; ++i) to[i] -= static_cast<To>(from[i]);
  } else {
    for (int i = 0; i < kCountTile; ++i) to[i] += static_cast<To>(from[i]);
  }
}

template <class Acc>
void run_tiles(const CountMoments& a,
               void (*tile)(const std::uint8_t*, const std::uint8_t*, std::int64_t, Acc*), std::int64_t begin,
               std::int64_t end) {
  const std::int64_t block_bytes = packed_count_bytes(a.form, a.samples);
  const std::int64_t steps = block_bytes / (kCountBlock * static_cast<std::int64_t>(sizeof(Acc)));
  std::int64_t i = 0, row_begin = 0;  // the row of tiles that `begin` lies in
  while (row_begin + a.blocks - i <= begin) row_begin += a.blocks - i++;
  std::int64_t j = i + begin - row_begin;
  for (std::int64_t at = begin; at < end; ++at) {
    alignas(64) Acc acc[kCountTile];
    tile(a.packed + i * block_bytes, a.packed + j * block_bytes, steps, acc);
    if (a.wide != nullptr) {
      add_tile(a.wide + at * kCountTile, acc, a.subtract);
    } else {
      add_tile(a.narrow + at * kCountTile, acc, a.subtract);
    }
    if (++j == a.blocks) j = ++i;
  }
}

// --- packing
// -----------------------------------------------------------------------------------------------------

// Writes the samples of one step for features [first, first + width): kSamples values in each entry, the
// first in the lowest bits. Samples past `left` count as 0.
template <class Entry, int kSamples, class From>
void pack_step(const From* rows, std::int64_t stride, std::int64_t left, int width, Entry* to) {
  constexpr int kShift = 8 * static_cast<int>(sizeof(Entry)) / kSamples;
  for (int f = 0; f < kCountBlock; ++f) to[f] = 0;
  const int samples = left < kSamples ? static_cast<int>(left) : kSamples;
  if (width == kCountBlock) {  // a constant count of rounds makes vectors of it
    for (int s = 0; s < samples; ++s) {
      for (int f = 0; f < kCountBlock; ++f) to[f] |= static_cast<Entry>(rows[s * stride + f]) << (s * kShift);
    }
  } else {
    for (int s = 0; s < samples; ++s) {
      for (int f = 0; f < width; ++f) to[f] |= static_cast<Entry>(rows[s * stride + f]) << (s * kShift);
    }
  }
}

template <class Entry, int kSamples, class From>
void pack_blocks(const PackCounts& a, std::int64_t begin, std::int64_t end) {
  const From* const rows = static_cast<const From*>(a.rows);
  Entry* to = reinterpret_cast<Entry*>(a.packed + begin * packed_count_bytes(a.form, a.samples));
  for (std::int64_t block = begin; block < end; ++block) {
    const std::int64_t first = block * kCountBlock, rest = a.features - first;
    const int width = rest < kCountBlock ? static_cast<int>(rest) : kCountBlock;
    for (std::int64_t s = 0; s < a.samples; s += kSamples) {
      pack_step<Entry, kSamples>(rows + s * a.features + first, a.features, a.samples - s, width, to);
      to += kCountBlock;
    }
  }
}

template <class From>
void pack(const PackCounts& a, std::int64_t begin, std::int64_t end) {
  switch (a.form) {
    case CountForm::kBits:
      return pack_blocks<std::uint64_t, 64, From>(a, begin, end);
    case CountForm::kInt8:
      return pack_blocks<std::uint32_t, 4, From>(a, begin, end);
    default:
      return pack_blocks<std::uint32_t, 2, From>(a, begin, end);
  }
}

template <class From>
void add_row(const From* row, std::int64_t features, std::int64_t* sums) {
  for (std::int64_t f = 0; f < features; ++f) sums[f] += row[f];
}

template <class From>
std::int64_t find_outside(const From* values, std::int64_t count, std::int64_t max_count) {
  constexpr std::int64_t kStretch = 1024;
  const std::int32_t most = static_cast<std::int32_t>(max_count);
  for (std::int64_t begin = 0; begin < count; begin += kStretch) {
    const std::int64_t end = count - begin < kStretch ? count : begin + kStretch;
    std::int32_t outside = 0;
    for (std::int64_t i = begin; i < end; ++i) outside |= (values[i] < 0) | (values[i] > most);
    for (std::int64_t i = begin; outside && i < end; ++i) {
      if (values[i] < 0 || values[i] > most) return i;
    }
  }
  return -1;
}

}  // namespace

void pack_counts_kernel(const PackCounts& args, std::int64_t begin, std::int64_t end) {
  if (args.type == CountType::kUint8) {
    pack<std::uint8_t>(args, begin, end);
  } else {
    pack<std::int16_t>(args, begin, end);
  }
}

void count_moments_kernel(const CountMoments& args, std::int64_t begin, std::int64_t end) {
  if (args.form == CountForm::kBits) {
    run_tiles<std::int64_t>(args, choose_bits(), begin, end);
  } else {
    run_tiles<std::int32_t>(args, args.form == CountForm::kInt8 ? choose_int8() : choose_int16(), begin, end);
  }
}

void add_count_row_kernel(const void* row, CountType type, std::int64_t features, std::int64_t* sums) {
  if (type == CountType::kUint8) {
    add_row(static_cast<const std::uint8_t*>(row), features, sums);
  } else {
    add_row(static_cast<const std::int16_t*>(row), features, sums);
  }
}

std::int64_t find_count_outside_kernel(const void* values, CountType type, std::int64_t count,
                                       std::int64_t max_count) {
  if (type == CountType::kUint8)
    return find_outside(static_cast<const std::uint8_t*>(values), count, max_count);
  return find_outside(static_cast<const std::int16_t*>(values), count, max_count);
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
