// Backward pass of the LIF neuron, compiled once per instruction set (dispatch.h). A block of neurons runs
// forwards through a segment of timesteps to have h again, which stays in the caches, and then back.
#include "lif_neuron.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

// Sums of grad_tau over neurons are taken in this many double accumulators, neuron i in number i modulo it,
// whatever the vector width: the same bits everywhere.
constexpr int kSums = 8;

// kCommon here says in addition: no gradient through the reset, and none for tau.
template <class E, Surrogate kSurrogate, bool kCommon, bool kSmooth>
struct Backward {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  static constexpr int kStrip = kUnroll * L::width;

  // What a thread keeps for the block that it is at.
  struct Work {
    explicit Work(const LifBackward& a)
        : norm{a.norm.channels, {a.norm.mean, a.norm.scale, a.norm.bias}, -1, {}} {}
    ChannelRows<C, 3> norm;
    Row<C> h[kLifSegment];
    Row<C> before;  // membranes before the segment
    Row<C> v;       // membranes while going forwards
    Row<C> grad_v;  // their gradient while going back
    Row<C> grad_tau;
    Row<C> over_time;  // sum of grad_x
    // Sums over time and blocks of a chunk whose neurons lie at the same channels, for norm_sums.
    Row<C> sum = {}, sum_centered = {};
    Padded<E, kStrip> x, grad_spikes, grad_x;
  };

  const LifBackward& a;
  const Neuron<C, kCommon> n;
  Work& work;

