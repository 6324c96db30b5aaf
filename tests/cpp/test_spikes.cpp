#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "eccsnn/spikes.h"

namespace {

using eccsnn::PackSpikes;
using eccsnn::SpikeBits;
using eccsnn::SpikeView;
using eccsnn::UnpackSpikes;

constexpr SpikeBits kFloatBits{4, 0x3f800000, 0x80000000};

// Contiguous [T, N, C, H, W], or with channels innermost in memory.
SpikeView view_of(std::int64_t t, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                  bool channels_last) {
  if (channels_last) return {t, n, c, h, w, n * c * h * w, c * h * w, 1, w * c, c};
  return {t, n, c, h, w, n * c * h * w, c * h * w, h * w, w, 1};
}

std::vector<std::uint8_t> pack(const std::vector<float>& spikes, const SpikeView& view) {
  std::vector<std::uint8_t> packed(view.rows() * view.width * view.packed_channels(), 0xaa);
  PackSpikes args{kFloatBits, view, spikes.data(), packed.data()};
  EXPECT_EQ(eccsnn::pack_spikes(args, 0, view.rows()), -1);
  return packed;
}

TEST(PackSpikes, BitIOfByteJIsChannel8JPlusI) {
  const std::vector<float> spikes{1, 0, 1, 0, 0, 0, 0, 1, /* byte 1 */ 0, 1};
  EXPECT_EQ(pack(spikes, view_of(1, 1, 10, 1, 1, false)),
            (std::vector<std::uint8_t>{0b10000101, 0b00000010}));
}

TEST(PackSpikes, PixelsComeBeforeChannelsInTheOutput) {
  // Two channels of 1 x 2 pixels; channel 0 fires at both, channel 1 at the second.
  const std::vector<std::uint8_t> expected{0b01, 0b11};
  EXPECT_EQ(pack({1, 1, 0, 1}, view_of(1, 1, 2, 1, 2, false)), expected);
  EXPECT_EQ(pack({1, 0, 1, 1}, view_of(1, 1, 2, 1, 2, true)), expected);
}

TEST(PackSpikes, ReportsTheFirstOffenderOfTheRange) {
  for (const bool channels_last : {false, true}) {
    const SpikeView view = view_of(2, 1, 9, 2, 3, channels_last);
    std::vector<float> spikes(2 * 9 * 2 * 3, 0.0f);
    std::vector<std::uint8_t> packed(view.rows() * view.width * view.packed_channels());
    const auto put = [&](std::int64_t t, std::int64_t c, std::int64_t h, std::int64_t w, float value) {
      spikes[t * view.stride_t + c * view.stride_c + h * view.stride_h + w * view.stride_w] = value;
    };
    put(1, 2, 0, 1, 0.5f);
    put(1, 8, 0, 0, std::numeric_limits<float>::quiet_NaN());  // earlier pixel, later channel
    const PackSpikes args{kFloatBits, view, spikes.data(), packed.data()};
    EXPECT_EQ(eccsnn::pack_spikes(args, 0, 2), -1);                           // t = 0 alone is clean
    EXPECT_EQ(eccsnn::pack_spikes(args, 0, view.rows()), 2 * 3 * 9 + 8);      // row 2, w = 0, c = 8
    put(1, 8, 0, 0, -0.0f);                                                   // counts as 0
    EXPECT_EQ(eccsnn::pack_spikes(args, 0, view.rows()), 2 * 3 * 9 + 9 + 2);  // row 2, w = 1, c = 2
  }
}

TEST(PackSpikes, OneByteTypesHaveNoNegativeZero) {
  const std::vector<std::uint8_t> spikes{0x80};
  std::uint8_t packed = 0;
  const PackSpikes args{{1, 1, 0}, view_of(1, 1, 1, 1, 1, false), spikes.data(), &packed};
  EXPECT_EQ(eccsnn::pack_spikes(args, 0, 1), 0);
}

template <class Word>
void expect_round_trip(const SpikeBits& bits, std::int64_t channels, bool channels_last) {
  const SpikeView view = view_of(3, 2, channels, 2, 5, channels_last);
  std::vector<Word> spikes(3 * 2 * channels * 2 * 5);
  for (std::size_t i = 0; i < spikes.size(); ++i)
    spikes[i] = (i * 7 % 11) < 4 ? static_cast<Word>(bits.one) : Word{0};
  std::vector<std::uint8_t> packed(view.rows() * view.width * view.packed_channels(), 0xff);
  std::vector<Word> back(spikes.size(), Word{42});
  const PackSpikes pack_args{bits, view, spikes.data(), packed.data()};
  const UnpackSpikes unpack_args{bits, view, packed.data(), back.data()};
  for (std::int64_t begin = 0; begin < view.rows(); begin += 5) {  // any split of the range
    const std::int64_t end = begin + 5 < view.rows() ? begin + 5 : view.rows();
    EXPECT_EQ(eccsnn::pack_spikes(pack_args, begin, end), -1);
    eccsnn::unpack_spikes(unpack_args, begin, end);
  }
  EXPECT_EQ(back, spikes);
}

TEST(PackSpikes, RoundTripIsExactForEveryElementSize) {
  for (const bool channels_last : {false, true}) {
    for (const std::int64_t channels : {1, 7, 8, 9, 64}) {
      expect_round_trip<std::uint8_t>({1, 1, 0}, channels, channels_last);
      expect_round_trip<std::uint16_t>({2, 0x3c00, 0x8000}, channels, channels_last);
      expect_round_trip<std::uint32_t>(kFloatBits, channels, channels_last);
      expect_round_trip<std::uint64_t>({8, 0x3ff0000000000000, 0x8000000000000000}, channels, channels_last);
    }
  }
}

}  // namespace
