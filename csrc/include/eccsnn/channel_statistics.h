// Mean and variance of every channel, for batch norm.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {

// x is [rows, channels], channels innermost. Sums are taken in double of differences from the first row, so
// that a mean far from zero costs no precision. Which elements form a chunk depends on `channels` alone: the
// same bits on every instruction set and for any number of threads.
struct ChannelStatistics {
  DType dtype = DType::kFloat32;
  std::int64_t rows = 0;
  std::int64_t channels = 0;
  const void* x = nullptr;
  // [chunks, 2, channels], holding zeros before: sums of (x - first row) and of its square.
  double* sums = nullptr;
};

// Rows that are walked through side by side, so that narrow channels fill vectors, too.
constexpr std::int64_t channel_statistics_side_by_side(std::int64_t channels) {
  return channels >= 256 ? 1 : (255 + channels) / channels;
}
// Rows of a chunk, a multiple of those: about 64 Ki elements.
constexpr std::int64_t channel_statistics_chunk(std::int64_t channels) {
  const std::int64_t rows = channel_statistics_side_by_side(channels);
  const std::int64_t times = 65536 / (rows * channels);
  return rows * (times < 1 ? 1 : times);
}

// Computes chunks [begin, end); the caller owns the threads.
void channel_statistics(const ChannelStatistics& args, std::int64_t begin, std::int64_t end);

// From all chunks, in their order: mean and biased variance [channels], in float, or double for kFloat64.
void finish_channel_statistics(const ChannelStatistics& args, void* mean, void* variance);

}  // namespace eccsnn
