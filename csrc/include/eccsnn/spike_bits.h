// Binary spikes as bits in the order of memory, for what is kept between the forward and the backward pass:
// bit i of byte j is element 8 j + i, and the bits past the last element are 0. The layout that has eight
// channels to a byte, for what leaves a program, is in eccsnn/spikes.h.
//
// Ranges [begin, end) count elements; `begin` is a multiple of kSpikeBitsBlock, and so is `end` unless it is
// the number of elements. The caller owns the threads.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {

inline constexpr std::int64_t kSpikeBitsBlock = 4096;

struct PackBits {
  DType dtype = DType::kFloat32;
  const void* spikes = nullptr;
  std::uint8_t* bits = nullptr;
};

struct UnpackBits {
  DType dtype = DType::kFloat32;
  const std::uint8_t* bits = nullptr;  // bits past the last element are ignored
  void* spikes = nullptr;
};

// Every element that is not 0 gives a bit 1 (-0.0 is 0). Returns the index of the first element of the range
// that is neither 0 nor 1 (NaN included), or -1.
std::int64_t pack_bits(const PackBits& args, std::int64_t begin, std::int64_t end);

void unpack_bits(const UnpackBits& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
