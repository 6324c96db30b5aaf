"""Recordings as tensors, for the event ops."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn import ops
from eccsnn.data.events.frames import slice_bounds
from eccsnn.data.events.types import Events


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
    events: Events, timesteps: int, *, slice_by: str = "count", height: int, width: int
) -> npt.NDArray[np.int32]:
    """As `frames_reference`, by the compiled op: what data sets are made with.

    Args:
        events: a recording of at least `timesteps` events.
        timesteps: T, the number of slices.
        slice_by: `"count"` or `"time"`, see `slice_bounds`.
        height: of the frames, at most the sensor's.
        width: likewise.

    Returns:
        int32 `[T, 2, height, width]`; channel 0 has the darker events, channel 1 the brighter ones.

    Raises:
        ValueError: as `frames_reference`.

    Example:
        >>> events = Events(t=[0, 1, 2, 3], x=[0, 1, 3, 3], y=[0, 0, 0, 0], polarity=[1, 1, 0, 0], width=4, height=2)
        >>> fixed_frames(events, 2, height=1, width=2).tolist()
        [[[[0, 0]], [[2, 0]]], [[[0, 2]], [[0, 0]]]]
    """
    edges = torch.from_numpy(slice_bounds(events, timesteps, slice_by))
    _, x, y, polarity = event_tensors(events)
    frames = ops.events_to_frames(
        x,
        y,
        polarity,
        torch.stack((edges[:-1], edges[1:]), dim=1),
        sensor_size=(events.height, events.width),
        size=(height, width),
    )
    return frames.numpy()
