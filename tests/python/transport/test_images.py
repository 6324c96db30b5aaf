"""Encoding and decoding of images, and what hostile bytes do."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eccsnn.errors import MessageError
from eccsnn.transport.images import decode_image, encode_image


def picture(channels: int = 3, height: int = 20, width: int = 24) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = [(3 * x + 5 * y + 40 * c) % 256 for c in range(channels)]
    return np.stack(planes).astype(np.uint8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(data))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", ["png", "raw"])
def test_lossless_codecs_return_the_same_pixels(codec: str, channels: int) -> None:
    image = picture(channels)
    decoded = decode_image(encode_image(image, codec), codec, shape=image.shape)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, image)


def test_raw_takes_any_number_of_channels_and_non_contiguous_input() -> None:
    image = picture(5).transpose(0, 2, 1)
    np.testing.assert_array_equal(decode_image(encode_image(image, "raw"), "raw", shape=image.shape), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_the_shape_and_follows_the_quality(channels: int) -> None:
    image = np.repeat(np.linspace(30, 220, 24).astype(np.uint8)[None, None], 20, axis=1).repeat(channels, axis=0)
    low, high = (encode_image(image, "jpeg", quality=quality) for quality in (10, 95))
    assert len(low) < len(high)
    decoded = decode_image(high, "jpeg")
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).max() < 8


@pytest.mark.parametrize(
    ("image", "codec", "options", "error", "text"),
    [
        (picture(), "webp", {}, ValueError, "png, jpeg, raw"),
        (picture(2), "jpeg", {}, ValueError, "use codec 'png' or 'raw'"),
        (picture()[0], "png", {}, ValueError, "C, H, W"),
        (picture()[:, :0], "raw", {}, ValueError, "empty"),
        (picture().astype(np.float32), "png", {}, TypeError, "float32"),
        (picture(), "jpeg", {"quality": 0}, ValueError, "1 to 95"),
    ],
)
def test_encode_refuses_what_it_cannot_carry(image, codec, options, error, text) -> None:
    with pytest.raises(error, match=text):
        encode_image(image, codec, **options)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png(60000, 60000, bytes(1000))
    with pytest.raises(MessageError):
        decode_image(bomb, "png")
    with pytest.raises(MessageError, match="3000 x 2000 pixels; at most 1000000"):
        decode_image(png(2000, 3000, b""), "png", max_pixels=1_000_000)


def test_a_header_that_promises_more_than_there_is_fails() -> None:
    with pytest.raises(MessageError, match="do not decode as png"):
        decode_image(png(64, 64, bytes(10)), "png")


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_every_truncation_fails(codec: str) -> None:
    data = encode_image(picture(), codec)
    body = len(data) - (20 if codec == "png" else 2)  # without the checksums and end marker every pixel is there
    for length in range(0, body, 7):
        with pytest.raises(MessageError):
            decode_image(data[:length], codec)


def test_limits_and_labels_are_checked() -> None:
    data = encode_image(picture(), "png")
    with pytest.raises(MessageError, match=f"{len(data)} bytes; at most 10"):
        decode_image(data, "png", max_bytes=10)
    with pytest.raises(MessageError, match="do not decode as jpeg"):
        decode_image(data, "jpeg")
    with pytest.raises(MessageError, match="one of png, jpeg, raw"):
        decode_image(data, "gif")


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16", "1", "LA"])
def test_other_pixel_formats_are_refused(mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, "PNG")
    with pytest.raises(MessageError, match="mode"):
        decode_image(out.getvalue(), "png")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (None, "expected"),
        ((0, 4, 4), "at least 1"),
        ((3, 4, 5), "needs 60"),
        ((1, 2**31, 2**31), "pixels"),
        ((2**40, 1, 1), "needs"),
    ],
)
def test_raw_needs_a_shape_that_fits(shape, text) -> None:
    with pytest.raises(MessageError, match=text):
        decode_image(bytes(48), "raw", shape=shape)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), codec=st.sampled_from(["png", "jpeg"]), magic=st.sampled_from(["", "png", "jpeg"]))
def test_any_bytes_decode_or_raise_message_error(data: bytes, codec: str, magic: str) -> None:
    start = {"": b"", "png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}[magic]
    with pytest.raises(MessageError):
        decode_image(start + data, codec)


@settings(max_examples=300, deadline=None)
@given(
    codec=st.sampled_from(["png", "jpeg"]),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_images_decode_within_limits_or_raise_message_error(codec: str, edits: list[tuple[int, int]]) -> None:
    data = bytearray(encode_image(picture(3, 12, 12), codec))
    for position, value in edits:
        data[position % len(data)] = value
    try:
        decoded = decode_image(bytes(data), codec, max_pixels=4096)
    except MessageError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.shape[0] in (1, 3)
    assert decoded.shape[1] * decoded.shape[2] <= 4096


def test_png_of_many_channels_is_one_grey_picture():
    frames = np.random.default_rng(0).integers(0, 9, (20, 6, 5)).astype(np.uint8)
    data = encode_image(frames, "png")
    np.testing.assert_array_equal(decode_image(data, "png", shape=(20, 6, 5)), frames)
    assert decode_image(data, "png").shape == (1, 120, 5)
    with pytest.raises(MessageError, match="120 x 5 pixels; 21 channels of 6 x 5 need 126 x 5"):
        decode_image(data, "png", shape=(21, 6, 5))
    with pytest.raises(ValueError, match="20 channels; jpeg takes 1 or 3"):
        encode_image(frames, "jpeg")
