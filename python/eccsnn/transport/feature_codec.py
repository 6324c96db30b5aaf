"""Features of ANN baselines as bytes: 8 bits a value, then JPEG (BottleNet) or lossless entropy coding (BottleNet++).

A packet is self-describing: version, codec, shape (8 bytes), payload, CRC-32. BottleNet (Eshratifar et al., ISLPED
2019) compresses the quantised maps of a bottleneck as one JPEG; BottleNet++ (Shao & Zhang, ICC Workshops 2020) learns
the reduction alone. How the maps are tiled is ours: row by row in the squarest grid, since neither says.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from eccsnn import _core
from eccsnn.errors import MessageError
from eccsnn.transport.images import decode_image, encode_image

CODECS = ("raw", "jpeg", "entropy")
"""Names of the codecs: bytes as they are, tiled JPEG, lossless adaptive entropy coding."""

HEADER_BYTES, CHECKSUM_BYTES = 8, 4
MAX_VALUES = 2**22
"""Default limit of C x H x W."""

_HEADER = struct.Struct("<BBHHH")
_VERSION = 1
_MOST_VALUES = 2**24

Features = NDArray[np.uint8]


def quantize(features: NDArray[np.floating], low: float, high: float) -> Features:
    """Features to 8 bits: `low` becomes 0, `high` 255, what is beyond is cut off.

    Raises:
        ValueError: `low` is not below `high`, or a feature is not finite.

    Example:
        >>> quantize(np.array([[[-1.0, 0.5, 1.0]]]), 0.0, 1.0).tolist()
        [[[0, 128, 255]]]
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low is {low} and high is {high}; expected finite numbers with low < high")
    scaled = (np.asarray(features, dtype=np.float64) - low) * (255.0 / (high - low))
    if not np.isfinite(scaled).all():
        raise ValueError("features hold NaN or infinite values; expected finite ones")
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def dequantize(values: Features, low: float, high: float) -> NDArray[np.float32]:
    """The features that 8-bit values stand for, float32."""
    return (values.astype(np.float32) * np.float32((high - low) / 255.0) + np.float32(low)).astype(np.float32)


def encode_features(features: Features, codec: str = "entropy", *, quality: int = 90) -> bytes:
    """Encodes one sample's features.

    Args:
        features: uint8 `[C, H, W]`, at least 1 and at most 65535 along each axis.
        codec: One of `CODECS`; `jpeg` loses information, `entropy` falls back to `raw` where that is shorter.
        quality: Of JPEG, 1 to 95.

    Raises:
        TypeError: The array is not uint8.
        ValueError: Another shape, an unknown codec, or a quality out of range.

    Example:
        >>> features = np.full((4, 8, 8), 7, np.uint8)
        >>> data = encode_features(features)
        >>> len(data) < 40, bool((decode_features(data) == features).all())
        (True, True)
    """
    if not isinstance(features, np.ndarray) or features.dtype != np.uint8:
        given = getattr(features, "dtype", type(features).__name__)
        raise TypeError(f"features are {given}; expected a uint8 array [C, H, W]: use quantize")
    if features.ndim != 3 or not all(1 <= side <= 65535 for side in features.shape) or features.size > _MOST_VALUES:
        raise ValueError(
            f"features have shape {list(features.shape)}; expected [C, H, W], 1 to 65535 each and 2^24 in all at most"
        )
    if codec not in CODECS:
        raise ValueError(f"feature codec is {codec!r}; expected one of {', '.join(CODECS)}")
    features = np.ascontiguousarray(features)
    if codec == "jpeg":
        payload = encode_image(_tile(features), "jpeg", quality=quality)
    else:
        payload = features.tobytes()
        if codec == "entropy" and len(code := _core.encode_bytes(features)) < len(payload):
            payload = code
        else:
            codec = "raw"  # noise has no shorter code
    content = _HEADER.pack(_VERSION, CODECS.index(codec), *features.shape) + payload
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
    if codec >= len(CODECS) or not 1 <= values <= min(max_values, _MOST_VALUES):
        raise MessageError(
            f"the feature packet has codec {codec} and shape {shape}; expected codec 0 to {len(CODECS) - 1} and 1 to "
            f"{max_values} values"
        )
    payload = data[HEADER_BYTES:-CHECKSUM_BYTES]
    channels, height, width = shape
    if CODECS[codec] == "raw":
        if len(payload) != values:
            raise MessageError(f"raw features have {len(payload)} bytes; shape {shape} needs {values}")
        return np.frombuffer(payload, np.uint8).reshape(channels, height, width).copy()
    if CODECS[codec] == "jpeg":
        rows, columns = _grid(channels)
        image = decode_image(payload, "jpeg", max_pixels=rows * height * columns * width)
        if image.shape != (1, rows * height, columns * width):
            raise MessageError(
                f"the JPEG has shape {list(image.shape)}; {channels} maps need {[1, rows * height, columns * width]}"
            )
        return _untile(image, channels, height, width)
    try:
        return _core.decode_bytes(payload, channels, height, width)
    except _core.SpikePacketError as error:
        raise MessageError(str(error)) from None


def _grid(channels: int) -> tuple[int, int]:
    """Rows and columns of the squarest grid that holds `channels` maps."""
    columns = math.isqrt(channels - 1) + 1
    return -(-channels // columns), columns


def _tile(features: Features) -> Features:
    channels, height, width = features.shape
    rows, columns = _grid(channels)
    full = np.zeros((rows * columns, height, width), np.uint8)
    full[:channels] = features
    full[channels:] = features[-1]  # a map that is there costs least
    grid = full.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(grid.reshape(1, rows * height, columns * width))


def _untile(image: Features, channels: int, height: int, width: int) -> Features:
    rows, columns = _grid(channels)
    maps = image.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(-1, height, width)
    return np.ascontiguousarray(maps[:channels])
