// Batch norm with LIF neurons behind it on the GPU: statistics per channel, and the backward pass. Threads
// lie along the channels, so that each keeps the sums and coefficients of its few channels in registers, and
// walk over pixels; partial sums of thread blocks are added in their order. Unlike the CPU's,
// the backward pass keeps no gradient between its two passes, and so rounds once where a 16-bit grad_x there
// is rounded twice, and scales before it sums over a repeated timestep.
#include "lif_neuron.cuh"
#include "norm_lif.h"

namespace eccsnn {
namespace {

#define ECCSNN_MATH __device__
#define ECCSNN_SQRT sqrt_of
__device__ float sqrt_of(float a) { return __fsqrt_rn(a); }
__device__ double sqrt_of(double a) { return __dsqrt_rn(a); }
#include "../core/norm_coefficients.inc"
#undef ECCSNN_SQRT
#undef ECCSNN_MATH

constexpr std::int64_t kMostBlocks = 1024;

// Where a thread stands in [rows, channels], with kCount channels a thread: blockIdx.y counts slabs of
// kLifCudaThreads packs of channels.
template <int kCount>
struct Place {
  std::int64_t channel, row, row_step;
  int packs, rows_per_block;  // of this slab
  bool active;

  __device__ explicit Place(std::int64_t channels) {
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kLifCudaThreads;
    const std::int64_t left = channels / kCount - first;
    packs = static_cast<int>(left < kLifCudaThreads ? left : kLifCudaThreads);
    rows_per_block = kLifCudaThreads / packs;
    channel = (first + threadIdx.x % packs) * kCount;
    row = static_cast<std::int64_t>(blockIdx.x) * rows_per_block + threadIdx.x / packs;
    row_step = static_cast<std::int64_t>(gridDim.x) * rows_per_block;
    active = static_cast<int>(threadIdx.x) < packs * rows_per_block;
  }
};

template <int kCount>
dim3 grid_of(std::int64_t rows, std::int64_t channels) {
  const std::int64_t packs = channels / kCount;
  const std::int64_t slabs = (packs + kLifCudaThreads - 1) / kLifCudaThreads;
  const std::int64_t rows_per_block = packs < kLifCudaThreads ? kLifCudaThreads / packs : 1;
  const std::int64_t blocks = std::min((rows + rows_per_block - 1) / rows_per_block, kMostBlocks);
  return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(slabs));
}

// Adds the sums of a block's rows in their order and writes them to partial[blockIdx.x][2][channels].
template <int kCount>
__device__ void write_block_sums(const double (&sum)[kCount], const double (&second)[kCount],
                                 const Place<kCount>& place, std::int64_t channels, double* partial) {
  __shared__ double shared[2 * kCount][kLifCudaThreads];
  for (int k = 0; k < kCount; ++k) {
    shared[k][threadIdx.x] = sum[k];
    shared[kCount + k][threadIdx.x] = second[k];
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= place.packs) return;
  double* const to = partial + static_cast<std::int64_t>(blockIdx.x) * 2 * channels + place.channel;
  for (int k = 0; k < 2 * kCount; ++k) {
    double total = 0.0;
    for (int row = 0; row < place.rows_per_block; ++row) total += shared[k][row * place.packs + threadIdx.x];
    to[(k / kCount) * channels + k % kCount] = total;
  }
}

template <class E, int kCount>
__global__ void __launch_bounds__(kLifCudaThreads) statistics_kernel(ChannelStatistics a) {
  const Place<kCount> place(a.channels);
  double sum[kCount] = {}, square[kCount] = {};
  if (place.active) {
    const auto first = load_pack<kCount, E>(a.x, place.channel);
    for (std::int64_t row = place.row; row < a.rows; row += place.row_step) {
      const auto x = load_pack<kCount, E>(a.x, row * a.channels + place.channel);
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        const double d =
            static_cast<double>(Element<E>::load(x.e[k])) - static_cast<double>(Element<E>::load(first.e[k]));
        sum[k] += d;
        square[k] += d * d;
      }
    }
  }
  write_block_sums<kCount>(sum, square, place, a.channels, a.sums);
}

template <class E>
__global__ void finish_statistics_kernel(ChannelStatistics a, std::int64_t blocks,
                                         typename Element<E>::Compute* mean,
                                         typename Element<E>::Compute* variance) {
  using C = typename Element<E>::Compute;
  const std::int64_t c = first_index();
  if (c >= a.channels) return;
  double sum = 0.0, square = 0.0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    sum += a.sums[2 * i * a.channels + c];
    square += a.sums[(2 * i + 1) * a.channels + c];
  }
  const double from_first = sum / static_cast<double>(a.rows);
  const double spread = square / static_cast<double>(a.rows) - from_first * from_first;
  mean[c] = static_cast<C>(static_cast<double>(load(static_cast<const E*>(a.x) + c)) + from_first);
  variance[c] = static_cast<C>(spread < 0.0 ? 0.0 : spread);  // NaN stays
}

