// The spike codec, a new stream of four timesteps each time, over geometries and densities. One thread. Items
// are raw spike bits.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "bench.h"
#include "eccsnn/spike_codec.h"

namespace eccsnn_bench {
namespace {

struct Cut {
  const char* name;
  eccsnn::SpikeGeometry geometry;
};
const Cut kCuts[] = {{"tiny", {2, 8, 8}}, {"4kbit", {64, 8, 8}}, {"64kbit", {64, 32, 32}}};
constexpr int kTimesteps = 4;

void spike_codec(benchmark::State& state, const eccsnn::SpikeGeometry& geometry, double density,
                 bool encoding) {
  std::mt19937 random(0);
  std::bernoulli_distribution fires(density);
  const std::size_t bytes = static_cast<std::size_t>(geometry.packed_bytes());
  std::vector<std::vector<std::uint8_t>> timesteps(kTimesteps, std::vector<std::uint8_t>(bytes)),
      packets(kTimesteps);
  const auto tables = eccsnn::SpikeTables::flat(geometry);
  eccsnn::SpikeEncoder encoder(tables);
  std::size_t size = 0;
  for (int t = 0; t < kTimesteps; ++t) {
    for (std::int64_t position = 0; position < geometry.positions(); ++position) {
      for (std::int64_t c = 0; c < geometry.channels; ++c) {
        auto& byte = timesteps[t][static_cast<std::size_t>(position * geometry.packed_channels() + c / 8)];
        if (fires(random)) byte = static_cast<std::uint8_t>(byte | 1u << (c % 8));
      }
    }
    encoder.encode(timesteps[t].data(), packets[t]);
    size += packets[t].size();
  }
  std::vector<std::uint8_t> packet, packed(bytes);
  for (auto _ : state) {
    if (encoding) {
      eccsnn::SpikeEncoder stream(tables);
      for (const auto& timestep : timesteps) {
        packet.clear();
        stream.encode(timestep.data(), packet);
      }
    } else {
      eccsnn::SpikeDecoder stream(tables);
      for (const auto& one : packets) stream.decode(one.data(), one.size(), packed.data());
    }
    benchmark::ClobberMemory();
  }
  const std::int64_t bits = kTimesteps * geometry.bits();
  state.SetItemsProcessed(state.iterations() * bits);
  state.counters["bits_per_spike_bit"] = 8.0 * static_cast<double>(size) / static_cast<double>(bits);
}

}  // namespace

void register_spike_codec() {
  for (const bool encoding : {true, false}) {
    for (const int percent : {1, 10, 50}) {
      for (const Cut& cut : kCuts) {
        const std::string name = std::string(encoding ? "encode_spikes/" : "decode_spikes/") +
                                 std::to_string(percent) + "%/" + cut.name;
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          spike_codec(state, cut.geometry, percent / 100.0, encoding);
        });
      }
    }
  }
}

}  // namespace eccsnn_bench
