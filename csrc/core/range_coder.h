// A binary range coder for packets of a few bytes: 56 bits of precision, and an end that costs what is due.
//
// The encoder narrows an interval [low, low + range) of the numbers below 1; a packet is the shortest string
// of bytes that, read as a binary fraction, lies in the interval (the smallest such, so that it is unique;
// bytes past its end count as 0). The decoder therefore knows the one packet that could have led to what it
// decoded, and refuses all others.
//
// Source: range coding after Martin (1979), with the carry resolved in the buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace eccsnn {

// Probabilities of a 1 in units of 2^-16, from 1 to 65535.
inline constexpr int kProbabilityBits = 16;

class RangeEncoder {
 public:
  explicit RangeEncoder(std::vector<std::uint8_t>& out) : out_(out), begin_(out.size()) {}

  void encode(bool bit, std::uint32_t probability) {
    const std::uint64_t ones = (range_ >> kProbabilityBits) * probability;
    if (bit) {
      range_ = ones;
    } else {
      low_ += ones;
      range_ -= ones;
    }
    while (range_ < kLeast) {
      put(static_cast<std::uint64_t>(low_ >> 48));
      low_ = (low_ & (kLeast - 1)) << 8;
      range_ <<= 8;
    }
  }

  // Ends the packet.
  void finish() {
    // The interval has at least 2^48 numbers: one byte more is always enough.
    for (const std::uint64_t unit : {kOne, kLeast}) {
      const std::uint64_t value = (low_ + unit - 1) & ~(unit - 1);
      if (value - low_ >= range_) continue;
      put(value >> 48);  // of the first unit: at most a carry and a zero byte, which goes below
      break;
    }
    while (out_.size() > begin_ && out_.back() == 0) out_.pop_back();
  }

 private:
  static constexpr std::uint64_t kOne = std::uint64_t{1} << 56;
  static constexpr std::uint64_t kLeast = std::uint64_t{1} << 48;

  void put(std::uint64_t byte_and_carry) {
    if (byte_and_carry >> 8) {
      // The number stays below 1, so some byte before can take the carry.
      for (std::size_t i = out_.size(); ++out_[--i] == 0;) {
      }
    }
    out_.push_back(static_cast<std::uint8_t>(byte_and_carry));
  }

  std::vector<std::uint8_t>& out_;
  std::size_t begin_;
  std::uint64_t low_ = 0, range_ = kOne;
};

class RangeDecoder {
 public:
  RangeDecoder(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {
    for (int i = 0; i < 7; ++i) offset_ = offset_ << 8 | next();
  }

  bool decode(std::uint32_t probability) {
    const std::uint64_t ones = (range_ >> kProbabilityBits) * probability;
    const bool bit = offset_ < ones;
    if (bit) {
      range_ = ones;
    } else {
      offset_ -= ones;
      range_ -= ones;
    }
    while (range_ < kLeast) {
      offset_ = offset_ << 8 | next();
      range_ <<= 8;
    }
    return bit;
  }

  // Whether the bytes are those that the encoder makes of what was decoded.
  bool is_exact() const {
    if (size_ == 0) return true;
    const std::uint8_t last = data_[size_ - 1];
    const std::size_t settled = position_ - 7;  // bytes that the encoder had put before its end
    if (last == 0 || size_ > settled + 1) return false;
    if (size_ <= settled) return true;
    // The last byte was needed: the multiple of 2^56 above, and only that, is out of the interval.
    const std::uint64_t rest = static_cast<std::uint64_t>(last) << 48;
    return offset_ < kLeast && offset_ + (kOne - rest) >= range_;
  }

 private:
  static constexpr std::uint64_t kOne = std::uint64_t{1} << 56;
  static constexpr std::uint64_t kLeast = std::uint64_t{1} << 48;

  std::uint8_t next() {
    const std::uint8_t byte = position_ < size_ ? data_[position_] : 0;
    ++position_;
    return byte;
  }

  const std::uint8_t* data_;
  std::size_t size_, position_ = 0;
  std::uint64_t offset_ = 0, range_ = kOne;
};

}  // namespace eccsnn
