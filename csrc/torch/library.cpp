// Every op that eccsnn offers to PyTorch, in one view. Schemas are functional: no argument is changed and no
// output aliases an input. The implementations register themselves in name.cpp (CPU) and name_cuda.cpp
// (CUDA); fakes and autograd are registered from Python (eccsnn/ops/name.py).
#include <torch/csrc/stable/library.h>

#include "eccsnn/isa.h"

STABLE_TORCH_LIBRARY(eccsnn, m) {
  // Name of the instruction set that the CPU kernels use.
  m.def("isa() -> str");

  // --- lif.cpp, lif_cuda.cpp: x [T, ...], v_init [...] in the membrane's type (float32, or float64 for
  // float64 x). `tau_tensor` (0-dim, membrane's type) is used in place of `tau` where given. `v_reset` None
  // is soft reset. `detach_reset` does not change the outputs; it is an argument for the sake of the backward
  // formula. `v_kept` [(T - 1) / 16, ...] is what the backward pass needs besides x (eccsnn/lif.h).
  // v_final [...] is empty unless `need_state`.
  m.def(
      "lif_forward(Tensor x, Tensor? v_init, Tensor? tau_tensor, float tau, float v_threshold, float? "
      "v_reset, "
      "str charge, bool detach_reset, str surrogate, float surrogate_alpha, bool smooth, "
      "bool need_state) -> (Tensor spikes, Tensor v_kept, Tensor v_final)");
  // `packed`: spikes are uint8 [T, ceil(neurons / 8)], bits in the order of x's elements.
  m.def(
      "lif_inference(Tensor x, Tensor? v_init, Tensor? tau_tensor, float tau, float v_threshold, float? "
      "v_reset, "
      "str charge, bool need_state, bool packed) -> (Tensor spikes, Tensor v_final)");
  // x are packed spikes times `gain`: uint8 [T, ..., ceil(channels / 8)]; spikes are [T, ..., channels].
  m.def(
      "lif_of_packed(Tensor packed, SymInt channels, float gain, ScalarType dtype, Tensor? v_init, "
      "Tensor? tau_tensor, float tau, float v_threshold, float? v_reset, str charge, bool need_state) "
      "-> (Tensor spikes, Tensor v_final)");
  // grad_v_init is empty where v_init is None; grad_tau (0-dim) is zero unless asked for.
  m.def(
      "lif_backward(Tensor grad_spikes, Tensor? grad_v_final, Tensor x, Tensor v_kept, Tensor? v_init, "
      "Tensor? tau_tensor, "
      "float tau, float v_threshold, float? v_reset, str charge, bool detach_reset, str surrogate, "
      "float surrogate_alpha, bool smooth, bool need_grad_tau) "
      "-> (Tensor grad_x, Tensor grad_v_init, Tensor grad_tau)");

  // With the rectangular surrogate, detached reset and a tau without gradient: mask uint8 [2, T, ceil(neurons
  // / 8)], the spikes and the surrogate's window in the order of x's elements, is all that the backward pass
  // needs. `packed`: spikes are empty, since the mask has them.
  m.def(
      "lif_mask_forward(Tensor x, Tensor? v_init, Tensor? tau_tensor, float tau, float v_threshold, float? "
      "v_reset, "
      "str charge, float surrogate_alpha, bool need_state, bool packed) "
      "-> (Tensor spikes, Tensor mask, Tensor v_final)");
  m.def(
      "lif_mask_backward(Tensor grad_spikes, Tensor? grad_v_final, Tensor mask, Tensor? tau_tensor, float "
      "tau, "
      "float v_threshold, float? v_reset, str charge, float surrogate_alpha, bool need_grad_v_init) "
      "-> (Tensor grad_x, Tensor grad_v_init)");

  // --- norm_lif.cpp, norm_lif_cuda.cpp: batch norm and LIF neurons behind it. x [T, ..., C] or [1, ..., C]
  // (repeated over `timesteps`), channels innermost; mean, variance (biased), weight, bias [C] in the
  // membrane's type.
  m.def("channel_statistics(Tensor x) -> (Tensor mean, Tensor variance)");
  // Neurons get (x - mean) * (weight / sqrt(variance + eps)) + bias. `batch_statistics`: mean and variance
  // are x's own, and the backward formula passes through them.
  m.def(
      "norm_lif_forward(Tensor x, SymInt timesteps, Tensor mean, Tensor variance, Tensor? weight, Tensor? "
      "bias, "
      "float eps, bool batch_statistics, Tensor? v_init, Tensor? tau_tensor, float tau, float v_threshold, "
      "float? v_reset, str charge, bool detach_reset, str surrogate, float surrogate_alpha, bool smooth, "
      "bool need_state) -> (Tensor spikes, Tensor v_kept, Tensor v_final)");
  m.def(
      "norm_lif_inference(Tensor x, SymInt timesteps, Tensor mean, Tensor variance, Tensor? weight, Tensor? "
      "bias, "
      "float eps, Tensor? v_init, Tensor? tau_tensor, float tau, float v_threshold, float? v_reset, str "
      "charge, "
      "bool need_state, bool packed) -> (Tensor spikes, Tensor v_final)");
  // grad_x, [..] as x, is empty unless `need_grad_x`; grad_v_init is empty where v_init is None.
  m.def(
      "norm_lif_backward(Tensor grad_spikes, Tensor? grad_v_final, Tensor x, Tensor v_kept, Tensor mean, "
      "Tensor variance, Tensor? weight, Tensor? bias, float eps, bool batch_statistics, Tensor? v_init, "
      "Tensor? tau_tensor, float tau, float v_threshold, float? v_reset, str charge, bool detach_reset, "
      "str surrogate, float surrogate_alpha, bool smooth, bool need_grad_x, bool need_grad_tau) "
      "-> (Tensor grad_x, Tensor grad_weight, Tensor grad_bias, Tensor grad_v_init, Tensor grad_tau)");

  // --- spikes.cpp, spikes_cuda.cpp: [T, N, C, H, W] <-> uint8 [T, N, H, W, ceil(C / 8)], or without H and W.
  // With `check`, a value other than 0 and 1 is an error (on CUDA that waits for the device).
  m.def("pack_spikes(Tensor spikes, bool check) -> Tensor");
  m.def("unpack_spikes(Tensor packed, SymInt channels, ScalarType dtype) -> Tensor");

  // --- spike_bits.cpp, spike_bits_cuda.cpp: contiguous spikes of any shape <-> uint8 [ceil(elements / 8)].
  // With `check`, a value other than 0 and 1 is an error (on the CPU alone).
  m.def("pack_bits(Tensor spikes, bool check) -> Tensor");
  m.def("unpack_bits(Tensor bits, SymInt[] size, ScalarType dtype) -> Tensor");

  // --- events.cpp, events_cuda.cpp: events x, y uint16 [E], polarity uint8 [E], t_us int64 [E] of a sensor;
  // slices bounds int64 [..., 2] of positions. Frames int32 [..., 2, height, width] of counts; packed frames
  // uint8 [..., height, width, 1]; latest times int64 [..., 2, height, width], -1 for none; sums int64 [...,
  // bins, height, width] in units of 1 / duration. Events outside the sensor are an error on the CPU and are
  // left out on CUDA.
  m.def(
      "events_to_frames(Tensor x, Tensor y, Tensor polarity, Tensor bounds, SymInt sensor_height, SymInt "
      "sensor_width, SymInt height, SymInt width) -> Tensor");
  m.def(
      "events_to_packed_frames(Tensor x, Tensor y, Tensor polarity, Tensor bounds, SymInt sensor_height, "
      "SymInt sensor_width, SymInt height, SymInt width) -> Tensor");
  m.def(
      "latest_event_times(Tensor t_us, Tensor x, Tensor y, Tensor polarity, Tensor bounds, SymInt "
      "sensor_height, SymInt sensor_width, SymInt height, SymInt width) -> Tensor");
  m.def(
      "sum_event_voxels(Tensor t_us, Tensor x, Tensor y, Tensor polarity, Tensor bounds, SymInt bins, SymInt "
      "sensor_height, SymInt sensor_width, SymInt height, SymInt width) -> Tensor");

  // --- spike_max_pool.cpp (CPU): grad [N, h, w, C] and the bits of spikes [N, height, width, C] -> the
  // gradient of max pooling, [N, height, width, C].
  m.def(
      "spike_max_pool2d_backward(Tensor grad, Tensor bits, SymInt height, SymInt width, int[2] kernel_size, "
      "int[2] stride, int[2] padding) -> Tensor");

  // --- feature_distillation.cpp, feature_distillation_cuda.cpp: spikes [T, N, C, H, W] -> their sums over T
  // and windows, divided by `divisor`: [N, C, H / kernel_h, W / kernel_w] in float32, or float64 for float64
  // spikes.
  m.def("spike_count_pool(Tensor spikes, SymInt kernel_h, SymInt kernel_w, SymInt divisor) -> Tensor");
  // [N, C, H, W] in `dtype`: the gradient for one timestep, the same for all.
  m.def(
      "spike_count_pool_backward(Tensor grad, SymInt kernel_h, SymInt kernel_w, SymInt divisor, ScalarType "
      "dtype) "
      "-> Tensor");

  // --- logit_distillation.cpp, logit_distillation_cuda.cpp: student [N, K], teacher [N, M], class_ids int64
  // [K] on the CPU (checked) or on the logits' device (not checked). `gradient` [N, K] is d loss / d student.
  m.def(
      "logit_distillation(Tensor student, Tensor teacher, Tensor? class_ids, float temperature) "
      "-> (Tensor loss, Tensor gradient)");
  m.def("logit_distillation_backward(Tensor grad_loss, Tensor gradient, ScalarType dtype) -> Tensor");

  // --- count_moments.cpp, count_moments_cuda.cpp: features uint8 or int16 [N, D] in 0..max_count, classes
  // int64 [N] in [0, num_classes) -> moment int64 [D, D], the sum of x x^T, and sums int64 [num_classes, D].
  // Values are checked on the CPU alone.
  m.def(
      "count_moments(Tensor features, Tensor classes, SymInt num_classes, SymInt max_count) "
      "-> (Tensor moment, Tensor sums)");
}

namespace {

std::string isa() { return eccsnn::isa_name(eccsnn::isa_choice().selected); }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(eccsnn, CompositeExplicitAutograd, m) { m.impl("isa", TORCH_BOX(&isa)); }
