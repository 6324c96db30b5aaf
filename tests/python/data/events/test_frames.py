"""Recordings to frames, against counts by hand."""

import numpy as np
import pytest

from eccsnn.data.events import Events
from eccsnn.data.events.frames import fixed_frames, saturate


def line(times, width=4):
    return Events(times, np.arange(len(times)) % width, [0] * len(times), [1] * len(times), width=width, height=1)


def test_the_last_slice_has_what_is_left():
    def counts(times, slice_by):
        return fixed_frames(line(times), 3, slice_by=slice_by).sum((1, 2, 3)).tolist()

    assert counts([0, 1, 2, 3, 4, 5, 6], "count") == [2, 2, 3]
    assert counts([10, 11, 12, 19, 20], "time") == [3, 0, 2]
    assert counts([10, 13, 16, 19, 20], "time") == [1, 1, 3]


@pytest.mark.parametrize("slice_by", ["count", "time"])
def test_no_event_is_lost_or_counted_twice(slice_by, make_events):
    events = make_events(1001, width=24, height=18)
    full = fixed_frames(events, 7, slice_by=slice_by)
    assert full.sum() == 1001
    assert (full[:, 1].sum(), full[:, 0].sum()) == (events.polarity.sum(), 1001 - events.polarity.sum())
    # 24 x 18 divides into 8 x 6: bins of 3 x 3 pixels.
    bins = full.reshape(7, 2, 6, 3, 8, 3).sum((3, 5))
    np.testing.assert_array_equal(fixed_frames(events, 7, slice_by=slice_by, height=6, width=8), bins)


def test_bins_where_sizes_do_not_divide():
    events = Events(range(8), range(8), [0] * 8, [0] * 8, width=8, height=1)
    assert fixed_frames(events, 1, width=3)[0, 0, 0].tolist() == [3, 3, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timesteps": 0}, "timesteps is 0"),
        ({"slice_by": "number"}, "slice_by is 'number', expected one of 'count', 'time'"),
        ({"width": 5}, r"size is \(1, 5\), expected .* sensor_size=\(1, 4\)"),
        ({"height": 0}, r"size is \(0, 4\)"),
        ({"timesteps": 4}, "3 events cannot be cut into 4 slices by count"),
        ({"timesteps": 3, "slice_by": "time"}, "3 events in 2 us cannot be cut into 3 slices by time"),
    ],
)
def test_what_has_no_frames(change, message):
    with pytest.raises(ValueError, match=message):
        fixed_frames(line([5, 6, 7]), **{"timesteps": 2, **change})


@pytest.mark.parametrize("slice_by", ["count", "time"])
def test_an_empty_recording_has_no_frames(slice_by):
    with pytest.raises(ValueError, match="0 events"):
        fixed_frames(Events.empty(width=2, height=2), 1, slice_by=slice_by)


def test_saturation_counts_what_it_cuts():
    frames = np.array([[0, 255], [256, 9999]], np.int32)
    cut, over = saturate(frames)
    assert (cut.tolist(), cut.dtype, over) == ([[0, 255], [255, 255]], np.uint8, 2)
