#include "eccsnn/spike_bits.h"

#include "spike_bits_dispatch.h"

namespace eccsnn {

std::int64_t pack_bits(const PackBits& args, std::int64_t begin, std::int64_t end) {
  return ECCSNN_KERNEL(pack_bits_kernel)(args, begin, end);
}

void unpack_bits(const UnpackBits& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(unpack_bits_kernel)(args, begin, end);
}

}  // namespace eccsnn