  void range(std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end; at += kLifBlock) {
      double sums[kSums] = {};
      const std::int64_t block_end = at + kLifBlock < end ? at + kLifBlock : end;
      for (std::int64_t row = at; row < block_end; row += kRow<C>) {
        const int count = static_cast<int>(block_end - row < kRow<C> ? block_end - row : kRow<C>);
        if (a.norm.channels > 0) {
          work.norm.move_to(row);
          block<true>(row, count, sums);
          const std::int64_t next = row + count;
          if (next == end || next % lif_norm_chunk(a.norm.channels) == 0 ||
              next % a.norm.channels != row % a.norm.channels || a.neurons - next < kRow<C>) {
            fold_sums(row);
          }
        } else {
          block<false>(row, count, sums);
        }
      }
      if (a.grad_tau == nullptr) continue;
      double total = 0.0;
      for (double sum : sums) total += sum;
      a.grad_tau[at / kLifBlock] = total;
    }
  }

  template <bool kNorm>
  void block(std::int64_t at, int count, double* tau_sums) {
    start_row(work.grad_v, a.grad_v_final, at, count, C{0});
    if (!kCommon && a.grad_tau != nullptr) work.grad_tau = {};
    if (a.sum_over_time) work.over_time = {};
    for (std::int64_t segment = lif_kept(a.timesteps); segment >= 0; --segment) {
      const std::int64_t first = segment * kLifSegment;
      const int steps =
          static_cast<int>(a.timesteps - first < kLifSegment ? a.timesteps - first : kLifSegment);
      start_row(work.before, segment > 0 ? a.v_kept : a.v_init,
                segment > 0 ? (segment - 1) * a.neurons + at : at, count, n.v_reset);
      for (int i = 0; i < steps; ++i) recompute<kNorm>(i, first + i, at, count);
      for (int i = steps - 1; i >= 0; --i) back<kNorm>(i, first + i, at, count);
    }
    if (a.grad_v_init != nullptr) copy_row(static_cast<C*>(a.grad_v_init) + at, work.grad_v.at, count);
    if (!kCommon && a.grad_tau != nullptr) {
      for (int i = 0; i < count; ++i) tau_sums[i % kSums] += static_cast<double>(work.grad_tau.at[i]);
    }
    if (a.sum_over_time && a.grad_x != nullptr) {
      E* const to = static_cast<E*>(a.grad_x) + at;
      E* const grad_x = work.grad_x.write(to, count);
      over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
        for (int k = 0; k < kUnroll; ++k) {
          const int lane = strip + k * L::width;
          L::store(grad_x + lane, M::load(work.over_time.at + lane));
        }
      });
      work.grad_x.written(to, count);
    }
  }

  const E* x_at(std::int64_t t, std::int64_t at, int count) const {
    return work.x.read(static_cast<const E*>(a.x) + t * a.x_step + at, count);
  }

  template <bool kNorm>
  ECCSNN_INLINE Vec<C> input_of(Vec<C> x, int lane) const {
    if constexpr (kNorm)
      return centered(x, lane) * M::load(work.norm.rows[1].at + lane) + M::load(work.norm.rows[2].at + lane);
    return x;
  }
  ECCSNN_INLINE Vec<C> centered(Vec<C> x, int lane) const { return x - M::load(work.norm.rows[0].at + lane); }

  // h of one timestep, number i of its segment.
  template <bool kNorm>
  void recompute(int i, std::int64_t t, std::int64_t at, int count) {
    const E* x = x_at(t, at, count);
    const E* grad_spikes = static_cast<const E*>(a.grad_spikes) + t * a.neurons + at;
    const C* from = i == 0 ? work.before.at : work.v.at;
    over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
      for (int k = 0; k < kUnroll; ++k) {
        const int lane = strip + k * L::width;
        const Vec<C> input = input_of<kNorm>(L::load(x + lane), lane);
        prefetch(grad_spikes + lane);
        const Vec<C> h = n.charge(M::load(from + lane), input);
        M::store(work.h[i].at + lane, h);
        M::store(work.v.at + lane, n.reset(h, n.template fire<kSmooth>(h)));
      }
    });
  }

  // One timestep back.
  template <bool kNorm>
  void back(int i, std::int64_t t, std::int64_t at, int count) {
    const E* x = x_at(t, at, count);
    const std::int64_t row = t * a.neurons + at;
    const E* grad_spikes = work.grad_spikes.read(static_cast<const E*>(a.grad_spikes) + row, count);
    E* const to = a.grad_x == nullptr ? nullptr : static_cast<E*>(a.grad_x) + row;
    E* const grad_x = work.grad_x.write(to, count);
    over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
      for (int k = 0; k < kUnroll; ++k) {
        const int lane = strip + k * L::width;
        prefetch(x + lane + kRow<C>);  // of the next block
        const Vec<C> h = M::load(work.h[i].at + lane);
        const Vec<C> s = n.template fire<kSmooth>(h);
        const Vec<C> ds_dh = n.template derivative<kSurrogate>(h);
        Vec<C> dv_dh = kCommon || n.hard ? C{1} - s : splat(C{1});
        if (!kCommon && !a.detach_reset) dv_dh += n.hard ? (n.v_reset - h) * ds_dh : -n.v_threshold * ds_dh;
        const Vec<C> grad_h = L::load(grad_spikes + lane) * ds_dh + M::load(work.grad_v.at + lane) * dv_dh;
        Vec<C> grad_input{}, grad_v{};
        n.with_its_charge(
            [&](auto kind) __attribute__((always_inline)) { kind.backward(grad_h, n, grad_input, grad_v); });
        M::store(work.grad_v.at + lane, grad_v);
        if (!kCommon && a.grad_tau != nullptr) {
          const Vec<C> before = M::load(work.before.at + lane);
          const Vec<C> h_before = M::load(work.h[i > 0 ? i - 1 : 0].at + lane);
          const Vec<C> v = i > 0 ? n.reset(h_before, n.template fire<kSmooth>(h_before)) : before;
          n.with_its_charge([&](auto kind) { add(work.grad_tau, lane, kind.grad_tau(grad_h, h, v, n)); });
        }
        if constexpr (kNorm) {
          add(work.sum, lane, grad_input);
          add(work.sum_centered, lane, grad_input * centered(L::load(x + lane), lane));
        }
        if (a.sum_over_time) {
          add(work.over_time, lane, grad_input);
        } else if (a.stream) {
          L::stream(grad_x + lane, grad_input);
        } else if (!kNorm || grad_x != nullptr) {
          L::store(grad_x + lane, grad_input);
        }
      }
    });
    if (!a.sum_over_time) work.grad_x.written(to, count);
  }

  static ECCSNN_INLINE void add(Row<C>& row, int lane, Vec<C> value) {
    M::store(row.at + lane, M::load(row.at + lane) + value);
  }

  // Lanes past the last neuron have been computed with what was there; theirs is no sum to add.
  void fold_sums(std::int64_t row) {
    const std::int64_t left = a.neurons - row;
    const int count = static_cast<int>(left < kRow<C> ? left : kRow<C>);
    double* partial = a.norm_sums + row / lif_norm_chunk(a.norm.channels) * 2 * a.norm.channels;
    add_to_channels(partial, work.sum, row, count);
    add_to_channels(partial + a.norm.channels, work.sum_centered, row, count);
    work.sum = {};
    work.sum_centered = {};
  }

  // Neuron after neuron, so that the order of every channel's sum is the same for all vector widths.
  void add_to_channels(double* channels, const Row<C>& row, std::int64_t at, int count) const {
    std::int64_t c = at % a.norm.channels;
    for (int i = 0; i < count;) {
      const std::int64_t left = a.norm.channels - c;
      const int run = static_cast<int>(left < count - i ? left : count - i);
      for (int j = 0; j < run; ++j) channels[c + j] += static_cast<double>(row.at[i + j]);
      i += run;
      c = 0;
    }
  }
};