template <class C>
__global__ void coefficients_kernel(NormCoefficients a) {
  const std::int64_t c = first_index();
  if (c >= a.channels) return;
  C* const rows = static_cast<C*>(a.coefficients);
  const C inverse = norm_inverse_deviation(static_cast<const C*>(a.variance)[c], static_cast<C>(a.eps));
  const C scale = a.weight != nullptr ? static_cast<const C*>(a.weight)[c] * inverse : inverse;
  rows[c] = scale;
  rows[a.channels + c] = a.bias != nullptr ? static_cast<const C*>(a.bias)[c] : C{0};
  if (a.sums == nullptr) return;
  norm_gradient(inverse, scale, a.sums[c], a.sums[a.channels + c], a.count, rows[2 * a.channels + c],
                rows[3 * a.channels + c]);
}

template <class C>
__global__ void finish_sums_kernel(const double* partial, std::int64_t blocks, NormCoefficients norm,
                                   double* sums, C* grad_weight, C* grad_bias) {
  const std::int64_t c = first_index();
  if (c >= norm.channels) return;
  double sum = 0.0, centered = 0.0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    sum += partial[2 * i * norm.channels + c];
    centered += partial[(2 * i + 1) * norm.channels + c];
  }
  sums[c] = sum;
  sums[norm.channels + c] = centered;
  const C inverse = norm_inverse_deviation(static_cast<const C*>(norm.variance)[c], static_cast<C>(norm.eps));
  grad_bias[c] = static_cast<C>(sum);
  grad_weight[c] = static_cast<C>(centered * static_cast<double>(inverse));
}

// Either the sums over neurons and time, or grad_x; asked at run time, for half the kernels to compile.
template <class E, int kCount, int kSteps>
__global__ void __launch_bounds__(kLifCudaThreads)
    backward_kernel(LifBackward a, const void* norm_slope, const void* norm_offset,
                    Neuron<typename Element<E>::Compute> n) {
  using C = typename Element<E>::Compute;
  const std::int64_t channels = a.norm.channels;
  const std::int64_t pixels = a.neurons / channels;
  const Place<kCount> place(channels);
  const bool need_sums = a.norm_sums != nullptr;
  double sum[kCount] = {}, sum_centered[kCount] = {};
  double tau_sum = 0.0;
  if (place.active && place.row < pixels) {
    n.fetch_tau();
    const NormPack<C, kCount> norm(a.norm, place.channel);
    Pack<C, kCount> slope = {}, offset = {};
    if (norm_slope != nullptr) {
      slope = load_pack<kCount, C>(norm_slope, place.channel);
      offset = load_pack<kCount, C>(norm_offset, place.channel);
    }
    for (std::int64_t pixel = place.row; pixel < pixels; pixel += place.row_step) {
      const std::int64_t at = pixel * channels + place.channel;
      Pack<C, kCount> over_time = {}, over_time_centered = {}, grad_tau = {};
      const auto sink = [&](std::int64_t t, const Pack<C, kCount>& grad_input) {
        const auto x = load_pack<kCount, E>(a.x, t * a.x_step + at);  // read a moment ago: from a cache
        Pack<E, kCount> grad_x;
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          const C centered = Element<E>::load(x.e[k]) - norm.mean.e[k];
          if (need_sums) {
            over_time.e[k] += grad_input.e[k];
            over_time_centered.e[k] += grad_input.e[k] * centered;
            continue;
          }
          C grad = grad_input.e[k] * norm.scale.e[k];
          if (norm_slope != nullptr) grad = (grad - centered * slope.e[k]) - offset.e[k];
          if (a.sum_over_time) {
            over_time.e[k] += grad;
          } else {
            grad_x.e[k] = Element<E>::store(grad);
          }
        }
        if (!need_sums && !a.sum_over_time) store_pack(a.grad_x, t * a.neurons + at, grad_x);
      };
      const auto grad_v = back_through_time<E, kCount, kSteps>(a, n, at, norm, sink, grad_tau);
      if (a.grad_v_init != nullptr) store_pack(a.grad_v_init, at, grad_v);
      if (!need_sums && a.sum_over_time) {
        Pack<E, kCount> grad_x;
        for (int k = 0; k < kCount; ++k) grad_x.e[k] = Element<E>::store(over_time.e[k]);
        store_pack(a.grad_x, at, grad_x);
      }
      for (int k = 0; k < kCount; ++k) {
        sum[k] += static_cast<double>(over_time.e[k]);
        sum_centered[k] += static_cast<double>(over_time_centered.e[k]);
        tau_sum += static_cast<double>(grad_tau.e[k]);
      }
    }
  }
  if (need_sums) write_block_sums<kCount>(sum, sum_centered, place, channels, a.norm_sums);
  if (a.grad_tau != nullptr) {
    __syncthreads();
    tau_sum = block_sum(tau_sum);
    if (threadIdx.x == 0)
      a.grad_tau[static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = tau_sum;
  }
}

