// Launchers of the LIF kernels. Arguments are those of the CPU (eccsnn/lif.h) with device pointers; equations
// there.
#pragma once

#include <cuda_runtime_api.h>

#include "eccsnn/lif.h"

namespace eccsnn {

// Threads of a block. With grad_tau each has one neuron, so that partial sums belong to fixed neurons.
inline constexpr int kLifCudaThreads = 256;

// Partial sums that lif_backward_cuda writes to LifBackward::grad_tau: one a thread block.
std::int64_t lif_backward_cuda_partials(std::int64_t neurons);

// `tau` points to one value of the membrane's type on the device, and is read in place of params.tau; null:
// params.tau.
cudaError_t lif_forward_cuda(const LifForward& args, const void* tau, cudaStream_t stream);
cudaError_t lif_backward_cuda(const LifBackward& args, const void* tau, cudaStream_t stream);

cudaError_t lif_mask_backward_cuda(const LifMaskBackward& args, const void* tau, cudaStream_t stream);

}  // namespace eccsnn
