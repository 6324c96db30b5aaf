// Spike counts over time and pooling windows, compiled once per instruction set (dispatch.h).
#include "eccsnn/feature_distillation.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {
namespace {

template <class E>
struct Pool {
  using L = Lanes<E>;
  using C = typename L::Compute;

  // Sum over t and a of `count` neighbours in memory.
  static ECCSNN_INLINE Vec<C> column(const SpikeCountPool& p, const E* source, int count) {
    Vec<C> sum{};
    for (std::int64_t t = 0; t < p.view.timesteps; ++t) {
      for (std::int64_t a = 0; a < p.window.kernel_h; ++a) {
        sum += L::load(source + t * p.view.stride_t + a * p.view.stride_h, count);
      }
    }
    return sum;
  }

  // One output row of one channel: lanes run along W, as far as W is contiguous.
  static void planar(const SpikeCountPool& p, const E* source, std::int64_t pooled_w, C* counts) {
    const int step = p.view.stride_w == 1 ? L::width : 1;
    for (std::int64_t j = 0; j < pooled_w; ++j) counts[j] = 0;
    for (std::int64_t w = 0; w < p.view.width; w += step) {
      const std::int64_t left = p.view.width - w;
      const int count = left < step ? static_cast<int>(left) : step;
      const Vec<C> sums = column(p, source + w * p.view.stride_w, count);
      for (int lane = 0; lane < count; ++lane) counts[(w + lane) / p.window.kernel_w] += sums[lane];
    }
    for (std::int64_t j = 0; j < pooled_w; ++j) counts[j] /= static_cast<C>(p.window.divisor);
  }

  // One output pixel of all channels: lanes run along C.
  static void channels_last(const SpikeCountPool& p, const E* source, std::int64_t plane, C* counts) {
    for (std::int64_t c = 0; c < p.view.channels; c += L::width) {
      const std::int64_t left = p.view.channels - c;
      const int count = left < L::width ? static_cast<int>(left) : L::width;
      Vec<C> sums{};
      for (std::int64_t b = 0; b < p.window.kernel_w; ++b) {
        sums += column(p, source + b * p.view.stride_w + c, count);
      }
      for (int lane = 0; lane < count; ++lane) {
        counts[(c + lane) * plane] = sums[lane] / static_cast<C>(p.window.divisor);
      }
    }
  }

  static void rows(const SpikeCountPool& p, std::int64_t begin, std::int64_t end) {
    const std::int64_t pooled_h = p.view.height / p.window.kernel_h;
    const std::int64_t pooled_w = p.view.width / p.window.kernel_w;
    const std::int64_t plane = pooled_h * pooled_w;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t n = row / pooled_h;
      const std::int64_t i = row % pooled_h;
      const E* source =
          static_cast<const E*>(p.spikes) + n * p.view.stride_n + i * p.window.kernel_h * p.view.stride_h;
      C* counts = static_cast<C*>(p.counts) + n * p.view.channels * plane + i * pooled_w;
      if (p.view.stride_c == 1) {
        for (std::int64_t j = 0; j < pooled_w; ++j) {
          channels_last(p, source + j * p.window.kernel_w * p.view.stride_w, plane, counts + j);
        }
      } else {
        for (std::int64_t c = 0; c < p.view.channels; ++c) {
          planar(p, source + c * p.view.stride_c, pooled_w, counts + c * plane);
        }
      }
    }
  }
};

template <class E>
void backward_planes(const SpikeCountPoolBackward& p, std::int64_t begin, std::int64_t end) {
  using L = Lanes<E>;
  using C = typename L::Compute;
  const std::int64_t width = p.pooled_w * p.window.kernel_w;
  if (width == 0) return;  // no memory to copy from
  const C divisor = static_cast<C>(p.window.divisor);
  for (std::int64_t row = begin * p.pooled_h; row < end * p.pooled_h; ++row) {
    const C* grad = static_cast<const C*>(p.grad) + row * p.pooled_w;
    E* first = static_cast<E*>(p.grad_spikes) + row * p.window.kernel_h * width;
    for (std::int64_t j = 0; j < p.pooled_w; ++j) {
      E value;
      L::store(&value, splat(grad[j] / divisor), 1);
      for (std::int64_t b = 0; b < p.window.kernel_w; ++b) first[j * p.window.kernel_w + b] = value;
    }
    for (std::int64_t a = 1; a < p.window.kernel_h; ++a) {
      __builtin_memcpy(first + a * width, first, static_cast<std::size_t>(width) * sizeof(E));
    }
  }
}

}  // namespace

void spike_count_pool_kernel(const SpikeCountPool& args, std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return Pool<float>::rows(args, begin, end);
    case DType::kFloat64:
      return Pool<double>::rows(args, begin, end);
    case DType::kBFloat16:
      return Pool<BFloat16>::rows(args, begin, end);
    case DType::kFloat16:
      return Pool<Float16>::rows(args, begin, end);
  }
}

void spike_count_pool_backward_kernel(const SpikeCountPoolBackward& args, std::int64_t begin,
                                      std::int64_t end) {
  switch (args.dtype) {
    case DType::kFloat32:
      return backward_planes<float>(args, begin, end);
    case DType::kFloat64:
      return backward_planes<double>(args, begin, end);
    case DType::kBFloat16:
      return backward_planes<BFloat16>(args, begin, end);
    case DType::kFloat16:
      return backward_planes<Float16>(args, begin, end);
  }
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
