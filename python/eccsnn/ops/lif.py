"""Leaky integrate-and-fire neurons over all timesteps in one fused op: the function, its fakes and its autograd.

    charge   h = v + (x - (v - v_reset)) / tau          decay_input
             h = v - (v - v_reset) / tau + x            otherwise
             h = v + x                                  without a leak
    fire     s = h >= v_threshold                       (NaN does not fire)
    reset    v = s * v_reset + (1 - s) * h              hard
             v = h - s * v_threshold                    soft (v_reset=None); the leak is then towards 0

`reference.lif` says the same in plain torch. Membranes are float32 (float64 for float64 inputs) and have the same bits
on every instruction set, thread count and device.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eccsnn.ops._autograd import (
    below_autograd,
    needs_grad,
    refuse_forward_mode,
    refuse_second_derivative,
    refuse_transforms,
)
from eccsnn.ops._checks import check_neuron, check_number
from eccsnn.ops._layout import memory_order, restore_order
from eccsnn.ops.reference import membrane_dtype
from eccsnn.ops.spikes import check_packed, pack_spikes

_SEGMENT = 16  # kLifSegment of eccsnn/lif.h


def lif(
    x: Tensor,
    v_init: Tensor | None = None,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    leak: bool = True,
    detach_reset: bool = True,
    surrogate: str = "atan",
    surrogate_alpha: float = 2.0,
    smooth: bool = False,
    return_state: bool = True,
) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire neurons over time. Differentiable in `x`, `v_init` and `tau`.

    The memory order of `x` (channels-last, for example) is kept in all results. An input that repeats over time
    (`x[:1].expand(T, ...)`) is not copied.

    Args:
        x: Input currents `[T, ...]`, time first, T >= 1; float32, float64, bfloat16 or float16.
        v_init: Membrane before the first timestep, `[...]`, of x's dtype or the membrane's (float32; float64 for
            float64 inputs). None: `v_reset`, or 0 with soft reset.
        tau: Time constant in timesteps, finite and >= 1; a number, or a tensor without dimensions (learnable, as in
            PLIF). The value of a tensor is looked at on the CPU alone, and not while torch compiles: on CUDA the look
            would wait for the device.
        v_threshold: A neuron fires where its membrane reaches this.
        v_reset: Membrane after a spike (hard reset), below the threshold; None subtracts `v_threshold` in place (soft
            reset).
        decay_input: Whether the input is divided by `tau` like the membrane.
        leak: False: integrate and fire, h = v + x; `tau` and `decay_input` then count for nothing.
        detach_reset: Whether gradients pass by the spike that resets the membrane.
        surrogate: Derivative that stands in for that of the step: "atan", "sigmoid" or "rect".
        surrogate_alpha: Its sharpness; for "rect" its width.
        smooth: For checking gradients in float64: fires the surrogate's primitive in place of the step.
        return_state: Whether the membrane after the last timestep is wanted; what nobody reads is not written.

    Returns:
        Spikes `[T, ...]`, 0 or 1 in x's dtype, and the membrane after the last timestep, `[...]` in the membrane's
        dtype; an empty tensor without `return_state`.

    Raises:
        TypeError: If a tensor has another dtype than listed, or an argument another type.
        ValueError: If a shape, a device or a value is not as described, or there are no timesteps.
        NotImplementedError: If a transform of torch.func (grad, vjp) or forward mode asks for a derivative.
        BuildError: If x is on CUDA and the CUDA op library is not loaded.

    Source:
        Fang et al., "Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
        ICCV 2021, equations 1-4 (learnable tau: there through a sigmoid, here as it is).

    Example:
        >>> import torch
        >>> spikes, v = lif(torch.full((4, 1), 1.5))
        >>> spikes.flatten().tolist(), v.tolist()
        ([0.0, 1.0, 0.0, 1.0], [0.0])
    """
    flags = {
        "decay_input": decay_input,
        "leak": leak,
        "detach_reset": detach_reset,
        "smooth": smooth,
        "return_state": return_state,
    }
    check_neuron(x, v_init, tau, v_threshold, v_reset, surrogate, surrogate_alpha, flags)
    if not torch.compiler.is_compiling():
        refuse_forward_mode("lif", x, v_init, tau)
    order = memory_order(x)
    x, v_init, parameters = _arguments(x, v_init, order, tau, v_threshold, v_reset, charge_name(decay_input, leak))
    tau_tensor = parameters[0]
    trained = needs_grad(x, v_init, tau_tensor)
    if trained:
        refuse_transforms("lif")
    if trained and surrogate == "rect" and detach_reset and not smooth and not needs_grad(tau_tensor):
        spikes, v_final = _mask_forward(
            x, v_init, tau_tensor, (*parameters[1:], float(surrogate_alpha), return_state, False)
        )
    elif trained or smooth:
        rest = (*parameters[1:], detach_reset, surrogate, float(surrogate_alpha), smooth, return_state)
        spikes, v_final = _forward(x, v_init, tau_tensor, rest)
    else:
        spikes, v_final = torch.ops.eccsnn.lif_inference(x, v_init, *parameters, return_state, False)
    return restore_order(spikes, order, 1), restore_order(v_final, order, 0) if return_state else v_final


