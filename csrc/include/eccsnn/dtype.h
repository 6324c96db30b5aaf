// Element types that the kernels take.
#pragma once

#include <cstdint>

namespace eccsnn {

enum class DType : std::uint8_t { kFloat32, kFloat64, kBFloat16, kFloat16 };

// Sixteen-bit floats as stored; arithmetic happens in float.
struct BFloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

}  // namespace eccsnn
