"""Batch norm with LIF neurons behind it as one op: function, fakes and autograd.

    x' = (x - mean) * (weight / sqrt(variance + eps)) + bias

and x' is what the neurons get (`eccsnn.ops.lif`). What backward needs of it is recomputed from x, the output of a
convolution, so that of the two layers x alone is kept: 4 bytes a neuron-step in float32 in place of 8. Counted, 36
bytes move in training on a CPU and 32 on CUDA, in place of 56. `reference.batch_norm_lif` says the same in plain torch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eccsnn.ops import _library
from eccsnn.ops._autograd import (
    below_autograd,
    needs_grad,
    refuse_forward_mode,
    refuse_second_derivative,
    refuse_transforms,
)
from eccsnn.ops._checks import check_neuron, check_number, check_repeats
from eccsnn.ops._layout import memory_order, restore_order
from eccsnn.ops.lif import _SEGMENT, charge_name
from eccsnn.ops.reference import membrane_dtype


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel over time, batch and space. Not differentiable: see `batch_norm_lif`.

    Args:
        x: `[T, N, C, ...]`, floating point; a time of stride 0 counts once, which changes neither.

    Returns:
        Mean and variance `[C]`, float32 (float64 for float64). The sums are taken in double precision, in an order
        that does not depend on the number of threads or, on a CPU, on the instruction set.

    Raises:
        ValueError: x has fewer than three dimensions, or no value in a channel.

    Example:
        >>> import torch
        >>> mean, variance = channel_statistics(torch.tensor([[[1.0], [3.0]]]))
        >>> mean.tolist(), variance.tolist()
        ([2.0], [1.0])
    """
    _check_x(x)
    if x.numel() == 0:
        raise ValueError(f"x has shape {list(x.shape)}; batch norm needs at least one value a channel.")
    with torch.no_grad():
        return torch.ops.eccsnn.channel_statistics(_channels_innermost(x))


