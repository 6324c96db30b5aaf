"""Feature distillation: spike counts over time and pooling windows in one pass.

    counts[n, c, i, j] = sum over t, a < k, b < k of spikes[t, n, c, i k + a, j k + b]

which an ANN's pooled feature map is compared with, after a projection. Projection, normalisation and the error itself
are ordinary layers on top (``eccsnn.training``). `reference_distillation` says the same in plain torch.

Source: ECC-SNN (arXiv 2505.20835), the feature term of joint training, in the order of the paper's text: time first.
"""

from typing import Any

import torch
from torch import Tensor

from eccsnn.ops import _library

__all__ = ["spike_count_pool"]

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def spike_count_pool(spikes: Tensor, kernel_size: int | None, *, mean: bool = False) -> Tensor:
    """Counts spikes over all timesteps and non-overlapping windows of k x k pixels.

    Args:
        spikes: ``[T, N, C, H, W]``, float32, float64, float16 or bfloat16, any strides. The values need not be binary.
        kernel_size: k, a divisor of H and W; 0 or None pools over the whole map.
        mean: Divide by T k k, which gives firing rates.

    Returns:
        ``[N, C, H / k, W / k]`` in float32 (float64 for float64 input), differentiable as often as needed. The
        gradient is the same at every timestep and is returned as a stride-0 expansion over time.

    Raises:
        ValueError: Not five dimensions, no timesteps, or H or W is not a multiple of k.
        TypeError: The dtype is not one of those above.
        BuildError: The spikes are on CUDA and the CUDA op library is not loaded.

    Example:
        >>> import torch
        >>> from eccsnn.ops import spike_count_pool
        >>> spike_count_pool(torch.ones(4, 1, 1, 2, 2), 2)
        tensor([[[[16.]]]])
    """
    if spikes.dim() != 5:
        raise ValueError(f"spike_count_pool expects spikes [T, N, C, H, W], got shape {tuple(spikes.shape)}")
    if spikes.dtype not in _DTYPES:
        raise TypeError(
            f"spike_count_pool expects float32, float64, float16 or bfloat16, got {spikes.dtype}; "
            "convert with .to(torch.float32) first"
        )
    _library.require_kernels_for(spikes)
    timesteps, _, _, height, width = spikes.shape
    kernel_h, kernel_w = (kernel_size, kernel_size) if kernel_size else (height, width)
    if timesteps == 0:
        raise ValueError(f"spike_count_pool expects at least one timestep, got shape {tuple(spikes.shape)}")
    if kernel_h < 1 or kernel_w < 1 or height % kernel_h or width % kernel_w:
        raise ValueError(
            f"spike_count_pool expects kernel_size to divide height and width, got kernel_size={kernel_size} for shape "
            f"{tuple(spikes.shape)}; choose a common divisor, or 0 to pool over the whole map"
        )
    divisor = timesteps * kernel_h * kernel_w if mean else 1
    return torch.ops.eccsnn.spike_count_pool(spikes, kernel_h, kernel_w, divisor)


@torch.library.register_fake("eccsnn::spike_count_pool")
def _pool_fake(spikes: Tensor, kernel_h: int, kernel_w: int, divisor: int) -> Tensor:
    _, batch, channels, height, width = spikes.shape
    dtype = torch.float64 if spikes.dtype == torch.float64 else torch.float32
    return spikes.new_empty((batch, channels, height // kernel_h, width // kernel_w), dtype=dtype)


@torch.library.register_fake("eccsnn::spike_count_pool_backward")
def _pool_backward_fake(grad: Tensor, kernel_h: int, kernel_w: int, divisor: int, dtype: torch.dtype) -> Tensor:
    batch, channels, pooled_h, pooled_w = grad.shape
    return grad.new_empty((batch, channels, pooled_h * kernel_h, pooled_w * kernel_w), dtype=dtype)


def _pool_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    spikes, *ctx.window = inputs
    ctx.timesteps, ctx.dtype = spikes.shape[0], spikes.dtype


def _pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_spikes = torch.ops.eccsnn.spike_count_pool_backward(grad, *ctx.window, ctx.dtype)
    return grad_spikes.unsqueeze(0).expand(ctx.timesteps, -1, -1, -1, -1), None, None, None


def _pool_backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, *ctx.window, _ = inputs


def _pool_double_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # The pooling is linear: the backward's own derivative is the pooling of one timestep.
    return torch.ops.eccsnn.spike_count_pool(grad.unsqueeze(0), *ctx.window), None, None, None, None


torch.library.register_autograd("eccsnn::spike_count_pool", _pool_backward, setup_context=_pool_setup)
torch.library.register_autograd(
    "eccsnn::spike_count_pool_backward", _pool_double_backward, setup_context=_pool_backward_setup
)