template <class E>
unsigned backward_of(const LifBackward& a, const void* norm_slope, const void* norm_offset, const void* tau,
                     cudaStream_t stream) {
  const Neuron<typename Element<E>::Compute> n(a.params, tau);
  constexpr int wide = kWide<E>;
  constexpr int segment = static_cast<int>(kLifSegment);
  const std::int64_t pixels = a.neurons / a.norm.channels;
  if (!packs_fit(a.neurons, a.x_step, a.norm.channels, wide, a.grad_spikes, a.grad_v_final, a.x, a.v_init,
                 a.v_kept, a.grad_x, a.grad_v_init, a.norm.mean, a.norm.scale, a.norm.bias, norm_slope,
                 norm_offset)) {
    const dim3 grid = grid_of<1>(pixels, a.norm.channels);
    backward_kernel<E, 1, segment><<<grid, kLifCudaThreads, 0, stream>>>(a, norm_slope, norm_offset, n);
    return grid.x;
  }
  const dim3 grid = grid_of<wide>(pixels, a.norm.channels);
  if constexpr (sizeof(E) < 8) {
    if (a.timesteps <= 4) {
      backward_kernel<E, wide, 4><<<grid, kLifCudaThreads, 0, stream>>>(a, norm_slope, norm_offset, n);
      return grid.x;
    }
  }
  backward_kernel<E, wide, segment><<<grid, kLifCudaThreads, 0, stream>>>(a, norm_slope, norm_offset, n);
  return grid.x;
}

template <class E>
void statistics_of(const ChannelStatistics& a, void* mean, void* variance, cudaStream_t stream) {
  using C = typename Element<E>::Compute;
  constexpr int wide = kWide<E>;
  dim3 grid;
  if (packs_fit(a.channels, 0, 0, wide, a.x)) {
    grid = grid_of<wide>(a.rows, a.channels);
    statistics_kernel<E, wide><<<grid, kLifCudaThreads, 0, stream>>>(a);
  } else {
    grid = grid_of<1>(a.rows, a.channels);
    statistics_kernel<E, 1><<<grid, kLifCudaThreads, 0, stream>>>(a);
  }
  finish_statistics_kernel<E><<<blocks_for(a.channels), kThreads, 0, stream>>>(
      a, grid.x, static_cast<C*>(mean), static_cast<C*>(variance));
}

}  // namespace

NormCudaBlocks norm_cuda_blocks(std::int64_t rows, std::int64_t channels) {
  const dim3 grid = grid_of<1>(rows, channels);  // wider packs need fewer
  return {grid.x, static_cast<std::int64_t>(grid.x) * grid.y};
}

cudaError_t channel_statistics_cuda(const ChannelStatistics& args, void* mean, void* variance,
                                    cudaStream_t stream) {
  with_element(args.dtype,
               [&](auto element) { statistics_of<decltype(element)>(args, mean, variance, stream); });
  return cudaGetLastError();
}

cudaError_t norm_coefficients_cuda(const NormCoefficients& args, cudaStream_t stream) {
  if (args.channels == 0) return cudaSuccess;
  if (args.dtype == DType::kFloat64) {
    coefficients_kernel<double><<<blocks_for(args.channels), kThreads, 0, stream>>>(args);
  } else {
    coefficients_kernel<float><<<blocks_for(args.channels), kThreads, 0, stream>>>(args);
  }
  return cudaGetLastError();
}

cudaError_t norm_lif_backward_cuda(const LifBackward& args, const void* slope, const void* offset,
                                   const void* tau, cudaStream_t stream, std::int64_t& blocks) {
  blocks = 0;
  if (args.neurons == 0) return cudaSuccess;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    blocks = backward_of<E>(args, slope, offset, tau, stream);
  });
  return cudaGetLastError();
}

cudaError_t finish_norm_sums_cuda(const double* partial, std::int64_t blocks, const NormCoefficients& norm,
                                  double* sums, void* grad_weight, void* grad_bias, cudaStream_t stream) {
  if (norm.channels == 0) return cudaSuccess;
  if (norm.dtype == DType::kFloat64) {
    finish_sums_kernel<double><<<blocks_for(norm.channels), kThreads, 0, stream>>>(
        partial, blocks, norm, sums, static_cast<double*>(grad_weight), static_cast<double*>(grad_bias));
  } else {
    finish_sums_kernel<float><<<blocks_for(norm.channels), kThreads, 0, stream>>>(
        partial, blocks, norm, sums, static_cast<float*>(grad_weight), static_cast<float*>(grad_bias));
  }
  return cudaGetLastError();
}

}  // namespace eccsnn
