"""Bit-packed spikes: one bit a spike, eight channels to a byte.

Packed spikes are plain ``uint8`` tensors ``[T, N, H, W, ceil(C / 8)]`` (or ``[T, N, ceil(C / 8)]``): bit i of byte j is
channel 8 j + i, and the bits past the last channel are 0.
"""

import torch
from torch import Tensor

from eccsnn.ops import _library

__all__ = ["pack_spikes", "unpack_spikes"]

_SPIKE_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8)
_SPIKE_DTYPE_NAMES = "float32, float64, float16, bfloat16, bool or uint8"


def pack_spikes(spikes: Tensor, *, check: bool = True) -> Tensor:
    """Packs binary spikes eight channels to a byte.

    Args:
        spikes: ``[T, N, C, H, W]`` or ``[T, N, C]``, holding 0 and 1 only; float32, float64, float16, bfloat16, bool or
            uint8; any strides (channels-last memory is the fastest).
        check: Raise on a value that is neither 0 nor 1. On a CUDA device this waits for the result; with ``False``
            nothing waits, and every value that is not 0 packs as 1.

    Returns:
        uint8 ``[T, N, H, W, ceil(C / 8)]`` or ``[T, N, ceil(C / 8)]``, contiguous, on the same device. Not
        differentiable.

    Raises:
        ValueError: The tensor has neither three nor five dimensions.
        TypeError: The dtype is not one of those above.
        RuntimeError: A value is neither 0 nor 1 (NaN included); the message names the first one in packing order. It
            comes from inside the op, so a compiled graph raises it too.
        BuildError: The tensor is on CUDA and the CUDA op library is not loaded.

    Example:
        >>> import torch
        >>> from eccsnn.ops import pack_spikes
        >>> pack_spikes(torch.tensor([[[1.0, 0.0, 1.0]]]))
        tensor([[[5]]], dtype=torch.uint8)
    """
    if spikes.dim() not in (3, 5):
        raise ValueError(
            f"pack_spikes expects spikes [T, N, C, H, W] or [T, N, C], got shape {tuple(spikes.shape)}; "
            "add or fold dimensions first"
        )
    if spikes.dtype not in _SPIKE_DTYPES:
        raise TypeError(f"pack_spikes expects {_SPIKE_DTYPE_NAMES}, got {spikes.dtype}; convert with .to() first")
    _library.require_kernels_for(spikes)
    return torch.ops.eccsnn.pack_spikes(spikes.detach(), check)


def unpack_spikes(packed: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unpacks what :func:`pack_spikes` packed.

    Args:
        packed: uint8 ``[T, N, H, W, ceil(C / 8)]`` or ``[T, N, ceil(C / 8)]``. Padding bits are ignored.
        channels: C, which the packed tensor alone does not tell.
        dtype: float32, float64, float16, bfloat16, bool or uint8.

    Returns:
        Spikes 0 and 1, ``[T, N, C, H, W]`` or ``[T, N, C]``, contiguous, on the same device.

    Raises:
        ValueError: The shape is not that of packed spikes with this many channels.
        TypeError: ``packed`` is not uint8, or ``dtype`` is not one of those above.
        BuildError: The tensor is on CUDA and the CUDA op library is not loaded.

    Example:
        >>> import torch
        >>> from eccsnn.ops import unpack_spikes
        >>> unpack_spikes(torch.tensor([[[5]]], dtype=torch.uint8), channels=3)
        tensor([[[1., 0., 1.]]])
    """
    if dtype not in _SPIKE_DTYPES:
        raise TypeError(f"unpack_spikes makes {_SPIKE_DTYPE_NAMES}, got dtype={dtype}")
    check_packed("unpack_spikes", packed, channels)
    _library.require_kernels_for(packed)
    return torch.ops.eccsnn.unpack_spikes(packed, channels, dtype)


def check_packed(op: str, packed: Tensor, channels: int) -> None:
    """Checks that a tensor can be packed spikes with this many channels.

    Raises:
        TypeError: It is not uint8.
        ValueError: It has another shape.
    """
    if packed.dtype != torch.uint8:
        raise TypeError(f"{op} expects packed spikes of dtype uint8, got {packed.dtype}")
    if packed.dim() not in (3, 5):
        raise ValueError(
            f"{op} expects packed spikes [T, N, H, W, ceil(C / 8)] or [T, N, ceil(C / 8)], "
            f"got shape {tuple(packed.shape)}"
        )
    if channels < 0 or packed.shape[-1] != (channels + 7) // 8:
        raise ValueError(
            f"{op} expects ceil(channels / 8) bytes in the last dimension, got {packed.shape[-1]} bytes for "
            f"channels={channels}; pass the number of channels that was packed"
        )


@torch.library.register_fake("eccsnn::pack_spikes")
def _pack_spikes_fake(spikes: Tensor, check: bool) -> Tensor:
    timesteps, batch, channels, *space = spikes.shape
    return spikes.new_empty((timesteps, batch, *space, (channels + 7) // 8), dtype=torch.uint8)


@torch.library.register_fake("eccsnn::unpack_spikes")
def _unpack_spikes_fake(packed: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    timesteps, batch, *space, _ = packed.shape
    return packed.new_empty((timesteps, batch, channels, *space), dtype=dtype)
