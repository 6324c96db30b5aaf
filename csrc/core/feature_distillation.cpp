#include "eccsnn/feature_distillation.h"

#include "dispatch.h"

ECCSNN_DECLARE_KERNEL(void, spike_count_pool_kernel,
                      (const SpikeCountPool& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, spike_count_pool_backward_kernel,
                      (const SpikeCountPoolBackward& args, std::int64_t begin, std::int64_t end))

namespace eccsnn {

void spike_count_pool(const SpikeCountPool& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(spike_count_pool_kernel)(args, begin, end);
}

void spike_count_pool_backward(const SpikeCountPoolBackward& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(spike_count_pool_backward_kernel)(args, begin, end);
}

}  // namespace eccsnn
