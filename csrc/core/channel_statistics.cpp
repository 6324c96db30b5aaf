#include "eccsnn/channel_statistics.h"

#include <vector>

#include "channel_statistics_dispatch.h"

namespace eccsnn {
namespace {

template <class C, class Load>
void finish(const ChannelStatistics& args, const Load& first_of, void* mean, void* variance) {
  const std::int64_t chunk = channel_statistics_chunk(args.channels);
  const std::int64_t chunks = (args.rows + chunk - 1) / chunk;
  const auto count = static_cast<double>(args.rows);
  for (std::int64_t c = 0; c < args.channels; ++c) {
    double sum = 0.0, square = 0.0;
    for (std::int64_t i = 0; i < chunks; ++i) {
      sum += args.sums[2 * i * args.channels + c];
      square += args.sums[(2 * i + 1) * args.channels + c];
    }
    const double from_first = sum / count;
    const double spread = square / count - from_first * from_first;
    static_cast<C*>(mean)[c] = static_cast<C>(first_of(c) + from_first);
    static_cast<C*>(variance)[c] = static_cast<C>(spread < 0.0 ? 0.0 : spread);  // NaN stays
  }
}

float bfloat16_to_float(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &word, sizeof(value));
  return value;
}

float float16_to_float(std::uint16_t bits) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7fff) << 13;
  float value;
  if ((bits & 0x7c00) == 0x7c00) {
    const std::uint32_t special = magnitude | 0x7f800000u;
    __builtin_memcpy(&value, &special, sizeof(value));
  } else {
    __builtin_memcpy(&value, &magnitude, sizeof(value));
    value *= 0x1p112f;  // corrects the exponent's bias, subnormals included
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

}  // namespace

void channel_statistics(const ChannelStatistics& args, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  std::vector<double> scratch(
      static_cast<std::size_t>(3 * channel_statistics_side_by_side(args.channels) * args.channels));
  ECCSNN_KERNEL(channel_statistics_kernel)(args, begin, end, scratch.data());
}

void finish_channel_statistics(const ChannelStatistics& args, void* mean, void* variance) {
  const void* x = args.x;
  switch (args.dtype) {
    case DType::kFloat64:
      return finish<double>(
          args, [x](std::int64_t c) { return static_cast<const double*>(x)[c]; }, mean, variance);
    case DType::kFloat32:
      return finish<float>(
          args, [x](std::int64_t c) { return static_cast<double>(static_cast<const float*>(x)[c]); }, mean,
          variance);
    case DType::kBFloat16:
      return finish<float>(
          args,
          [x](std::int64_t c) {
            return static_cast<double>(bfloat16_to_float(static_cast<const std::uint16_t*>(x)[c]));
          },
          mean, variance);
    case DType::kFloat16:
      return finish<float>(
          args,
          [x](std::int64_t c) {
            return static_cast<double>(float16_to_float(static_cast<const std::uint16_t*>(x)[c]));
          },
          mean, variance);
  }
}

}  // namespace eccsnn
