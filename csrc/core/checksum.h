// Checks of packets and tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace eccsnn {

// CRC-32 (reflected, polynomial 0xedb88320): the name of a table.
std::uint32_t crc32(const std::uint8_t* data, std::size_t size);

// CRC-8 (polynomial 0x07) of a header.
std::uint8_t crc8(const std::uint8_t* data, std::size_t size);

// The check of a packet within a stream: five bits that depend on everything before it.
class PacketCheck {
 public:
  // Five bits for the next packet; every flip of a single bit changes them. `form` has three bits.
  std::uint8_t next(unsigned form, const std::uint8_t* payload, std::size_t size);

 private:
  std::uint64_t state_ = 0x9e3779b97f4a7c15;
};

}  // namespace eccsnn
