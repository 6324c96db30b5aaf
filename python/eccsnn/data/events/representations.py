"""Recordings as tensors, for the event ops."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from eccsnn import ops
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
