import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eccsnn import _core
from eccsnn.nn import BottleNet, BottleNetPP, JPEGCodec
from eccsnn.nn.ann_bottleneck import ClippedReLU, Quantise, from_bytes, to_bytes
from eccsnn.nn.grey_jpeg import GreyJPEG

CODEC = JPEGCodec(channels=5, size=6, quality=95)
FEATURES = (torch.arange(2 * 5 * 36) % 256).to(torch.uint8).view(2, 5, 6, 6)
PAYLOAD = CODEC.encode(FEATURES)[0]


def test_every_byte_survives_and_the_gradient_passes():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(levels)), levels)
    x = torch.rand(1000, requires_grad=True)
    y = Quantise()(x)
    assert torch.equal(from_bytes(to_bytes(y)), y)
    assert (y - x).abs().max() <= 0.5 / 255 + 1e-7
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(1000))
    assert Quantise()(x.bfloat16()).dtype == torch.float32


def test_the_relu_is_clipped():
    assert ClippedReLU()(torch.tensor([-1.0, 3.0, 9.0])).tolist() == [0.0, 0.5, 1.0]


def form_of(payload: bytes) -> str:
    return ("raw", "lossless", "jpeg", "jpeg with own tables")[payload[0] >> 6]


def test_the_picture_holds_the_channels_as_tiles():
    ramp = (torch.arange(64).view(8, 8) * 3 + torch.arange(5).view(5, 1, 1) * 10).to(torch.uint8)
    (payload,) = JPEGCodec(5, 8, 30).encode(ramp[None])
    assert form_of(payload) == "jpeg"
    tiled = np.zeros((16, 24), np.uint8)
    for channel, tile in enumerate(ramp.numpy()):
        row, column = divmod(channel, 3)
        tiled[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = tile
    assert GreyJPEG(16, 24, 30).encode(tiled) == (False, payload[1:])
    flat = torch.arange(0, 250, 50, dtype=torch.uint8).view(1, 5, 1, 1).expand(3, 5, 8, 8)
    codec = JPEGCodec(5, 8, 95)
    arrived = codec.decode(codec.encode(flat))
    assert arrived.dtype == torch.uint8
    assert (arrived.int() - flat.int()).abs().max() <= 2


def test_a_lower_quality_is_smaller_and_worse():
    noise = torch.randint(0, 256, (1, 4, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def coded(quality: int) -> tuple[int, float]:
        codec = JPEGCodec(4, 16, quality)
        payloads = codec.encode(noise)
        return len(payloads[0]), float((codec.decode(payloads).float() - noise.float()).abs().mean())

    (large, small_error), (small, large_error) = coded(95), coded(20)
    assert small < large
    assert large_error > small_error


@pytest.mark.parametrize(
    ("features", "quality", "form"),
    [
        (torch.zeros(4, 8, 8), 90, "lossless"),
        (torch.randint(0, 256, (4, 2, 2), generator=torch.Generator().manual_seed(0)), 90, "raw"),
        (torch.randint(0, 256, (4, 8, 8), generator=torch.Generator().manual_seed(0)), 90, "jpeg"),
        (torch.randint(0, 256, (25, 16, 16), generator=torch.Generator().manual_seed(0)), 30, "jpeg with own tables"),
    ],
)
def test_the_shortest_form_travels_without_what_both_ends_know(features, quality, form):
    features = features.to(torch.uint8)
    codec = JPEGCodec(*features.shape[:2], quality)
    (payload,) = codec.encode(features[None])
    assert form_of(payload) == form
    jpeg = codec._jpeg.encode(tile(features))[1]
    assert len(payload) == 1 + min(features.numel(), len(_core.encode_bytes(features.numpy())), len(jpeg))
    arrived = codec.decode([payload])[0]
    assert "jpeg" in form or torch.equal(arrived, features)
    # What training simulates is what arrives.
    assert torch.equal(codec(from_bytes(features[None]))[0], from_bytes(arrived))


def tile(features: torch.Tensor) -> np.ndarray:
    side = math.isqrt(len(features))
    return features.unflatten(0, (side, side)).transpose(1, 2).flatten(2).flatten(0, 1).numpy()


def test_the_page_says_what_a_payload_saves():
    features = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    (payload,) = JPEGCodec(4, 8, 90).encode(torch.from_numpy(features)[None])
    sizes = []
    for optimize in (False, True):
        file = io.BytesIO()
        Image.fromarray(tile(torch.from_numpy(features))).save(file, "JPEG", quality=90, optimize=optimize)
        sizes.append(len(file.getvalue()))
    page = (Path(__file__).parents[3] / "docs/spike_codec.md").read_text(encoding="utf-8")
    said = f"a file takes {sizes[0]} bytes, one with optimised tables {sizes[1]}, a payload {len(payload)} (quality 90;"
    assert said in page


def test_the_gradient_passes_jpeg():
    x = from_bytes(FEATURES).requires_grad_()
    y = CODEC(x)
    assert torch.equal(y, from_bytes(CODEC.decode(CODEC.encode(FEATURES))))
    y.square().sum().backward()
    assert torch.equal(x.grad, 2 * y)


def test_no_sample_is_no_payload():
    assert CODEC.encode(FEATURES[:0]) == []
    assert CODEC.decode([]).shape == (0, 5, 6, 6)


@pytest.mark.parametrize("unit_type", [BottleNet, BottleNetPP])
@pytest.mark.parametrize(("size", "stride", "kernel_size"), [(8, 1, 1), (8, 2, 2), (7, 2, 3), (9, 3, 4)])
def test_the_decoder_mirrors_the_encoder(unit_type, size, stride, kernel_size):
    unit = unit_type(6, size, 3, stride, kernel_size)
    sent = unit.encoder(torch.randn(2, 6, size, size))
    assert sent.shape == (2, 3, unit.size, unit.size)
    assert torch.equal(from_bytes(to_bytes(sent)), sent)
    assert unit(torch.randn(2, 6, size, size)).shape == (2, 6, size, size)


def sealed(form: int, body: bytes) -> bytes:
    return bytes([form << 6 | int.from_bytes(bytes([1 + form]) + body, "big") % 61]) + body


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "it has 0 bytes, expected 1 to 181"),
        (PAYLOAD + bytes(200), "raw values are never exceeded"),
        (PAYLOAD[:-30], "it does not have its check"),
        (sealed(0, bytes(179)), "raw values have 179 bytes, expected 180"),
        (sealed(1, bytes(3)), "payload 1 of 2 cannot be decoded"),
        (sealed(2, b"\xff\xd9"), "marker among its bits"),
        (sealed(3, b"\x01"), "Huffman tables end"),
        (sealed(3, bytes([255] * 16)), "Huffman tables end"),
    ],
)
def test_bad_payloads_are_refused(payload, message):
    with pytest.raises(ValueError, match=message):
        CODEC.decode([PAYLOAD, payload])


