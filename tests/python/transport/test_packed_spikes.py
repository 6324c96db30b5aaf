"""Packed bits: the layout of the bytes, what comes back, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.errors import MessageError
from eccsnn.transport.packed_spikes import PackedDecoder, pack_spikes, packed_bytes, unpack_spikes


def test_golden_bytes() -> None:
    spikes = np.zeros((10, 1, 2), dtype=np.uint8)
    spikes[0, 0, 0] = spikes[9, 0, 0] = spikes[3, 0, 1] = 1
    assert pack_spikes(spikes).hex() == "01020800"
    assert pack_spikes(np.array([3, 0, 2, 1], dtype=np.uint8), max_count=3).hex() == "0905"


@given(st.data())
def test_what_is_packed_comes_back(data: st.DataObject) -> None:
    places = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)) | st.none())
    channels, max_count = data.draw(st.integers(1, 20)), data.draw(st.sampled_from([1, 2, 3, 7, 100, 255]))
    shape = (channels, *(places or ()))
    spikes = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, max_count, shape, np.uint8, endpoint=True)
    packet = pack_spikes(spikes, max_count)
    declared = (channels, *(places or (0, 0)))
    assert len(packet) == packed_bytes(declared, max_count)
    back = PackedDecoder(declared, max_count).decode(packet)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, spikes)


@given(st.binary(max_size=20), st.integers(1, 20), st.sampled_from([1, 3, 5]))
def test_any_bytes_are_spikes_or_an_error(packet: bytes, channels: int, max_count: int) -> None:
    try:
        spikes = unpack_spikes(packet, (channels, 2, 1), max_count)
    except MessageError:
        return
    assert spikes.max() <= max_count
    assert pack_spikes(spikes, max_count) == packet  # there is one packet for any spikes


@pytest.mark.parametrize(
    ("packet", "max_count", "text"),
    [
        (b"\0", 1, "1 bytes of packed spikes.* take 2"),
        (b"\0\0\0", 1, "3 bytes"),
        (b"\0\x04", 1, "padding bit"),
        (b"\1\0\0\0\1\0", 4, "hold 5; expected at most max_count, 4"),
    ],
)
def test_wrong_packets_are_refused(packet: bytes, max_count: int, text: str) -> None:
    with pytest.raises(MessageError, match=text):
        unpack_spikes(packet, (10, 0, 0), max_count)


@pytest.mark.parametrize(
    ("spikes", "max_count", "text"),
    [
        (np.zeros((2, 3), np.uint8), 1, "expected uint8"),
        (np.zeros(3, np.float32), 1, "float32"),
        (np.zeros(3, np.uint8), 256, "max_count from 1 to 255"),
        (np.array([2], np.uint8), 1, "hold 2; expected at most"),
    ],
)
def test_what_is_no_spikes_is_refused(spikes: np.ndarray, max_count: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pack_spikes(spikes, max_count)
