#include "eccsnn/spike_max_pool.h"

#include "spike_max_pool_dispatch.h"

namespace eccsnn {

void spike_max_pool_backward(const SpikeMaxPoolBackward& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(spike_max_pool_backward_kernel)(args, begin, end);
}

}  // namespace eccsnn
