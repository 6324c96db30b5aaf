// The gradient of max pooling over spikes, compiled once per instruction set (dispatch.h): one window of up
// to 64 channels at a time, whose maxima are found by arithmetic on words of bits.
#include "eccsnn/spike_max_pool.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

constexpr int kWord = 64;

// `count` bits that begin anywhere, count <= 64.
ECCSNN_INLINE std::uint64_t load_bits(const SpikeMaxPoolBackward& p, std::int64_t first, int count) {
  const std::int64_t byte = first / 8;
  const int shift = static_cast<int>(first % 8);
  std::uint64_t word = 0;
  if (byte + 8 <= p.bytes) {
    __builtin_memcpy(&word, p.bits + byte, 8);
  } else {
    for (int i = 0; byte + i < p.bytes; ++i) word |= static_cast<std::uint64_t>(p.bits[byte + i]) << (8 * i);
  }
  word >>= shift;
  if (shift + count > kWord) word |= static_cast<std::uint64_t>(p.bits[byte + 8]) << (kWord - shift);
  return count == kWord ? word : word & ((std::uint64_t{1} << count) - 1);
}

// The part of a window that lies inside the image.
struct Window {
  std::int64_t h_begin, h_end, w_begin, w_end;

  Window(const SpikeMaxPoolBackward& p, std::int64_t i, std::int64_t j)
      : h_begin(i * p.stride_h - p.padding_h),
        h_end(h_begin + p.kernel_h < p.height ? h_begin + p.kernel_h : p.height),
        w_begin(j * p.stride_w - p.padding_w),
        w_end(w_begin + p.kernel_w < p.width ? w_begin + p.kernel_w : p.width) {
    if (h_begin < 0) h_begin = 0;
    if (w_begin < 0) w_begin = 0;
  }

  template <class Position>
  ECCSNN_INLINE void over_positions(std::int64_t width, const Position& position) const {
    for (std::int64_t h = h_begin; h < h_end; ++h) {
      for (std::int64_t w = w_begin; w < w_end; ++w) position(h * width + w);
    }
  }
};

// kTiles: every position belongs to one window, so that it is written once; else gradients are added up.
template <class E, bool kTiles>
struct MaxPoolBackward {
  using L = Lanes<E>;
  using C = typename L::Compute;

  // The gradients of `count` channels of a window, at one of its positions.
  static ECCSNN_INLINE void put(std::uint64_t hits, const E* grad, E* to, int count) {
    for (int k = 0; k < count; k += L::width) {
      const int lanes = count - k < L::width ? count - k : L::width;
      const Vec<C> value = lanes_where<C>(hits >> k) ? L::load(grad + k, lanes) : splat(C{0});
      // Adding even to 0: the sum that torch starts from 0 has no -0.0.
      const Vec<C> before = kTiles ? splat(C{0}) : L::load(to + k, lanes);
      L::store(to + k, before + value, lanes);
    }
  }

  static ECCSNN_INLINE void channels(const SpikeMaxPoolBackward& p, const Window& window,
                                     std::int64_t image_bit, const E* grad, E* image, std::int64_t c,
                                     int count) {
    std::uint64_t fired = 0;
    window.over_positions(p.width, [&](std::int64_t at) __attribute__((always_inline)) {
      fired |= load_bits(p, image_bit + at * p.channels + c, count);
    });
    std::uint64_t silent = ~fired;  // goes to the first position
    std::uint64_t seen = 0;
    window.over_positions(p.width, [&](std::int64_t at) __attribute__((always_inline)) {
      const std::uint64_t set = load_bits(p, image_bit + at * p.channels + c, count);
      put((set & ~seen) | silent, grad + c, image + at * p.channels + c, count);
      seen |= set;
      silent = 0;
    });
  }

  static void images(const SpikeMaxPoolBackward& p, std::int64_t begin, std::int64_t end) {
    const std::int64_t image_size = p.height * p.width * p.channels;
    for (std::int64_t n = begin; n < end; ++n) {
      E* const image = static_cast<E*>(p.grad_spikes) + n * image_size;
      const E* grad = static_cast<const E*>(p.grad) + n * p.pooled_h * p.pooled_w * p.channels;
      if (!kTiles) __builtin_memset(image, 0, static_cast<std::size_t>(image_size) * sizeof(E));
      for (std::int64_t i = 0; i < p.pooled_h; ++i) {
        for (std::int64_t j = 0; j < p.pooled_w; ++j, grad += p.channels) {
          const Window window(p, i, j);
          std::int64_t c = 0;
          for (; c + kWord <= p.channels; c += kWord) {
            channels(p, window, n * image_size, grad, image, c, kWord);
          }
          if (c < p.channels) {
            channels(p, window, n * image_size, grad, image, c, static_cast<int>(p.channels - c));
          }
        }
      }
    }
  }
};

bool tiles(const SpikeMaxPoolBackward& p) {
  return p.kernel_h == p.stride_h && p.kernel_w == p.stride_w && p.padding_h == 0 && p.padding_w == 0 &&
         p.pooled_h * p.kernel_h == p.height && p.pooled_w * p.kernel_w == p.width;
}

}  // namespace

void spike_max_pool_backward_kernel(const SpikeMaxPoolBackward& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    if (tiles(args)) {
      MaxPoolBackward<E, true>::images(args, begin, end);
    } else {
      MaxPoolBackward<E, false>::images(args, begin, end);
    }
  });
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
