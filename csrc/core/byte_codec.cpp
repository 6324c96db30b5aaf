#include "eccsnn/byte_codec.h"

#include <algorithm>
#include <string>

#include "cells.h"
#include "range_coder.h"
#include "spike_model.h"

namespace eccsnn {
namespace {

constexpr std::uint32_t kLimit = 120;  // of what a probability remembers
constexpr int kLevels = 16;            // of the neighbours' mean

// Probabilities of the bits of a byte, the highest first, in two contexts whose logits are averaged: the
// level around it, and the channel before it at the same place.
class ByteModel {
 public:
  ByteModel() : cells_(2 * kLevels * 256, make_cell(32768, 0)) {}

  // Calls `code(bit, probability)` for each bit, which returns the bit.
  template <class Code>
  std::uint8_t code(std::uint8_t value, int around, int before, Code code_bit) {
    Cell* const first = cells_.data() + around * 256;
    Cell* const second = cells_.data() + (kLevels + before) * 256;
    unsigned node = 1;
    for (int i = 7; i >= 0; --i) {
      const std::int32_t logit = (stretch(first[node] >> 20) + stretch(second[node] >> 20)) * 5 / 8;
      const bool bit = code_bit(value >> i & 1, squash(logit));
      adapt(first[node], bit, kLimit);
      adapt(second[node], bit, kLimit);
      node = node << 1 | static_cast<unsigned>(bit);
    }
    return static_cast<std::uint8_t>(node);
  }

 private:
  std::vector<Cell> cells_;
};

void check(const SpikeGeometry& g) {
  if (g.channels < 1 || g.height < 1 || g.width < 1 || std::max({g.channels, g.height, g.width}) > 65535 ||
      g.bits() > kMaxFeatures) {
    throw std::invalid_argument("features are " + std::to_string(g.channels) + " x " +
                                std::to_string(g.height) + " x " + std::to_string(g.width) +
                                "; expected at least 1 each, and at most 2^24 in all");
  }
}

// Walks over features in order, with the contexts that the values before give.
template <class Code>
void walk(const SpikeGeometry& geometry, std::uint8_t* features, Code code_bit) {
  ByteModel model;
  const std::int64_t width = geometry.width, plane = geometry.positions();
  for (std::int64_t c = 0; c < geometry.channels; ++c) {
    for (std::int64_t row = 0; row < geometry.height; ++row) {
      std::uint8_t* at = features + c * plane + row * width;
      for (std::int64_t column = 0; column < width; ++column, ++at) {
        const int left = column ? at[-1] : row ? at[-width] : 0;
        const int up = row ? at[-width] : left;
        const int before = c ? at[-plane] : left;
        *at = model.code(*at, (left + up) * kLevels / 512, before * kLevels / 256, code_bit);
      }
    }
  }
}

}  // namespace

void encode_bytes(const std::uint8_t* features, const SpikeGeometry& geometry,
                  std::vector<std::uint8_t>& out) {
  check(geometry);
  std::vector<std::uint8_t> copy(features, features + geometry.bits());
  RangeEncoder coder(out);
  walk(geometry, copy.data(), [&](bool bit, std::uint32_t p) {
    coder.encode(bit, p);
    return bit;
  });
  coder.finish();
}

void decode_bytes(const std::uint8_t* data, std::size_t size, const SpikeGeometry& geometry,
                  std::uint8_t* features) {
  check(geometry);
  RangeDecoder coder(data, size);
  walk(geometry, features, [&](bool, std::uint32_t p) { return coder.decode(p); });
  if (!coder.is_exact()) {
    throw SpikePacketError("features of " + std::to_string(size) +
                           " bytes are not what their values are written as: they are corrupt or truncated");
  }
}

}  // namespace eccsnn
