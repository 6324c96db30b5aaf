"""Spikes as bytes: lossless, a packet a timestep, each of which can be decoded when it arrives.

The arithmetic is in C++ (`csrc/core/spike_codec.cpp`); docs/spike_codec.md has the format byte by byte. Both ends hold
the same `SpikeTables`, which `eccsnn.nn.SpikeRateModel.export_tables` makes and the first packet of a stream names.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from eccsnn import _core
from eccsnn._core import SpikeTables
from eccsnn.errors import SpikePacketError

STREAM_HEADER_BYTES: int = _core.SPIKE_STREAM_HEADER_BYTES
"""Of the first packet of a stream."""

PACKET_HEADER_BYTES: int = _core.SPIKE_PACKET_HEADER_BYTES
"""Of every packet."""

FORMS = ("raw", "addresses", "runs", "adaptive", "lanes")
"""How a packet is written; the encoder takes the shortest."""

Spikes = NDArray[np.uint8]

_MAGIC, _VERSION = b"ESPS", 1
_FILE_HEADER = struct.Struct("<4sBHHHI")
_MAX_FILE_BYTES = 2**30


def flat_tables(channels: int, height: int, width: int) -> SpikeTables:
    """Tables for spikes [C, H, W] that nothing was learnt for; both ends can make them.

    Raises:
        ValueError: A size is below 1 or above 4096, or there are more than 2^24 spikes a timestep.
    """
    return SpikeTables.flat(channels, height, width)


def load_tables(data: bytes) -> SpikeTables:
    """Tables as `SpikeRateModel.export_tables` writes them.

    Raises:
        SpikePacketError: They are truncated, corrupt, or of another version.
    """
    try:
        return SpikeTables.parse(_bytes(data, "tables"))
    except _core.SpikePacketError as error:
        raise SpikePacketError(str(error)) from None


class SpikeEncoder:
    """The sending end of a stream: the timesteps of one sample, in order.

    Args:
        tables: What both ends know; they imply the geometry.

    Example:
        >>> tables = flat_tables(2, 8, 8)
        >>> spikes = np.zeros((4, 2, 8, 8), dtype=bool)                  # [T, C, H, W]
        >>> spikes[:, 1, 2:5, 3] = True
        >>> packets = SpikeEncoder(tables).encode(spikes)
        >>> [len(packet) for packet in packets]
        [12, 2, 2, 2]
        >>> bool((SpikeDecoder(tables).decode(packets) == spikes).all())
        True
    """

    def __init__(self, tables: SpikeTables) -> None:
        self.tables = _tables(tables)
        self._encoder = _core.SpikeEncoder(tables)

    @property
    def timesteps(self) -> int:
        """Timesteps written so far."""
        return self._encoder.timesteps

    def encode(self, spikes: NDArray[np.generic]) -> list[bytes]:
        """Packets of the next timesteps.

        Args:
            spikes: bool or uint8 `[T, C, H, W]` of 0 and 1; T may be 1.

        Raises:
            TypeError: Another dtype.
            ValueError: Another shape than that of the tables, or a value above 1: counts go through `to_planes`.
        """
        return self._encoder.encode(pack(spikes, self.tables.shape))

    def encode_packed(self, packed: Spikes) -> list[bytes]:
        """Packets of the next timesteps, from uint8 `[T, H, W, ceil(C / 8)]` as `eccsnn.ops.pack_spikes` packs them.

        Raises:
            TypeError: Another dtype.
            ValueError: Another shape, or a padding bit that is set.
        """
        if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
            raise TypeError(f"packed spikes are {_kind(packed)}; expected a uint8 array [T, H, W, ceil(C / 8)]")
        return self._encoder.encode(np.ascontiguousarray(packed))


class SpikeDecoder:
    """The receiving end of a stream.

    Args:
        tables: Those of the encoder, or several, among which the first packet chooses.

    Raises:
        ValueError: There are no tables.
    """

    def __init__(self, tables: SpikeTables | Iterable[SpikeTables]) -> None:
        known = [tables] if isinstance(tables, SpikeTables) else [_tables(one) for one in tables]
        if not known:
            raise ValueError("SpikeDecoder: there are no tables; give those that the encoder uses")
        self._known = {one.id: one for one in known}
        self._decoder: _core.SpikeDecoder | None = None
        self._tables: SpikeTables | None = known[0] if len(known) == 1 else None

    @property
    def timesteps(self) -> int:
        """Timesteps read so far."""
        return self._decoder.timesteps if self._decoder else 0

    @property
    def tables(self) -> SpikeTables | None:
        """The tables of the stream; None before its first packet where there are several."""
        return self._tables

    def decode(self, packets: bytes | Sequence[bytes]) -> Spikes:
        """The next timesteps as uint8 `[T, C, H, W]` of 0 and 1.

        Raises:
            SpikePacketError: A packet is truncated, corrupt, out of order, of another version, written with unknown
                tables, or too large. The stream cannot go on after that.
        """
        packed = self.decode_packed(packets)
        assert self._tables is not None
        return unpack(packed, self._tables.shape)

    def decode_packed(self, packets: bytes | Sequence[bytes]) -> Spikes:
        """The next timesteps as uint8 `[T, H, W, ceil(C / 8)]`; errors as for `decode`."""
        given = [packets] if isinstance(packets, bytes | bytearray | memoryview) else list(packets)
        data = [_bytes(packet, f"packet {index}") for index, packet in enumerate(given)]
        try:
            if self._decoder is None:
                self._tables = self._choose(data)
                self._decoder = _core.SpikeDecoder(self._tables)
            return self._decoder.decode(data)
        except _core.SpikePacketError as error:
            raise SpikePacketError(str(error)) from None

    def _choose(self, data: list[bytes]) -> SpikeTables:
        if not data:
            raise SpikePacketError("there are no packets; a stream begins with one packet at least")
        name = _core.spike_stream_tables_id(data[0])
        if name not in self._known:
            known = ", ".join(f"{one:08x}" for one in self._known)
            raise SpikePacketError(
                f"the stream was written with tables {name:08x}, known are {known}: load the tables of the encoder's "
                "model and split point"
            )
        return self._known[name]


def form_of(packet: bytes, first: bool) -> str:
    """How a packet is written, one of `FORMS`; `first` where it begins a stream.

    Raises:
        SpikePacketError: It is too short, or has no known form.
    """
    at = STREAM_HEADER_BYTES if first else 0
    if len(packet) <= at or packet[at] >> 5 >= len(FORMS):
        raise SpikePacketError(f"{len(packet)} bytes have no known form; expected a packet of a spike stream")
    return FORMS[packet[at] >> 5]


def payload_bytes(packets: Sequence[bytes]) -> int:
    """Bytes of a whole stream without its headers."""
    return sum(map(len, packets)) - STREAM_HEADER_BYTES - PACKET_HEADER_BYTES * len(packets)


# ---- counts ----


def planes_of(max_count: int) -> int:
    """Bit planes of counts from 0 to `max_count`.

    Example:
        >>> planes_of(1), planes_of(2), planes_of(4)
        (1, 2, 3)
    """
    if not 1 <= max_count <= 255:
        raise ValueError(f"max_count is {max_count}, expected 1 to 255")
    return int(max_count).bit_length()


def to_planes(counts: Spikes, max_count: int) -> Spikes:
    """Sums of spikes (SEW ADD) as binary planes, the highest first: `[T, C, H, W]` to `[T, planes * C, H, W]`.

    Raises:
        TypeError: The counts are not uint8.
        ValueError: A count is above `max_count`, or the shape is another.
    """
    planes = planes_of(max_count)
    if not isinstance(counts, np.ndarray) or counts.dtype != np.uint8:
        raise TypeError(f"counts are {_kind(counts)}; expected a uint8 array [T, C, H, W]")
    if counts.ndim != 4:
        raise ValueError(f"counts have shape {list(counts.shape)}, expected [T, C, H, W]")
    if counts.size and counts.max() > max_count:
        raise ValueError(f"counts go up to {counts.max()}, expected at most max_count = {max_count}")
    return np.concatenate([counts >> plane & 1 for plane in reversed(range(planes))], axis=1)


def from_planes(spikes: Spikes, max_count: int) -> Spikes:
    """The counts that `to_planes` took apart.

    Raises:
        ValueError: The channels are no multiple of the planes.
        SpikePacketError: A count is above `max_count`, which nothing that was sent can be.

    Example:
        >>> counts = np.array([0, 1, 2, 3], dtype=np.uint8).reshape(1, 4, 1, 1)
        >>> from_planes(to_planes(counts, 3), 3).flatten().tolist()
        [0, 1, 2, 3]
    """
    planes = planes_of(max_count)
    if spikes.ndim != 4 or spikes.shape[1] % planes:
        raise ValueError(f"planes have shape {list(spikes.shape)}, expected [T, {planes} * C, H, W]")
    counts = np.zeros_like(spikes[:, : spikes.shape[1] // planes])
    for place, plane in enumerate(np.split(spikes, planes, axis=1)):
        counts |= plane << np.uint8(planes - 1 - place)
    if counts.size and counts.max() > max_count:
        raise SpikePacketError(f"counts go up to {counts.max()}, expected at most {max_count}: the stream is corrupt")
    return counts


# ---- files ----


def write_stream(packets: Sequence[bytes], tables: SpikeTables) -> bytes:
    """A stream as one self-describing block, for files: geometry, packets with their lengths, and a CRC-32."""
    header = _FILE_HEADER.pack(_MAGIC, _VERSION, *tables.shape, len(packets))
    body = b"".join(struct.pack("<I", len(packet)) + packet for packet in packets)
    return header + body + struct.pack("<I", zlib.crc32(header + body))


def read_stream(data: bytes) -> tuple[list[bytes], tuple[int, int, int]]:
    """The packets of a block and their geometry (C, H, W).

    Raises:
        SpikePacketError: The block is truncated, corrupt, of another version, or above 1 GiB.

    Example:
        >>> tables = flat_tables(1, 2, 2)
        >>> packets = SpikeEncoder(tables).encode(np.ones((2, 1, 2, 2), dtype=np.uint8))
        >>> read_stream(write_stream(packets, tables)) == (packets, (1, 2, 2))
        True
    """
    data = _bytes(data, "stream")
    if not _FILE_HEADER.size + 4 <= len(data) <= _MAX_FILE_BYTES:
        raise SpikePacketError(f"a stream's file has {len(data)} bytes, expected {_FILE_HEADER.size + 4} to 2^30")
    magic, version, channels, height, width, count = _FILE_HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise SpikePacketError("this is no file of a spike stream: it does not begin with ESPS")
    if version != _VERSION:
        raise SpikePacketError(f"the file has version {version}, expected {_VERSION}; write it with this eccsnn")
    if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise SpikePacketError("the file does not have its checksum: it is corrupt or truncated")
    packets, at = [], _FILE_HEADER.size
    for index in range(count):
        if at + 4 > len(data) - 4:
            raise SpikePacketError(f"the file ends before packet {index} of {count}")
        size = struct.unpack_from("<I", data, at)[0]
        at += 4
        if at + size > len(data) - 4:
            raise SpikePacketError(f"packet {index} has {size} bytes, the file only {len(data) - 4 - at} more")
        packets.append(data[at : at + size])
        at += size
    if at != len(data) - 4:
        raise SpikePacketError(f"the file has {len(data) - 4 - at} bytes after its last packet")
    return packets, (channels, height, width)


# ---- arrays ----


def pack(spikes: NDArray[np.generic], shape: tuple[int, int, int]) -> Spikes:
    """Dense spikes `[T, C, H, W]` to packed `[T, H, W, ceil(C / 8)]`; arguments and errors as for `encode`."""
    if not isinstance(spikes, np.ndarray) or spikes.dtype not in (np.bool_, np.uint8):
        raise TypeError(f"spikes are {_kind(spikes)}; expected a bool or uint8 array [T, C, H, W]")
    if spikes.ndim != 4 or spikes.shape[1:] != tuple(shape):
        raise ValueError(
            f"spikes have shape {list(spikes.shape)}, expected [T, C, H, W] with [C, H, W] = {list(shape)}"
        )
    if spikes.dtype == np.uint8 and spikes.size and spikes.max() > 1:
        raise ValueError(f"spikes go up to {spikes.max()}, expected 0 and 1; send counts as planes: to_planes")
    last = np.moveaxis(spikes.view(np.uint8), 1, -1)
    return np.ascontiguousarray(np.packbits(last, axis=-1, bitorder="little"))


def unpack(packed: Spikes, shape: tuple[int, int, int]) -> Spikes:
    """Packed spikes to dense uint8 `[T, C, H, W]`."""
    dense = np.unpackbits(packed, axis=-1, count=shape[0], bitorder="little")
    return np.ascontiguousarray(np.moveaxis(dense, -1, 1))


def _tables(tables: SpikeTables) -> SpikeTables:
    if not isinstance(tables, SpikeTables):
        raise TypeError(f"tables are {type(tables).__name__}; expected SpikeTables from load_tables or flat_tables")
    return tables


def _bytes(data: object, what: str) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{what} is {type(data).__name__}; expected bytes")
    return bytes(data)


def _kind(array: object) -> str:
    return str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
