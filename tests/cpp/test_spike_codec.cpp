// The spike codec's parts: the range coder to the last byte, the forms, the lanes on every instruction set,
// and streams end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "checksum.h"
#include "eccsnn/isa.h"
#include "eccsnn/spike_codec.h"
#include "range_coder.h"
#include "spike_forms.h"
#include "spike_lanes_dispatch.h"
#include "spike_model.h"

namespace {

using eccsnn::SpikeGeometry;
using eccsnn::SpikePacketError;
using Bytes = std::vector<std::uint8_t>;

// Packed spikes that fire with `density`, in runs of a few along a row.
Bytes random_packed(const SpikeGeometry& geometry, double density, std::mt19937& random) {
  Bytes packed(static_cast<std::size_t>(geometry.packed_bytes()));
  std::uniform_real_distribution<double> uniform;
  for (std::int64_t position = 0; position < geometry.positions(); ++position) {
    for (std::int64_t c = 0; c < geometry.channels; ++c) {
      const std::int64_t at = position * geometry.packed_channels() + c / 8;
      const bool left = position > 0 && (packed[at - geometry.packed_channels()] >> (c % 8) & 1);
      const double chance = left ? 0.5 + density / 2 : density * (density < 0.5 ? 0.5 : 1.0);
      if (uniform(random) < chance) packed[at] = static_cast<std::uint8_t>(packed[at] | 1u << (c % 8));
    }
  }
  return packed;
}

TEST(RangeCoder, EveryShortSequenceHasOnePacket) {
  // All sequences of eight bits under three probabilities: decoded again, and no longer than their
  // information.
  for (const std::uint32_t p : {1u, 6000u, 32768u, 65535u}) {
    for (unsigned sequence = 0; sequence < 256; ++sequence) {
      Bytes out;
      eccsnn::RangeEncoder encoder(out);
      double bits = 0;
      for (int i = 0; i < 8; ++i) {
        const bool bit = sequence >> i & 1;
        encoder.encode(bit, p);
        bits -= std::log2((bit ? p : 65536.0 - p) / 65536.0);
      }
      encoder.finish();
      EXPECT_LE(8.0 * out.size(), bits + 8.01);
      eccsnn::RangeDecoder decoder(out.data(), out.size());
      for (int i = 0; i < 8; ++i) EXPECT_EQ(decoder.decode(p), sequence >> i & 1);
      EXPECT_TRUE(decoder.is_exact());
      for (const std::uint8_t tail : {0, 1, 255}) {
        Bytes longer = out;
        longer.push_back(tail);
        eccsnn::RangeDecoder other(longer.data(), longer.size());
        bool same = true;
        for (int i = 0; i < 8; ++i) same = (other.decode(p) == (sequence >> i & 1)) && same;
        EXPECT_FALSE(same && other.is_exact());
      }
    }
  }
}

TEST(RangeCoder, LongSequencesReachTheirInformation) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> chances(200000);
  std::vector<bool> bits(chances.size());
  Bytes out;
  eccsnn::RangeEncoder encoder(out);
  double ideal = 0;
  for (std::size_t i = 0; i < chances.size(); ++i) {
    chances[i] = 1 + random() % 65535;
    bits[i] = random() % 65536 < chances[i];
    encoder.encode(bits[i], chances[i]);
    ideal -= std::log2((bits[i] ? chances[i] : 65536.0 - chances[i]) / 65536.0);
  }
  encoder.finish();
  EXPECT_LT(8.0 * out.size(), ideal + 9);
  eccsnn::RangeDecoder decoder(out.data(), out.size());
  for (std::size_t i = 0; i < chances.size(); ++i) ASSERT_EQ(decoder.decode(chances[i]), bits[i]);
  EXPECT_TRUE(decoder.is_exact());
}

TEST(Logistic, IsMonotonicAndInverted) {
  for (std::int32_t x = -2047; x < 2047; ++x) {
    EXPECT_LE(eccsnn::squash(x), eccsnn::squash(x + 1));
    EXPECT_NEAR(eccsnn::squash(x) / 65536.0, 1 / (1 + std::exp(-x / 256.0)), 3e-4);
  }
  EXPECT_EQ(eccsnn::squash(-100000), eccsnn::squash(-2047));
  EXPECT_GT(eccsnn::squash(-2047), 0u);
  EXPECT_LT(eccsnn::squash(2047), 65536u);
  for (std::uint32_t p = 8; p < 4088; ++p) EXPECT_NEAR(eccsnn::squash(eccsnn::stretch(p)), 16.0 * p + 8, 80);
  for (int i = 1; i < 128; ++i) EXPECT_GE(eccsnn::lane_chances()[i], eccsnn::lane_chances()[i - 1]);
}

