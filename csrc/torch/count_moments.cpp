// eccsnn::count_moments on the CPU. Threads are torch's own.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "count_moments_common.h"
#include "eccsnn/count_statistics.h"

namespace eccsnn::torch_ops {
namespace {

std::tuple<Tensor, Tensor> count_moments_cpu(const Tensor& features, const Tensor& classes,
                                             std::int64_t num_classes, std::int64_t max_count) {
  CountMomentsCall call(features, classes, num_classes);
  const std::int64_t samples = features.size(0), columns = features.size(1);
  for (std::int64_t s = 0; s < samples; ++s) {
    require(call.class_data()[s] < num_classes, "count_moments: class of sample ", s, " is ",
            call.class_data()[s], ", expected 0 to ", num_classes - 1);
  }
  CountStatistics state(columns, max_count);
  constexpr std::int64_t kWork = 65536;  // elements touched for one tile, about
  state.add({call.rows.const_data_ptr(), call.type, call.class_data(), samples},
            [](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
              in_parallel_over(count, kWork, work);
            });
  state.write_moment(call.moment_data());
  for (const auto& [id, entry] : state.classes()) {
    std::copy(entry.sums.begin(), entry.sums.end(), call.sums_data() + id * columns);
  }
  return {call.moment, call.sums};
}

}  // namespace
}  // namespace eccsnn::torch_ops

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CPU, m) {
  m.impl("count_moments", TORCH_BOX(&eccsnn::torch_ops::count_moments_cpu));
}
