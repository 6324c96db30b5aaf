#include "spike_forms.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace eccsnn {
namespace {

std::uint64_t load_word(const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, std::min<std::size_t>(count, sizeof(word)));
  return word;
}

// Calls `found(position)` for every spike, ascending.
template <class Found>
void for_each_spike(const std::uint8_t* dense, std::int64_t bits, Found found) {
  const std::int64_t bytes = (bits + 7) / 8;
  for (std::int64_t at = 0; at < bytes; at += 8) {
    std::uint64_t word = load_word(dense + at, static_cast<std::size_t>(bytes - at));
    for (; word; word &= word - 1) found(8 * at + std::countr_zero(word));
  }
}

class BitWriter {
 public:
  explicit BitWriter(std::vector<std::uint8_t>& out) : out_(out) {}
  // At most 32 bits.
  void put(std::uint64_t value, int count) {
    word_ |= value << filled_;
    filled_ += count;
    for (; filled_ >= 8; filled_ -= 8, word_ >>= 8) out_.push_back(static_cast<std::uint8_t>(word_));
  }
  void put_ones(std::int64_t count) {
    for (; count > 32; count -= 32) put(0xffffffff, 32);
    put((std::uint64_t{1} << count) - 1, static_cast<int>(count));
  }
  void finish(bool fill) {
    if (filled_ > 0) put(fill ? (1u << (8 - filled_)) - 1 : 0, 8 - filled_);
  }

 private:
  std::vector<std::uint8_t>& out_;
  std::uint64_t word_ = 0;
  int filled_ = 0;
};

class BitReader {
 public:
  BitReader(const std::uint8_t* data, std::size_t size)
      : data_(data), bits_(8 * static_cast<std::int64_t>(size)) {}
  std::int64_t left() const { return bits_ - at_; }
  // At most 32 bits, and no more than are left.
  std::uint32_t get(int count) {
    const std::int64_t byte = at_ / 8;
    const std::uint64_t word = load_word(data_ + byte, static_cast<std::size_t>(bits_ / 8 - byte));
    const std::uint64_t value = word >> (at_ % 8) & ((std::uint64_t{1} << count) - 1);
    at_ += count;
    return static_cast<std::uint32_t>(value);
  }
  // Ones until a zero, which is read, too; or until the end.
  std::int64_t get_ones(bool& ended) {
    for (std::int64_t count = 0;; ++count) {
      if (at_ == bits_) {
        ended = true;
        return count;
      }
      if (get(1) == 0) {
        ended = false;
        return count;
      }
    }
  }

 private:
  const std::uint8_t* data_;
  std::int64_t bits_, at_ = 0;
};

void set_bit(std::uint8_t* dense, std::int64_t position) {
  dense[position / 8] = static_cast<std::uint8_t>(dense[position / 8] | 1u << (position % 8));
}

}  // namespace

void packed_to_dense(const SpikeGeometry& geometry, const std::uint8_t* packed, std::uint8_t* dense) {
  const std::int64_t bytes = geometry.dense_bytes(), stride = geometry.packed_channels();
  if (geometry.channels % 8 == 0) {
    std::memcpy(dense, packed, static_cast<std::size_t>(bytes));
    return;
  }
  std::memset(dense, 0, static_cast<std::size_t>(bytes));
  std::int64_t bit = 0;
  for (std::int64_t position = 0; position < geometry.positions(); ++position) {
    for (std::int64_t j = 0; j < stride; ++j) {
      const int count = static_cast<int>(std::min<std::int64_t>(8, geometry.channels - 8 * j));
      const unsigned spread = static_cast<unsigned>(packed[position * stride + j]) << (bit % 8);
      dense[bit / 8] = static_cast<std::uint8_t>(dense[bit / 8] | spread);
      if (bit % 8 + count > 8) dense[bit / 8 + 1] = static_cast<std::uint8_t>(spread >> 8);
      bit += count;
    }
  }
}

void dense_to_packed(const SpikeGeometry& geometry, const std::uint8_t* dense, std::uint8_t* packed) {
  const std::int64_t bytes = geometry.dense_bytes(), stride = geometry.packed_channels();
  if (geometry.channels % 8 == 0) {
    std::memcpy(packed, dense, static_cast<std::size_t>(bytes));
    return;
  }
  std::int64_t bit = 0;
  for (std::int64_t position = 0; position < geometry.positions(); ++position) {
    for (std::int64_t j = 0; j < stride; ++j) {
      const int count = static_cast<int>(std::min<std::int64_t>(8, geometry.channels - 8 * j));
      unsigned word = dense[bit / 8];
      if (bit % 8 + count > 8) word |= static_cast<unsigned>(dense[bit / 8 + 1]) << 8;
      packed[position * stride + j] = static_cast<std::uint8_t>(word >> (bit % 8) & ((1u << count) - 1));
      bit += count;
    }
  }
}

