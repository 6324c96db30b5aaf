// Launchers for batch norm with LIF neurons behind it. Arguments are those of the CPU (eccsnn/lif.h,
// eccsnn/channel_statistics.h) with device pointers; the forward pass is lif_forward_cuda.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/channel_statistics.h"
#include "eccsnn/lif.h"

namespace eccsnn {

// Thread blocks that share a sum over `rows` of `channels`, at most: each writes partial sums of its own.
struct NormCudaBlocks {
  std::int64_t of_channels;  // for sums per channel
  std::int64_t in_all;       // for sums over everything
};
NormCudaBlocks norm_cuda_blocks(std::int64_t rows, std::int64_t channels);

// Mean and biased variance [channels]. `args.sums` has room for
// [of_channels, 2, channels].
cudaError_t channel_statistics_cuda(const ChannelStatistics& args, void* mean, void* variance,
                                    cudaStream_t stream);

// What batch norm's tensors and the sums of the backward pass mean for one channel: [4, channels] scale,
// bias, slope, offset (LifNorm, LifBackward). All in the membrane's type but `sums` [2, channels], which may
// be null.
struct NormCoefficients {
  DType dtype = DType::kFloat32;
  std::int64_t channels = 0;
  const void* variance = nullptr;
  const void* weight = nullptr;  // may be null, like bias
  const void* bias = nullptr;
  double eps = 0.0;
  const double* sums = nullptr;
  double count = 1.0;
  void* coefficients = nullptr;
};
cudaError_t norm_coefficients_cuda(const NormCoefficients& args, cudaStream_t stream);

// LifBackward with a norm, in two passes that both go back through time, since memory is the limit. With
// `args.norm_sums`, which has room for [of_channels, 2, channels], the sums alone; finish_norm_sums_cuda then
// adds the first `blocks` of them. `args.grad_tau`, where asked for, has room for `in_all` sums and holds
// zeros before. Without, the gradient of the norm's input to `args.grad_x`: scale * g - slope * (x - mean) -
// offset; slope and offset [channels] may be null.
cudaError_t norm_lif_backward_cuda(const LifBackward& args, const void* slope, const void* offset,
                                   const void* tau, cudaStream_t stream, std::int64_t& blocks);

// Partial sums to `sums` [2, channels], and the gradients of weight and bias [channels], membrane's type.
cudaError_t finish_norm_sums_cuda(const double* partial, std::int64_t blocks, const NormCoefficients& norm,
                                  double* sums, void* grad_weight, void* grad_bias, cudaStream_t stream);

}  // namespace eccsnn
