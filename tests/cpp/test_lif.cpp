// The LIF kernels against a plain scalar loop, on every instruction set that this processor has: the same
// bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "eccsnn/isa.h"
#include "eccsnn/lif.h"
#include "lif_dispatch.h"
#include "lif_scalar.h"

namespace {

using namespace lif_scalar;

struct Kernels {
  std::string isa;
  void (*forward)(const LifForward&, std::int64_t, std::int64_t);
  void (*backward)(const LifBackward&, std::int64_t, std::int64_t);
  void (*mask_backward)(const eccsnn::LifMaskBackward&, std::int64_t, std::int64_t);
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {{"baseline", eccsnn::baseline::lif_forward_kernel,
                               eccsnn::baseline::lif_backward_kernel,
                               eccsnn::baseline::lif_mask_backward_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) {
    all.push_back({"avx2", eccsnn::avx2::lif_forward_kernel, eccsnn::avx2::lif_backward_kernel,
                   eccsnn::avx2::lif_mask_backward_kernel});
  }
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::lif_forward_kernel, eccsnn::avx512::lif_backward_kernel,
                   eccsnn::avx512::lif_mask_backward_kernel});
  }
#endif
  return all;
}

// ---- comparisons ----

template <class A>
bool same(const std::vector<A>& a, const std::vector<A>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if constexpr (std::is_floating_point_v<A>) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    }
    if (std::memcmp(&a[i], &b[i], sizeof(A)) != 0) return false;
  }
  return a.size() == b.size();
}

std::vector<LifParams> neurons_of_all_kinds() {
  std::vector<LifParams> all;
  for (double tau : {1.0, 2.0, 1.7, 0x1p60}) {
    for (double v_reset : {0.0, -0.25}) {
      for (bool hard : {true, false}) {
        for (Charge charge : {Charge::kDecayedInput, Charge::kLeaky, Charge::kIntegrate}) {
          LifParams p;
          p.tau = tau;
          p.v_reset = v_reset;
          p.hard_reset = hard;
          p.charge = charge;
          all.push_back(p);
        }
      }
    }
  }
  return all;
}

template <class T>
class Lif : public testing::Test {
 public:
  using Stored = typename T::Stored;
  using M = typename T::Membrane;

  std::vector<Stored> random_elements(std::size_t size) {
    std::normal_distribution<M> normal(0, 2);
    std::vector<Stored> values(size);
    for (Stored& value : values) value = T::store(normal(generator_));
    return values;
  }
  std::vector<M> random_membranes(std::size_t size) {
    std::normal_distribution<M> normal(0, 1);
    std::vector<M> values(size);
    for (M& value : values) value = normal(generator_);
    return values;
  }

 private:
  std::mt19937 generator_{7};
};

using Types = testing::Types<Float32, Float64, BFloat16, Float16>;
TYPED_TEST_SUITE(Lif, Types);

// What a forward pass writes.
template <class T>
struct Outputs {
  using Stored = typename T::Stored;
  using M = typename T::Membrane;

  explicit Outputs(const LifForward& args)
      : spikes(args.timesteps * args.neurons),
        kept(eccsnn::lif_kept(args.timesteps) * args.neurons),
        v(args.neurons),
        bits(args.timesteps * ((args.neurons + 7) / 8)) {}

  // Sets the pointers of `args`: to elements and kept membranes as in training, or to bits.
  LifForward into(LifForward args, bool packed) {
    args.spikes = packed ? nullptr : spikes.data();
    args.spike_bits = packed ? bits.data() : nullptr;
    args.v_kept = packed ? nullptr : kept.data();
    args.v_final = v.data();
    return args;
  }

  std::vector<Stored> spikes;
  std::vector<M> kept, v;
  std::vector<std::uint8_t> bits;
};

