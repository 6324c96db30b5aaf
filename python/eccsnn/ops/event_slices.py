"""Which events belong to which timestep: slices of a recording, as the field's libraries cut them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["slice_by_count", "slice_by_number", "slice_by_time", "slice_by_window"]

_LAST = ("keep", "drop")


def slice_by_number(t_us: Tensor, timesteps: int, *, last: str = "keep") -> Tensor:
    """Cuts a recording into slices of equally many events.

    Args:
        t_us: int64 `[E]`, times of the events in order, in µs.
        timesteps: T.
        last: what becomes of the `E % T` events at the end: `"keep"` adds them to the last slice as SpikingJelly's
            `integrate_events_by_fixed_frames_number(split_by="number")` does; `"drop"` leaves them out as tonic's
            `ToFrame(n_event_bins=)` does.

    Returns:
        int64 `[T, 2]` on the same device: positions of the first event of a slice and of the first one after it. With
        fewer events than slices, all slices but the last are empty.

    Raises:
        TypeError: `t_us` is not int64.
        ValueError: `t_us` has more than one dimension, `timesteps` is below 1, or `last` is unknown.

    Example:
        >>> slice_by_number(torch.arange(7), 3).tolist()
        [[0, 2], [2, 4], [4, 7]]
    """
    _check(t_us, last, timesteps=timesteps)
    edges = torch.arange(timesteps + 1, device=t_us.device) * (len(t_us) // timesteps)
    if last == "keep":
        edges[-1] = len(t_us)
    return _pairs(edges)


def slice_by_time(t_us: Tensor, timesteps: int, *, last: str = "keep") -> Tensor:
    """Cuts a recording into slices of equal duration, `(t[-1] - t[0]) // T` in whole µs.

    Args:
        t_us: int64 `[E]`, times of the events in order, in µs.
        timesteps: T.
        last: `"keep"` lets the last slice go on to the last event as SpikingJelly's
            `integrate_events_by_fixed_frames_number(split_by="time")` does; `"drop"` ends it on time as tonic's
            `ToFrame(n_time_bins=)` does, without the recording's last event at least.

    Returns:
        int64 `[T, 2]` as of `slice_by_number`. A slice without events is empty (SpikingJelly raises IndexError).

    Raises:
        TypeError, ValueError: As `slice_by_number`.

    Example:
        >>> slice_by_time(torch.tensor([0, 1, 5, 6, 10]), 2).tolist()
        [[0, 2], [2, 5]]
    """
    _check(t_us, last, timesteps=timesteps)
    if len(t_us) == 0:
        return t_us.new_zeros((timesteps, 2))
    steps = torch.arange(timesteps + 1, device=t_us.device)
    starts = t_us[0] + steps * ((t_us[-1] - t_us[0]) // timesteps)
    edges = torch.searchsorted(t_us, starts)
    if last == "keep":
        edges[-1] = len(t_us)
    return _pairs(edges)


def slice_by_window(t_us: Tensor, window_us: int, *, last: str = "keep") -> Tensor:
    """Cuts a recording into slices of a given duration; T follows from the recording.

    Args:
        t_us: int64 `[E]`, times of the events in order, in µs.
        window_us: µs a slice, at least 1.
        last: `"keep"`: `ceil(duration / window_us)` slices, the last one with all that is left, as SpikingJelly's
            `integrate_events_by_fixed_duration`; `"drop"`: whole windows alone as tonic's `ToFrame(time_window=)`, one
            at least.

    Returns:
        int64 `[T, 2]` as of `slice_by_number`; T is at least 1.

    Raises:
        TypeError, ValueError: As `slice_by_number`.

    Example:
        >>> slice_by_window(torch.tensor([0, 4, 9, 10, 25]), 10, last="drop").tolist()
        [[0, 3], [3, 4]]
    """
    _check(t_us, last, window_us=window_us)
    if len(t_us) == 0:
        return t_us.new_zeros((1, 2))
    start, duration = int(t_us[0]), int(t_us[-1] - t_us[0])
    timesteps = max(1, -(-duration // window_us) if last == "keep" else duration // window_us)
    steps = torch.arange(timesteps + 1, device=t_us.device)
    edges = torch.searchsorted(t_us, start + steps * window_us)
    if last == "keep":
        edges[-1] = len(t_us)
    return _pairs(edges)


def slice_by_count(t_us: Tensor, count: int, *, last: str = "keep") -> Tensor:
    """Cuts a recording into slices of a given number of events; T follows from the recording.

    Args:
        t_us: int64 `[E]`, times of the events in order, in µs.
        count: events a slice, at least 1.
        last: `"keep"`: an incomplete slice at the end stays; `"drop"`: it does not, unless it is the only one. Both as
            tonic's `ToFrame(event_count=, include_incomplete=)`.

    Returns:
        int64 `[T, 2]` as of `slice_by_number`; T is at least 1.

    Raises:
        TypeError, ValueError: As `slice_by_number`.

    Example:
        >>> slice_by_count(torch.arange(7), 3).tolist()
        [[0, 3], [3, 6], [6, 7]]
    """
    _check(t_us, last, count=count)
    events = len(t_us)
    timesteps = max(1, -(-events // count) if last == "keep" else events // count)
    return _pairs((torch.arange(timesteps + 1, device=t_us.device) * count).clamp(max=events))


def _pairs(edges: Tensor) -> Tensor:
    return torch.stack([edges[:-1], edges[1:]], dim=-1)


def _check(t_us: Tensor, last: str, **numbers: int) -> None:
    if t_us.dtype != torch.int64:
        raise TypeError(f"t_us is {t_us.dtype}, expected int64 µs")
    if t_us.dim() != 1:
        raise ValueError(f"t_us has shape {list(t_us.shape)}, expected one dimension, a time for each event")
    if last not in _LAST:
        raise ValueError(f"last is {last!r}, expected 'keep' or 'drop'")
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} is {number!r}, expected an integer of at least 1")
