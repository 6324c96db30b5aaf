// Forward pass of the LIF neuron, compiled once per instruction set (dispatch.h): each input is read once,
// each output written once.
#include "lif_neuron.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

template <class E, bool kCommon, bool kSmooth>
struct Forward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  using Norm = ChannelRows<C, 3>;
  static constexpr int kStrip = kUnroll * L::width;

  static void range(const LifForward& a, std::int64_t begin, std::int64_t end) {
    const Neuron<C, kCommon> n(a.params);
    Norm norm{a.norm.channels, {a.norm.mean, a.norm.scale, a.norm.bias}, -1, {}};
    BitRows<E> rows;
    if (a.x_bits != nullptr) rows.fill(a.x_channels, a.x_one);
    for (std::int64_t at = begin; at < end; at += kRow<C>) {
      const int count = static_cast<int>(end - at < kRow<C> ? end - at : kRow<C>);
      if (a.norm.channels > 0) {
        norm.move_to(at);
        block<true>(a, n, norm, rows, at, count);
      } else {
        block<false>(a, n, norm, rows, at, count);
      }
    }
  }

  // A block of neurons through all timesteps.
  template <bool kNorm>
  static void block(const LifForward& a, const Neuron<C, kCommon>& n, const Norm& norm, BitRows<E>& rows,
                    std::int64_t at, int count) {
    Row<C> v;
    Padded<E, kStrip> x_copy, spikes_copy;
    start_row(v, a.v_init, at, count, n.v_reset);
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      if (a.v_kept != nullptr && t != 0 && t % kLifSegment == 0) {
        copy_row(static_cast<C*>(a.v_kept) + (t / kLifSegment - 1) * a.neurons + at, v.at, count);
      }
      const E* x = a.x_bits == nullptr
                       ? x_copy.read(static_cast<const E*>(a.x) + t * a.x_step + at, count)
                       : rows.expand(a.x_bits + t * (a.neurons / rows.channels) * rows.bytes, at, count);
      E* const to = a.spikes == nullptr ? nullptr : static_cast<E*>(a.spikes) + t * a.neurons + at;
      E* const spikes = spikes_copy.write(to, count);
      std::uint8_t* bits =
          a.spike_bits == nullptr ? nullptr : a.spike_bits + t * ((a.neurons + 7) / 8) + at / 8;
      std::uint8_t* window =
          a.window_bits == nullptr ? nullptr : a.window_bits + t * ((a.neurons + 7) / 8) + at / 8;
      over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
        std::uint64_t fired = 0, inside = 0;
        for (int k = 0; k < kUnroll; ++k) {
          const int lane = strip + k * L::width;
          Vec<C> input = L::load(x + lane);
          prefetch(x + lane + kRow<C>);  // of the next block
          if constexpr (kNorm) {
            input = (input - M::load(norm.rows[0].at + lane)) * M::load(norm.rows[1].at + lane) +
                    M::load(norm.rows[2].at + lane);
          }
          const Vec<C> h = n.charge(M::load(v.at + lane), input);
          const Vec<C> s = n.template fire<kSmooth>(h);
          M::store(v.at + lane, n.reset(h, s));
          if constexpr (kSmooth) {
            L::store(spikes + lane, s);
          } else if (a.stream) {
            stream_bytes(spikes + lane, L::ones(h >= n.v_threshold));
          } else if (spikes != nullptr) {
            store_bytes(spikes + lane, L::ones(h >= n.v_threshold), L::width);
          }
          if (bits != nullptr)
            fired |= static_cast<std::uint64_t>(lanes_set<C>(h >= n.v_threshold)) << (k * L::width);
          if (window != nullptr) inside |= static_cast<std::uint64_t>(n.inside_window(h)) << (k * L::width);
        }
        if (bits != nullptr) store_bits(bits + strip / 8, fired, count - strip);
        if (window != nullptr) store_bits(window + strip / 8, inside, count - strip);
      });
      spikes_copy.written(to, count);
    }
    if (a.v_final != nullptr) copy_row(static_cast<C*>(a.v_final) + at, v.at, count);
  }

  // Lanes past the end have computed with what they found, and may have fired.
  static ECCSNN_INLINE void store_bits(std::uint8_t* to, std::uint64_t bits, int left) {
    static_assert(kStrip % 8 == 0 && kStrip <= 64);
    if (left >= kStrip) {
      __builtin_memcpy(to, &bits, kStrip / 8);
    } else {
      bits &= (std::uint64_t{1} << left) - 1;
      __builtin_memcpy(to, &bits, static_cast<std::size_t>(left + 7) / 8);
    }
  }
};

template <class E>
void forward_of(const LifForward& a, std::int64_t begin, std::int64_t end) {
  using C = typename Lanes<E>::Compute;
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return Forward<E, false, true>::range(a, begin, end);
  }
  if (Neuron<C, true>::is_common(a.params)) return Forward<E, true, false>::range(a, begin, end);
  Forward<E, false, false>::range(a, begin, end);
}

}  // namespace

void lif_forward_kernel(const LifForward& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype, [&](auto element) { forward_of<decltype(element)>(args, begin, end); });
  if (args.stream) finish_streams();
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
