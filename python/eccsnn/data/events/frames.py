"""Recordings to frames: slices in time, each with the number of events of every pixel."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn import ops
from eccsnn.data.events.types import Events

SLICES = ("count", "time")
"""How a recording is sliced: into as many events each, or into as much time each."""
MAX_COUNT = 255
"""Largest count that frames on disk hold."""


class EventTensors(NamedTuple):
    """A recording's arrays as tensors: `t_us` int64, `x` and `y` uint16, `polarity` uint8, all `[E]`."""

    t_us: Tensor
    x: Tensor
    y: Tensor
    polarity: Tensor


def event_tensors(events: Events) -> EventTensors:
    """The arrays of a recording as tensors on the same memory: read-only by contract, as the arrays are.

    Example:
        >>> event_tensors(Events(t=[3], x=[1], y=[0], polarity=[1], width=2, height=1)).t_us
        tensor([3])
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return EventTensors(*(torch.from_numpy(a) for a in (events.t, events.x, events.y, events.polarity)))


def window_frames(events: Events, window_us: int) -> Tensor:
    """Frames of a fixed duration, int32 `[T, 2, H, W]`, the last one with what is left.

    Example:
        >>> events = Events(t=[0, 9, 12], x=[0, 0, 0], y=[0, 0, 0], polarity=[1, 1, 0], width=1, height=1)
        >>> window_frames(events, 10).shape
        torch.Size([2, 2, 1, 1])
    """
    t, x, y, polarity = event_tensors(events)
    bounds = ops.slice_by_window(t, window_us)
    return ops.events_to_frames(x, y, polarity, bounds, sensor_size=(events.height, events.width))


def fixed_frames(
    events: Events, timesteps: int, *, slice_by: str = "count", height: int | None = None, width: int | None = None
) -> npt.NDArray[np.int32]:
    """Frames of a fixed number of slices: what data sets are made with.

    A smaller frame has bins of pixels, see `ops.events_to_frames`. Bins differ by a pixel where the sizes do not divide
    each other (128 px to 48: bins of 2 and 3 px).

    Args:
        events: a recording of at least `timesteps` events.
        timesteps: T, the number of slices.
        slice_by: `"count"`: as many events each, `ops.slice_by_number`; `"time"`: as much time each,
            `ops.slice_by_time`, where a slice may be empty.
        height: of the frames, at most the sensor's; None: that of the sensor.
        width: likewise.

    Returns:
        int32 `[T, 2, height, width]`; channel 0 has the darker events, channel 1 the brighter ones.

    Raises:
        ValueError: `timesteps` is below 1, `slice_by` is unknown, the frame is larger than the sensor or has no pixel,
            or a slice would have no length: there are fewer events, or microseconds from the first event to the last,
            than slices.

    Example:
        >>> events = Events(t=[0, 1, 2, 3], x=[0, 1, 3, 3], y=[0, 0, 0, 0], polarity=[1, 1, 0, 0], width=4, height=2)
        >>> fixed_frames(events, 2, height=1, width=2).tolist()
        [[[[0, 0]], [[2, 0]]], [[[0, 2]], [[0, 0]]]]
    """
    if slice_by not in SLICES:
        raise ValueError(f"slice_by is {slice_by!r}, expected one of {', '.join(map(repr, SLICES))}")
    t, x, y, polarity = event_tensors(events)
    bounds = (ops.slice_by_number if slice_by == "count" else ops.slice_by_time)(t, timesteps)
    check_slices(events, timesteps, slice_by)
    size = events.height if height is None else height, events.width if width is None else width
    frames = ops.events_to_frames(x, y, polarity, bounds, sensor_size=(events.height, events.width), size=size)
    return frames.numpy()


def check_slices(events: Events, timesteps: int, slice_by: str) -> None:
    """Checks that a recording is long enough.

    Raises:
        ValueError: a slice would have no length, see `fixed_frames`.
    """
    if (len(events) if slice_by == "count" else events.duration_us) < timesteps:
        given = f"{len(events)} events" + ("" if slice_by == "count" else f" in {events.duration_us} us")
        raise ValueError(f"{given} cannot be cut into {timesteps} slices by {slice_by}: a slice would have no length")


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
