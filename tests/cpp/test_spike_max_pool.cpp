// The gradient of max pooling over spikes against a plain scalar loop over dense spikes, on every instruction
// set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "eccsnn/isa.h"
#include "eccsnn/spike_bits.h"
#include "eccsnn/spike_max_pool.h"
#include "spike_max_pool_dispatch.h"

namespace {

using eccsnn::DType;
using eccsnn::SpikeMaxPoolBackward;

struct Kernel {
  std::string isa;
  void (*backward)(const SpikeMaxPoolBackward&, std::int64_t, std::int64_t);
};

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all = {{"baseline", eccsnn::baseline::spike_max_pool_backward_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) all.push_back({"avx2", eccsnn::avx2::spike_max_pool_backward_kernel});
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::spike_max_pool_backward_kernel});
  }
#endif
  return all;
}

struct Case {
  std::int64_t channels, height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
};

// Tiles, tiles with a rest, overlaps, gaps, padding; channels around the widths of bytes, vectors and words.
std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const std::int64_t channels : {1, 3, 8, 13, 16, 63, 64, 65, 130}) {
    all.push_back({channels, 6, 4, 2, 2, 2, 2, 0, 0});
    all.push_back({channels, 7, 5, 2, 2, 2, 2, 0, 0});
    all.push_back({channels, 6, 5, 3, 3, 2, 2, 1, 1});
    all.push_back({channels, 6, 6, 3, 2, 1, 2, 0, 1});
    all.push_back({channels, 8, 7, 2, 1, 3, 3, 0, 0});
  }
  return all;
}

template <class E>
void expect_as_a_scalar_loop_does(DType dtype) {
  const std::int64_t batch = 3;
  std::mt19937 random(0);
  for (const Case& k : all_cases()) {
    SpikeMaxPoolBackward args{dtype,      k.channels, k.height,   k.width,    0,           0,
                              k.kernel_h, k.kernel_w, k.stride_h, k.stride_w, k.padding_h, k.padding_w};
    args.pooled_h = (k.height + 2 * k.padding_h - k.kernel_h) / k.stride_h + 1;
    args.pooled_w = (k.width + 2 * k.padding_w - k.kernel_w) / k.stride_w + 1;
    const std::int64_t image = k.height * k.width * k.channels;
    const std::int64_t pooled = args.pooled_h * args.pooled_w * k.channels;
    std::vector<E> spikes(static_cast<std::size_t>(batch * image)),
        grad(static_cast<std::size_t>(batch * pooled));
    for (E& value : spikes) value = random() % 4 == 0 ? 1 : 0;
    for (E& value : grad) value = static_cast<E>(static_cast<int>(random() % 2001) - 1000) / 64;
    grad[0] = static_cast<E>(-0.0);

    std::vector<E> expected(spikes.size(), 0);
    for (std::int64_t n = 0; n < batch; ++n) {
      for (std::int64_t i = 0; i < args.pooled_h; ++i) {
        for (std::int64_t j = 0; j < args.pooled_w; ++j) {
          for (std::int64_t c = 0; c < k.channels; ++c) {
            std::int64_t best = -1;
            for (std::int64_t a = 0; a < k.kernel_h; ++a) {
              for (std::int64_t b = 0; b < k.kernel_w; ++b) {
                const std::int64_t h = i * k.stride_h - k.padding_h + a, w = j * k.stride_w - k.padding_w + b;
                if (h < 0 || h >= k.height || w < 0 || w >= k.width) continue;
                const std::int64_t at = n * image + (h * k.width + w) * k.channels + c;
                if (best < 0 || spikes[static_cast<std::size_t>(at)] > spikes[static_cast<std::size_t>(best)])
                  best = at;
              }
            }
            expected[static_cast<std::size_t>(best)] +=
                grad[static_cast<std::size_t>(n * pooled + (i * args.pooled_w + j) * k.channels + c)];
          }
        }
      }
    }

    std::vector<std::uint8_t> bits((spikes.size() + 7) / 8);
    eccsnn::pack_bits({dtype, spikes.data(), bits.data()}, 0, batch * image);
    args.bits = bits.data();
    args.bytes = static_cast<std::int64_t>(bits.size());
    args.grad = grad.data();
    for (const Kernel& kernel : all_kernels()) {
      SCOPED_TRACE(kernel.isa + ", " + std::to_string(k.channels) + " channels, kernel " +
                   std::to_string(k.kernel_h) + " x " + std::to_string(k.kernel_w));
      std::vector<E> result(spikes.size(), static_cast<E>(42));
      args.grad_spikes = result.data();
      kernel.backward(args, 0, 1);  // any split of the batch
      kernel.backward(args, 1, batch);
      EXPECT_EQ(std::memcmp(result.data(), expected.data(), expected.size() * sizeof(E)), 0);
    }
  }
}

TEST(SpikeMaxPool, GradientsOfFloatsAreThoseOfAScalarLoop) {
  expect_as_a_scalar_loop_does<float>(DType::kFloat32);
}

TEST(SpikeMaxPool, GradientsOfDoublesAreThoseOfAScalarLoop) {
  expect_as_a_scalar_loop_does<double>(DType::kFloat64);
}

// 1 + 1/256 in bfloat16 is 1: gradients that meet are rounded at every addition, in the order of windows.
TEST(SpikeMaxPool, SumsAreRoundedInTheElementType) {
  SpikeMaxPoolBackward args{DType::kBFloat16, 1, 1, 3, 1, 2, 1, 2, 1, 1, 0, 0};
  const std::uint8_t bits = 0b010;  // the middle one, in both windows
  const std::uint16_t grad[2] = {0x3f80, 0x3b80};
  std::uint16_t result[3] = {9, 9, 9};
  args.bits = &bits;
  args.bytes = 1;
  args.grad = grad;
  args.grad_spikes = result;
  for (const Kernel& kernel : all_kernels()) {
    kernel.backward(args, 0, 1);
    EXPECT_EQ(result[0], 0) << kernel.isa;
    EXPECT_EQ(result[1], 0x3f80) << kernel.isa;
    EXPECT_EQ(result[2], 0) << kernel.isa;
  }
}

}  // namespace
