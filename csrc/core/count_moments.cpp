#include "eccsnn/count_moments.h"

#include <algorithm>

#include "count_moments_dispatch.h"

namespace eccsnn {
namespace {

// Samples that one step of a kernel takes, and the bytes that they need for a block of features.
constexpr std::int64_t step_samples(CountForm form) {
  return form == CountForm::kBits ? 64 : form == CountForm::kInt8 ? 4 : 2;
}
constexpr std::int64_t step_bytes(CountForm form) { return kCountBlock * (form == CountForm::kBits ? 8 : 4); }

}  // namespace

CountForm count_form(std::int64_t max_count) {
  return max_count == 1 ? CountForm::kBits : max_count <= 127 ? CountForm::kInt8 : CountForm::kInt16;
}

std::int64_t count_chunk(CountForm form, std::int64_t max_count) {
  const std::int64_t step = step_samples(form);
  const std::int64_t cached = kCountChunkBytes / step_bytes(form) * step;
  const std::int64_t exact = std::int64_t{0x7fffffff} / (max_count * max_count);  // at least 2
  return std::min(cached, exact / step * step);
}

std::int64_t packed_count_bytes(CountForm form, std::int64_t samples) {
  const std::int64_t step = step_samples(form);
  return (samples + step - 1) / step * step_bytes(form);
}

void pack_counts(const PackCounts& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(pack_counts_kernel)(args, begin, end);
}

void count_moments(const CountMoments& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(count_moments_kernel)(args, begin, end);
}

void add_count_row(const void* row, CountType type, std::int64_t features, std::int64_t* sums) {
  ECCSNN_KERNEL(add_count_row_kernel)(row, type, features, sums);
}

std::int64_t find_count_outside(const void* values, CountType type, std::int64_t count,
                                std::int64_t max_count) {
  return ECCSNN_KERNEL(find_count_outside_kernel)(values, type, count, max_count);
}

}  // namespace eccsnn
