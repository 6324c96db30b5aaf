"""8-bit features: lossless, and deaf to what is no packet."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.errors import MessageError
from eccsnn.transport import feature_codec as codec


def smooth(shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    for axis in (1, 2):
        x = x + np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return np.rint(np.clip(x, 0, 6) * (255 / 6)).astype(np.uint8)


def seal(content):
    return content + struct.pack("<I", zlib.crc32(content))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 256),
    name=st.sampled_from(["raw", "entropy"]),
)
def test_lossless_codecs_give_back_what_they_got(shape, seed, levels, name):
    features = np.random.default_rng(seed).integers(0, levels, shape).astype(np.uint8)
    assert (codec.decode_features(codec.encode_features(features, name)) == features).all()


def test_entropy_coding_reaches_the_entropy():
    features = np.random.default_rng(0).choice([0, 9, 200], (16, 32, 32), p=[0.7, 0.2, 0.1]).astype(np.uint8)
    ideal = 1.157 / 8 * features.size
    assert ideal < len(codec.encode_features(features)) < 1.05 * ideal
    assert len(codec.encode_features(smooth((16, 32, 32)))) < 0.8 * 16 * 1024
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8)
    assert codec.encode_features(noise) == codec.encode_features(noise, "raw")


def test_golden_bytes():
    features = (np.arange(2 * 4 * 4) * 37 % 11).astype(np.uint8).reshape(2, 4, 4)
    assert codec.encode_features(features).hex() == "0102020004000400ff8679c996033f1a1e2bff1b29b335865cd946c98aea81ca"


@pytest.mark.parametrize("name", codec.CODECS)
def test_broken_packets(name):
    data = codec.encode_features(smooth((3, 8, 8)), name)
    assert data[1] == codec.CODECS[name]
    for end in range(len(data)):
        with pytest.raises(MessageError):
            codec.decode_features(data[:end])
    for bit in range(0, 8 * len(data), 3):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageError):
            codec.decode_features(bytes(broken))
    with pytest.raises(MessageError, match="1 to 100 values"):
        codec.decode_features(data, max_values=100)
    # With a checksum that is right: what the codecs themselves refuse.
    body = data[: -codec.CHECKSUM_BYTES]
    with pytest.raises(MessageError):
        codec.decode_features(seal(body + b"\x00"))
    for number in (1, 3):
        with pytest.raises(MessageError, match=f"codec {number} .*expected codec 0 or 2"):
            codec.decode_features(seal(body[:1] + bytes([number]) + body[2:]))
    with pytest.raises(MessageError, match="version 2"):
        codec.decode_features(seal(b"\x02" + body[1:]))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=120), name=st.integers(0, 4), shape=st.tuples(*[st.integers(0, 6)] * 3))
def test_arbitrary_bytes_are_refused_or_features(data, name, shape):
    for content in (data, seal(struct.pack("<BBHHH", 1, name, *shape) + data)):
        try:
            features = codec.decode_features(content)
        except MessageError:
            continue
        assert features.shape == shape


def test_errors_of_the_sender():
    with pytest.raises(TypeError, match="features are float64; expected a uint8 array"):
        codec.encode_features(np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match=r"shape \[2, 2\]"):
        codec.encode_features(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="expected one of raw, entropy"):
        codec.encode_features(np.zeros((1, 2, 2), np.uint8), "jpeg")
