// Spike tensors [T, N, C, H, W] and their packed form: one bit a spike, eight channels to a byte.
//
// Packed spikes are uint8 [T, N, H, W, ceil(C / 8)]: bit i of byte j is channel 8 j + i; bits past the last
// channel are 0. A [T, N, C] tensor is the case height = width = 1.
//
// Packing works on bit patterns, not on numbers: an element is 0, 1 or neither, whatever its type, so one
// kernel serves every element type of the same size and needs no half-precision arithmetic.
#pragma once

#include <cstdint>

namespace eccsnn {

// Sizes of spikes [T, N, C, H, W] and the distance, in elements, between neighbours along each dimension. A
// stride may be 0 (a static image repeated over time).
struct SpikeView {
  std::int64_t timesteps, batch, channels, height, width;
  std::int64_t stride_t, stride_n, stride_c, stride_h, stride_w;

  // A row is one (t, n, h), in that order.
  std::int64_t rows() const { return timesteps * batch * height; }
  std::int64_t packed_channels() const { return (channels + 7) / 8; }
};

// Bit patterns of an element type.
struct SpikeBits {
  int element_bytes;            // 1, 2, 4 or 8
  std::uint64_t one;            // of 1
  std::uint64_t negative_zero;  // of -0.0, which counts as 0; plain 0 for a type that has none
};

struct PackSpikes {
  SpikeBits bits;
  SpikeView view;
  const void* spikes = nullptr;
  std::uint8_t* packed = nullptr;  // contiguous
};

struct UnpackSpikes {
  SpikeBits bits;
  SpikeView view;                        // of spikes
  const std::uint8_t* packed = nullptr;  // contiguous; padding bits are ignored
  void* spikes = nullptr;
};

// Packs rows [begin, end) of view.rows(); the caller owns the threads. Every element that is not 0 gives a
// bit 1. Returns the position, counted over [T, N, H, W, C], of the first element in these rows that is
// neither 0 nor 1 (NaN included), or -1 when all are spikes.
std::int64_t pack_spikes(const PackSpikes& args, std::int64_t begin, std::int64_t end);

// Unpacks rows [begin, end) of view.rows().
void unpack_spikes(const UnpackSpikes& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