template <class E, bool kCommon>
void mask_backward(const LifMaskBackward& a, std::int64_t begin, std::int64_t end) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  constexpr int kStrip = kUnroll * L::width;
  const Neuron<C, kCommon> n(a.params);
  Row<C> grad_v;
  Padded<E, kStrip> grad_spikes_copy, grad_x_copy;
  const std::int64_t row_bytes = (a.neurons + 7) / 8;
  for (std::int64_t at = begin; at < end; at += kRow<C>) {
    const int count = static_cast<int>(end - at < kRow<C> ? end - at : kRow<C>);
    start_row(grad_v, a.grad_v_final, at, count, C{0});
    for (std::int64_t t = a.timesteps - 1; t >= 0; --t) {
      const E* grad_spikes =
          grad_spikes_copy.read(static_cast<const E*>(a.grad_spikes) + t * a.neurons + at, count);
      E* const to = static_cast<E*>(a.grad_x) + t * a.neurons + at;
      E* const grad_x = grad_x_copy.write(to, count);
      const std::int64_t byte = t * row_bytes + at / 8;
      over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
        std::uint64_t fired = 0, inside = 0;
        const int left = count - strip;
        const std::size_t bytes = static_cast<std::size_t>(left < kStrip ? (left + 7) / 8 : kStrip / 8);
        __builtin_memcpy(&fired, a.spike_bits + byte + strip / 8, bytes);
        __builtin_memcpy(&inside, a.window_bits + byte + strip / 8, bytes);
        for (int k = 0; k < kUnroll; ++k) {
          const int lane = strip + k * L::width;
          prefetch(grad_spikes + lane + kRow<C>);  // of the next block
          const Vec<C> s = lanes_where<C>(fired >> (k * L::width)) ? splat(C{1}) : splat(C{0});
          const Vec<C> ds_dh = lanes_where<C>(inside >> (k * L::width)) ? splat(n.rect_height) : splat(C{0});
          const Vec<C> dv_dh = kCommon || n.hard ? C{1} - s : splat(C{1});
          const Vec<C> grad_h = L::load(grad_spikes + lane) * ds_dh + M::load(grad_v.at + lane) * dv_dh;
          Vec<C> grad_input{}, grad_v_before{};
          n.with_its_charge([&](auto kind) __attribute__((always_inline)) {
            kind.backward(grad_h, n, grad_input, grad_v_before);
          });
          M::store(grad_v.at + lane, grad_v_before);
          if (a.stream) {
            L::stream(grad_x + lane, grad_input);
          } else {
            L::store(grad_x + lane, grad_input);
          }
        }
      });
      grad_x_copy.written(to, count);
    }
    if (a.grad_v_init != nullptr) copy_row(static_cast<C*>(a.grad_v_init) + at, grad_v.at, count);
  }
}

