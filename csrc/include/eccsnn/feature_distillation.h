// Spike counts over time and pooling windows: what feature distillation compares with an ANN's pooled feature
// map.
//
//   counts[n, c, i, j] = sum over t, a < kernel_h, b < kernel_w of spikes[t, n, c, i kernel_h + a, j kernel_w
//   + b]
//                        / divisor
//
// Each column b is summed over t, then a; then the columns are added in order: the same bits on every
// instruction set, thread count and device. Counts are float, double for kFloat64.
#pragma once

#include <cstdint>

#include "eccsnn/dtype.h"
#include "eccsnn/spikes.h"

namespace eccsnn {

// Windows do not overlap: the stride is the kernel.
struct PoolWindow {
  std::int64_t kernel_h, kernel_w;
  std::int64_t divisor;  // 1 for counts, T * kernel_h * kernel_w for firing rates
};

struct SpikeCountPool {
  DType dtype = DType::kFloat32;  // of spikes
  SpikeView view;                 // height and width are multiples of the kernel
  PoolWindow window;
  const void* spikes = nullptr;
  void* counts = nullptr;  // [N, C, H / kernel_h, W / kernel_w] contiguous

  // A row is one (n, i) of the output.
  std::int64_t rows() const { return view.batch * (view.height / window.kernel_h); }
};

// Gradient for one timestep; it is the same for all of them.
struct SpikeCountPoolBackward {
  DType dtype = DType::kFloat32;            // of grad_spikes
  std::int64_t planes, pooled_h, pooled_w;  // planes = N * C
  PoolWindow window;
  const void* grad = nullptr;   // [planes, pooled_h, pooled_w] contiguous, of the type of counts
  void* grad_spikes = nullptr;  // [planes, pooled_h * kernel_h, pooled_w * kernel_w] contiguous
};

// Compute rows [begin, end) of args.rows(), planes [begin, end); the caller owns the threads.
void spike_count_pool(const SpikeCountPool& args, std::int64_t begin, std::int64_t end);
void spike_count_pool_backward(const SpikeCountPoolBackward& args, std::int64_t begin, std::int64_t end);

}  // namespace eccsnn
