"""Features of BottleNet++ as bytes: 8 bits a value, then lossless entropy coding.

A packet is self-describing: version, codec, shape (8 bytes), payload, CRC-32. BottleNet++ (Shao & Zhang, ICC Workshops
2020) learns the reduction alone. BottleNet's features do not pass here: its training sees what JPEG does to them, so
that its unit's own codec, `eccsnn.nn.JPEGCodec`, makes the payloads that cross the wire.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from eccsnn import _core
from eccsnn.errors import MessageError

CODECS = {"raw": 0, "entropy": 2}
"""Number of each codec in a packet: bytes as they are, and lossless adaptive entropy coding. 1 is not used again."""

HEADER_BYTES, CHECKSUM_BYTES = 8, 4
MAX_VALUES = 2**22
"""Default limit of C x H x W."""

_HEADER = struct.Struct("<BBHHH")
_VERSION = 1
_MOST_VALUES = 2**24

Features = NDArray[np.uint8]


def encode_features(features: Features, codec: str = "entropy") -> bytes:
    """Encodes one sample's features.

    Args:
        features: uint8 `[C, H, W]`, at least 1 and at most 65535 along each axis.
        codec: One of `CODECS`; `entropy` falls back to `raw` where that is shorter.

    Raises:
        TypeError: The array is not uint8.
        ValueError: Another shape, or an unknown codec.

    Example:
        >>> features = np.full((4, 8, 8), 7, np.uint8)
        >>> data = encode_features(features)
        >>> len(data) < 40, bool((decode_features(data) == features).all())
        (True, True)
    """
    if not isinstance(features, np.ndarray) or features.dtype != np.uint8:
        given = getattr(features, "dtype", type(features).__name__)
        raise TypeError(f"features are {given}; expected a uint8 array [C, H, W]")
    if features.ndim != 3 or not all(1 <= side <= 65535 for side in features.shape) or features.size > _MOST_VALUES:
        raise ValueError(
            f"features have shape {list(features.shape)}; expected [C, H, W], 1 to 65535 each and 2^24 in all at most"
        )
    if codec not in CODECS:
        raise ValueError(f"feature codec is {codec!r}; expected one of {', '.join(CODECS)}")
    features = np.ascontiguousarray(features)
    payload = features.tobytes()
    if codec == "entropy" and len(code := _core.encode_bytes(features)) < len(payload):
        payload = code
    else:
        codec = "raw"  # noise has no shorter code
    content = _HEADER.pack(_VERSION, CODECS[codec], *features.shape) + payload
    return content + struct.pack("<I", zlib.crc32(content))


def decode_features(data: bytes, *, max_values: int = MAX_VALUES) -> Features:
    """Decodes a packet that came from outside; limits are checked before anything is allocated.

    Args:
        data: From `encode_features`.
        max_values: Largest C x H x W that is accepted.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        MessageError: The packet is truncated, corrupt, of another version, or above the limit.
    """
    if len(data) < HEADER_BYTES + CHECKSUM_BYTES:
        raise MessageError(f"a feature packet has {len(data)} bytes; expected at least {HEADER_BYTES + CHECKSUM_BYTES}")
    version, codec, *shape = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise MessageError(f"the feature packet has version {version}; expected {_VERSION}: both ends need the same")
    if zlib.crc32(data[:-CHECKSUM_BYTES]) != struct.unpack("<I", data[-CHECKSUM_BYTES:])[0]:
        raise MessageError("the feature packet does not have its checksum: it is corrupt or truncated")
    values = math.prod(shape)
    if codec not in CODECS.values() or not 1 <= values <= min(max_values, _MOST_VALUES):
        raise MessageError(
            f"the feature packet has codec {codec} and shape {shape}; expected codec "
            f"{' or '.join(map(str, CODECS.values()))} and 1 to {max_values} values"
        )
    payload = data[HEADER_BYTES:-CHECKSUM_BYTES]
    channels, height, width = shape
    if codec == CODECS["raw"]:
        if len(payload) != values:
            raise MessageError(f"raw features have {len(payload)} bytes; shape {shape} needs {values}")
        return np.frombuffer(payload, np.uint8).reshape(channels, height, width).copy()
    try:
        return _core.decode_bytes(payload, channels, height, width)
    except _core.SpikePacketError as error:
        raise MessageError(str(error)) from None
