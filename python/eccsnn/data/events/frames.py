"""Recordings to frames: a fixed number of slices in time, each with the number of events of every pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eccsnn.data.events.types import Events

SLICES = ("count", "time")
"""How a recording is sliced: into as many events each, or into as much time each."""
MAX_COUNT = 255
"""Largest count that frames on disk hold."""


def slice_bounds(events: Events, timesteps: int, slice_by: str = "count") -> npt.NDArray[np.int64]:
    """Where the slices of a recording begin and end: slice `i` has events `bounds[i]` to `bounds[i + 1]`.

    By count, every slice has `N // timesteps` events, and the last one those that are left besides. By time, every
    slice has `(t[-1] - t[0]) // timesteps` us, and the last one what is left besides; a slice may then be empty.

    Source: SpikingJelly's `integrate_events_by_fixed_frames_number` (split_by "number" and "time"), which fails where a
    slice of time has no event.

    Returns:
        int64 `[timesteps + 1]`, from 0 to N, not falling.

    Raises:
        ValueError: `timesteps` is below 1, `slice_by` is unknown, or a slice would have no length: there are fewer
            events, or microseconds from the first event to the last, than slices.
    """
    if timesteps < 1:
        raise ValueError(f"timesteps is {timesteps}, expected at least 1")
    if slice_by == "count":
        length, unit = len(events) // timesteps, f"{len(events)} events"
        bounds = np.arange(timesteps + 1, dtype=np.int64) * length
    elif slice_by == "time":
        length, unit = events.duration_us // timesteps, f"{len(events)} events in {events.duration_us} us"
        begins = (events.t[0] if len(events) else 0) + np.arange(timesteps + 1, dtype=np.int64) * length
        bounds = np.searchsorted(events.t, begins, side="left").astype(np.int64)
    else:
        raise ValueError(f"slice_by is {slice_by!r}, expected one of {', '.join(map(repr, SLICES))}")
    if length == 0:
        raise ValueError(f"{unit} cannot be cut into {timesteps} slices by {slice_by}: a slice would have no length")
    bounds[-1] = len(events)
    return bounds


def frames_reference(
    events: Events, timesteps: int, *, slice_by: str = "count", height: int | None = None, width: int | None = None
) -> npt.NDArray[np.int32]:
    """Counts the events of every slice, polarity and pixel: the readable truth.

    A smaller frame has bins of pixels: an event at column x goes to bin `x * width // sensor width`, rows likewise, so
    that each event is counted once and the sum stays what it was. Bins differ by a pixel where the sizes do not divide
    each other (128 px to 48: bins of 2 and 3 px).

    Args:
        events: a recording of at least `timesteps` events.
        timesteps: T, the number of slices.
        slice_by: `"count"` or `"time"`, see `slice_bounds`.
        height: of the frames, at most the sensor's; None: that of the sensor.
        width: likewise.

    Returns:
        int32 `[T, 2, height, width]`; channel 0 has the darker events, channel 1 the brighter ones.

    Raises:
        ValueError: as `slice_bounds`, or the frame is larger than the sensor or has no pixel.

    Example:
        >>> events = Events(t=[0, 1, 2, 3], x=[0, 1, 3, 3], y=[0, 0, 0, 0], polarity=[1, 1, 0, 0], width=4, height=2)
        >>> frames_reference(events, 2, height=1, width=2).tolist()
        [[[[0, 0]], [[2, 0]]], [[[0, 2]], [[0, 0]]]]
    """
    height = events.height if height is None else height
    width = events.width if width is None else width
    if not (1 <= height <= events.height and 1 <= width <= events.width):
        raise ValueError(
            f"frames of {width} x {height} px were asked for, expected 1 x 1 up to the sensor's "
            f"{events.width} x {events.height}: bins cannot be smaller than a pixel"
        )
    bounds = slice_bounds(events, timesteps, slice_by)
    slice_of = np.repeat(np.arange(timesteps, dtype=np.int64), np.diff(bounds))
    row = events.y.astype(np.int64) * height // events.height
    column = events.x.astype(np.int64) * width // events.width
    place = ((slice_of * 2 + events.polarity) * height + row) * width + column
    counts = np.bincount(place, minlength=timesteps * 2 * height * width)
    return counts.reshape(timesteps, 2, height, width).astype(np.int32)


def saturate(frames: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.uint8], int]:
    """Counts as bytes: those above 255 become 255.

    Returns:
        `(frames uint8 of the same shape, how many counts were above 255)`.

    Example:
        >>> saturate(np.array([3, 256], dtype=np.int32))
        (array([  3, 255], dtype=uint8), 1)
    """
    over = int((frames > MAX_COUNT).sum())
    return np.minimum(frames, MAX_COUNT).astype(np.uint8), over