TYPED_TEST(Lif, ForwardHasTheBitsOfAScalarLoop) {
  using M = typename TypeParam::Membrane;
  for (const auto& [timesteps, neurons] : std::vector<std::pair<std::int64_t, std::int64_t>>{{5, 1},
                                                                                             {5, 3},
                                                                                             {5, 4},
                                                                                             {5, 7},
                                                                                             {5, 8},
                                                                                             {5, 15},
                                                                                             {5, 16},
                                                                                             {5, 17},
                                                                                             {5, 33},
                                                                                             {5, 63},
                                                                                             {5, 64},
                                                                                             {5, 65},
                                                                                             {5, 130},
                                                                                             {16, 70},
                                                                                             {17, 70},
                                                                                             {35, 70}}) {
    auto x = this->random_elements(timesteps * neurons);
    const auto v_init = this->random_membranes(neurons);
    // Every special input once.
    for (double special :
         {std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL, -0.0, 1e-40, 6e-8, 65519.0}) {
      x[static_cast<std::size_t>(std::fabs(special) < 1 ? neurons : 2 * neurons) % x.size()] =
          TypeParam::store(static_cast<M>(special));
      for (LifParams params : neurons_of_all_kinds()) {
        for (bool with_state : {false, true}) {
          // With a threshold below rest, lanes past the end would fire, too.
          params.v_threshold = with_state ? 1.0 : -0.125;
          LifForward args;
          args.params = params;
          args.dtype = TypeParam::dtype;
          args.timesteps = timesteps;
          args.neurons = neurons;
          args.x = x.data();
          args.x_step = neurons;
          args.v_init = with_state ? v_init.data() : nullptr;
          for (bool packed : {false, true}) {
            Outputs<TypeParam> found(args), expected(args);
            scalar_forward<TypeParam>(expected.into(args, packed));
            for (const Kernels& kernels : all_kernels()) {
              kernels.forward(found.into(args, packed), 0, neurons);
              ASSERT_TRUE(same(found.spikes, expected.spikes)) << kernels.isa << " neurons " << neurons;
              ASSERT_TRUE(same(found.bits, expected.bits)) << kernels.isa << " neurons " << neurons;
              ASSERT_TRUE(same(found.kept, expected.kept)) << kernels.isa << " tau " << params.tau;
              ASSERT_TRUE(same(found.v, expected.v)) << kernels.isa << " tau " << params.tau;
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Lif, PackedInputIsWhatItUnpacksTo) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  const std::int64_t timesteps = 3, block = eccsnn::kLifBlock;
  const Stored one = TypeParam::store(static_cast<M>(1.625)), zero = TypeParam::store(M{0});
  std::mt19937 random(0);
  for (std::int64_t channels : {1, 2, 3, 8, 13, 24}) {
    for (std::int64_t pixels : {std::int64_t{1}, std::int64_t{23}, (2 * block + 77) / channels}) {
      const std::int64_t neurons = pixels * channels, bytes = (channels + 7) / 8;
      std::vector<std::uint8_t> packed(static_cast<std::size_t>(timesteps * pixels * bytes));
      for (std::uint8_t& byte : packed) byte = static_cast<std::uint8_t>(random());
      std::vector<Stored> x;
      for (std::int64_t pixel = 0; pixel < timesteps * pixels; ++pixel) {
        for (std::int64_t c = 0; c < channels; ++c) {
          const unsigned byte = packed[static_cast<std::size_t>(pixel * bytes + c / 8)];
          x.push_back((byte >> c % 8 & 1u) != 0 ? one : zero);
        }
      }
      LifForward args;
      args.dtype = TypeParam::dtype;
      args.timesteps = timesteps;
      args.neurons = neurons;
      args.x = x.data();
      args.x_step = neurons;
      Outputs<TypeParam> found(args), expected(args);
      scalar_forward<TypeParam>(expected.into(args, false));
      args.x = nullptr;
      args.x_bits = packed.data();
      args.x_channels = channels;
      std::memcpy(&args.x_one, &one, sizeof(one));
      for (const Kernels& kernels : all_kernels()) {
        for (std::int64_t begin = 0; begin < neurons; begin += block) {  // blocks begin within a pixel
          kernels.forward(found.into(args, false), begin, std::min(begin + block, neurons));
        }
        ASSERT_TRUE(same(found.spikes, expected.spikes)) << kernels.isa << " channels " << channels;
        ASSERT_TRUE(same(found.v, expected.v)) << kernels.isa << " channels " << channels;
      }
    }
  }
}

TYPED_TEST(Lif, WhatNobodyReadsIsNotWritten) {
  const std::int64_t timesteps = 3, neurons = 21;
  const auto x = this->random_elements(timesteps * neurons);
  std::vector<std::uint8_t> bits(timesteps * 3, 0xff);
  LifForward args;
  args.dtype = TypeParam::dtype;
  args.timesteps = timesteps;
  args.neurons = neurons;
  args.x = x.data();
  args.x_step = neurons;
  args.spike_bits = bits.data();
  for (const Kernels& kernels : all_kernels()) {
    kernels.forward(args, 0, neurons);  // spikes, v_kept and v_final are null
    for (std::int64_t t = 0; t < timesteps; ++t) EXPECT_EQ(bits[3 * t + 2] >> 5, 0) << kernels.isa;
  }
}

TYPED_TEST(Lif, BackwardHasTheBitsOfAScalarLoop) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  for (const auto& [timesteps, neurons] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {4, 1}, {4, 7}, {4, 16}, {4, 65}, {4, 131}, {1, 70}, {16, 70}, {17, 70}, {40, 70}}) {
    const auto x = this->random_elements(timesteps * neurons);
    const auto v_init = this->random_membranes(neurons);
    const auto grad_spikes = this->random_elements(timesteps * neurons);
    const auto grad_v = this->random_membranes(neurons);
    for (LifParams params : neurons_of_all_kinds()) {
      for (Surrogate surrogate : {Surrogate::kAtan, Surrogate::kRect}) {
        for (bool detach_reset : {true, false}) {
          for (bool with_state : {true, false}) {
            params.surrogate = surrogate;
            LifForward forward;
            forward.params = params;
            forward.dtype = TypeParam::dtype;
            forward.timesteps = timesteps;
            forward.neurons = neurons;
            forward.x = x.data();
            forward.x_step = neurons;
            forward.v_init = with_state ? v_init.data() : nullptr;
            Outputs<TypeParam> outputs(forward);
            eccsnn::lif_forward(outputs.into(forward, false), 0, neurons);
            std::vector<Stored> grad_x(timesteps * neurons), expected_x = grad_x;
            std::vector<M> grad_v_init(neurons), expected_v = grad_v_init;
            LifBackward args;
            args.params = params;
            args.detach_reset = detach_reset;
            args.dtype = TypeParam::dtype;
            args.timesteps = timesteps;
            args.neurons = neurons;
            args.grad_spikes = grad_spikes.data();
            args.grad_v_final = with_state ? grad_v.data() : nullptr;
            args.x = x.data();
            args.x_step = neurons;
            args.v_init = forward.v_init;
            args.v_kept = outputs.kept.data();
            args.grad_x = expected_x.data();
            args.grad_v_init = expected_v.data();
            scalar_backward<TypeParam>(args);
            args.grad_x = grad_x.data();
            args.grad_v_init = grad_v_init.data();
            for (const Kernels& kernels : all_kernels()) {
              kernels.backward(args, 0, neurons);
              ASSERT_TRUE(same(grad_x, expected_x)) << kernels.isa << " neurons " << neurons;
              ASSERT_TRUE(same(grad_v_init, expected_v)) << kernels.isa << " neurons " << neurons;
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Lif, BackwardFromBitsHasThoseFromX) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  for (const auto& [timesteps, neurons] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{4, 1}, {3, 67}, {20, 131}, {2, 1100}}) {
    auto x = this->random_elements(timesteps * neurons);
    x[0] = TypeParam::store(std::numeric_limits<M>::quiet_NaN());
    const auto v_init = this->random_membranes(neurons);
    const auto grad_spikes = this->random_elements(timesteps * neurons);
    const auto grad_v = this->random_membranes(neurons);
    const std::size_t bytes = timesteps * ((neurons + 7) / 8);
    for (LifParams params : neurons_of_all_kinds()) {
      params.surrogate = Surrogate::kRect;
      params.alpha = 1.5;
      LifForward forward;
      forward.params = params;
      forward.dtype = TypeParam::dtype;
      forward.timesteps = timesteps;
      forward.neurons = neurons;
      forward.x = x.data();
      forward.x_step = neurons;
      forward.v_init = v_init.data();
      Outputs<TypeParam> outputs(forward);
      eccsnn::lif_forward(outputs.into(forward, false), 0, neurons);
      LifBackward whole;
      whole.params = params;
      whole.dtype = TypeParam::dtype;
      whole.timesteps = timesteps;
      whole.neurons = neurons;
      whole.grad_spikes = grad_spikes.data();
      whole.grad_v_final = grad_v.data();
      whole.x = x.data();
      whole.x_step = neurons;
      whole.v_init = v_init.data();
      whole.v_kept = outputs.kept.data();
      std::vector<Stored> expected_x(timesteps * neurons);
      std::vector<M> expected_v(neurons);
      whole.grad_x = expected_x.data();
      whole.grad_v_init = expected_v.data();
      eccsnn::lif_backward(whole, 0, neurons);
      for (const Kernels& kernels : all_kernels()) {
        std::vector<std::uint8_t> fired(bytes), inside(bytes);
        std::vector<Stored> spikes(timesteps * neurons), grad_x(timesteps * neurons);
        std::vector<M> grad_v_init(neurons);
        LifForward masked = forward;
        masked.spikes = spikes.data();
        masked.spike_bits = fired.data();
        masked.window_bits = inside.data();
        kernels.forward(masked, 0, neurons);
        ASSERT_TRUE(same(spikes, outputs.spikes)) << kernels.isa;
        eccsnn::LifMaskBackward args;
        args.params = params;
        args.dtype = TypeParam::dtype;
        args.timesteps = timesteps;
        args.neurons = neurons;
        args.grad_spikes = grad_spikes.data();
        args.grad_v_final = grad_v.data();
        args.spike_bits = fired.data();
        args.window_bits = inside.data();
        args.grad_x = grad_x.data();
        args.grad_v_init = grad_v_init.data();
        kernels.mask_backward(args, 0, neurons);
        ASSERT_TRUE(same(grad_x, expected_x)) << kernels.isa << " neurons " << neurons;
        ASSERT_TRUE(same(grad_v_init, expected_v)) << kernels.isa << " neurons " << neurons;
      }
    }
  }
}

TYPED_TEST(Lif, SigmoidAndGradientOfTauAgreeBetweenInstructionSets) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  const std::int64_t timesteps = 3, neurons = 2 * eccsnn::kLifBlock + 77;
  const auto x = this->random_elements(timesteps * neurons);
  const auto grad_spikes = this->random_elements(timesteps * neurons);
  const auto v_init = this->random_membranes(neurons);
  for (LifParams params : neurons_of_all_kinds()) {
    params.surrogate = Surrogate::kSigmoid;
    params.alpha = 4.0;
    std::vector<M> h(timesteps * neurons);
    LifForward forward;
    forward.params = params;
    forward.timesteps = timesteps;
    forward.neurons = neurons;
    forward.x = x.data();
    forward.x_step = neurons;
    forward.v_init = v_init.data();
    scalar_forward<TypeParam>(forward, h.data());
    std::vector<Stored> first_x;
    std::vector<double> first_tau;
    for (const Kernels& kernels : all_kernels()) {
      std::vector<Stored> grad_x(timesteps * neurons);
      std::vector<double> grad_tau(3);
      LifBackward args;
      args.params = params;
      args.dtype = TypeParam::dtype;
      args.timesteps = timesteps;
      args.neurons = neurons;
      args.grad_spikes = grad_spikes.data();
      args.x = x.data();
      args.x_step = neurons;
      args.v_init = v_init.data();
      args.grad_x = grad_x.data();
      args.grad_tau = grad_tau.data();
      kernels.backward(args, 0, eccsnn::kLifBlock);
      kernels.backward(args, eccsnn::kLifBlock, neurons);
      if (first_x.empty()) {
        first_x = grad_x;
        first_tau = grad_tau;
      }
      EXPECT_TRUE(same(grad_x, first_x)) << kernels.isa;
      EXPECT_TRUE(same(grad_tau, first_tau)) << kernels.isa;
      for (std::int64_t i = 0; i < neurons; ++i) {
        // One step back from the end: no gradient has come through the membrane yet.
        const double u =
            static_cast<double>(h[(timesteps - 1) * neurons + i] - static_cast<M>(params.v_threshold));
        const double e = std::exp(-std::fabs(params.alpha * u));  // s (1 - s) without cancellation
        const double scale = params.charge == Charge::kDecayedInput
                                 ? 1 / static_cast<double>(static_cast<M>(params.tau))
                                 : 1.0;
        const double expected =
            static_cast<double>(TypeParam::load(grad_spikes[(timesteps - 1) * neurons + i])) * params.alpha *
            e / ((1 + e) * (1 + e)) * scale;
        const double found = static_cast<double>(TypeParam::load(grad_x[(timesteps - 1) * neurons + i]));
        const double relative = sizeof(Stored) == 2 ? 1e-2 : sizeof(Stored) == 4 ? 1e-5 : 1e-13;
        ASSERT_NEAR(found, expected, std::fabs(expected) * relative + (sizeof(Stored) == 2 ? 1e-7 : 0.0));
      }
    }
  }
}

TYPED_TEST(Lif, RepeatedInputIsReadInPlace) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  const std::int64_t timesteps = 4, neurons = 37;
  const auto x = this->random_elements(neurons);
  std::vector<Stored> repeated;
  for (int t = 0; t < timesteps; ++t) repeated.insert(repeated.end(), x.begin(), x.end());
  std::vector<Stored> spikes(timesteps * neurons), expected = spikes;
  std::vector<M> v(neurons), expected_v = v;
  LifForward args;
  args.dtype = TypeParam::dtype;
  args.timesteps = timesteps;
  args.neurons = neurons;
  args.x = repeated.data();
  args.x_step = neurons;
  args.spikes = expected.data();
  args.v_final = expected_v.data();
  eccsnn::lif_forward(args, 0, neurons);
  args.x = x.data();
  args.x_step = 0;
  args.spikes = spikes.data();
  args.v_final = v.data();
  eccsnn::lif_forward(args, 0, neurons);
  EXPECT_TRUE(same(spikes, expected));
  EXPECT_TRUE(same(v, expected_v));
}

TYPED_TEST(Lif, RangesSharedAmongThreadsGiveTheSameBits) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  const std::int64_t timesteps = 2, neurons = 5 * eccsnn::kLifBlock + 11;
  const auto x = this->random_elements(timesteps * neurons);
  std::vector<Stored> spikes(timesteps * neurons), expected = spikes;
  std::vector<M> v(neurons), expected_v = v;
  LifForward args;
  args.params.tau = 1.7;
  args.dtype = TypeParam::dtype;
  args.timesteps = timesteps;
  args.neurons = neurons;
  args.x = x.data();
  args.x_step = neurons;
  args.spikes = expected.data();
  args.v_final = expected_v.data();
  eccsnn::lif_forward(args, 0, neurons);
  args.spikes = spikes.data();
  args.v_final = v.data();
  std::vector<std::thread> threads;
  for (std::int64_t begin = 0; begin < neurons; begin += 2 * eccsnn::kLifBlock) {
    threads.emplace_back(
        [&, begin] { eccsnn::lif_forward(args, begin, std::min(begin + 2 * eccsnn::kLifBlock, neurons)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(same(spikes, expected));
  EXPECT_TRUE(same(v, expected_v));
}

TYPED_TEST(Lif, NothingIsTouchedOutsideTheRange) {
  using Stored = typename TypeParam::Stored;
  using M = typename TypeParam::Membrane;
  const std::int64_t neurons = 3;
  const auto x = this->random_elements(neurons);
  std::vector<Stored> spikes(neurons + 2, TypeParam::store(9));
  std::vector<M> v(neurons + 2, M{9});
  LifForward args;
  args.dtype = TypeParam::dtype;
  args.timesteps = 1;
  args.neurons = neurons;
  args.x = x.data();
  args.x_step = neurons;
  args.spikes = spikes.data() + 1;
  args.v_final = v.data() + 1;
  eccsnn::lif_forward(args, 0, neurons);
  EXPECT_EQ(spikes.front(), TypeParam::store(9));
  EXPECT_EQ(spikes.back(), TypeParam::store(9));
  EXPECT_EQ(v.front(), M{9});
  EXPECT_EQ(v.back(), M{9});
  eccsnn::lif_forward(args, 0, 0);
}

// All 65536 halves and all roundings near them, through a neuron that never fires and keeps its input.
TEST(LifHalves, ConversionsAreExactForEveryHalf) {
  const std::int64_t neurons = 65536;
  std::vector<std::uint16_t> x(neurons), spikes(neurons), grad_x(neurons);
  for (std::int64_t i = 0; i < neurons; ++i) x[i] = static_cast<std::uint16_t>(i);
  std::vector<float> v(neurons);
  for (const Kernels& kernels : all_kernels()) {
    for (DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      LifForward forward;
      forward.params.tau = 1.0;
      forward.params.charge = Charge::kLeaky;
      forward.params.v_threshold = std::numeric_limits<double>::quiet_NaN();
      forward.dtype = dtype;
      forward.timesteps = 1;
      forward.neurons = neurons;
      forward.x = x.data();
      forward.x_step = neurons;
      forward.spikes = spikes.data();
      forward.v_final = v.data();
      kernels.forward(forward, 0, neurons);
      const bool half = dtype == DType::kFloat16;
      for (std::int64_t i = 0; i < neurons; ++i) {
        const float expected = half ? from_float16(x[i]) : from_bfloat16(x[i]);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(v[i])) << kernels.isa << " " << i;
        } else {
          ASSERT_EQ(v[i], expected) << kernels.isa << " " << i;
        }
      }
      // And back: grad_x = grad_v_final rounded, with floats on and around the middle between two halves.
      for (int nudge : {-1, 0, 1}) {
        std::vector<float> grad_v(neurons);
        const std::vector<std::uint16_t> no_grad(neurons, 0);
        for (std::int64_t i = 0; i < neurons; ++i) {
          const float here = half ? from_float16(x[i]) : from_bfloat16(x[i]);
          const auto next = static_cast<std::uint16_t>(i + 1);
          const float there = half ? from_float16(next) : from_bfloat16(next);
          float middle = std::isfinite(here) && std::isfinite(there) ? here / 2 + there / 2 : here;
          if (nudge != 0 && std::isfinite(middle))
            middle = std::nextafterf(middle, nudge < 0 ? -INFINITY : INFINITY);
          grad_v[i] = middle;
        }
        LifBackward backward;
        backward.params = forward.params;
        backward.params.surrogate = Surrogate::kRect;  // 0 here, so that only grad_v_final arrives
        backward.dtype = dtype;
        backward.timesteps = 1;
        backward.neurons = neurons;
        backward.grad_spikes = no_grad.data();
        backward.grad_v_final = grad_v.data();
        backward.x = no_grad.data();
        backward.x_step = neurons;
        backward.grad_x = grad_x.data();
        kernels.backward(backward, 0, neurons);
        for (std::int64_t i = 0; i < neurons; ++i) {
          const float exact = 0.0f + grad_v[i];  // as the kernel adds it to the absent gradient of the spike
          const std::uint16_t expected = half ? to_float16(exact) : to_bfloat16(exact);
          if (std::isnan(exact)) {
            ASSERT_TRUE(std::isnan(half ? from_float16(grad_x[i]) : from_bfloat16(grad_x[i])));
          } else {
            ASSERT_EQ(grad_x[i], expected) << kernels.isa << " " << exact;
          }
        }
      }
    }
  }
}

TEST(LifSmooth, FiresThePrimitive) {
  const double x = 1.5;
  double spike = 0, v = 0;
  LifForward args;
  args.params.smooth = true;
  args.dtype = DType::kFloat64;
  args.timesteps = 1;
  args.neurons = 1;
  args.x = &x;
  args.spikes = &spike;
  args.v_final = &v;
  eccsnn::lif_forward(args, 0, 1);
  const double h = 0.75;
  const double expected =
      std::atan(3.14159265358979323846 / 2 * 2.0 * (h - 1.0)) / 3.14159265358979323846 + 0.5;
  EXPECT_NEAR(spike, expected, 1e-15);
  EXPECT_NEAR(v, (1 - expected) * h, 1e-15);
}

}  // namespace
