// Registers all benchmarks and runs those that --benchmark_filter asks for.
#include <benchmark/benchmark.h>

#include <bit>
#include <cstring>

#include "bench.h"

namespace eccsnn_bench {

Buffer random_elements(const Element& element, std::int64_t count) {
  Buffer buffer(count * element.bytes);
  std::uint32_t state = 1;
  auto* at = static_cast<std::byte*>(buffer.data());
  for (std::int64_t i = 0; i < count; ++i, at += element.bytes) {
    state = state * 1664525u + 1013904223u;
    // Eighths have few bits, so that every type holds them exactly.
    const float value = static_cast<float>(static_cast<int>(state >> 26) - 32) / 8;
    if (element.dtype == eccsnn::DType::kFloat64) {
      const double wide = value;
      std::memcpy(at, &wide, 8);
    } else if (element.dtype == eccsnn::DType::kFloat32) {
      std::memcpy(at, &value, 4);
    } else {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      std::uint16_t half = static_cast<std::uint16_t>(bits >> 16);
      if (element.dtype == eccsnn::DType::kFloat16 && value != 0) {
        half = static_cast<std::uint16_t>((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) |
                                          (bits >> 13 & 0x3ff));
      }
      std::memcpy(at, &half, 2);
    }
  }
  return buffer;
}

namespace {

void copy(benchmark::State& state, std::int64_t bytes) {
  const Buffer from(bytes), to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 2 * bytes);
}

}  // namespace
}  // namespace eccsnn_bench

int main(int argc, char** argv) {
  using namespace eccsnn_bench;
  for (const Size& size : kSizes) {
    const std::int64_t bytes = size.timesteps * size.neurons * 4;
    benchmark::RegisterBenchmark((std::string("memcpy/") + size.name).c_str(),
                                 [bytes](benchmark::State& state) { copy(state, bytes); });
  }
  register_lif();
  register_spike_codec();
  register_spikes();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("eccsnn_isa_supported", eccsnn::isa_name(eccsnn::isa_choice().supported));
  // A filter that matches nothing would otherwise pass for a benchmark that runs.
  const std::size_t run = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return run == 0 ? 1 : 0;
}
