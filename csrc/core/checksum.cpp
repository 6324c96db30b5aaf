#include "checksum.h"

namespace eccsnn {
namespace {

// x^5 + x^2 + 1: its powers of x have period 31, so that blocks of 31 bytes (8 x 31 bits) may be added up
// before they are divided.
constexpr unsigned kPolynomial = 0x05;
constexpr std::size_t kBlock = 31;

constexpr unsigned next_remainder(unsigned remainder, unsigned byte) {
  remainder = remainder << 3 ^ byte;
  for (int i = 0; i < 8; ++i) remainder = remainder << 1 ^ ((remainder & 0x80) ? kPolynomial << 3 : 0);
  return (remainder & 0xff) >> 3;
}

struct Table {
  std::uint8_t next[256];  // remainder << 3 ^ byte -> remainder
};
constexpr Table kRemainders = [] {
  Table table{};
  for (unsigned i = 0; i < 256; ++i) table.next[i] = static_cast<std::uint8_t>(next_remainder(0, i));
  return table;
}();

std::uint64_t load(const std::uint8_t* bytes) {
  std::uint64_t word;  // on a big-endian machine the check would differ: see the static_assert below
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the codec is written for little-endian machines");

std::uint64_t mix(std::uint64_t state, std::uint64_t word) {
  state = (state ^ word) * 0xff51afd7ed558ccd;
  return state ^ state >> 32;
}

}  // namespace

std::uint32_t crc32(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xffffffff;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) ? 0xedb88320 : 0);
  }
  return ~crc;
}

std::uint8_t crc8(const std::uint8_t* data, std::size_t size) {
  unsigned crc = 0;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1 ^ ((crc & 0x80) ? 0x07 : 0)) & 0xff;
  }
  return static_cast<std::uint8_t>(crc);
}

std::uint8_t PacketCheck::next(unsigned form, const std::uint8_t* payload, std::size_t size) {
  std::uint8_t block[kBlock + 1] = {};
  std::uint64_t words[4] = {};
  std::size_t at = 0;
  for (; at + kBlock < size; at += kBlock) {  // one byte more than a block can be read
    for (int i = 0; i < 4; ++i) words[i] ^= load(payload + at + 8 * i);
  }
  words[3] &= 0x00ffffffffffffff;
  std::memcpy(block, words, sizeof(words));
  for (std::size_t i = 0; at + i < size; ++i) block[i] ^= payload[at + i];

  const std::uint64_t before = mix(state_, size);
  unsigned remainder = before & 31;
  remainder = kRemainders.next[(remainder << 3 ^ form) & 0xff];
  for (std::size_t i = 0; i < kBlock; ++i) remainder = kRemainders.next[(remainder << 3 ^ block[i]) & 0xff];

  std::memcpy(words, block, sizeof(words));
  state_ = before;
  for (const std::uint64_t word : words) state_ = mix(state_, word);
  return static_cast<std::uint8_t>(remainder);
}

}  // namespace eccsnn
