"""The readable truth: every op in plain torch, one line an equation. The compiled ops are tested against it.

Slow on purpose. Runs on any device; gradients come from torch's autograd alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def membrane_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that membranes are computed in: float64 for float64, float32 for everything else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def surrogate_primitive(u: Tensor, surrogate: str, alpha: float) -> Tensor:
    """The smooth function whose derivative stands in for that of the step, with `u = h - v_threshold`."""
    if surrogate == "atan":
        return torch.atan(math.pi / 2 * alpha * u) / math.pi + 0.5
    if surrogate == "sigmoid":
        return torch.sigmoid(alpha * u)
    if surrogate == "rect":
        return torch.clamp(u / alpha + 0.5, 0.0, 1.0)
    raise ValueError(f"surrogate={surrogate!r}; expected 'atan', 'sigmoid' or 'rect'.")


def surrogate_derivative(u: Tensor, surrogate: str, alpha: float) -> Tensor:
    """Derivative of `surrogate_primitive`."""
    if surrogate == "atan":
        return alpha / 2 / (1 + (math.pi / 2 * alpha * u) ** 2)
    if surrogate == "sigmoid":
        s = torch.sigmoid(alpha * u)
        return alpha * s * (1 - s)
    if surrogate == "rect":
        return (u.abs() < alpha / 2).to(u.dtype) / alpha
    raise ValueError(f"surrogate={surrogate!r}; expected 'atan', 'sigmoid' or 'rect'.")


class _Step(torch.autograd.Function):
    """A step forwards, the surrogate's derivative backwards."""

    @staticmethod
    def forward(ctx, h: Tensor, v_threshold: float, surrogate: str, alpha: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(h)
        ctx.parameters = (v_threshold, surrogate, alpha)
        return (h >= v_threshold).to(h.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        (h,) = ctx.saved_tensors
        v_threshold, surrogate, alpha = ctx.parameters
        return grad * surrogate_derivative(h - v_threshold, surrogate, alpha), None, None, None


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
) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire neurons over time; arguments and results as `eccsnn.ops.lif`.

    `smooth=True` puts the surrogate's primitive in place of the step, so that numerical and analytic gradients can be
    compared.
    """
    dtype = membrane_dtype(x.dtype)
    inputs = x.to(dtype)
    # A tensor on the device, because torch turns the division by a Python number into a product on CUDA.
    tau = tau.to(dtype) if isinstance(tau, Tensor) else torch.tensor(tau, dtype=dtype, device=x.device)
    rest = 0.0 if v_reset is None else v_reset
    v = torch.full_like(inputs[0], rest) if v_init is None else v_init.to(dtype)

    spikes = []
    for x_t in inputs:
        if not leak:
            h = v + x_t
        elif decay_input:
            h = v + (x_t - (v - rest)) / tau
        else:
            h = v - (v - rest) / tau + x_t
        if smooth:
            s = surrogate_primitive(h - v_threshold, surrogate, surrogate_alpha)
        else:
            s = _Step.apply(h, v_threshold, surrogate, surrogate_alpha)
        spikes.append(s)
        s_reset = s.detach() if detach_reset else s
        if v_reset is None:
            v = h - s_reset * v_threshold
        else:
            v = s_reset * v_reset + (1 - s_reset) * h
    return torch.stack(spikes).to(x.dtype), v


def batch_norm_lif(
    x: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    v_init: Tensor | None = None,
    *,
    eps: float = 1e-5,
    timesteps: int | None = None,
    **neuron: Any,
) -> tuple[Tensor, Tensor]:
    """Batch norm, then `lif`; as `eccsnn.ops.batch_norm_lif`, with the statistics of x where none are given."""
    dtype = membrane_dtype(x.dtype)
    shape = (-1, *(1,) * (x.dim() - 3))
    inputs = x.to(dtype)
    if mean is None or variance is None:
        dims = [d for d in range(x.dim()) if d != 2]
        mean, variance = inputs.mean(dims), inputs.var(dims, correction=0)
    scale = torch.rsqrt(variance + eps)  # on a CPU correctly rounded, which torch.sqrt is not always
    if weight is not None:
        scale = weight.to(dtype) * scale
    inputs = (inputs - mean.reshape(shape)) * scale.reshape(shape)
    if bias is not None:
        inputs = inputs + bias.to(dtype).reshape(shape)
    if timesteps is not None:
        inputs = inputs.expand(timesteps, *inputs.shape[1:])
    spikes, v = lif(inputs, v_init, **neuron)
    return spikes.to(x.dtype), v