TEST(Forms, RoundTripAndRefuseWhatTheyDoNotWrite) {
  std::mt19937 random(2);
  for (const std::int64_t bits : {2, 7, 8, 9, 63, 64, 65, 300, 5000}) {
    for (const double density : {0.0, 0.02, 0.3, 1.0}) {
      const SpikeGeometry geometry{1, 1, bits};
      Bytes dense(static_cast<std::size_t>(geometry.dense_bytes()));
      eccsnn::packed_to_dense(geometry, random_packed(geometry, density, random).data(), dense.data());
      const std::int64_t spikes = eccsnn::count_ones(dense.data(), geometry.dense_bytes());
      Bytes addresses, runs, back(dense.size());
      eccsnn::put_addresses(dense.data(), bits, addresses);
      EXPECT_EQ(addresses.size(), (spikes * eccsnn::address_bits(bits) + 7) / 8);
      eccsnn::get_addresses(addresses.data(), addresses.size(), bits, back.data());
      EXPECT_EQ(back, dense);
      const int parameter = eccsnn::run_parameter(bits, spikes);
      eccsnn::put_runs(dense.data(), bits, parameter, runs);
      EXPECT_EQ(runs.size(), (eccsnn::run_bits(dense.data(), bits, parameter) + 7) / 8);
      if (bits >= 300) {
        EXPECT_NEAR(static_cast<double>(eccsnn::expected_run_bits(dense.data(), bits, spikes, parameter)),
                    static_cast<double>(eccsnn::run_bits(dense.data(), bits, parameter)), 0.15 * bits);
      }
      back.assign(dense.size(), 0);
      eccsnn::get_runs(runs.data(), runs.size(), bits, back.data());
      EXPECT_EQ(back, dense);
      for (Bytes* form : {&addresses, &runs}) {
        if (form == &addresses && spikes == 0) continue;  // a byte of zeros is then a spike at 0
        form->push_back(form == &runs ? 0xff : 0x00);
        back.assign(dense.size(), 0);
        EXPECT_THROW(form == &runs
                         ? eccsnn::get_runs(runs.data(), runs.size(), bits, back.data())
                         : eccsnn::get_addresses(addresses.data(), addresses.size(), bits, back.data()),
                     SpikePacketError);
      }
    }
  }
}

TEST(Forms, DenseBitsAreThoseOfThePackedLayoutWithoutPadding) {
  const SpikeGeometry geometry{3, 1, 4};
  const Bytes packed{0b101, 0b011, 0b000, 0b111};
  Bytes dense(2), back(4);
  eccsnn::packed_to_dense(geometry, packed.data(), dense.data());
  EXPECT_EQ(dense, (Bytes{0b00011101, 0b1110}));
  eccsnn::dense_to_packed(geometry, dense.data(), back.data());
  EXPECT_EQ(back, packed);
}

TEST(PacketCheck, NoticesEveryFlippedBitAndRemembers) {
  std::mt19937 random(3);
  for (const std::size_t size : {0, 1, 30, 31, 32, 62, 63, 200}) {
    Bytes payload(size);
    for (auto& byte : payload) byte = static_cast<std::uint8_t>(random());
    const std::uint8_t check = eccsnn::PacketCheck().next(3, payload.data(), size);
    for (unsigned bit = 0; bit < 3; ++bit) {
      EXPECT_NE(eccsnn::PacketCheck().next(3 ^ 1u << bit, payload.data(), size), check);
    }
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      payload[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
      EXPECT_NE(eccsnn::PacketCheck().next(3, payload.data(), size), check);
      payload[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    }
  }
  int same = 0;
  for (int i = 0; i < 1000; ++i) {
    const Bytes first{static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i >> 8)}, other{255, 255};
    eccsnn::PacketCheck a, b;
    a.next(0, first.data(), 2);
    b.next(0, other.data(), 2);
    same += a.next(0, nullptr, 0) == b.next(0, nullptr, 0);
  }
  EXPECT_LT(same, 70);  // 1 in 32
}

