"""Spikes of one timestep as packed bits: codec 0 of a SpikePacket, and what every other codec is measured against."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import MessageError

PACKED = 0
"""Number of this codec in a SpikePacket."""

MAX_COUNT = 255
"""Largest value of an element; spikes travel and are computed as uint8."""


def packed_bytes(shape: tuple[int, int, int], max_count: int = 1) -> int:
    """Size of a packet of spikes `(C, H, W)`.

    Example:
        >>> packed_bytes((10, 4, 4)), packed_bytes((10, 0, 0), max_count=3)
        (32, 4)
    """
    channels, height, width = shape
    return max_count.bit_length() * max(1, height * width) * math.ceil(channels / 8)


def pack_spikes(spikes: NDArray[np.uint8], max_count: int = 1) -> bytes:
    """Pack spikes, one bit each: bit i of byte j is channel 8 j + i, C innermost, then W, then H; padding bits are 0.

    Counts up to a larger `max_count` travel as bit planes, one after another, the lowest bit first.

    Args:
        spikes: uint8 `[C, H, W]`, or `[C]`; values from 0 to `max_count`.
        max_count: largest value; at most `MAX_COUNT`.

    Raises:
        ValueError: another shape, or a value above `max_count`.

    Example:
        >>> pack_spikes(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], dtype=np.uint8)).hex()
        '0101'
    """
    values = np.asarray(spikes)
    if values.dtype != np.uint8 or values.ndim not in (1, 3) or not 1 <= max_count <= MAX_COUNT:
        raise ValueError(
            f"spikes are {values.dtype} {list(values.shape)} with max_count {max_count}; expected uint8 [C, H, W] "
            "or [C], "
            f"and max_count from 1 to {MAX_COUNT}"
        )
    if values.size and values.max() > max_count:
        raise ValueError(f"spikes hold {values.max()}; expected at most max_count, {max_count}")
    innermost = np.moveaxis(values, 0, -1)
    planes = [np.packbits(innermost >> bit & 1, axis=-1, bitorder="little") for bit in range(max_count.bit_length())]
    return b"".join(plane.tobytes() for plane in planes)


def unpack_spikes(data: bytes, shape: tuple[int, int, int], max_count: int = 1) -> NDArray[np.uint8]:
    """Undo `pack_spikes`; `data` may come from anyone.

    Args:
        data: the packet.
        shape: `(C, H, W)`, the last two 0 where there are no spatial axes.
        max_count: as it was packed with.

    Returns:
        uint8 `[C, H, W]`, or `[C]`.

    Raises:
        MessageError: another size, a padding bit that is set, or a value above `max_count`.

    Example:
        >>> unpack_spikes(bytes([1, 1]), (9, 0, 0)).tolist()
        [1, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    expected = packed_bytes(shape, max_count)
    if len(data) != expected:
        raise MessageError(
            f"{len(data)} bytes of packed spikes; {list(shape)} with max_count {max_count} take {expected}"
        )
    channels, height, width = shape
    places = (height, width) if height else ()
    packed = np.frombuffer(data, dtype=np.uint8).reshape(max_count.bit_length(), *places, -1)
    planes = np.unpackbits(packed, axis=-1, bitorder="little")
    if planes[..., channels:].any():
        raise MessageError(f"packed spikes have a padding bit set behind channel {channels}; expected zeros")
    bits = planes[..., :channels]
    values = bits[0]
    for bit in range(1, len(bits)):
        values = values | bits[bit] << np.uint8(bit)
    if max_count > 1 and values.max() > max_count:
        raise MessageError(f"packed spikes hold {values.max()}; expected at most max_count, {max_count}")
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


class PackedDecoder:
    """Decodes one sample's packets of packed bits; each stands alone, so there is nothing to remember.

    Args:
        shape: `(C, H, W)`, the last two 0 where there are no spatial axes.
        max_count: largest value.
    """

    def __init__(self, shape: tuple[int, int, int], max_count: int = 1) -> None:
        self._shape, self._max_count = shape, max_count

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Spikes uint8 `[C, H, W]` of the next timestep.

        Raises:
            MessageError: as `unpack_spikes`.
        """
        return unpack_spikes(data, self._shape, self._max_count)
