"""Images as bytes: PNG, JPEG, or raw uint8, with limits that hold before anything is decompressed."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eccsnn.errors import MessageError

CODECS = ("png", "jpeg", "raw")
"""Names of the codecs, as in configurations."""

MAX_PIXELS = 4 * 1024 * 1024
"""Default limit of height x width: 2048 x 2048."""

MAX_BYTES = 4 * 1024 * 1024
"""Default limit of the encoded size."""

_MODES = {1: "L", 3: "RGB"}
_PILLOW_FORMAT = {"png": "PNG", "jpeg": "JPEG"}

ImageArray = NDArray[np.uint8]


def encode_image(image: ImageArray, codec: str = "png", *, quality: int = 90) -> bytes:
    """Encode one image.

    Args:
        image: uint8 `[C, H, W]`. JPEG takes C = 1 or 3; PNG stacks any other number of channels, such as those of event
            frames, from top to bottom in one grey picture.
        codec: "png" (lossless), "jpeg" (lossy) or "raw" (the bytes of the array in C order, without a header).
        quality: JPEG quality, 1 to 95; ignored by the others. JPEG tables are optimised for each image, since the
            standard tables outweigh the data of a small one.

    Raises:
        ValueError: unknown codec, quality out of range, or an array of another shape.
        TypeError: the array is not uint8.

    Example:
        >>> image = np.zeros((3, 32, 32), dtype=np.uint8)
        >>> len(encode_image(image, "raw"))
        3072
        >>> bool((decode_image(encode_image(image, "png"), "png") == image).all())
        True
    """
    _check_codec(codec)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"image is {given}; expected a uint8 array [C, H, W]: scale to 0..255 and convert it")
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image has shape {list(image.shape)}; expected [C, H, W] without empty axes")
    if codec == "raw":
        return np.ascontiguousarray(image).tobytes()
    channels = image.shape[0]
    if channels not in _MODES and codec == "png":
        image, channels = image.reshape(1, -1, image.shape[2]), 1
    if channels not in _MODES:
        raise ValueError(f"image has {channels} channels; {codec} takes 1 or 3: use codec 'png' or 'raw'")
    if codec == "jpeg" and not 1 <= quality <= 95:
        raise ValueError(f"quality is {quality}; expected 1 to 95")
    pixels = np.ascontiguousarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
    options: dict[str, Any] = {"quality": quality, "optimize": True} if codec == "jpeg" else {}
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, _PILLOW_FORMAT[codec], **options)
    return out.getvalue()


def decode_image(
    data: bytes,
    codec: str,
    *,
    shape: tuple[int, int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> ImageArray:
    """Decode one image that came from outside.

    The limits are checked on the header, before any pixel is decompressed or allocated.

    Args:
        data: the encoded bytes.
        codec: "png", "jpeg" or "raw".
        shape: `(C, H, W)`; required for raw, and for PNG of channels other than 1 or 3; ignored otherwise.
        max_pixels: largest height x width that is accepted.
        max_bytes: largest encoded size that is accepted.

    Returns:
        uint8 `[C, H, W]`, C contiguous, writable.

    Raises:
        MessageError: unknown codec, above a limit, truncated, corrupt, or not an 8-bit grey or RGB image.

    Example:
        >>> decode_image(bytes(range(12)), "raw", shape=(3, 2, 2)).shape
        (3, 2, 2)
    """
    try:
        _check_codec(codec)
    except ValueError as error:
        raise MessageError(str(error)) from None
    if len(data) > max_bytes:
        raise MessageError(f"encoded image has {len(data)} bytes; at most {max_bytes} are accepted")
    if codec == "raw":
        return _decode_raw(data, shape, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW_FORMAT[codec]]) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise MessageError(f"image is {height} x {width} pixels; at most {max_pixels} in all are accepted")
            if picture.mode not in _MODES.values():
                raise MessageError(f"image has mode {picture.mode!r}; expected 8-bit grey (L) or RGB: convert it")
            pixels = np.array(picture)
    except MessageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, zlib.error, struct.error
        raise MessageError(
            f"{len(data)} bytes do not decode as {codec} ({type(error).__name__}: {error}); expected one complete image"
        ) from error
    if pixels.ndim == 2 and codec == "png" and shape is not None and shape[0] > 0 and shape[0] not in _MODES:
        if (shape[0] * shape[1], shape[2]) != pixels.shape:
            raise MessageError(
                f"picture has {pixels.shape[0]} x {pixels.shape[1]} pixels; {shape[0]} channels of {shape[1]} x "
                f"{shape[2]} need {shape[0] * shape[1]} x {shape[2]}"
            )
        pixels = pixels.reshape(shape)
    elif pixels.ndim == 2:
        pixels = pixels[None]
    else:
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels)


def _decode_raw(data: bytes, shape: tuple[int, int, int] | None, max_pixels: int) -> ImageArray:
    if shape is None or len(shape) != 3 or min(shape) < 1:
        raise MessageError(f"raw image has shape {shape}; expected (channels, height, width), each at least 1")
    if shape[1] * shape[2] > max_pixels:
        raise MessageError(f"image is {shape[1]} x {shape[2]} pixels; at most {max_pixels} in all are accepted")
    expected = math.prod(shape)
    if len(data) != expected:
        raise MessageError(f"raw image has {len(data)} bytes; shape {list(shape)} needs {expected}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape).copy()


def _check_codec(codec: str) -> None:
    if codec not in CODECS:
        raise ValueError(f"image codec is {codec!r}; expected one of {', '.join(CODECS)}")
