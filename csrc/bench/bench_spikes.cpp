// Packing and unpacking of spikes [T, N, C, H, W], in channels-last and in contiguous memory. One thread.
#include <benchmark/benchmark.h>

#include "bench.h"
#include "eccsnn/spikes.h"

namespace eccsnn_bench {
namespace {

using eccsnn::SpikeView;

// 64 channels of 16 x 16 pixels, so that a size's neurons are those of its batch.
SpikeView view_of(const Size& size, bool channels_last) {
  const std::int64_t c = size.neurons < 4096 ? 16 : 64, h = size.neurons < 4096 ? 4 : 16, w = h;
  const std::int64_t n = size.neurons / (c * h * w);
  if (channels_last) return {size.timesteps, n, c, h, w, n * c * h * w, c * h * w, 1, w * c, c};
  return {size.timesteps, n, c, h, w, n * c * h * w, c * h * w, h * w, w, 1};
}

struct Patterns {
  const char* name;
  eccsnn::SpikeBits bits;
};
constexpr Patterns kPatterns[] = {{"fp32", {4, 0x3f800000, 0x80000000}}, {"bf16", {2, 0x3f80, 0x8000}}};

void spikes(benchmark::State& state, const Size& size, const Patterns& patterns, bool channels_last,
            bool packing) {
  const SpikeView view = view_of(size, channels_last);
  const std::int64_t count = size.timesteps * size.neurons;
  const Buffer elements(count * patterns.bits.element_bytes),
      packed(view.rows() * view.width * view.packed_channels());
  auto* bytes = static_cast<std::uint8_t*>(packed.data());
  for (std::size_t i = 0; i < packed.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
  const eccsnn::UnpackSpikes unpack{patterns.bits, view, bytes, elements.data()};
  eccsnn::unpack_spikes(unpack, 0, view.rows());
  const eccsnn::PackSpikes pack{patterns.bits, view, elements.data(), bytes};
  for (auto _ : state) {
    if (packing) {
      benchmark::DoNotOptimize(eccsnn::pack_spikes(pack, 0, view.rows()));
    } else {
      eccsnn::unpack_spikes(unpack, 0, view.rows());
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(elements.size() + packed.size()));
}

}  // namespace

void register_spikes() {
  for (const bool packing : {true, false}) {
    for (const Patterns& patterns : kPatterns) {
      for (const bool channels_last : {true, false}) {
        for (const Size& size : kSizes) {
          const std::string name = std::string(packing ? "pack_spikes/" : "unpack_spikes/") + patterns.name +
                                   (channels_last ? "/channels_last/" : "/contiguous/") + size.name;
          benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            spikes(state, size, patterns, channels_last, packing);
          });
        }
      }
    }
  }
}

}  // namespace eccsnn_bench