def lif_packed(
    x: Tensor,
    v_init: Tensor | None = None,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    leak: bool = True,
    return_state: bool = True,
) -> tuple[Tensor, Tensor]:
    """Like `lif`, but the spikes come packed, one bit each. For inference: not differentiable.

    In channels-last memory with a multiple of 8 channels the bits are written by the neurons themselves, and 32 times
    fewer bytes than as float32; otherwise the spikes are packed in a second pass.

    Args:
        x: Input currents `[T, N, C, H, W]` or `[T, N, C]`.
        v_init, tau, v_threshold, v_reset, decay_input, leak, return_state: As for `lif`.

    Returns:
        uint8 `[T, N, H, W, ceil(C / 8)]` or `[T, N, ceil(C / 8)]` (see `pack_spikes`), and the membrane after the last
        timestep `[N, ...]`; an empty tensor without `return_state`.

    Raises:
        TypeError, ValueError, BuildError: As for `lif`; also where x has another number of dimensions.

    Example:
        >>> import torch
        >>> lif_packed(torch.full((2, 1, 3), 1.5), return_state=False)[0].tolist()
        [[[0]], [[7]]]
    """
    flags = {"decay_input": decay_input, "leak": leak, "return_state": return_state}
    check_neuron(x, v_init, tau, v_threshold, v_reset, "atan", 2.0, flags)
    if x.dim() not in (3, 5):
        raise ValueError(f"x has shape {list(x.shape)}; expected [T, N, C, H, W] or [T, N, C].")
    order = memory_order(x)
    channels = x.shape[2]
    in_place = channels % 8 == 0 and (order is None if x.dim() == 3 else order == [0, 2, 3, 1])
    with torch.no_grad():
        charge = charge_name(decay_input, leak)
        placed, v_init, parameters = _arguments(x, v_init, order, tau, v_threshold, v_reset, charge)
        bits, v_final = torch.ops.eccsnn.lif_inference(placed, v_init, *parameters, return_state, in_place)
        if in_place:
            bits = bits.view(*placed.shape[:-1], channels // 8)
        else:
            bits = pack_spikes(restore_order(bits, order, 1), check=False)
    return bits, restore_order(v_final, order, 0) if return_state else v_final


def lif_of_packed(
    packed: Tensor,
    channels: int,
    v_init: Tensor | None = None,
    *,
    gain: float = 1.0,
    dtype: torch.dtype = torch.float32,
    tau: float | Tensor = 2.0,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    leak: bool = True,
    return_state: bool = True,
) -> tuple[Tensor, Tensor]:
    """`lif(gain * unpack_spikes(packed, channels, dtype))` that reads the bits themselves. Not differentiable.

    Binary frames of events (`events_to_packed_frames`) feed neurons so without a dense copy of them.

    Args:
        packed: uint8 `[T, N, H, W, ceil(C / 8)]` or `[T, N, ceil(C / 8)]`; see `pack_spikes`.
        channels: C, which the packed tensor alone does not tell.
        v_init: `[N, C, H, W]` or `[N, C]`, as for `lif`.
        gain: Input current of a spike, rounded to `dtype`; no spike is 0.
        dtype: Of the spikes: float32, float64, bfloat16 or float16; membranes are float32 (float64 for float64).
        tau, v_threshold, v_reset, decay_input, leak, return_state: As for `lif`.

    Returns:
        Spikes `[T, N, C, H, W]` in channels-last memory or `[T, N, C]`, and the membrane after the last timestep
        `[N, ...]`; an empty tensor without `return_state`. Their bits are those of `lif`.

    Raises:
        TypeError, ValueError, BuildError: As for `lif` and `unpack_spikes`.

    Example:
        >>> import torch
        >>> frames = torch.tensor([[[[[3]]]], [[[[1]]]]], dtype=torch.uint8)  # [T=2, N=1, H=1, W=1, 1 byte]
        >>> lif_of_packed(frames, 2, gain=1.5)[0].flatten(1).tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """
    check_packed("lif_of_packed", packed, channels)
    check_number("gain", gain)
    timesteps, *places, _ = packed.shape
    spikes_shape = (timesteps, places[0], channels, *places[1:])
    like = torch.empty((), dtype=dtype, device=packed.device).expand(spikes_shape)
    flags = {"decay_input": decay_input, "leak": leak, "return_state": return_state}
    check_neuron(like, v_init, tau, v_threshold, v_reset, "atan", 2.0, flags)
    if v_init is not None:
        v_init = v_init.movedim(1, -1)
    with torch.no_grad():
        charge = charge_name(decay_input, leak)
        _, v_init, parameters = _arguments(like, v_init, None, tau, v_threshold, v_reset, charge)
        spikes, v_final = torch.ops.eccsnn.lif_of_packed(
            packed, channels, float(gain), dtype, v_init, *parameters, return_state
        )
    return spikes.movedim(-1, 2), v_final.movedim(-1, 1) if return_state else v_final


def charge_name(decay_input: bool, leak: bool) -> str:
    """The charge of csrc/core/charges.inc that the two flags mean."""
    if not leak:
        return "integrate"
    return "decayed_input" if decay_input else "leaky"


def _arguments(
    x: Tensor,
    v_init: Tensor | None,
    order: list[int] | None,
    tau: float | Tensor,
    v_threshold: float,
    v_reset: float | None,
    charge: str,
) -> tuple[Tensor, Tensor | None, tuple[Any, ...]]:
    """x and v_init with their neurons in memory order (views alone, no copy), and the ops' other arguments."""
    dtype = membrane_dtype(x.dtype)
    if order is not None:
        x = x.permute(0, *(d + 1 for d in order))
        v_init = None if v_init is None else v_init.permute(order)
    if v_init is not None:
        v_init = v_init.to(dtype)
    tau_tensor = tau.to(dtype) if isinstance(tau, Tensor) else None
    tau_number = 0.0 if isinstance(tau, Tensor) else float(tau)
    reset = None if v_reset is None else float(v_reset)
    return x, v_init, (tau_tensor, tau_number, float(v_threshold), reset, charge)


# ---- fakes: shapes and dtypes without arithmetic; all outputs are contiguous ----


@torch.library.register_fake("eccsnn::lif_forward")
def _lif_forward_fake(x: Tensor, v_init: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, need_state = rest
    dtype = membrane_dtype(x.dtype)
    kept = x.new_empty(((x.shape[0] - 1) // _SEGMENT, *x.shape[1:]), dtype=dtype)
    return x.new_empty(x.shape), kept, x.new_empty(x.shape[1:] if need_state else (0,), dtype=dtype)


@torch.library.register_fake("eccsnn::lif_inference")
def _lif_inference_fake(x: Tensor, v_init: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
    *_, need_state, packed = rest
    v_final = x.new_empty(x.shape[1:] if need_state else (0,), dtype=membrane_dtype(x.dtype))
    if packed:
        neurons = math.prod(x.shape[1:])
        return x.new_empty((x.shape[0], (neurons + 7) // 8), dtype=torch.uint8), v_final
    return x.new_empty(x.shape), v_final


@torch.library.register_fake("eccsnn::lif_of_packed")
def _lif_of_packed_fake(
    packed: Tensor, channels: int, gain: float, dtype: torch.dtype, *rest: Any
) -> tuple[Tensor, Tensor]:
    shape = (*packed.shape[:-1], channels)
    v_final = packed.new_empty(shape[1:] if rest[-1] else (0,), dtype=membrane_dtype(dtype))
    return packed.new_empty(shape, dtype=dtype), v_final


@torch.library.register_fake("eccsnn::lif_backward")
def _lif_backward_fake(
    grad_spikes: Tensor, grad_v_final: Tensor | None, x: Tensor, v_kept: Tensor, v_init: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (0,) if v_init is None else v_init.shape
    return grad_spikes.new_empty(grad_spikes.shape), v_kept.new_empty(shape), v_kept.new_empty(())


@torch.library.register_fake("eccsnn::lif_mask_forward")
def _lif_mask_forward_fake(x: Tensor, v_init: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, need_state, packed = rest
    mask = x.new_empty((2, x.shape[0], (math.prod(x.shape[1:]) + 7) // 8), dtype=torch.uint8)
    v_final = x.new_empty(x.shape[1:] if need_state else (0,), dtype=membrane_dtype(x.dtype))
    return x.new_empty((0,) if packed else x.shape), mask, v_final


@torch.library.register_fake("eccsnn::lif_mask_backward")
def _lif_mask_backward_fake(
    grad_spikes: Tensor, grad_v_final: Tensor | None, mask: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    need_grad_v_init = rest[-1]
    dtype = membrane_dtype(grad_spikes.dtype)
    grad_v_init = grad_spikes.new_empty(grad_spikes.shape[1:] if need_grad_v_init else (0,), dtype=dtype)
    return grad_spikes.new_empty(grad_spikes.shape), grad_v_init


# ---- autograd ----


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _save(ctx, inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _save(ctx: Any, inputs: tuple[Any, ...], v_kept: Tensor) -> None:
    x, v_init, tau_tensor, *parameters, need_state = inputs
    ctx.save_for_backward(x, v_kept, v_init, tau_tensor)
    ctx.parameters = parameters
    ctx.need_state = need_state
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_spikes: Tensor | None, grad_v_kept: None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
    refuse_second_derivative("lif")
    x, v_kept, v_init, tau_tensor = ctx.saved_tensors
    no_gradient = (None,) * (len(ctx.parameters) + 1)
    if not ctx.need_state:
        grad_v_final = None  # a compiled graph hands in zeros for the empty output
    if grad_spikes is None and grad_v_final is None:
        return None, None, None, *no_gradient
    if grad_spikes is None:
        grad_spikes = x.new_zeros(x.shape)
    grad_x, grad_v_init, grad_tau = torch.ops.eccsnn.lif_backward(
        grad_spikes, grad_v_final, x, v_kept, v_init, tau_tensor, *ctx.parameters, ctx.needs_input_grad[2]
    )
    return (
        grad_x,
        grad_v_init if v_init is not None else None,
        grad_tau if ctx.needs_input_grad[2] else None,
        *no_gradient,
    )


torch.library.register_autograd("eccsnn::lif_forward", _backward, setup_context=_setup_context)


class _EagerLif(torch.autograd.Function):
    """The same with half the overhead of a registered formula, which matters for small layers."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v_init: Tensor | None, tau_tensor: Tensor | None, rest: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor]:
        with below_autograd():
            spikes, v_kept, v_final = torch.ops.eccsnn.lif_forward(x, v_init, tau_tensor, *rest)
        _save(ctx, (x, v_init, tau_tensor, *rest), v_kept)
        return spikes, v_final

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
        return *_backward(ctx, grad_spikes, None, grad_v_final)[:3], None


def _mask_setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _mask_save(ctx, inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _mask_save(ctx: Any, inputs: tuple[Any, ...], mask: Tensor) -> None:
    x, v_init, tau_tensor, *parameters, need_state, _ = inputs
    ctx.save_for_backward(mask, tau_tensor)
    ctx.parameters, ctx.need_state = parameters, need_state
    ctx.shape, ctx.dtype, ctx.stateful = x.shape, x.dtype, v_init is not None
    ctx.set_materialize_grads(False)


def _mask_backward(
    ctx: Any, grad_spikes: Tensor | None, grad_mask: None, grad_v_final: Tensor | None
) -> tuple[Any, ...]:
    refuse_second_derivative("lif")
    mask, tau_tensor = ctx.saved_tensors
    if not ctx.need_state:
        grad_v_final = None
    nothing = (None,) * (len(ctx.parameters) + 3)
    if grad_spikes is None and grad_v_final is None:
        return None, None, *nothing
    if grad_spikes is None:
        grad_spikes = mask.new_zeros(ctx.shape, dtype=ctx.dtype)
    grad_x, grad_v_init = torch.ops.eccsnn.lif_mask_backward(
        grad_spikes, grad_v_final, mask, tau_tensor, *ctx.parameters, ctx.stateful
    )
    return grad_x, grad_v_init if ctx.stateful else None, *nothing


torch.library.register_autograd("eccsnn::lif_mask_forward", _mask_backward, setup_context=_mask_setup_context)


class _EagerMaskLif(torch.autograd.Function):
    """As `_EagerLif`, from bits."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v_init: Tensor | None, tau_tensor: Tensor | None, rest: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor]:
        with below_autograd():
            spikes, mask, v_final = torch.ops.eccsnn.lif_mask_forward(x, v_init, tau_tensor, *rest)
        _mask_save(ctx, (x, v_init, tau_tensor, *rest), mask)
        return spikes, v_final

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
        return *_mask_backward(ctx, grad_spikes, None, grad_v_final)[:2], None, None


def _mask_forward(
    x: Tensor, v_init: Tensor | None, tau_tensor: Tensor | None, rest: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        spikes, _, v_final = torch.ops.eccsnn.lif_mask_forward(x, v_init, tau_tensor, *rest)
        return spikes, v_final
    return _EagerMaskLif.apply(x, v_init, tau_tensor, rest)


def _forward(
    x: Tensor, v_init: Tensor | None, tau_tensor: Tensor | None, rest: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        spikes, _, v_final = torch.ops.eccsnn.lif_forward(x, v_init, tau_tensor, *rest)
        return spikes, v_final
    return _EagerLif.apply(x, v_init, tau_tensor, rest)