std::int64_t count_ones(const std::uint8_t* dense, std::int64_t bytes) {
  std::int64_t count = 0, at = 0;
  for (; at + 8 <= bytes; at += 8) count += std::popcount(load_word(dense + at, 8));
  return count + std::popcount(load_word(dense + at, static_cast<std::size_t>(bytes - at)));
}

int address_bits(std::int64_t bits) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(bits - 1)));
}

void put_addresses(const std::uint8_t* dense, std::int64_t bits, std::vector<std::uint8_t>& out) {
  BitWriter writer(out);
  const int width = address_bits(bits);
  for_each_spike(dense, bits,
                 [&](std::int64_t position) { writer.put(static_cast<std::uint64_t>(position), width); });
  writer.finish(false);
}

int run_parameter(std::int64_t bits, std::int64_t spikes) {
  const std::int64_t gap = 11 * bits / (16 * (spikes + 1));  // ln 2 of the mean
  const auto width = std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(gap, 1)));
  return std::min(15, static_cast<int>(width) - 1);
}

std::int64_t run_bits(const std::uint8_t* dense, std::int64_t bits, int parameter) {
  std::int64_t total = 4, next = 0;
  for_each_spike(dense, bits, [&](std::int64_t position) {
    total += 1 + parameter + ((position - next) >> parameter);
    next = position + 1;
  });
  return total;
}

std::int64_t expected_run_bits(const std::uint8_t* dense, std::int64_t bits, std::int64_t spikes,
                               int parameter) {
  std::int64_t end = (bits + 7) / 8;  // bytes up to the last spike
  while (end > 0 && dense[end - 1] == 0) --end;
  // Remainders are half of what they can be on average.
  const std::int64_t zeros = std::max<std::int64_t>(8 * (end - 1), 0) - spikes;
  const std::int64_t remainders = spikes * ((std::int64_t{1} << parameter) - 1) / 2;
  return 4 + spikes * (1 + parameter) + (std::max<std::int64_t>(zeros - remainders, 0) >> parameter);
}

void put_runs(const std::uint8_t* dense, std::int64_t bits, int parameter, std::vector<std::uint8_t>& out) {
  BitWriter writer(out);
  writer.put(static_cast<std::uint64_t>(parameter), 4);
  std::int64_t next = 0;
  for_each_spike(dense, bits, [&](std::int64_t position) {
    const std::int64_t gap = position - next;
    writer.put_ones(gap >> parameter);
    writer.put(static_cast<std::uint64_t>(gap & ((std::int64_t{1} << parameter) - 1)) << 1, parameter + 1);
    next = position + 1;
  });
  writer.finish(true);
}

void get_addresses(const std::uint8_t* data, std::size_t size, std::int64_t bits, std::uint8_t* dense) {
  BitReader reader(data, size);
  const int width = address_bits(bits);
  std::int64_t last = -1;
  while (reader.left() >= width && width > 0) {
    const std::int64_t address = reader.get(width);
    if (address <= last || address >= bits) {
      // Padding may be as wide as an address: all zeros, in the last byte.
      if (address == 0 && last >= 0 && reader.left() + width < 8) break;
      throw SpikePacketError("address " + std::to_string(address) + " after " + std::to_string(last) +
                             " in a timestep of " + std::to_string(bits) +
                             " bits; expected ascending addresses: the packet is corrupt");
    }
    set_bit(dense, address);
    last = address;
  }
  // What is written is unique: the same spikes give the same bytes.
  std::vector<std::uint8_t> again;
  put_addresses(dense, bits, again);
  if (again.size() != size || (size > 0 && again.back() != data[size - 1])) {
    throw SpikePacketError("addresses end in " + std::to_string(size) + " bytes, expected " +
                           std::to_string(again.size()) + " padded with zeros: the packet is corrupt");
  }
}

void get_runs(const std::uint8_t* data, std::size_t size, std::int64_t bits, std::uint8_t* dense) {
  if (size == 0) throw SpikePacketError("a timestep of runs has no bytes, expected at least 1");
  BitReader reader(data, size);
  const int parameter = static_cast<int>(reader.get(4));
  std::int64_t next = 0, last_end = 4;
  for (;;) {
    bool ended = false;
    const std::int64_t quotient = reader.get_ones(ended);
    if (ended) break;
    if (reader.left() < parameter) throw SpikePacketError("the last run is cut off: the packet is truncated");
    const std::int64_t gap = (quotient << parameter) + (parameter ? reader.get(parameter) : 0);
    next += gap;
    if (next >= bits) {
      throw SpikePacketError("a run ends at bit " + std::to_string(next) + " of a timestep of " +
                             std::to_string(bits) + " bits: the packet is corrupt");
    }
    set_bit(dense, next++);
    last_end = 8 * static_cast<std::int64_t>(size) - reader.left();
  }
  if (8 * static_cast<std::int64_t>(size) - last_end >= 8) {
    throw SpikePacketError("runs end a byte or more before the packet of " + std::to_string(size) +
                           " bytes: the packet is corrupt");
  }
}

}  // namespace eccsnn