// ---- lanes ----

struct Kernels {
  std::string isa;
  decltype(&eccsnn::predict_lanes) predict;
  decltype(&eccsnn::put_lanes) put;
  decltype(&eccsnn::get_lanes) get;
  decltype(&eccsnn::get_lane_tail) tail;
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {{"baseline", eccsnn::baseline::predict_lanes_kernel,
                               eccsnn::baseline::put_lanes_kernel, eccsnn::baseline::get_lanes_kernel,
                               eccsnn::baseline::get_lane_tail_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) {
    all.push_back({"avx2", eccsnn::avx2::predict_lanes_kernel, eccsnn::avx2::put_lanes_kernel,
                   eccsnn::avx2::get_lanes_kernel, eccsnn::avx2::get_lane_tail_kernel});
  }
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::predict_lanes_kernel, eccsnn::avx512::put_lanes_kernel,
                   eccsnn::avx512::get_lanes_kernel, eccsnn::avx512::get_lane_tail_kernel});
  }
#endif
  return all;
}

struct LaneRun {
  std::vector<std::uint16_t> chances, words;
  std::vector<std::uint32_t> states;
  std::vector<eccsnn::LaneWeights> weights;
};

TEST(Lanes, EveryInstructionSetGivesTheSameWordsAndReadsThem) {
  for (const SpikeGeometry geometry :
       {SpikeGeometry{32, 9, 7}, SpikeGeometry{40, 6, 5}, SpikeGeometry{71, 5, 8}}) {
    for (const int weight_shift : {0, 8}) {
      std::mt19937 random(4);
      // Large weights of both signs, so that sums and corrections reach their ends.
      eccsnn::SpikeModel model(geometry, {eccsnn::ContextSet{}});
      model.lane_weight_shift = weight_shift;
      for (auto& lanes : model.lanes) {
        lanes.resize(static_cast<std::size_t>((geometry.channels + 31) / 32));
        for (auto& group : lanes) {
          for (auto& weight : group)
            weight = static_cast<std::int16_t>(static_cast<int>(random() % 24000) - 12000);
          for (int i = 0; i < 32; ++i) group[i] = random() % 2 ? 32767 : -32768;
        }
      }
      std::vector<LaneRun> runs;
      std::vector<Bytes> timesteps;
      for (int t = 0; t < 4; ++t) timesteps.push_back(random_packed(geometry, 0.1 + 0.2 * t, random));
      for (const Kernels& kernels : all_kernels()) {
        eccsnn::SpikeHistory history(geometry);
        for (const Bytes& packed : timesteps) {
          history.advance();
          history.put(packed.data());
        }
        eccsnn::SpikeModelState state(model);
        eccsnn::LaneArgs args = eccsnn::lane_args(model, state, history, 3);
        LaneRun run;
        const std::size_t most = static_cast<std::size_t>(eccsnn::most_lane_words(args));
        run.chances.resize(most);
        kernels.predict(args, run.chances.data());
        args.tail = 3;
        std::vector<std::uint16_t> words(most);
        run.states.assign(eccsnn::kLanes, eccsnn::kLaneLow + 77);
        std::uint16_t* first = kernels.put(args, run.chances.data(), run.states.data(), words.data() + most);
        run.words.assign(first, words.data() + most);
        run.weights = state.lanes[3];
        const std::int64_t count = static_cast<std::int64_t>(run.words.size());

        Bytes decoded(timesteps.back().size());
        eccsnn::SpikeModelState fresh(model);
        eccsnn::LaneArgs reading = args;
        reading.tail = 3;
        reading.weights = fresh.lanes[3].data();
        for (std::int64_t row = 0; row < geometry.height; ++row) {
          const std::int64_t columns =
              row + 1 == geometry.height ? geometry.width - args.tail : geometry.width;
          std::fill_n(history.at(0, row, 0), columns * args.stride, std::uint8_t{0});
        }
        std::vector<std::uint32_t> states = run.states;
        std::vector<std::uint16_t> padded = run.words;
        padded.resize(padded.size() + 32);
        EXPECT_EQ(kernels.get(reading, states.data(), padded.data(), count), count) << kernels.isa;
        EXPECT_EQ(states, std::vector<std::uint32_t>(eccsnn::kLanes, eccsnn::kLaneLow + 77)) << kernels.isa;
        // The tail is asked for 32 channels at a time, under the chances that the encoder had.
        struct Tail {
          const Bytes* packed;
          const std::uint16_t* chances;
          std::int64_t at, stride, channels;
          bool same = true;
        } tail{&timesteps.back(), run.chances.data() + (geometry.positions() - 3) * args.groups() * 32,
               (geometry.positions() - 3) * geometry.packed_channels(), geometry.packed_channels(), 0};
        const auto give = [](void* context, const std::uint16_t* chances,
                             std::uint32_t active) -> std::uint32_t {
          Tail& from = *static_cast<Tail*>(context);
          std::uint32_t bits = 0;
          const std::int64_t bytes = std::min<std::int64_t>(4, from.stride - from.channels / 8);
          for (std::int64_t i = 0; i < bytes; ++i) {
            bits |= static_cast<std::uint32_t>((*from.packed)[static_cast<std::size_t>(from.at++)])
                    << (8 * i);
          }
          from.channels = (from.channels / 8 + bytes) % from.stride * 8;
          for (int i = 0; i < 32; ++i)
            from.same = from.same && (!(active >> i & 1) || chances[i] == from.chances[i]);
          from.chances += 32;
          return bits;
        };
        std::fill_n(history.at(0, geometry.height - 1, geometry.width - 3), 3 * args.stride, std::uint8_t{0});
        kernels.tail(reading, give, &tail);
        EXPECT_TRUE(tail.same) << kernels.isa;
        history.get(decoded.data());
        EXPECT_EQ(decoded, timesteps.back()) << kernels.isa;
        EXPECT_EQ(fresh.lanes[3], run.weights) << kernels.isa;
        eccsnn::SpikeModelState truncated(model);
        reading.weights = truncated.lanes[3].data();
        states = run.states;
        EXPECT_EQ(kernels.get(reading, states.data(), padded.data(), count / 2), -1) << kernels.isa;
        runs.push_back(run);
      }
      for (const LaneRun& run : runs) {
        EXPECT_EQ(run.chances, runs[0].chances);
        EXPECT_EQ(run.words, runs[0].words);
        EXPECT_EQ(run.states, runs[0].states);
        EXPECT_EQ(run.weights, runs[0].weights);
      }
    }
  }
}

