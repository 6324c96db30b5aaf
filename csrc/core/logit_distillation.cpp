#include "eccsnn/logit_distillation.h"

#include "dispatch.h"

ECCSNN_DECLARE_KERNEL(void, logit_distillation_kernel,
                      (const LogitDistillation& args, std::int64_t begin, std::int64_t end))
ECCSNN_DECLARE_KERNEL(void, logit_distillation_backward_kernel,
                      (const LogitDistillationBackward& args, std::int64_t begin, std::int64_t end))

namespace eccsnn {

void logit_distillation(const LogitDistillation& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(logit_distillation_kernel)(args, begin, end);
}

void logit_distillation_backward(const LogitDistillationBackward& args, std::int64_t begin,
                                 std::int64_t end) {
  ECCSNN_KERNEL(logit_distillation_backward_kernel)(args, begin, end);
}

}  // namespace eccsnn
