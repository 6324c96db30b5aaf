#include "eccsnn/lif.h"

#include "lif_dispatch.h"

namespace eccsnn {

void lif_forward(const LifForward& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(lif_forward_kernel)(args, begin, end);
}

void lif_backward(const LifBackward& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(lif_backward_kernel)(args, begin, end);
}

}  // namespace eccsnn