// ---- streams ----

// Codes and decodes `timesteps` timesteps and returns their spikes.
std::int64_t round_trip(const SpikeGeometry& geometry, double density, int timesteps, std::mt19937& random) {
  const auto tables = eccsnn::SpikeTables::flat(geometry);
  eccsnn::SpikeEncoder encoder(tables);
  eccsnn::SpikeDecoder decoder(tables);
  Bytes packet, back(static_cast<std::size_t>(geometry.packed_bytes()), 0xaa);
  for (int t = 0; t < timesteps; ++t) {
    const Bytes packed = random_packed(geometry, density, random);
    packet.clear();
    const eccsnn::SpikeForm form = encoder.encode(packed.data(), packet);
    EXPECT_LE(packet.size(), geometry.dense_bytes() + 1 + (t == 0 ? 8 : 0));
    EXPECT_EQ(decoder.decode(packet.data(), packet.size(), back.data()), form);
    EXPECT_EQ(back, packed);
    if (back != packed) break;
  }
  return timesteps * geometry.bits();
}

TEST(SpikeCodec, RoundTripsAMillionSpikes) {
  std::mt19937 random(5);
  std::int64_t total = 0;
  for (const double density : {0.0, 0.004, 0.1, 0.5, 0.97}) {
    for (const SpikeGeometry geometry :
         {SpikeGeometry{1, 1, 1}, SpikeGeometry{5, 3, 7}, SpikeGeometry{16, 8, 8}, SpikeGeometry{64, 32, 32},
          SpikeGeometry{33, 50, 41}}) {
      total += round_trip(geometry, density, 5, random);
    }
  }
  EXPECT_GE(total, 1000000);
}

// By hand: make codec-long-test
TEST(SpikeCodec, DISABLED_RoundTripsAHundredMillionSpikes) {
  std::mt19937 random(6);
  std::int64_t total = 0;
  while (total < 100000000) {
    const auto pick = [&](std::int64_t most) { return 1 + static_cast<std::int64_t>(random() % most); };
    const SpikeGeometry geometry = random() % 2 ? SpikeGeometry{pick(80), pick(40), pick(40)}
                                                : SpikeGeometry{pick(16), pick(9), pick(9)};
    total += round_trip(geometry, std::pow(10.0, -3.0 * (random() % 1000) / 1000.0), 6, random);
    ASSERT_FALSE(HasFailure());
  }
}

