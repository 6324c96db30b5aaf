// The bit kernels against plain scalar loops, on every instruction set that this processor has.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "eccsnn/isa.h"
#include "eccsnn/spike_bits.h"
#include "spike_bits_dispatch.h"

namespace {

using eccsnn::BFloat16;
using eccsnn::DType;
using eccsnn::Float16;
using eccsnn::kSpikeBitsBlock;
using eccsnn::PackBits;
using eccsnn::UnpackBits;

struct Kernels {
  std::string isa;
  std::int64_t (*pack)(const PackBits&, std::int64_t, std::int64_t);
  void (*unpack)(const UnpackBits&, std::int64_t, std::int64_t);
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {
      {"baseline", eccsnn::baseline::pack_bits_kernel, eccsnn::baseline::unpack_bits_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) {
    all.push_back({"avx2", eccsnn::avx2::pack_bits_kernel, eccsnn::avx2::unpack_bits_kernel});
  }
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::pack_bits_kernel, eccsnn::avx512::unpack_bits_kernel});
  }
#endif
  return all;
}

// Values that the tests need, as each type stores them.
template <class E>
struct Values;
template <>
struct Values<float> {
  static constexpr DType dtype = DType::kFloat32;
  static constexpr float zero = 0.0f, negative_zero = -0.0f, one = 1.0f;
  static std::vector<float> strange() {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    return {0.5f,
            -1.0f,
            2.0f,
            1.0000001f,
            std::numeric_limits<float>::denorm_min(),
            -nan,
            nan,
            std::numeric_limits<float>::infinity()};
  }
};
template <>
struct Values<double> {
  static constexpr DType dtype = DType::kFloat64;
  static constexpr double zero = 0.0, negative_zero = -0.0, one = 1.0;
  static std::vector<double> strange() {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {0.5,
            -1.0,
            2.0,
            1.0000000000000002,
            std::numeric_limits<double>::denorm_min(),
            -nan,
            nan,
            std::numeric_limits<double>::infinity()};
  }
};
template <>
struct Values<BFloat16> {
  static constexpr DType dtype = DType::kBFloat16;
  static constexpr BFloat16 zero{0}, negative_zero{0x8000}, one{0x3f80};
  // 1/2, -1, 1 and a bit, the smallest subnormal, NaN, infinity
  static std::vector<BFloat16> strange() { return {{0x3f00}, {0xbf80}, {0x3f81}, {1}, {0x7fc0}, {0x7f80}}; }
};
template <>
struct Values<Float16> {
  static constexpr DType dtype = DType::kFloat16;
  static constexpr Float16 zero{0}, negative_zero{0x8000}, one{0x3c00};
  static std::vector<Float16> strange() { return {{0x3800}, {0xbc00}, {0x3c01}, {1}, {0x7e00}, {0x7c00}}; }
};

template <class E>
class SpikeBitsOf : public testing::Test {};
using Elements = testing::Types<float, double, BFloat16, Float16>;
TYPED_TEST_SUITE(SpikeBitsOf, Elements);

// Around the widths of vectors, of words and of blocks.
const std::vector<std::int64_t> kSizes = {0,  1,  7,  8,   9,   15,  16,  17,   31,   32,   33,
                                          63, 64, 65, 127, 128, 129, 200, 4095, 4096, 4097, 2 * 4096 + 77};

std::vector<bool> random_fired(std::int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  std::vector<bool> fired(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < fired.size(); ++i) fired[i] = random() % 3 == 0;
  return fired;
}

std::vector<std::uint8_t> scalar_bits(const std::vector<bool>& fired) {
  std::vector<std::uint8_t> bits((fired.size() + 7) / 8, 0);
  for (std::size_t i = 0; i < fired.size(); ++i) {
    if (fired[i]) bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (1u << (i % 8)));
  }
  return bits;
}

template <class E>
std::vector<E> elements(const std::vector<bool>& fired, bool some_negative) {
  std::vector<E> spikes(fired.size());
  for (std::size_t i = 0; i < fired.size(); ++i) {
    spikes[i] = fired[i]                 ? Values<E>::one
                : some_negative && i % 2 ? Values<E>::negative_zero
                                         : Values<E>::zero;
  }
  return spikes;
}