@pytest.mark.parametrize(("codec", "form"), [(CODEC, "jpeg"), (JPEGCodec(5, 1, 95), "raw")])
def test_every_flipped_bit_is_noticed(codec, form):
    (payload,) = codec.encode(FEATURES[:1, :, : codec.size, : codec.size])
    assert form_of(payload) == form
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="payload 0 of 1 cannot be decoded"):
            codec.decode([bytes(damaged)])


@settings(max_examples=300, deadline=None)
@given(form=st.integers(0, 3), body=st.binary(max_size=180), position=st.integers(0, len(PAYLOAD) - 1))
def test_any_bytes_decode_to_the_shape_or_are_refused(form, body, position):
    for payload in (body, sealed(form, body), sealed(2, PAYLOAD[1:position] + body[:1] + PAYLOAD[position + 1 :])):
        try:
            assert CODEC.decode([payload]).shape == (1, 5, 6, 6)
        except ValueError as error:
            assert "cannot be decoded" in str(error)  # noqa: PT017 - both outcomes are right


def test_wrong_features_are_refused():
    with pytest.raises(TypeError, match=r"features are torch\.float32, expected uint8"):
        CODEC.encode(FEATURES.float())
    with pytest.raises(ValueError, match=r"shape \[2, 4, 6, 6\], expected \[N, 5, 6, 6\]"):
        CODEC.encode(FEATURES[:, :4])
    with pytest.raises(ValueError, match="jpeg_quality is 0"):
        JPEGCodec(5, 6, 0)
