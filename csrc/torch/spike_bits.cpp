// eccsnn::pack_bits and unpack_bits on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <limits>

#include "spike_bits_common.h"
#include "spikes_common.h"

namespace eccsnn::torch_ops {
namespace {

// Calls kernel(begin, end) over ranges of elements that begin with a block.
template <class Kernel>
void in_parallel_over_blocks(std::int64_t count, const Kernel& kernel) {
  const std::int64_t blocks = (count + kSpikeBitsBlock - 1) / kSpikeBitsBlock;
  in_parallel_over(blocks, kSpikeBitsBlock, [&](std::int64_t begin, std::int64_t end) {
    kernel(begin * kSpikeBitsBlock, std::min(end * kSpikeBitsBlock, count));
  });
}

Tensor pack_bits_cpu(const Tensor& spikes, bool check) {
  PackBitsCall call(spikes);
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> first{kNone};
  in_parallel_over_blocks(call.count, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t offender = pack_bits(call.args, begin, end);
    if (offender < 0) return;
    std::int64_t seen = first.load();
    while (offender < seen && !first.compare_exchange_weak(seen, offender)) {
    }
  });
  if (check && first.load() != kNone) {
    const std::size_t element_bytes = spikes.element_size();
    const char* element =
        static_cast<const char*>(call.args.spikes) + static_cast<std::size_t>(first.load()) * element_bytes;
    require(false, "pack_bits: element ", first.load(), " of ", call.count, " in the order of memory is ",
            spike_value(element, spikes.scalar_type()),
            ", expected 0 or 1; for inputs that are not spikes use the functions of torch.nn.functional");
  }
  return call.bits;
}

Tensor unpack_bits_cpu(const Tensor& bits, std::vector<std::int64_t> size, ScalarType dtype) {
  UnpackBitsCall call(bits, size, dtype);
  in_parallel_over_blocks(call.count,
                          [&](std::int64_t begin, std::int64_t end) { unpack_bits(call.args, begin, end); });
  return call.spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("pack_bits", TORCH_BOX(&eccsnn::torch_ops::pack_bits_cpu));
  m.impl("unpack_bits", TORCH_BOX(&eccsnn::torch_ops::unpack_bits_cpu));
}
