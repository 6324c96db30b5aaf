// Sums of x x^T over integer feature vectors x: the arithmetic under eccsnn/count_statistics.h.
//
// Features come in blocks of 32 and the second moment in tiles of 32 x 32; only tiles on and above the
// diagonal exist, row by row: (0, 0), (0, 1), ..., (1, 1), ... Samples are packed so that an instruction
// takes several at once: four in int8 (counts to 127), two in int16, or 64 as bits (counts 0 and 1).
// Everything is integer, so every instruction set gives the same sums.
#pragma once

#include <cstdint>

namespace eccsnn {

enum class CountType { kUint8, kInt16 };

enum class CountForm { kBits, kInt8, kInt16 };

inline constexpr int kCountBlock = 32;
inline constexpr int kCountTile = kCountBlock * kCountBlock;
inline constexpr std::int64_t kCountChunkBytes =
    8192;  // of one packed block: two of them lie in the L1 cache

// The form that holds counts up to max_count.
CountForm count_form(std::int64_t max_count);
// Samples that are packed at once: a multiple of those of an instruction, and few enough for sums in int32.
std::int64_t count_chunk(CountForm form, std::int64_t max_count);
// Bytes of one packed block with this many samples.
std::int64_t packed_count_bytes(CountForm form, std::int64_t samples);

constexpr std::int64_t count_blocks(std::int64_t features) {
  return (features + kCountBlock - 1) / kCountBlock;
}
constexpr std::int64_t count_tiles(std::int64_t blocks) { return blocks * (blocks + 1) / 2; }
// Index of the tile of blocks (i, j), i <= j.
constexpr std::int64_t count_tile(std::int64_t blocks, std::int64_t i, std::int64_t j) {
  return i * blocks - i * (i - 1) / 2 + j - i;
}

struct PackCounts {
  const void* rows = nullptr;  // [samples, features]
  CountType type = CountType::kUint8;
  CountForm form = CountForm::kInt8;
  std::int64_t samples = 0;  // at most count_chunk
  std::int64_t features = 0;
  std::uint8_t* packed = nullptr;  // packed_count_bytes a block, aligned to 64 bytes
};
// Packs the feature blocks [begin, end).
void pack_counts(const PackCounts& args, std::int64_t begin, std::int64_t end);

struct CountMoments {
  const std::uint8_t* packed = nullptr;
  CountForm form = CountForm::kInt8;
  std::int64_t samples = 0;
  std::int64_t blocks = 0;
  bool subtract = false;
  std::int32_t* narrow = nullptr;  // the tiles; one of the two
  std::int64_t* wide = nullptr;
};
// Adds the products of the packed samples to the tiles [begin, end), or subtracts them.
void count_moments(const CountMoments& args, std::int64_t begin, std::int64_t end);

// Adds one row of features to int64 sums.
void add_count_row(const void* row, CountType type, std::int64_t features, std::int64_t* sums);

// Index of the first of `count` values that is not in 0..max_count, or -1.
std::int64_t find_count_outside(const void* values, CountType type, std::int64_t count,
                                std::int64_t max_count);

}  // namespace eccsnn
