// What the kernels share: element types, and a loop over elements.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "eccsnn/dtype.h"

namespace eccsnn {
namespace {

constexpr int kThreads = 256;

// Blocks for `count` threads; kernels stride over what is left, so the cap only bounds the grid.
inline unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>(
      std::min<std::int64_t>((count + kThreads - 1) / kThreads, std::int64_t{1} << 20));
}

__device__ inline std::int64_t first_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t index_step() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

// Elements as stored, and the type that arithmetic happens in.
template <class E>
struct Element {
  using Compute = E;
  static __device__ E load(E e) { return e; }
  static __device__ E store(E c) { return c; }
};
template <>
struct Element<__nv_bfloat16> {
  using Compute = float;
  static __device__ float load(__nv_bfloat16 e) { return __bfloat162float(e); }
  static __device__ __nv_bfloat16 store(float c) { return __float2bfloat16_rn(c); }
};
template <>
struct Element<__half> {
  using Compute = float;
  static __device__ float load(__half e) { return __half2float(e); }
  static __device__ __half store(float c) { return __float2half_rn(c); }
};

template <class E>
__device__ typename Element<E>::Compute load(const E* from) {
  return Element<E>::load(*from);
}
template <class E>
__device__ void store(E* to, typename Element<E>::Compute value) {
  *to = Element<E>::store(value);
}

// Calls function(E{}) with the element type that `dtype` names.
template <class Function>
void with_element(DType dtype, const Function& function) {
  switch (dtype) {
    case DType::kFloat32:
      return function(float{});
    case DType::kFloat64:
      return function(double{});
    case DType::kBFloat16:
      return function(__nv_bfloat16{});
    case DType::kFloat16:
      return function(__half{});
  }
}

}  // namespace
}  // namespace eccsnn
