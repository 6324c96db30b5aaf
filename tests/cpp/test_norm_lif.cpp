// Batch norm within the LIF kernels, and its statistics, against plain loops on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "channel_statistics_dispatch.h"
#include "eccsnn/channel_statistics.h"
#include "eccsnn/isa.h"
#include "eccsnn/lif.h"
#include "lif_dispatch.h"

namespace {

using namespace eccsnn;

struct Kernels {
  std::string isa;
  void (*forward)(const LifForward&, std::int64_t, std::int64_t);
  void (*backward)(const LifBackward&, std::int64_t, std::int64_t);
  void (*norm_backward)(const NormBackward&, std::int64_t, std::int64_t);
  void (*statistics)(const ChannelStatistics&, std::int64_t, std::int64_t, double*);
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {{"baseline", baseline::lif_forward_kernel, baseline::lif_backward_kernel,
                               baseline::norm_backward_kernel, baseline::channel_statistics_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  if (isa_choice().supported >= Isa::kAvx2) {
    all.push_back({"avx2", avx2::lif_forward_kernel, avx2::lif_backward_kernel, avx2::norm_backward_kernel,
                   avx2::channel_statistics_kernel});
  }
  if (isa_choice().supported >= Isa::kAvx512) {
    all.push_back({"avx512", avx512::lif_forward_kernel, avx512::lif_backward_kernel,
                   avx512::norm_backward_kernel, avx512::channel_statistics_kernel});
  }
#endif
  return all;
}

std::vector<float> random_values(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.5f, 1.5f);
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Case {
  std::int64_t timesteps, pixels, channels;
};
const std::vector<Case> kCases = {{4, 7, 5},    {3, 1, 1},    {2, 9, 16},  {18, 3, 70},
                                  {2, 300, 12}, {1, 5, 2100}, {2, 40, 512}};

TEST(NormLif, IsTheNeuronOnNormalisedInputs) {
  for (const auto& [timesteps, pixels, channels] : kCases) {
    const std::int64_t neurons = pixels * channels;
    const auto x = random_values(timesteps * neurons, 1), grad_spikes = random_values(timesteps * neurons, 2);
    const auto mean = random_values(channels, 3), scale = random_values(channels, 4),
               bias = random_values(channels, 5);
    std::vector<float> normalised(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = i % channels;
      normalised[i] = (x[i] - mean[c]) * scale[c] + bias[c];
    }
    LifForward plain;
    plain.timesteps = timesteps;
    plain.neurons = neurons;
    plain.x = normalised.data();
    plain.x_step = neurons;
    std::vector<float> expected(x.size()), kept(lif_kept(timesteps) * neurons);
    plain.spikes = expected.data();
    plain.v_kept = kept.data();
    lif_forward(plain, 0, neurons);
    LifBackward plain_back;
    plain_back.timesteps = timesteps;
    plain_back.neurons = neurons;
    plain_back.x = normalised.data();
    plain_back.x_step = neurons;
    plain_back.v_kept = kept.data();
    plain_back.grad_spikes = grad_spikes.data();
    std::vector<float> expected_grad(x.size());
    plain_back.grad_x = expected_grad.data();
    lif_backward(plain_back, 0, neurons);
    std::vector<double> first_sums;
    for (const Kernels& kernels : all_kernels()) {
      LifForward forward = plain;
      forward.x = x.data();
      forward.norm = {channels, mean.data(), scale.data(), bias.data()};
      std::vector<float> spikes(x.size());
      forward.spikes = spikes.data();
      kernels.forward(forward, 0, neurons);
      EXPECT_EQ(spikes, expected) << kernels.isa << " channels " << channels;
      LifBackward backward = plain_back;
      backward.x = x.data();
      backward.norm = forward.norm;
      const std::int64_t chunk = lif_norm_chunk(channels), chunks = (neurons + chunk - 1) / chunk;
      std::vector<double> sums(chunks * 2 * channels);
      std::vector<float> grad_x(x.size());
      backward.norm_sums = sums.data();
      backward.grad_x = grad_x.data();
      for (std::int64_t i = 0; i < chunks; ++i) {
        kernels.backward(backward, i * chunk, std::min((i + 1) * chunk, neurons));
      }
      EXPECT_EQ(grad_x, expected_grad) << kernels.isa << " channels " << channels;
      if (first_sums.empty()) first_sums = sums;
      EXPECT_EQ(sums, first_sums) << kernels.isa << " channels " << channels;
      std::vector<double> exact(2 * channels), magnitude(2 * channels), found(2 * channels);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const std::size_t c = i % channels;
        const double g = expected_grad[i], centered = static_cast<double>(x[i] - mean[c]);
        exact[c] += g;
        exact[channels + c] += g * centered;
        magnitude[c] += std::fabs(g);
        magnitude[channels + c] += std::fabs(g * centered);
      }
      for (std::size_t i = 0; i < sums.size(); ++i) found[i % (2 * channels)] += sums[i];
      for (std::int64_t c = 0; c < 2 * channels; ++c) {
        EXPECT_NEAR(found[c], exact[c], 1e-6 * magnitude[c] + 1e-12)
            << kernels.isa << " channels " << channels;
      }
      // Without grad_x the sums are the same.
      std::vector<double> alone(sums.size());
      backward.norm_sums = alone.data();
      backward.grad_x = nullptr;
      for (std::int64_t i = 0; i < chunks; ++i) {
        kernels.backward(backward, i * chunk, std::min((i + 1) * chunk, neurons));
      }
      EXPECT_EQ(alone, sums) << kernels.isa;
      NormBackward rescale;
      rescale.timesteps = timesteps;
      rescale.neurons = neurons;
      rescale.channels = channels;
      rescale.x = x.data();
      rescale.x_step = neurons;
      rescale.mean = mean.data();
      rescale.scale = scale.data();
      rescale.slope = bias.data();  // any numbers
      rescale.offset = mean.data();
      rescale.grad_x = grad_x.data();
      kernels.norm_backward(rescale, 0, neurons);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const std::size_t c = i % channels;
        const float wanted = (expected_grad[i] * scale[c] - (x[i] - mean[c]) * bias[c]) - mean[c];
        ASSERT_EQ(grad_x[i], wanted) << kernels.isa << " element " << i;
      }
    }
  }
}

TEST(NormLif, ARepeatedInputGetsTheSumOverTime) {
  const std::int64_t timesteps = 5, channels = 6, neurons = 11 * channels;
  const auto x = random_values(neurons, 1), grad_spikes = random_values(timesteps * neurons, 2);
  const std::vector<float> mean(channels, 0.25f), scale(channels, 1.5f), bias(channels, 0.125f);
  LifBackward args;
  args.timesteps = timesteps;
  args.neurons = neurons;
  args.x = x.data();
  args.grad_spikes = grad_spikes.data();
  args.norm = {channels, mean.data(), scale.data(), bias.data()};
  for (const Kernels& kernels : all_kernels()) {
    std::vector<double> sums(2 * channels);
    std::vector<float> each(timesteps * neurons), sum(neurons);
    args.norm_sums = sums.data();
    args.sum_over_time = false;
    args.grad_x = each.data();
    kernels.backward(args, 0, neurons);
    args.sum_over_time = true;
    args.grad_x = sum.data();
    kernels.backward(args, 0, neurons);
    for (std::int64_t i = 0; i < neurons; ++i) {
      float expected = 0.0f;
      for (std::int64_t t = timesteps - 1; t >= 0; --t) expected += each[t * neurons + i];
      ASSERT_EQ(sum[i], expected) << kernels.isa;
    }
  }
}

TEST(ChannelStatistics, AreExactAndTheSameEverywhere) {
  for (const auto& [timesteps, pixels, channels] : kCases) {
    const std::int64_t rows = timesteps * pixels * 50;
    auto x = random_values(rows * channels, 7);
    x[0] = 500.0f;  // an outlier, and the origin of all differences
    ChannelStatistics args;
    args.rows = rows;
    args.channels = channels;
    args.x = x.data();
    const std::int64_t chunk = channel_statistics_chunk(channels), chunks = (rows + chunk - 1) / chunk;
    std::vector<double> scratch(3 * channel_statistics_side_by_side(channels) * channels);
    std::vector<double> first;
    for (const Kernels& kernels : all_kernels()) {
      std::vector<double> sums(chunks * 2 * channels);
      args.sums = sums.data();
      kernels.statistics(args, 0, chunks, scratch.data());
      if (first.empty()) first = sums;
      EXPECT_EQ(sums, first) << kernels.isa << " channels " << channels;
      std::vector<float> mean(channels), variance(channels);
      finish_channel_statistics(args, mean.data(), variance.data());
      for (std::int64_t c = 0; c < channels; ++c) {
        double sum = 0.0, square = 0.0;
        for (std::int64_t r = 0; r < rows; ++r) sum += x[r * channels + c];
        for (std::int64_t r = 0; r < rows; ++r) square += std::pow(x[r * channels + c] - sum / rows, 2);
        EXPECT_NEAR(mean[c], sum / rows, 1e-6 * (1.0 + std::fabs(sum / rows))) << kernels.isa;
        EXPECT_NEAR(variance[c], square / rows, 1e-6 * square / rows) << kernels.isa << " channel " << c;
      }
    }
  }
}

}  // namespace