def batch_norm_lif(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    v_init: Tensor | None = None,
    *,
    eps: float = 1e-5,
    batch_statistics: bool = False,
    timesteps: int | None = None,
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
    """Batch norm, then neurons over time. Differentiable in `x`, `weight`, `bias`, `v_init` and `tau`.

    Args:
        x: `[T, N, C, ...]`, the output of a convolution or a linear layer; or `[1, N, C, ...]` with `timesteps`, an
            input that is the same at every timestep. Channels innermost in memory (channels-last) are not copied, and
            the results are so, too.
        mean, variance: `[C]`, of x's dtype or the membrane's: running statistics, or those of x from
            `channel_statistics`. Their values are not looked at: where a variance is negative or NaN, no neuron fires.
        weight, bias: `[C]`, or None for 1 and 0; of x's dtype or the membrane's.
        v_init: Membranes before the first timestep, `[N, C, ...]`; None: at rest.
        eps: Added to the variance; above 0.
        batch_statistics: Whether mean and variance are those of x (training): the gradient of x then passes through
            them. Otherwise they are constants.
        timesteps: T where x has a single timestep; None: that of x.
        tau, v_threshold, v_reset, decay_input, leak, detach_reset, surrogate, surrogate_alpha, smooth, return_state: As
            for `eccsnn.ops.lif`.

    Returns:
        Spikes `[T, N, C, ...]` in x's dtype, and the membranes after the last timestep as `lif` returns them.

    Raises:
        TypeError, ValueError, NotImplementedError, BuildError: As for `lif`; also where statistics or parameters are
            not `[C]` or have another dtype, and where x has neither one timestep nor `timesteps`.

    Source:
        Ioffe & Szegedy, "Batch Normalization", ICML 2015, algorithms 1 and 2, with statistics over time and batch as
        in Zheng et al., "Going Deeper With Directly-Trained Larger Spiking Neural Networks", AAAI 2021 (their scaling
        by the threshold left out).

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 4.0]).reshape(1, 2, 1).expand(2, 2, 1)
        >>> spikes, _ = batch_norm_lif(x, *channel_statistics(x), batch_statistics=True, tau=1.0, v_threshold=0.5)
        >>> spikes.squeeze(2).tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    _check_x(x)
    if timesteps is not None:
        check_repeats(x, timesteps)
    steps = x.shape[0] if timesteps is None else timesteps
    flags = {
        "batch_statistics": batch_statistics,
        "decay_input": decay_input,
        "leak": leak,
        "detach_reset": detach_reset,
        "smooth": smooth,
        "return_state": return_state,
    }
    check_neuron(x, v_init, tau, v_threshold, v_reset, surrogate, surrogate_alpha, flags)
    check_number("eps", eps, "a finite number above 0", above_zero=True)
    dtype = membrane_dtype(x.dtype)
    norm = [
        _check_channels(name, value, x, dtype)
        for name, value in (("mean", mean), ("variance", variance), ("weight", weight), ("bias", bias))
    ]
    if not torch.compiler.is_compiling():
        refuse_forward_mode("batch_norm_lif", x, v_init, tau, weight, bias)
    order = _channels_last_order(x)
    x = _channels_innermost(x)
    if v_init is not None:
        v_init = v_init.permute(order).to(dtype)
    tau_tensor = tau.to(dtype) if isinstance(tau, Tensor) else None
    tau_number = 0.0 if isinstance(tau, Tensor) else float(tau)
    reset = None if v_reset is None else float(v_reset)
    neuron = (tau_number, float(v_threshold), reset, charge_name(decay_input, leak))
    if needs_grad(x, v_init, tau_tensor, *norm) or smooth:
        refuse_transforms("batch_norm_lif")
        rest = (*neuron, detach_reset, surrogate, float(surrogate_alpha), smooth, return_state)
        arguments = (x, steps, *norm, float(eps), batch_statistics, v_init, tau_tensor)
        spikes, v_final = _forward(arguments, rest)
    else:
        spikes, v_final = torch.ops.eccsnn.norm_lif_inference(
            x, steps, *norm, float(eps), v_init, tau_tensor, *neuron, return_state, False
        )
    return restore_order(spikes, order, 1), restore_order(v_final, order, 0) if return_state else v_final


def _check_x(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x is {given}; expected a tensor of float32, float64, bfloat16 or float16.")
    if x.dim() < 3 or x.shape[2] == 0:
        raise ValueError(f"x has shape {list(x.shape)}; expected [T, N, C, ...] with at least one channel.")
    _library.require_kernels_for(x)


def _check_channels(name: str, value: Tensor | None, x: Tensor, dtype: torch.dtype) -> Tensor | None:
    if value is None:
        return None
    if not isinstance(value, Tensor) or value.shape != (x.shape[2],):
        given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is {given}; expected a tensor [{x.shape[2]}], one value a channel of x.")
    if value.dtype not in (x.dtype, dtype):
        raise TypeError(f"{name} is {value.dtype}; expected {dtype}, or the dtype of x, {x.dtype}.")
    if name in ("mean", "variance") and value.requires_grad:
        raise ValueError(f"{name} requires a gradient, and has none here: pass {name}.detach().")
    if value.device != x.device:
        raise ValueError(f"{name} is on {value.device}, x on {x.device}; move one with .to(...).")
    return value.to(dtype)


def _channels_last_order(x: Tensor) -> list[int]:
    """Dimensions of one timestep [N, C, ...] from the outermost to the innermost, channels innermost.

    The order of the others is that of memory where they lie dense, so that nothing is copied.
    """
    order = memory_order(x)
    if order is None:
        order = list(range(x.dim() - 1))
    order.remove(1)
    return [*order, 1]


def _channels_innermost(x: Tensor) -> Tensor:
    return x.permute(0, *(d + 1 for d in _channels_last_order(x)))


# ---- fakes ----


@torch.library.register_fake("eccsnn::channel_statistics")
def _channel_statistics_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    dtype = membrane_dtype(x.dtype)
    return x.new_empty(x.shape[-1:], dtype=dtype), x.new_empty(x.shape[-1:], dtype=dtype)


@torch.library.register_fake("eccsnn::norm_lif_forward")
def _norm_lif_forward_fake(x: Tensor, timesteps: int, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, need_state = rest
    dtype = membrane_dtype(x.dtype)
    kept = x.new_empty(((timesteps - 1) // _SEGMENT, *x.shape[1:]), dtype=dtype)
    v_final = x.new_empty(x.shape[1:] if need_state else (0,), dtype=dtype)
    return x.new_empty((timesteps, *x.shape[1:])), kept, v_final


@torch.library.register_fake("eccsnn::norm_lif_inference")
def _norm_lif_inference_fake(x: Tensor, timesteps: int, *rest: Any) -> tuple[Tensor, Tensor]:
    *_, need_state, packed = rest
    v_final = x.new_empty(x.shape[1:] if need_state else (0,), dtype=membrane_dtype(x.dtype))
    if packed:
        return x.new_empty((timesteps, (math.prod(x.shape[1:]) + 7) // 8), dtype=torch.uint8), v_final
    return x.new_empty((timesteps, *x.shape[1:])), v_final


@torch.library.register_fake("eccsnn::norm_lif_backward")
def _norm_lif_backward_fake(
    grad_spikes: Tensor, grad_v_final: Tensor | None, x: Tensor, v_kept: Tensor, mean: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    v_init, need_grad_x = rest[5], rest[-2]
    grad_x = x.new_empty(x.shape if need_grad_x else (0,))
    grad_v_init = mean.new_empty((0,) if v_init is None else v_init.shape)
    return grad_x, mean.new_empty(mean.shape), mean.new_empty(mean.shape), grad_v_init, mean.new_empty(())


# ---- autograd ----


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _save(ctx, inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _save(ctx: Any, inputs: tuple[Any, ...], v_kept: Tensor) -> None:
    x, timesteps, mean, variance, weight, bias, eps, batch_statistics, v_init, tau_tensor, *neuron, need_state = inputs
    ctx.save_for_backward(x, v_kept, mean, variance, weight, bias, v_init, tau_tensor)
    ctx.timesteps, ctx.eps, ctx.batch_statistics, ctx.need_state = timesteps, eps, batch_statistics, need_state
    ctx.neuron = neuron
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, grad_spikes: Tensor | None, grad_v_final: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight, bias, v_init and tau."""
    refuse_second_derivative("batch_norm_lif")
    x, v_kept, mean, variance, weight, bias, v_init, tau_tensor = ctx.saved_tensors
    if not ctx.need_state:
        grad_v_final = None  # a compiled graph hands in zeros for the empty output
    if grad_spikes is None and grad_v_final is None:
        return (None,) * 5
    if grad_spikes is None:
        grad_spikes = x.new_zeros((ctx.timesteps, *x.shape[1:]))
    need_grad_x = ctx.needs_input_grad[0]
    grad_x, grad_weight, grad_bias, grad_v_init, grad_tau = torch.ops.eccsnn.norm_lif_backward(
        grad_spikes,
        grad_v_final,
        x,
        v_kept,
        mean,
        variance,
        weight,
        bias,
        ctx.eps,
        ctx.batch_statistics,
        v_init,
        tau_tensor,
        *ctx.neuron,
        need_grad_x,
        ctx.needs_input_grad[9],
    )
    return (
        grad_x if need_grad_x else None,
        None if weight is None else grad_weight,
        None if bias is None else grad_bias,
        None if v_init is None else grad_v_init,
        grad_tau if ctx.needs_input_grad[9] else None,
    )


def _backward(ctx: Any, grad_spikes: Tensor | None, grad_v_kept: None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
    grad_x, grad_weight, grad_bias, grad_v_init, grad_tau = _gradients(ctx, grad_spikes, grad_v_final)
    neuron = (None,) * (len(ctx.neuron) + 1)
    return grad_x, None, None, None, grad_weight, grad_bias, None, None, grad_v_init, grad_tau, *neuron


torch.library.register_autograd("eccsnn::norm_lif_forward", _backward, setup_context=_setup_context)


class _EagerNormLif(torch.autograd.Function):
    """The same with half the overhead of a registered formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, timesteps: int, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, rest = arguments
        with below_autograd():
            spikes, v_kept, v_final = torch.ops.eccsnn.norm_lif_forward(x, timesteps, *tensors, *rest)
        _save(ctx, (x, timesteps, *tensors, *rest), v_kept)
        return spikes, v_final

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
        return *_backward(ctx, grad_spikes, None, grad_v_final)[:10], None


def _forward(arguments: tuple[Any, ...], rest: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        spikes, _, v_final = torch.ops.eccsnn.norm_lif_forward(*arguments, *rest)
        return spikes, v_final
    return _EagerNormLif.apply(*arguments, rest)
