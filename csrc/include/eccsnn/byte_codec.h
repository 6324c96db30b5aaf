// Lossless codec for maps of 8-bit features [C, H, W]: each byte is coded bit by bit, in the context of its
// neighbours, with probabilities that adapt. For quantised features of ANN baselines (BottleNet++).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eccsnn/spike_codec.h"

namespace eccsnn {

inline constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 24;

// Appends the code of `features` [channels, height, width]. Throws std::invalid_argument for sizes out of
// range.
void encode_bytes(const std::uint8_t* features, const SpikeGeometry& geometry,
                  std::vector<std::uint8_t>& out);

// Throws SpikePacketError unless the bytes are those that encode_bytes writes.
void decode_bytes(const std::uint8_t* data, std::size_t size, const SpikeGeometry& geometry,
                  std::uint8_t* features);

}  // namespace eccsnn
