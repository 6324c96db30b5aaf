// Spikes to bits and back, compiled once per instruction set (dispatch.h): 64 elements at a time.
#include "eccsnn/spike_bits.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

constexpr int kWord = 64;

template <class E>
struct SpikeWords {
  using L = Lanes<E>;
  using C = typename L::Compute;

  // `strange` is set in lanes that hold neither 0 nor 1.
  static ECCSNN_INLINE std::uint64_t pack(const E* from, VecInt<C>& strange) {
    std::uint64_t word = 0;
    for (int k = 0; k < kWord; k += L::width) {
      const Vec<C> value = L::load(from + k);
      const VecInt<C> set = value != C{0};
      strange |= set & (value != C{1});
      word |= static_cast<std::uint64_t>(lanes_set<C>(set)) << k;
    }
    return word;
  }

  static ECCSNN_INLINE void unpack(std::uint64_t word, E* to) {
    for (int k = 0; k < kWord; k += L::width) {
      L::store(to + k, lanes_where<C>(word >> k) ? splat(C{1}) : splat(C{0}));
    }
  }

  static bool any(VecInt<C> lanes) { return lanes_set<C>(lanes != 0) != 0; }

  // Index of the first element of [begin, end) that is neither 0 nor 1, or -1.
  static std::int64_t find_strange(const E* spikes, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const C value = L::load(spikes + i, 1)[0];
      if (value != C{0} && value != C{1}) return i;
    }
    return -1;
  }

  static std::int64_t pack_range(const PackBits& a, std::int64_t begin, std::int64_t end) {
    const E* const spikes = static_cast<const E*>(a.spikes);
    std::int64_t first = -1;
    for (std::int64_t block = begin; block < end; block += kSpikeBitsBlock) {
      const std::int64_t stop = end - block < kSpikeBitsBlock ? end : block + kSpikeBitsBlock;
      VecInt<C> strange{};
      std::int64_t at = block;
      for (; at + kWord <= stop; at += kWord) {
        const std::uint64_t word = pack(spikes + at, strange);
        __builtin_memcpy(a.bits + at / 8, &word, kWord / 8);
      }
      if (at < stop) {
        const std::size_t left = static_cast<std::size_t>(stop - at);
        E rest[kWord] = {};
        __builtin_memcpy(rest, spikes + at, left * sizeof(E));
        const std::uint64_t word = pack(rest, strange);
        __builtin_memcpy(a.bits + at / 8, &word, (left + 7) / 8);
      }
      if (first < 0 && any(strange)) first = find_strange(spikes, block, stop);
    }
    return first;
  }

  static void unpack_range(const UnpackBits& a, std::int64_t begin, std::int64_t end) {
    E* const spikes = static_cast<E*>(a.spikes);
    std::int64_t at = begin;
    for (; at + kWord <= end; at += kWord) {
      std::uint64_t word = 0;
      __builtin_memcpy(&word, a.bits + at / 8, kWord / 8);
      unpack(word, spikes + at);
    }
    if (at < end) {
      const std::size_t left = static_cast<std::size_t>(end - at);
      std::uint64_t word = 0;
      __builtin_memcpy(&word, a.bits + at / 8, (left + 7) / 8);
      E rest[kWord];
      unpack(word, rest);
      __builtin_memcpy(spikes + at, rest, left * sizeof(E));
    }
  }
};

}  // namespace

std::int64_t pack_bits_kernel(const PackBits& args, std::int64_t begin, std::int64_t end) {
  std::int64_t first = -1;
  with_element(args.dtype,
               [&](auto element) { first = SpikeWords<decltype(element)>::pack_range(args, begin, end); });
  return first;
}

void unpack_bits_kernel(const UnpackBits& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype,
               [&](auto element) { SpikeWords<decltype(element)>::unpack_range(args, begin, end); });
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
