"""`Events`: what it takes, and what it says about what it does not take."""

import hashlib
import struct

import numpy as np
import pytest

from eccsnn.data.events import Events, concatenate


def events(t=(0, 5, 9), x=(1, 0, 1), y=(0, 0, 2), polarity=(1, 0, 1), width=2, height=3):
    return Events(t, x, y, polarity, width=width, height=height)


def test_arrays_get_their_dtypes_and_are_read_only():
    made = Events(np.array([0, 1], np.uint32), [0, 1], np.array([0, 0], np.int8), [True, False], width=2, height=1)
    assert [a.dtype for a in (made.t, made.x, made.y, made.polarity)] == [np.int64, np.uint16, np.uint16, np.uint8]
    with pytest.raises(ValueError, match="read-only"):
        made.t[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        made[1:].x[0] = 3


def test_the_arrays_that_were_given_stay_writable():
    t = np.zeros(1, np.int64)
    Events(t, [0], [0], [0], width=1, height=1)
    t[0] = 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"t": (0, 5)}, ValueError, "t has 2, x has 3, y has 3, polarity has 3"),
        ({"t": (0, 5, 4)}, ValueError, "event 2 has t = 4 us after 5 us: time goes back"),
        ({"t": (-1, 5, 9)}, ValueError, "event 0 has t = -1 us"),
        ({"t": np.array([0, 1, 2**63], np.uint64)}, ValueError, "event 2 has t = 9223372036854775808 us"),
        ({"t": (0.0, 5.0, 9.0)}, TypeError, "t has dtype float64, expected integers"),
        ({"x": (1, 2, 1)}, ValueError, r"event 1 has x = 2, outside the sensor: expected 0 to 1 \(width is 2\)"),
        ({"y": (0, 0, 3)}, ValueError, r"event 2 has y = 3, outside the sensor: expected 0 to 2 \(height is 3\)"),
        ({"x": (1, -1, 1)}, ValueError, "event 1 has x = -1"),
        ({"x": (1, 65536, 1)}, ValueError, "event 1 has x = 65536"),
        ({"polarity": (1, 0, 2)}, ValueError, "event 2 has polarity 2, expected 1"),
        ({"x": ((1, 0, 1),)}, ValueError, r"x has shape \(1, 3\)"),
        ({"width": 0}, ValueError, "width is 0"),
        ({"height": 65537}, ValueError, "height is 65537"),
        ({"width": 2.0}, TypeError, "width is 2.0"),
    ],
)
def test_what_is_wrong_is_named(change, error, message):
    with pytest.raises(error, match=message):
        events(**change)


def test_no_events_are_fine():
    none = Events.empty(width=4, height=5)
    assert (len(none), none.duration_us, none[:], none.between(0, 9)) == (0, 0, none, none)
    assert none.from_zero() == none
    assert concatenate([none, none]) == none


def test_slices_by_index_and_by_time():
    whole = events()
    assert whole[1:] == events(t=(5, 9), x=(0, 1), y=(0, 2), polarity=(0, 1))
    assert whole[::2].t.tolist() == [0, 9]
    assert whole.between(5, 9) == whole[1:2]
    assert whole.between(0, 10) == whole
    assert np.shares_memory(whole[1:].t, whole.t)
    with pytest.raises(ValueError, match="step is -1"):
        whole[::-1]
    with pytest.raises(TypeError, match="index is 0, expected a slice"):
        whole[0]
    with pytest.raises(ValueError, match="between 9 and 5 us"):
        whole.between(9, 5)


def test_equal_times_are_no_step_back_and_stay_together():
    whole = events(t=(7, 7, 7))
    assert whole.between(7, 8) == whole
    assert len(whole.between(8, 9)) == 0


def test_concatenate():
    whole = events()
    assert concatenate([whole[:1], whole[1:1], whole[1:]]) == whole
    with pytest.raises(ValueError, match=r"different sensors \(2 x 3, 3 x 3 px\)"):
        concatenate([whole, Events.empty(width=3, height=3)])
    with pytest.raises(ValueError, match="event 2 has t = 0 us after 9 us"):
        concatenate([whole[1:], whole])
    with pytest.raises(ValueError, match="no events to concatenate"):
        concatenate([])


def test_equality_and_checksum_see_every_part():
    others = [
        events(t=(0, 5, 8)),
        events(x=(0, 0, 1)),
        events(y=(0, 1, 2)),
        events(polarity=(1, 1, 1)),
        events(width=3),
        events(height=4),
        events()[:2],
    ]
    assert events() == events()
    assert all(events() != other for other in others)
    assert len({e.checksum() for e in (events(), *others)}) == 1 + len(others)
    assert events() != "events"
    # The same on every machine: bytes in little-endian order.
    content = struct.pack("<3q3H3H3B", 0, 5, 9, 1, 0, 1, 0, 0, 2, 1, 0, 1)
    assert events().checksum() == hashlib.sha256(b"events 2 x 3, 3\n" + content).hexdigest()


def test_shifting_time():
    assert events(t=(3, 5, 9)).from_zero().t.tolist() == [0, 2, 6]
    with pytest.raises(ValueError, match="event 0 has t = -1 us"):
        events().shifted(-1)
