"""Leaky integrate-and-fire neurons over all timesteps in one fused op: the function, its fakes and its autograd.

    charge   h = v + (x - (v - v_reset)) / tau          decay_input
             h = v - (v - v_reset) / tau + x            otherwise
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

from eccsnn.ops import _library
from eccsnn.ops.reference import membrane_dtype

SURROGATES = ("atan", "sigmoid", "rect")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def lif(
    x: Tensor,
    v_init: Tensor | None = None,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = True,
    surrogate: str = "atan",
    surrogate_alpha: float = 2.0,
    smooth: bool = False,
) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire neurons over time. Differentiable in `x`, `v_init` and `tau`.

    The memory order of `x` (channels-last, for example) is kept in all results. An input that repeats over time
    (`x[:1].expand(T, ...)`) is not copied.

    Args:
        x: Input currents `[T, ...]`, time first, T >= 1; float32, float64, bfloat16 or float16.
        v_init: Membrane before the first timestep, `[...]`, of x's dtype or the membrane's (float32; float64 for
            float64 inputs). None: `v_reset`, or 0 with soft reset.
        tau: Time constant in timesteps, >= 1; a number, or a tensor without dimensions (learnable, as in PLIF).
        v_threshold: A neuron fires where its membrane reaches this.
        v_reset: Membrane after a spike (hard reset); None subtracts `v_threshold` in place (soft reset).
        decay_input: Whether the input is divided by `tau` like the membrane.
        detach_reset: Whether gradients pass by the spike that resets the membrane.
        surrogate: Derivative that stands in for that of the step: "atan", "sigmoid" or "rect".
        surrogate_alpha: Its sharpness; for "rect" its width.
        smooth: For checking gradients in float64: fires the surrogate's primitive in place of the step.

    Returns:
        Spikes `[T, ...]`, 0 or 1 in x's dtype, and the membrane after the last timestep, `[...]` in the membrane's
        dtype.

    Raises:
        TypeError: If a tensor has another dtype than listed.
        ValueError: If a shape, a device or a value is not as described, or there are no timesteps.
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
    _check(x, v_init, tau, v_threshold, v_reset, surrogate, surrogate_alpha, smooth)
    dtype = membrane_dtype(x.dtype)
    order = _memory_order(x)
    if order is not None:
        # The kernels see neurons in memory order; views alone, no copy.
        inverse = [order.index(d) for d in range(len(order))]
        x = x.permute(0, *(d + 1 for d in order))
        v_init = None if v_init is None else v_init.permute(order)
    if v_init is not None:
        v_init = v_init.to(dtype)
    tau_tensor = tau.to(dtype) if isinstance(tau, Tensor) else None
    tau_number = 0.0 if isinstance(tau, Tensor) else float(tau)
    v_reset = None if v_reset is None else float(v_reset)

    needs_grad = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, v_init, tau_tensor)
    )
    if needs_grad or smooth:
        spikes, _, v_final = torch.ops.eccsnn.lif_forward(
            x, v_init, tau_tensor, tau_number, float(v_threshold), v_reset, decay_input, detach_reset, surrogate,
            float(surrogate_alpha), smooth,
        )  # fmt: skip
    else:
        spikes, v_final = torch.ops.eccsnn.lif_inference(
            x, v_init, tau_tensor, tau_number, float(v_threshold), v_reset, decay_input
        )
    if order is not None:
        spikes = spikes.permute(0, *(d + 1 for d in inverse))
        v_final = v_final.permute(inverse)
    return spikes, v_final


def _check(
    x: Tensor,
    v_init: Tensor | None,
    tau: float | Tensor,
    v_threshold: float,
    v_reset: float | None,
    surrogate: str,
    surrogate_alpha: float,
    smooth: bool,
) -> None:
    if not isinstance(x, Tensor) or x.dtype not in _DTYPES:
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x is {given}; expected a tensor of float32, float64, bfloat16 or float16.")
    _library.require_kernels_for(x)
    if x.dim() == 0:
        raise ValueError("x has no dimensions; expected [T, ...] with time first.")
    if x.shape[0] == 0:
        raise ValueError(f"x has T = 0 timesteps (shape {list(x.shape)}); expected at least one.")
    if v_init is not None:
        if not isinstance(v_init, Tensor):
            raise TypeError(f"v_init is {type(v_init).__name__}; expected a tensor of {membrane_dtype(x.dtype)}.")
        if v_init.shape != x.shape[1:]:
            raise ValueError(
                f"v_init has shape {list(v_init.shape)}; expected that of one timestep of x, {list(x.shape[1:])}."
            )
        if v_init.dtype not in (x.dtype, membrane_dtype(x.dtype)):
            raise TypeError(f"v_init is {v_init.dtype}; expected {membrane_dtype(x.dtype)} for x of {x.dtype}.")
        if v_init.device != x.device:
            raise ValueError(f"v_init is on {v_init.device}, x on {x.device}; move one with .to(...).")
    if isinstance(tau, Tensor):
        if tau.dim() != 0 or not tau.is_floating_point():
            raise ValueError(
                f"tau is a tensor of shape {list(tau.shape)} and {tau.dtype}; expected a number or a floating-point "
                "tensor without dimensions, such as torch.tensor(2.0)."
            )
        if tau.device != x.device:
            raise ValueError(f"tau is on {tau.device}, x on {x.device}; move one with .to(...).")
    elif not tau >= 1:
        raise ValueError(f"tau={tau}; expected a time constant in timesteps of at least 1.")
    # Comparisons rather than math.isfinite: numbers may be symbols while torch compiles.
    if not -math.inf < v_threshold < math.inf:
        raise ValueError(f"v_threshold={v_threshold}; expected a finite number.")
    if v_reset is not None and not -math.inf < v_reset < math.inf:
        raise ValueError(f"v_reset={v_reset}; expected a finite number, or None for soft reset.")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate={surrogate!r}; expected 'atan', 'sigmoid' or 'rect'.")
    if not 0 < surrogate_alpha < math.inf:
        raise ValueError(f"surrogate_alpha={surrogate_alpha}; expected a finite number above 0.")
    if smooth and x.dtype != torch.float64:
        raise TypeError(f"x is {x.dtype}; smooth=True is for checking gradients and takes float64 alone.")


def _memory_order(x: Tensor) -> list[int] | None:
    """Dimensions of one timestep of x from the outermost to the innermost in memory.

    None where they already are in order, or where memory has gaps or overlaps, so that a copy is needed anyway.
    """
    sizes, strides = x.shape[1:], x.stride()[1:]
    if _is_dense(sizes, strides, range(len(sizes))):
        return None
    # Insertion sort, because torch cannot compile sorted() over symbolic strides.
    order = list(range(len(sizes)))
    for i in range(1, len(order)):
        while i > 0 and strides[order[i - 1]] < strides[order[i]]:
            order[i - 1], order[i] = order[i], order[i - 1]
            i -= 1
    return order if _is_dense(sizes, strides, order) else None


def _is_dense(sizes: Any, strides: Any, order: Any) -> bool:
    expected = 1
    for d in reversed(order):
        if sizes[d] != 1 and strides[d] != expected:
            return False
        expected = expected * sizes[d]
    return True


# ---- fakes: shapes and dtypes without arithmetic; all outputs are contiguous ----


@torch.library.register_fake("eccsnn::lif_forward")
def _lif_forward_fake(x: Tensor, v_init: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    dtype = membrane_dtype(x.dtype)
    return x.new_empty(x.shape), x.new_empty(x.shape, dtype=dtype), x.new_empty(x.shape[1:], dtype=dtype)


@torch.library.register_fake("eccsnn::lif_inference")
def _lif_inference_fake(x: Tensor, v_init: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[1:], dtype=membrane_dtype(x.dtype))


@torch.library.register_fake("eccsnn::lif_backward")
def _lif_backward_fake(
    grad_spikes: Tensor, grad_v_final: Tensor | None, h: Tensor, v_init: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (0,) if v_init is None else v_init.shape
    return grad_spikes.new_empty(grad_spikes.shape), h.new_empty(shape), h.new_empty(())


# ---- autograd ----


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, v_init, tau_tensor, *parameters = inputs
    _, h, _ = output
    ctx.save_for_backward(h, v_init, tau_tensor)
    ctx.parameters = parameters
    ctx.x_dtype = x.dtype
    ctx.mark_non_differentiable(h)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_spikes: Tensor | None, grad_h: None, grad_v_final: Tensor | None) -> tuple[Any, ...]:
    if torch.is_grad_enabled():
        # Without this a second derivative would silently miss what passes through the membrane.
        raise RuntimeError("eccsnn.ops.lif has no second derivative: call backward or grad without create_graph=True.")
    h, v_init, tau_tensor = ctx.saved_tensors
    no_gradient = (None,) * len(ctx.parameters)
    if grad_spikes is None and grad_v_final is None:
        return None, None, None, *no_gradient
    if grad_spikes is None:
        grad_spikes = h.new_zeros(h.shape, dtype=ctx.x_dtype)
    grad_x, grad_v_init, grad_tau = torch.ops.eccsnn.lif_backward(
        grad_spikes, grad_v_final, h, v_init, tau_tensor, *ctx.parameters, tau_tensor is not None
    )
    return (
        grad_x,
        grad_v_init if v_init is not None else None,
        grad_tau if tau_tensor is not None else None,
        *no_gradient,
    )


torch.library.register_autograd("eccsnn::lif_forward", _backward, setup_context=_setup_context)
