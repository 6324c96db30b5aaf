// LIF kernels: forward to elements and to bits, backward of each surrogate; per element type, instruction set
// and size. One thread.
#include <benchmark/benchmark.h>

#include "bench.h"
#include "eccsnn/lif.h"
#include "lif_dispatch.h"

namespace eccsnn_bench {
namespace {

using eccsnn::LifBackward;
using eccsnn::LifForward;
using eccsnn::Surrogate;

struct Kernels {
  const char* isa;
  void (*forward)(const LifForward&, std::int64_t, std::int64_t);
  void (*backward)(const LifBackward&, std::int64_t, std::int64_t);
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {
      {"baseline", eccsnn::baseline::lif_forward_kernel, eccsnn::baseline::lif_backward_kernel}};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const eccsnn::Isa supported = eccsnn::isa_choice().supported;
  if (supported >= eccsnn::Isa::kAvx2) {
    all.push_back({"avx2", eccsnn::avx2::lif_forward_kernel, eccsnn::avx2::lif_backward_kernel});
  }
  if (supported >= eccsnn::Isa::kAvx512) {
    all.push_back({"avx512", eccsnn::avx512::lif_forward_kernel, eccsnn::avx512::lif_backward_kernel});
  }
#endif
  return all;
}

// As lif_forward and lif_backward decide for arrays that caches do not hold.
bool streamed(const Size& size) { return std::string(size.name) == "memory"; }

void report(benchmark::State& state, const Size& size, double bytes_per_step) {
  const auto steps = static_cast<double>(size.timesteps * size.neurons);
  state.SetItemsProcessed(state.iterations() * size.timesteps * size.neurons);
  state.SetBytesProcessed(
      static_cast<std::int64_t>(static_cast<double>(state.iterations()) * steps * bytes_per_step));
}

LifForward forward_arguments(const Size& size, const Element& element, const Buffer& x) {
  LifForward args;
  args.dtype = element.dtype;
  args.timesteps = size.timesteps;
  args.neurons = size.neurons;
  args.x = x.data();
  args.x_step = size.neurons;
  return args;
}

void forward(benchmark::State& state, const Kernels& kernels, const Size& size, const Element& element,
             bool packed) {
  const std::int64_t steps = size.timesteps * size.neurons;
  const Buffer x = random_elements(element, steps), spikes(packed ? steps / 8 : steps * element.bytes);
  LifForward args = forward_arguments(size, element, x);
  if (packed) {
    args.spike_bits = static_cast<std::uint8_t*>(spikes.data());
  } else {
    args.spikes = spikes.data();
    args.stream = streamed(size);
  }
  for (auto _ : state) {
    kernels.forward(args, 0, size.neurons);
    benchmark::ClobberMemory();
  }
  report(state, size,
         static_cast<double>(element.bytes) + (packed ? 0.125 : static_cast<double>(element.bytes)));
}

void backward(benchmark::State& state, const Kernels& kernels, const Size& size, const Element& element,
              Surrogate surrogate) {
  const std::int64_t steps = size.timesteps * size.neurons;
  const Buffer x = random_elements(element, steps), grad = random_elements(element, steps);
  const Buffer grad_x(steps * element.bytes);
  LifBackward args;
  args.params.surrogate = surrogate;
  args.params.alpha = surrogate == Surrogate::kSigmoid ? 4.0 : surrogate == Surrogate::kRect ? 1.0 : 2.0;
  args.dtype = element.dtype;
  args.timesteps = size.timesteps;
  args.neurons = size.neurons;
  args.grad_spikes = grad.data();
  args.x = x.data();
  args.x_step = size.neurons;
  args.grad_x = grad_x.data();
  args.stream = streamed(size);
  for (auto _ : state) {
    kernels.backward(args, 0, size.neurons);
    benchmark::ClobberMemory();
  }
  report(state, size, 3.0 * static_cast<double>(element.bytes));
}

}  // namespace

void register_lif() {
  static_assert(eccsnn::lif_kept(kSizes[0].timesteps) == 0, "backward would need kept membranes");
  const std::pair<const char*, Surrogate> surrogates[] = {
      {"atan", Surrogate::kAtan}, {"sigmoid", Surrogate::kSigmoid}, {"rect", Surrogate::kRect}};
  for (const Kernels& kernels : all_kernels()) {
    for (const Element& element : kElements) {
      for (const Size& size : kSizes) {
        const std::string tail = std::string("/") + element.name + "/" + kernels.isa + "/" + size.name;
        for (const bool packed : {false, true}) {
          benchmark::RegisterBenchmark(
              ((packed ? "lif_forward_packed" : "lif_forward") + tail).c_str(),
              [=](benchmark::State& state) { forward(state, kernels, size, element, packed); });
        }
        for (const auto& [name, surrogate] : surrogates) {
          benchmark::RegisterBenchmark((std::string("lif_backward_") + name + tail).c_str(),
                                       [=, surrogate = surrogate](benchmark::State& state) {
                                         backward(state, kernels, size, element, surrogate);
                                       });
        }
      }
    }
  }
}

}  // namespace eccsnn_bench