TYPED_TEST(SpikeBitsOf, PackAsAScalarLoopDoes) {
  using E = TypeParam;
  for (const Kernels& kernels : all_kernels()) {
    for (const std::int64_t count : kSizes) {
      SCOPED_TRACE(kernels.isa + ", " + std::to_string(count) + " elements");
      const std::vector<bool> fired = random_fired(count);
      const std::vector<E> spikes = elements<E>(fired, true);
      std::vector<std::uint8_t> expected = scalar_bits(fired);
      std::vector<std::uint8_t> bits(expected.size() + 1, 0xa5);  // the last byte is nobody's
      expected.push_back(0xa5);
      const PackBits args{Values<E>::dtype, spikes.data(), bits.data()};
      for (std::int64_t begin = 0; begin < count; begin += kSpikeBitsBlock) {
        const std::int64_t end = begin + kSpikeBitsBlock < count ? begin + kSpikeBitsBlock : count;
        EXPECT_EQ(kernels.pack(args, begin, end), -1);
      }
      EXPECT_EQ(bits, expected);
      EXPECT_EQ(kernels.pack(args, 0, count), -1);
      EXPECT_EQ(bits, expected);
    }
  }
}

TYPED_TEST(SpikeBitsOf, UnpackToTheSameElements) {
  using E = TypeParam;
  for (const Kernels& kernels : all_kernels()) {
    for (const std::int64_t count : kSizes) {
      SCOPED_TRACE(kernels.isa + ", " + std::to_string(count) + " elements");
      const std::vector<bool> fired = random_fired(count);
      std::vector<std::uint8_t> bits = scalar_bits(fired);
      if (count % 8 != 0) bits.back() = static_cast<std::uint8_t>(bits.back() | (0xffu << (count % 8)));
      std::vector<E> expected = elements<E>(fired, false);
      expected.push_back(Values<E>::negative_zero);  // nobody's
      std::vector<E> spikes(expected.size(), Values<E>::negative_zero);
      const UnpackBits args{Values<E>::dtype, bits.data(), spikes.data()};
      for (std::int64_t begin = 0; begin < count; begin += kSpikeBitsBlock) {
        const std::int64_t end = begin + kSpikeBitsBlock < count ? begin + kSpikeBitsBlock : count;
        kernels.unpack(args, begin, end);
      }
      EXPECT_EQ(std::memcmp(spikes.data(), expected.data(), expected.size() * sizeof(E)), 0);
    }
  }
}

TYPED_TEST(SpikeBitsOf, TheFirstElementThatIsNoSpikeIsReported) {
  using E = TypeParam;
  const std::int64_t count = 2 * kSpikeBitsBlock + 77;
  for (const Kernels& kernels : all_kernels()) {
    for (const E strange : Values<E>::strange()) {
      for (const std::int64_t at : {std::int64_t{0}, std::int64_t{63}, kSpikeBitsBlock - 1,
                                    kSpikeBitsBlock + 65, 2 * kSpikeBitsBlock + 3, count - 1}) {
        SCOPED_TRACE(kernels.isa + ", element " + std::to_string(at));
        const std::vector<bool> fired = random_fired(count);
        std::vector<E> spikes = elements<E>(fired, true);
        spikes[static_cast<std::size_t>(at)] = strange;
        spikes.back() = strange;  // a later one
        std::vector<std::uint8_t> bits(static_cast<std::size_t>(count + 7) / 8);
        const PackBits args{Values<E>::dtype, spikes.data(), bits.data()};
        EXPECT_EQ(kernels.pack(args, 0, count), at);
        EXPECT_TRUE(bits[static_cast<std::size_t>(at / 8)] >> (at % 8) & 1);
        if (at >= kSpikeBitsBlock) {
          EXPECT_EQ(kernels.pack(args, 0, kSpikeBitsBlock), -1);
        }
      }
    }
  }
}

TEST(SpikeBits, BitIOfByteJIsElement8JPlusI) {
  const std::vector<float> spikes{1, 0, 1, 0, 0, 0, 0, 1, /* byte 1 */ 0, 1};
  std::vector<std::uint8_t> bits(2, 0xff);
  EXPECT_EQ(eccsnn::pack_bits({DType::kFloat32, spikes.data(), bits.data()}, 0, 10), -1);
  EXPECT_EQ(bits, (std::vector<std::uint8_t>{0b10000101, 0b00000010}));
  std::vector<float> back(10, 42.0f);
  eccsnn::unpack_bits({DType::kFloat32, bits.data(), back.data()}, 0, 10);
  EXPECT_EQ(back, spikes);
}

}  // namespace