// grad_x as lif_backward leaves it with a norm, to that of the norm's input.
template <class E>
void rescale(const NormBackward& a, std::int64_t begin, std::int64_t end) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  constexpr int kStrip = kUnroll * L::width;
  ChannelRows<C, 4> rows{a.channels, {a.mean, a.scale, a.slope, a.offset}, -1, {}};
  Padded<E, kStrip> x_copy, grad_copy;
  for (std::int64_t at = begin; at < end; at += kRow<C>) {
    const int count = static_cast<int>(end - at < kRow<C> ? end - at : kRow<C>);
    rows.move_to(at);
    for (std::int64_t t = 0; t < a.timesteps; ++t) {
      const E* x = x_copy.read(static_cast<const E*>(a.x) + t * a.x_step + at, count);
      E* const to = static_cast<E*>(a.grad_x) + t * a.neurons + at;
      const E* from = grad_copy.read(to, count);
      E* const grad = grad_copy.write(to, count);
      over_row<kStrip>(count, [&](int strip) __attribute__((always_inline)) {
        for (int k = 0; k < kUnroll; ++k) {
          const int lane = strip + k * L::width;
          prefetch(x + lane + kRow<C>);
          prefetch(from + lane + kRow<C>);
          Vec<C> g = L::load(from + lane) * M::load(rows.rows[1].at + lane);
          if (a.slope != nullptr) {
            const Vec<C> centered = L::load(x + lane) - M::load(rows.rows[0].at + lane);
            g = (g - centered * M::load(rows.rows[2].at + lane)) - M::load(rows.rows[3].at + lane);
          }
          L::store(grad + lane, g);
        }
      });
      grad_copy.written(to, count);
    }
  }
}

template <class E, Surrogate kSurrogate, bool kCommon, bool kSmooth>
void run(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  using Kernel = Backward<E, kSurrogate, kCommon, kSmooth>;
  typename Kernel::Work work(a);
  Kernel{a, Neuron<typename Lanes<E>::Compute, kCommon>(a.params), work}.range(begin, end);
}

template <class E, Surrogate kSurrogate>
void backward_of(const LifBackward& a, std::int64_t begin, std::int64_t end) {
  if constexpr (sizeof(E) == 8) {
    if (a.params.smooth) return run<E, kSurrogate, false, true>(a, begin, end);
  }
  using C = typename Lanes<E>::Compute;
  if (Neuron<C, true>::is_common(a.params) && a.detach_reset && a.grad_tau == nullptr) {
    return run<E, kSurrogate, true, false>(a, begin, end);
  }
  run<E, kSurrogate, false, false>(a, begin, end);
}

}  // namespace

void lif_backward_kernel(const LifBackward& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    switch (args.params.surrogate) {
      case Surrogate::kAtan:
        return backward_of<E, Surrogate::kAtan>(args, begin, end);
      case Surrogate::kSigmoid:
        return backward_of<E, Surrogate::kSigmoid>(args, begin, end);
      case Surrogate::kRect:
        return backward_of<E, Surrogate::kRect>(args, begin, end);
    }
  });
  if (args.stream) finish_streams();
}

void lif_mask_backward_kernel(const LifMaskBackward& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    if (Neuron<typename Lanes<E>::Compute, true>::is_common(args.params)) {
      mask_backward<E, true>(args, begin, end);
    } else {
      mask_backward<E, false>(args, begin, end);
    }
  });
  if (args.stream) finish_streams();
}

void norm_backward_kernel(const NormBackward& args, std::int64_t begin, std::int64_t end) {
  with_element(args.dtype, [&](auto element) { rescale<decltype(element)>(args, begin, end); });
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
