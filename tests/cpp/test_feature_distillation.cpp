#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "eccsnn/feature_distillation.h"

namespace {

using eccsnn::DType;
using eccsnn::PoolWindow;
using eccsnn::SpikeCountPool;
using eccsnn::SpikeCountPoolBackward;
using eccsnn::SpikeView;

SpikeView view_of(std::int64_t t, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                  bool channels_last) {
  if (channels_last) return {t, n, c, h, w, n * c * h * w, c * h * w, 1, w * c, c};
  return {t, n, c, h, w, n * c * h * w, c * h * w, h * w, w, 1};
}

// The definition, one output at a time.
template <class T>
std::vector<T> expected_counts(const std::vector<T>& spikes, const SpikeView& v, const PoolWindow& k) {
  std::vector<T> counts;
  for (std::int64_t n = 0; n < v.batch; ++n) {
    for (std::int64_t c = 0; c < v.channels; ++c) {
      for (std::int64_t i = 0; i < v.height; i += k.kernel_h) {
        for (std::int64_t j = 0; j < v.width; j += k.kernel_w) {
          T sum = 0;
          for (std::int64_t b = 0; b < k.kernel_w; ++b) {
            T column = 0;
            for (std::int64_t t = 0; t < v.timesteps; ++t) {
              for (std::int64_t a = 0; a < k.kernel_h; ++a) {
                column += spikes[t * v.stride_t + n * v.stride_n + c * v.stride_c + (i + a) * v.stride_h +
                                 (j + b) * v.stride_w];
              }
            }
            sum += column;
          }
          counts.push_back(sum / static_cast<T>(k.divisor));
        }
      }
    }
  }
  return counts;
}

template <class T>
void expect_definition(DType dtype, std::int64_t c, std::int64_t w, const PoolWindow& window,
                       bool channels_last) {
  const SpikeView view = view_of(3, 2, c, 6, w, channels_last);
  std::vector<T> values(3 * 2 * c * 6 * w);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i * 37 % 101) / T{7};
  const std::vector<T> expected = expected_counts(values, view, window);
  std::vector<T> counts(expected.size(), T{-1});
  const SpikeCountPool args{dtype, view, window, values.data(), counts.data()};
  for (std::int64_t row = 0; row < args.rows(); ++row) eccsnn::spike_count_pool(args, row, row + 1);
  EXPECT_EQ(counts, expected) << "C = " << c << ", W = " << w << ", channels last: " << channels_last;
}

// Bit for bit, for values that do not add exactly: the order of the sum is part of the contract.
TEST(SpikeCountPool, HasTheBitsOfTheDefinition) {
  for (const bool channels_last : {false, true}) {
    for (const std::int64_t c : {1, 3, 17}) {
      for (const std::int64_t w : {2, 6, 34}) {
        for (const PoolWindow& window : {PoolWindow{1, 1, 1}, PoolWindow{2, 2, 12}, PoolWindow{6, w, 1}}) {
          expect_definition<float>(DType::kFloat32, c, w, window, channels_last);
          expect_definition<double>(DType::kFloat64, c, w, window, channels_last);
        }
      }
    }
  }
}

TEST(SpikeCountPool, CountsHalfPrecisionSpikesInFloat) {
  // 4096 + 1 is not a float16: counts are kept wider than the spikes.
  const std::int64_t timesteps = 4097;
  const std::vector<std::uint16_t> half(timesteps, 0x3c00), bfloat(timesteps, 0x3f80);
  for (const auto& [dtype, data] :
       {std::pair{DType::kFloat16, &half}, std::pair{DType::kBFloat16, &bfloat}}) {
    float count = 0;
    const SpikeCountPool args{dtype, view_of(timesteps, 1, 1, 1, 1, false), {1, 1, 1}, data->data(), &count};
    eccsnn::spike_count_pool(args, 0, 1);
    EXPECT_EQ(count, 4097.0f);
  }
}

TEST(SpikeCountPool, TakesOneImageRepeatedOverTime) {
  SpikeView view = view_of(5, 1, 1, 2, 2, false);
  view.stride_t = 0;
  const std::vector<float> image{1, 0, 1, 1};
  float count = 0;
  const SpikeCountPool args{DType::kFloat32, view, {2, 2, 1}, image.data(), &count};
  eccsnn::spike_count_pool(args, 0, 1);
  EXPECT_EQ(count, 15.0f);
}

TEST(SpikeCountPoolBackward, SpreadsTheGradientOverTheWindow) {
  const std::vector<float> grad{8, 16};  // one plane of 1 x 2
  std::vector<float> spread(8, -1.0f);
  SpikeCountPoolBackward args;
  args.dtype = DType::kFloat32;
  args.planes = 1;
  args.pooled_h = 1;
  args.pooled_w = 2;
  args.window = {2, 2, 8};
  args.grad = grad.data();
  args.grad_spikes = spread.data();
  eccsnn::spike_count_pool_backward(args, 0, 1);
  EXPECT_EQ(spread, (std::vector<float>{1, 1, 2, 2, 1, 1, 2, 2}));
}

TEST(SpikeCountPoolBackward, MapsWithoutColumnsTouchNoMemory) {
  SpikeCountPoolBackward args;
  args.planes = 2;
  args.pooled_h = 3;
  args.pooled_w = 0;
  args.window = {2, 2, 1};
  eccsnn::spike_count_pool_backward(args, 0, 2);
}

}  // namespace
