// Records of event files that are in order, compiled once per instruction set (dispatch.h). Loops without
// branches, which compilers turn into vectors; whatever is out of order is left to event_files.cpp.
#include "event_files_dispatch.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

std::uint32_t big_endian_32(const std::uint8_t* from) {
  std::uint32_t value;
  __builtin_memcpy(&value, from, 4);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(value) : value;
}

std::uint64_t big_endian_64(const std::uint8_t* from) {
  std::uint64_t value;
  __builtin_memcpy(&value, from, 8);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(value) : value;
}

// Whether all steps in time are forward and below 2^31. A pass of its own over what was just written, since
// the loops that write keep no value from one turn to the next.
bool steps_are_forward(const std::int64_t* t, std::int64_t count, std::int64_t before) {
  std::uint64_t steps = static_cast<std::uint64_t>(t[0] - before);
  for (std::int64_t i = 1; i < count; ++i) steps |= static_cast<std::uint64_t>(t[i] - t[i - 1]);
  return steps >> 31 == 0;
}

}  // namespace

bool decode_aedat2_kernel(const EventRecords& records, const EventArrays& out) {
  const std::uint8_t* const from = records.bytes;
  const std::int64_t count = records.count, base = records.base;
  std::int64_t* const __restrict t = out.t;
  std::uint16_t* const __restrict x = out.x;
  std::uint16_t* const __restrict y = out.y;
  std::uint8_t* const __restrict polarity = out.polarity;
  std::uint32_t bits = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t address = big_endian_32(from + 8 * i);
    bits |= address;
    x[i] = static_cast<std::uint16_t>(127 - ((address >> 8) & 127));
    y[i] = static_cast<std::uint16_t>(127 - ((address >> 1) & 127));
    polarity[i] = static_cast<std::uint8_t>(~address & 1);
  }
  for (std::int64_t i = 0; i < count; ++i) t[i] = base + big_endian_32(from + 8 * i + 4);
  return (bits >> 15) == 0 && steps_are_forward(t, count, records.before);
}

bool decode_atis_kernel(const EventRecords& records, const EventArrays& out) {
  const std::uint8_t* const from = records.bytes;
  const std::int64_t count = records.count, base = records.base;
  const auto width = static_cast<std::uint32_t>(records.width);
  const auto height = static_cast<std::uint32_t>(records.height);
  std::int64_t* const __restrict t = out.t;
  std::uint16_t* const __restrict x = out.x;
  std::uint16_t* const __restrict y = out.y;
  std::uint8_t* const __restrict polarity = out.polarity;
  // First whole words, then columns of them: records of five bytes do not go into vectors, words do. Eight
  // bytes are read at once, of which the last three belong to the next record, which the last one lacks.
  std::uint64_t words[kEventBlock];
  for (std::int64_t i = 0; i + 1 < count; ++i) words[i] = big_endian_64(from + 5 * i) >> 24;
  const std::uint8_t* const end = from + 5 * (count - 1);
  words[count - 1] = static_cast<std::uint64_t>(end[0]) << 32 | big_endian_32(end + 1);
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto column = static_cast<std::uint32_t>(words[i] >> 32);
    const auto low = static_cast<std::uint32_t>(words[i]);  // row, polarity, timestamp
    bad |= static_cast<std::uint32_t>(column >= width) | static_cast<std::uint32_t>(low >> 24 >= height);
    x[i] = static_cast<std::uint16_t>(column);
    y[i] = static_cast<std::uint16_t>(low >> 24);
    polarity[i] = static_cast<std::uint8_t>(low >> 23 & 1);
  }
  for (std::int64_t i = 0; i < count; ++i) t[i] = base + static_cast<std::int64_t>(words[i] & 0x7fffff);
  return bad == 0 && steps_are_forward(t, count, records.before);
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
