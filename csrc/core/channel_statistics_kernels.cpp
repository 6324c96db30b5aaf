// Sums over rows for every channel, compiled once per instruction set (dispatch.h).
#include <type_traits>

#include "eccsnn/channel_statistics.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

// A vector of arithmetic type as doubles.
struct FloatAsDoubles {
  static constexpr int kParts = 2;
  using Part = typename VecOf<float, kVecBytes / 2>::type;
  Part part[kParts];
  ECCSNN_INLINE Vec<double> at(int i) const { return __builtin_convertvector(part[i], Vec<double>); }
};
struct DoubleAsDoubles {
  static constexpr int kParts = 1;
  Vec<double> part[kParts];
  ECCSNN_INLINE Vec<double> at(int i) const { return part[i]; }
};

template <class E>
void chunks_of(const ChannelStatistics& a, std::int64_t begin, std::int64_t end, double* scratch) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  using D = Lanes<double>;
  using Doubles = std::conditional_t<sizeof(C) == 4, FloatAsDoubles, DoubleAsDoubles>;
  const std::int64_t width = channel_statistics_side_by_side(a.channels) * a.channels;
  double* const first = scratch;
  double* const sum = first + width;
  double* const square = sum + width;
  const E* x = static_cast<const E*>(a.x);
  for (std::int64_t i = 0; i < width; ++i) {
    // One element as a vector: the only way that Lanes converts.
    first[i] = static_cast<double>(L::load(x + i % a.channels, 1)[0]);
  }
  const std::int64_t chunk = channel_statistics_chunk(a.channels) * a.channels;
  const std::int64_t total = a.rows * a.channels;
  for (std::int64_t number = begin; number < end; ++number) {
    double* const sums = a.sums + number * 2 * a.channels;
    const std::int64_t chunk_end = (number + 1) * chunk < total ? (number + 1) * chunk : total;
    for (std::int64_t i = 0; i < 2 * width; ++i) sum[i] = 0.0;  // and square
    for (std::int64_t row = number * chunk; row < chunk_end; row += width) {
      const std::int64_t count = chunk_end - row < width ? chunk_end - row : width;
      for (std::int64_t i = 0; i < count; i += L::width) {
        const int left = static_cast<int>(count - i < L::width ? count - i : L::width);
        const auto values =
            bit_cast<Doubles>(left == L::width ? L::load(x + row + i) : L::load(x + row + i, left));
        for (int k = 0; k < Doubles::kParts; ++k) {
          const std::int64_t at = i + k * D::width;
          const int valid = left == L::width ? D::width : left - k * D::width;
          if (valid <= 0) break;
          const int lanes = valid < D::width ? valid : D::width;
          const Vec<double> d = values.at(k) - D::load(first + at, lanes);
          D::store(sum + at, D::load(sum + at, lanes) + d, lanes);
          D::store(square + at, D::load(square + at, lanes) + d * d, lanes);
        }
      }
    }
    for (std::int64_t i = 0; i < width; i += a.channels) {
      for (std::int64_t c = 0; c < a.channels; ++c) sums[c] += sum[i + c];
      for (std::int64_t c = 0; c < a.channels; ++c) sums[a.channels + c] += square[i + c];
    }
  }
}

}  // namespace

void channel_statistics_kernel(const ChannelStatistics& args, std::int64_t begin, std::int64_t end,
                               double* scratch) {
  with_element(args.dtype, [&](auto element) { chunks_of<decltype(element)>(args, begin, end, scratch); });
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