TEST(SpikeCodec, RefusesTablesThatAreBroken) {
  const Bytes magic{'E', 'S', 'P', 'T'};
  EXPECT_THROW(eccsnn::SpikeTables::parse(nullptr, 0), SpikePacketError);
  EXPECT_THROW(eccsnn::SpikeTables::parse(magic.data(), magic.size()), SpikePacketError);
  // One set without neighbours over one channel of one position, four cells.
  Bytes good{'E', 'S', 'P', 'T', 1, 1, 7, 1, 0, 1, 0, 1, 0, 1, 255};
  good.resize(good.size() + 8);  // masks
  for (int i = 0; i < 4; ++i) {
    for (const int byte : {0, 0, 1, 0}) good.push_back(static_cast<std::uint8_t>(byte));
  }
  for (int i = 0; i < 4; ++i) {
    for (const int byte : {0, 64, 5}) good.push_back(static_cast<std::uint8_t>(byte));
  }
  const auto sealed = [](Bytes bytes) {
    const std::uint32_t crc = eccsnn::crc32(bytes.data(), bytes.size());
    for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
    return bytes;
  };
  const Bytes tables = sealed(good);
  EXPECT_EQ(eccsnn::SpikeTables::parse(tables.data(), tables.size())->geometry(), (SpikeGeometry{1, 1, 1}));
  for (const auto& [at, value] : std::vector<std::pair<std::size_t, std::uint8_t>>{
           {4, 2}, {5, 0}, {5, 7}, {6, 0}, {6, 17}, {7, 0}, {8, 255}, {13, 32}, {16, 0xff}, {13, 3}}) {
    Bytes wrong = good;
    wrong[at] = value;
    wrong = sealed(wrong);
    if (at == 13 && value == 3) {  // per position and channel: the same here, but another table
      EXPECT_NE(eccsnn::SpikeTables::parse(wrong.data(), wrong.size())->id(),
                eccsnn::SpikeTables::parse(tables.data(), tables.size())->id());
      continue;
    }
    EXPECT_THROW(eccsnn::SpikeTables::parse(wrong.data(), wrong.size()), SpikePacketError) << at;
  }
  // The first weight: 256 either way is the most.
  for (const auto& [weight, is_good] : std::vector<std::pair<std::int32_t, bool>>{{1 << 24, true},
                                                                                  {-(1 << 24), true},
                                                                                  {(1 << 24) + 1, false},
                                                                                  {-(1 << 24) - 1, false},
                                                                                  {0x7fffffff, false}}) {
    Bytes changed = good;
    for (std::size_t i = 0; i < 4; ++i)
      changed[23 + i] = static_cast<std::uint8_t>(static_cast<std::uint32_t>(weight) >> (8 * i));
    changed = sealed(changed);
    if (is_good) {
      EXPECT_NO_THROW(eccsnn::SpikeTables::parse(changed.data(), changed.size())) << weight;
    } else {
      EXPECT_THROW(eccsnn::SpikeTables::parse(changed.data(), changed.size()), SpikePacketError) << weight;
    }
  }
}

TEST(SpikeCodec, WeightsStopAtTheirEndsInsteadOfWrappingAround) {
  for (const std::int32_t end :
       {std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::min()}) {
    // A cell that says spikes are rare, and the bit for which this end of the weights is so sure that its
    // weight is pushed further out.
    eccsnn::SpikeModel model({1, 1, 1}, {eccsnn::ContextSet{}});
    for (auto& cells : model.cells) cells.assign(cells.size(), eccsnn::make_cell(8192, 0));
    for (auto& weights : model.weights) weights = {end};
    model.rate = 1;
    eccsnn::SpikeModelState state(model);
    eccsnn::SpikeHistory history(model.geometry);
    history.advance();
    const std::uint8_t spikes = end > 0 ? 0 : 1;
    history.put(&spikes);
    Bytes code;
    eccsnn::RangeEncoder coder(code);
    encode_adaptive(model, state, history, 0, coder);
    EXPECT_EQ(state.weights[0][0], end);
  }
}

}  // namespace
