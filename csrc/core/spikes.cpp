#include "eccsnn/spikes.h"

#include <algorithm>

namespace eccsnn {
namespace {

template <typename Word>
struct Pattern {
  Word one, negative_zero;
};

// Branch-free: `mixed` ends up true when an element is neither 0 nor 1.
template <typename Word>
std::uint8_t pack_byte(const Word* spikes, std::int64_t stride, std::int64_t count, Pattern<Word> bits,
                       bool& mixed) {
  unsigned byte = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Word word = spikes[i * stride];
    const bool set = static_cast<Word>(word & ~bits.negative_zero) != 0;
    mixed |= set != (word == bits.one);
    byte |= static_cast<unsigned>(set) << i;
  }
  return static_cast<std::uint8_t>(byte);
}

// Position of the first element of a row [W, C] that is neither 0 nor 1; the row is known to have one.
template <typename Word>
std::int64_t find_offender(const Word* row, const SpikeView& view, Pattern<Word> bits) {
  for (std::int64_t w = 0; w < view.width; ++w) {
    for (std::int64_t c = 0; c < view.channels; ++c) {
      const Word word = row[w * view.stride_w + c * view.stride_c];
      if (word != bits.one && static_cast<Word>(word & ~bits.negative_zero) != 0)
        return w * view.channels + c;
    }
  }
  return -1;
}

std::int64_t row_offset(const SpikeView& view, std::int64_t row) {
  const std::int64_t h = row % view.height;
  const std::int64_t n = row / view.height % view.batch;
  const std::int64_t t = row / view.height / view.batch;
  return t * view.stride_t + n * view.stride_n + h * view.stride_h;
}

template <typename Word>
std::int64_t pack_rows(const PackSpikes& args, std::int64_t begin, std::int64_t end) {
  const SpikeView& view = args.view;
  const Pattern<Word> bits{static_cast<Word>(args.bits.one), static_cast<Word>(args.bits.negative_zero)};
  const std::int64_t bytes = view.packed_channels();
  std::int64_t offender = -1;
  for (std::int64_t row = begin; row < end; ++row) {
    const Word* source = static_cast<const Word*>(args.spikes) + row_offset(view, row);
    std::uint8_t* target = args.packed + row * view.width * bytes;
    bool mixed = false;
    const auto pack = [&](std::int64_t w, std::int64_t j) {
      target[w * bytes + j] = pack_byte(source + w * view.stride_w + 8 * j * view.stride_c, view.stride_c,
                                        std::min<std::int64_t>(8, view.channels - 8 * j), bits, mixed);
    };
    if (view.stride_c == 1) {  // channels innermost: walk memory in order
      for (std::int64_t w = 0; w < view.width; ++w) {
        for (std::int64_t j = 0; j < bytes; ++j) pack(w, j);
      }
    } else {  // channel planes: eight streams along W at a time
      for (std::int64_t j = 0; j < bytes; ++j) {
        for (std::int64_t w = 0; w < view.width; ++w) pack(w, j);
      }
    }
    if (mixed && offender < 0) {
      offender = row * view.width * view.channels + find_offender(source, view, bits);
    }
  }
  return offender;
}

// One pixel: channels are neighbours in memory.
template <typename Word>
void unpack_bits(const std::uint8_t* __restrict packed, Word one, Word* __restrict spikes,
                 std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) {
    spikes[c] = static_cast<Word>(Word{0} - ((packed[c / 8] >> (c % 8)) & 1u)) & one;
  }
}

// One channel of one row; `bytes` from one pixel's byte to the next.
template <typename Word>
void unpack_channel(const std::uint8_t* __restrict packed, std::int64_t bytes, int bit, Word one,
                    Word* __restrict spikes, const SpikeView& view) {
  for (std::int64_t w = 0; w < view.width; ++w) {
    spikes[w * view.stride_w] = static_cast<Word>(Word{0} - ((packed[w * bytes] >> bit) & 1u)) & one;
  }
}

template <typename Word>
void unpack_rows(const UnpackSpikes& args, std::int64_t begin, std::int64_t end) {
  const SpikeView& view = args.view;
  const Word one = static_cast<Word>(args.bits.one);
  const std::int64_t bytes = view.packed_channels();
  for (std::int64_t row = begin; row < end; ++row) {
    const std::uint8_t* source = args.packed + row * view.width * bytes;
    Word* target = static_cast<Word*>(args.spikes) + row_offset(view, row);
    if (view.stride_c == 1) {
      for (std::int64_t w = 0; w < view.width; ++w) {
        unpack_bits(source + w * bytes, one, target + w * view.stride_w, view.channels);
      }
    } else {
      for (std::int64_t c = 0; c < view.channels; ++c) {
        unpack_channel(source + c / 8, bytes, static_cast<int>(c % 8), one, target + c * view.stride_c, view);
      }
    }
  }
}

}  // namespace

std::int64_t pack_spikes(const PackSpikes& args, std::int64_t begin, std::int64_t end) {
  switch (args.bits.element_bytes) {
    case 1:
      return pack_rows<std::uint8_t>(args, begin, end);
    case 2:
      return pack_rows<std::uint16_t>(args, begin, end);
    case 4:
      return pack_rows<std::uint32_t>(args, begin, end);
    default:
      return pack_rows<std::uint64_t>(args, begin, end);
  }
}

void unpack_spikes(const UnpackSpikes& args, std::int64_t begin, std::int64_t end) {
  switch (args.bits.element_bytes) {
    case 1:
      return unpack_rows<std::uint8_t>(args, begin, end);
    case 2:
      return unpack_rows<std::uint16_t>(args, begin, end);
    case 4:
      return unpack_rows<std::uint32_t>(args, begin, end);
    default:
      return unpack_rows<std::uint64_t>(args, begin, end);
  }
}

}  // namespace eccsnn
