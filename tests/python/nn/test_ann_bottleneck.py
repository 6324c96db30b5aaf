import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eccsnn.nn import BottleNet, BottleNetPP, JPEGCodec
from eccsnn.nn.ann_bottleneck import ClippedReLU, Quantise, from_bytes, to_bytes

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


def test_the_picture_holds_the_channels_as_tiles():
    with Image.open(io.BytesIO(PAYLOAD)) as picture:
        assert (picture.size, picture.mode) == ((18, 12), "L")
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


def payload_of(mode: str, size: tuple[int, int], kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "payload 1 of 2 cannot be decoded"),
        (PAYLOAD[:-30], "payload 1 of 2 cannot be decoded"),
        (payload_of("L", (18, 12), "PNG"), "payload 1 of 2 cannot be decoded"),
        (payload_of("L", (12, 18)), r"it is \(12, 18\) in mode L, expected \(18, 12\)"),
        (payload_of("RGB", (18, 12)), "in mode RGB"),
    ],
)
def test_bad_payloads_are_refused(payload, message):
    with pytest.raises(ValueError, match=message):
        CODEC.decode([PAYLOAD, payload])


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(PAYLOAD) - 1), value=st.integers(0, 255), cut=st.integers(0, len(PAYLOAD)))
def test_damaged_payloads_decode_or_are_refused(position, value, cut):
    damaged = bytearray(PAYLOAD)
    damaged[position] = value
    for payload in (bytes(damaged), bytes(damaged[:cut])):
        try:
            assert CODEC.decode([payload]).shape == (1, 5, 6, 6)
        except ValueError as error:
            assert "cannot be decoded" in str(error)  # noqa: PT017 - both outcomes are right


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(payload):
    with pytest.raises(ValueError, match="cannot be decoded"):
        CODEC.decode([payload])


def test_wrong_features_are_refused():
    with pytest.raises(TypeError, match=r"features are torch\.float32, expected uint8"):
        CODEC.encode(FEATURES.float())
    with pytest.raises(ValueError, match=r"shape \[2, 4, 6, 6\], expected \[N, 5, 6, 6\]"):
        CODEC.encode(FEATURES[:, :4])
    with pytest.raises(ValueError, match="jpeg_quality is 0"):
        JPEGCodec(5, 6, 0)
