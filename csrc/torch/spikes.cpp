// eccsnn::pack_spikes and unpack_spikes on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "spikes_common.h"

namespace eccsnn::torch_ops {
namespace {

Tensor pack_spikes_cpu(const Tensor& spikes, bool check) {
  PackCall call(spikes);
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> first{kNone};
  const SpikeView& view = call.args.view;
  in_parallel_over(view.rows(), view.width * view.channels, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t offender = pack_spikes(call.args, begin, end);
    if (offender < 0) return;
    std::int64_t seen = first.load();
    while (offender < seen && !first.compare_exchange_weak(seen, offender)) {
    }
  });
  if (check && first.load() != kNone) {
    const Offender at(view, first.load());
    throw_not_binary(spikes, at,
                     static_cast<const char*>(call.args.spikes) + at.offset * call.args.bits.element_bytes);
  }
  return call.packed;
}

Tensor unpack_spikes_cpu(const Tensor& packed, std::int64_t channels, ScalarType dtype) {
  UnpackCall call(packed, channels, dtype);
  const SpikeView& view = call.args.view;
  in_parallel_over(view.rows(), view.width * view.channels,
                   [&](std::int64_t begin, std::int64_t end) { unpack_spikes(call.args, begin, end); });
  return call.spikes;
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("pack_spikes", TORCH_BOX(&eccsnn::torch_ops::pack_spikes_cpu));
  m.impl("unpack_spikes", TORCH_BOX(&eccsnn::torch_ops::unpack_spikes_cpu));
}
