"""JPEG without what both ends know: the file comes back byte for byte, and hostile bodies change nothing of it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eccsnn.nn.grey_jpeg import GreyJPEG


def picture(height: int, width: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "noise":
        return rng.integers(0, 256, (height, width), dtype=np.uint8)
    if kind == "few":
        return np.clip(rng.normal(0, 40, (height, width)), 0, 255).astype(np.uint8)
    return np.full((height, width), 200, np.uint8)


@pytest.mark.parametrize("quality", [1, 50, 90, 95])
@pytest.mark.parametrize("kind", ["noise", "few", "flat"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 18), (1, 1), (64, 80)])
def test_the_file_comes_back_byte_for_byte(height, width, kind, quality):
    codec, pixels = GreyJPEG(height, width, quality), picture(height, width, kind)
    own_tables, body = codec.encode(pixels)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=quality, optimize=own_tables)
    assert codec.file(own_tables, body) == written.getvalue()
    with Image.open(written) as arrived:
        np.testing.assert_array_equal(codec.decode(own_tables, body), np.asarray(arrived))


def test_large_pictures_bring_tables_of_their_own_and_small_ones_do_not():
    assert GreyJPEG(64, 80, 90).encode(picture(64, 80, "few"))[0]
    assert not GreyJPEG(16, 16, 90).encode(picture(16, 16, "few"))[0]


def test_a_picture_costs_no_header():
    codec = GreyJPEG(16, 16, 90)
    for kind, most in (("flat", 10), ("noise", 216)):
        own_tables, body = codec.encode(picture(16, 16, kind))
        assert len(body) < most
        assert len(codec.file(own_tables, body)) == len(body) + 330


def test_markers_and_tables_that_are_cut_off_are_refused():
    codec = GreyJPEG(16, 16, 90)
    _, body = codec.encode(picture(16, 16, "noise"))
    for smuggled in (b"\xff\xd9", b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00", b"\xff"):
        with pytest.raises(ValueError, match="marker among its bits"):
            codec.decode(False, body + smuggled)
    for tables in (b"", bytes(15), bytes([0, 2] + [0] * 14) + b"\x01", bytes(16) + bytes(15)):
        with pytest.raises(ValueError, match="too early"):
            codec.decode(True, tables)


@settings(max_examples=300, deadline=None)
@given(own_tables=st.booleans(), body=st.binary(max_size=120))
def test_any_bytes_decode_to_the_size_or_are_refused(own_tables, body):
    codec = GreyJPEG(16, 8, 90)
    try:
        decoded = codec.decode(own_tables, body)
    except ValueError:
        return
    assert (decoded.shape, decoded.dtype) == ((16, 8), np.uint8)
