#include "eccsnn/lif.h"

#include "lif_dispatch.h"

namespace eccsnn {
namespace {

// An array that fills a good part of the last cache is not found there when it is read again. Written past
// the caches it need not be fetched first, and what is in them stays.
bool worth_streaming(const void* to, DType dtype, std::int64_t timesteps, std::int64_t neurons) {
  constexpr std::int64_t enough = std::int64_t{8} << 20;
  const std::int64_t size = dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2;
  return to != nullptr && timesteps * neurons * size >= enough && neurons * size % kLifStreamAlignment == 0 &&
         reinterpret_cast<std::uintptr_t>(to) % kLifStreamAlignment == 0;
}

}  // namespace

void lif_forward(const LifForward& args, std::int64_t begin, std::int64_t end) {
  LifForward call = args;
  call.stream = worth_streaming(args.spikes, args.dtype, args.timesteps, args.neurons);
  ECCSNN_KERNEL(lif_forward_kernel)(call, begin, end);
}

void lif_backward(const LifBackward& args, std::int64_t begin, std::int64_t end) {
  LifBackward call = args;
  call.stream = args.norm.channels == 0 && !args.sum_over_time &&
                worth_streaming(args.grad_x, args.dtype, args.timesteps, args.neurons);
  ECCSNN_KERNEL(lif_backward_kernel)(call, begin, end);
}

void lif_mask_backward(const LifMaskBackward& args, std::int64_t begin, std::int64_t end) {
  LifMaskBackward call = args;
  call.stream = worth_streaming(args.grad_x, args.dtype, args.timesteps, args.neurons);
  ECCSNN_KERNEL(lif_mask_backward_kernel)(call, begin, end);
}

void norm_backward(const NormBackward& args, std::int64_t begin, std::int64_t end) {
  ECCSNN_KERNEL(norm_backward_kernel)(args, begin, end);
}

}  // namespace eccsnn
