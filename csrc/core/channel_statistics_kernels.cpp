// Sums over rows for every channel, compiled once per instruction set (dispatch.h).
#include "eccsnn/channel_statistics.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

template <class E>
void chunks_of(const ChannelStatistics& a, std::int64_t begin, std::int64_t end, void* scratch) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using M = Lanes<C>;
  const std::int64_t width = channel_statistics_side_by_side(a.channels) * a.channels;
  C* const first = static_cast<C*>(scratch);
  C* const sum = first + width;
  C* const square = sum + width;
  const E* x = static_cast<const E*>(a.x);
  for (std::int64_t i = 0; i < width; ++i) {
    // One element as a vector: the only way that Lanes converts.
    first[i] = L::load(x + i % a.channels, 1)[0];
  }
  const std::int64_t run = channel_statistics_run(a.channels) * a.channels;
  const std::int64_t chunk = channel_statistics_chunk(a.channels) * a.channels;
  const std::int64_t total = a.rows * a.channels;
  for (std::int64_t number = begin; number < end; ++number) {
    double* const sums = a.sums + number * 2 * a.channels;
    const std::int64_t chunk_end = (number + 1) * chunk < total ? (number + 1) * chunk : total;
    for (std::int64_t at = number * chunk; at < chunk_end; at += run) {
      const std::int64_t run_end = at + run < chunk_end ? at + run : chunk_end;
      for (std::int64_t i = 0; i < 2 * width; ++i) sum[i] = C{0};  // and square
      for (std::int64_t row = at; row < run_end; row += width) {
        const std::int64_t count = run_end - row < width ? run_end - row : width;
        const E* from = x + row;
        std::int64_t i = 0;
        for (; i + L::width <= count; i += L::width) {
          const Vec<C> d = L::load(from + i) - M::load(first + i);
          M::store(sum + i, M::load(sum + i) + d);
          M::store(square + i, M::load(square + i) + d * d);
        }
        if (i < count) {
          const int left = static_cast<int>(count - i);
          const Vec<C> d = L::load(from + i, left) - M::load(first + i, left);
          M::store(sum + i, M::load(sum + i, left) + d, left);
          M::store(square + i, M::load(square + i, left) + d * d, left);
        }
      }
      for (std::int64_t i = 0; i < width; i += a.channels) {
        for (std::int64_t c = 0; c < a.channels; ++c) sums[c] += static_cast<double>(sum[i + c]);
        for (std::int64_t c = 0; c < a.channels; ++c)
          sums[a.channels + c] += static_cast<double>(square[i + c]);
      }
    }
  }
}

}  // namespace

void channel_statistics_kernel(const ChannelStatistics& args, std::int64_t begin, std::int64_t end,
                               void* scratch) {
  with_element(args.dtype, [&](auto element) { chunks_of<decltype(element)>(args, begin, end, scratch); });
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
