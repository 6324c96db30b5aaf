"""Binary spikes as bits in the order of memory, for what is kept between the forward and the backward pass.

Bit i of byte j is element 8 j + i as memory has them, whatever the memory format; bits past the last element are 0.
Channels-last spikes are not copied. Public packed spikes, eight channels to a byte, are those of `pack_spikes`.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from eccsnn.ops._layout import memory_order


@dataclasses.dataclass(frozen=True)
class Placement:
    """What the bits alone do not tell: sizes and strides (a dense memory order) and the dtype."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def empty(self, like: Tensor) -> Tensor:
        """A tensor placed like the spikes, on the device of `like`, with anything in it."""
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=like.device)


def dense(spikes: Tensor) -> Tensor:
    """The spikes themselves, or a copy where their memory has gaps or repeats; it keeps the memory format."""
    return spikes.clone() if _in_order(spikes) is None else spikes


def _in_order(spikes: Tensor) -> Tensor | None:
    """A contiguous view of dense spikes, their dimensions in the order of memory; None where memory is not dense."""
    if spikes.is_contiguous():
        return spikes
    order = memory_order(spikes.unsqueeze(0))
    return None if order is None else spikes.permute(order)


def pack_bits(spikes: Tensor, name: str) -> tuple[Tensor, Placement]:
    """Packs dense spikes in the order of memory.

    Args:
        spikes: Any shape; float32, float64, bfloat16 or float16; see `dense`.
        name: The function that speaks in an error.

    Returns:
        uint8 `[ceil(elements / 8)]`, and what `unpack_bits` needs besides.

    Raises:
        ValueError: On the CPU, if a value is neither 0 nor 1. A compiled graph raises the op's RuntimeError. On CUDA
            nothing waits to look, and whatever is not 0 packs as 1.
    """
    in_order = _in_order(spikes)
    check = spikes.device.type == "cpu"
    placement = Placement(tuple(spikes.shape), tuple(spikes.stride()), spikes.dtype)
    if torch.compiler.is_compiling():
        return torch.ops.eccsnn.pack_bits(in_order, check), placement
    try:
        return torch.ops.eccsnn.pack_bits(in_order, check), placement
    except RuntimeError:
        _refuse_other_values(spikes, name)
        raise


def unpack_bits(bits: Tensor, placement: Placement) -> Tensor:
    """The spikes that `pack_bits` packed, with the same strides."""
    elements = math.prod(placement.size)
    return torch.ops.eccsnn.unpack_bits(bits, (elements,), placement.dtype).as_strided(placement.size, placement.stride)


def _refuse_other_values(spikes: Tensor, name: str) -> None:
    others = ((spikes != 0) & (spikes != 1)).nonzero()
    if len(others) > 0:
        index = others[0].tolist()
        plain = name.replace("spike_", "torch.nn.functional.")
        raise ValueError(
            f"{name}: spikes{index} is {spikes[tuple(index)].item()}; expected 0 or 1. Use {plain} for inputs that are "
            "not spikes."
        )


@torch.library.register_fake("eccsnn::pack_bits")
def _pack_bits_fake(spikes: Tensor, check: bool) -> Tensor:
    return spikes.new_empty(((spikes.numel() + 7) // 8,), dtype=torch.uint8)


@torch.library.register_fake("eccsnn::unpack_bits")
def _unpack_bits_fake(bits: Tensor, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return bits.new_empty(size, dtype=dtype)
