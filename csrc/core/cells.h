// Adaptive probabilities of a binary event.
#pragma once

#include <algorithm>
#include <cstdint>

namespace eccsnn {

// A cell is a probability of a 1 in units of 2^-24 and, in the lowest 8 bits, how much it has seen.
using Cell = std::uint32_t;
inline Cell make_cell(std::uint32_t probability16, std::uint32_t seen) { return probability16 << 16 | seen; }

// 2^16 / (seen + 1.5): the first spikes of a context move its probability far.
struct Rates {
  std::int32_t of[256];
};
inline constexpr Rates kRates = [] {
  Rates rates{};
  for (int seen = 0; seen < 256; ++seen) rates.of[seen] = (2 << 16) / (2 * seen + 3);
  return rates;
}();

inline void adapt(Cell& cell, bool bit, std::uint32_t limit) {
  const std::uint32_t seen = cell & 255;
  const std::int64_t p = cell >> 8, target = bit ? (1 << 24) - 1 : 0;
  const std::int64_t moved = p + ((target - p) * kRates.of[seen] >> 16);
  cell = static_cast<std::uint32_t>(moved) << 8 | std::min(seen + 1, limit);
}

}  // namespace eccsnn
