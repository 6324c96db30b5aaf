"""A recording of an event camera: what every reader returns and everything else takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_SENSOR_SIZE = 65536
"""Largest width and height in px: coordinates are uint16."""


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Events of one recording, in the order of time.

    The arrays are checked once, here; whatever takes `Events` may rely on them. They are read-only views of what was
    given where that has the right dtype already, else copies.

    Attributes:
        t: int64 `[N]`, microseconds on the recording's clock, `>= 0` and not going back. Most recordings begin near 0;
            `from_zero` makes all of them do so.
        x: uint16 `[N]`, column in px, 0 at the left.
        y: uint16 `[N]`, row in px, 0 at the top.
        polarity: uint8 `[N]`, 1: brighter, 0: darker.
        width: of the sensor in px; `x < width`.
        height: of the sensor in px; `y < height`.

    Raises:
        TypeError: an array holds no integers (bool is welcome for polarity), or width or height is no integer.
        ValueError: the arrays differ in length, time goes back, or an event is outside the sensor; the message names
            the first such event.

    Example:
        >>> events = Events(t=[0, 5, 9], x=[1, 0, 1], y=[0, 0, 2], polarity=[1, 0, 1], width=2, height=3)
        >>> len(events), events.duration_us, events[1:].t.tolist()
        (3, 9, [5, 9])
    """

    t: npt.NDArray[np.int64]
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]
    polarity: npt.NDArray[np.uint8]
    width: int = field(kw_only=True)
    height: int = field(kw_only=True)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int | np.integer):
                raise TypeError(f"{name} is {size!r}, expected an integer: the sensor's {name} in px")
            if not 1 <= size <= MAX_SENSOR_SIZE:
                raise ValueError(f"{name} is {size}, expected 1 to {MAX_SENSOR_SIZE} px")
            object.__setattr__(self, name, int(size))
        given = {name: _integers(getattr(self, name), name) for name in _DTYPES}
        if len({len(array) for array in given.values()}) != 1:
            lengths = ", ".join(f"{name} has {len(array)}" for name, array in given.items())
            raise ValueError(f"the arrays differ in length: {lengths}; give one value of each for every event")
        _check_time(given["t"])
        for name, limit, what in (("x", self.width, "width"), ("y", self.height, "height"), ("polarity", 2, "")):
            _check_range(given[name], name, limit, what)
        for name, dtype in _DTYPES.items():
            array = given[name].astype(dtype, copy=False).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        return f"Events({len(self)} events in {self.duration_us} us, sensor {self.width} x {self.height})"

    def __eq__(self, other: object) -> bool:
        """Whether both have the same sensor and the same events in the same order."""
        if not isinstance(other, Events):
            return NotImplemented
        return (self.width, self.height) == (other.width, other.height) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _DTYPES
        )

    @property
    def duration_us(self) -> int:
        """Microseconds from the first event to the last one; 0 for none or one."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    def __getitem__(self, index: slice) -> Events:
        """The events of a slice by position, as views; time keeps its zero.

        Raises:
            TypeError: `index` is no slice.
            ValueError: its step is negative: time would go back.
        """
        if not isinstance(index, slice):
            raise TypeError(f"index is {index!r}, expected a slice such as events[10:20]")
        if index.step is not None and index.step < 0:
            raise ValueError(f"the slice's step is {index.step}, expected at least 1: events stay in the order of time")
        return self.unchecked(*(getattr(self, name)[index] for name in _DTYPES), width=self.width, height=self.height)

    def between(self, begin_us: int, end_us: int) -> Events:
        """The events with `begin_us <= t < end_us`, as views; time keeps its zero.

        Raises:
            ValueError: `end_us < begin_us`.

        Example:
            >>> events = Events(t=[0, 5, 9], x=[0, 0, 0], y=[0, 0, 0], polarity=[1, 0, 1], width=1, height=1)
            >>> events.between(5, 9).t.tolist()
            [5]
        """
        if end_us < begin_us:
            raise ValueError(f"between {begin_us} and {end_us} us: the end is before the begin; swap them")
        begin, end = np.searchsorted(self.t, (begin_us, end_us), side="left")
        return self[int(begin) : int(end)]

    def shifted(self, offset_us: int) -> Events:
        """The same events with `offset_us` added to their times.

        Raises:
            ValueError: a time would be negative.
        """
        return Events(self.t + offset_us, self.x, self.y, self.polarity, width=self.width, height=self.height)

    def from_zero(self) -> Events:
        """The same events with the first one at `t = 0`."""
        return self.shifted(-int(self.t[0])) if len(self) else self

    def checksum(self) -> str:
        """sha256 (hex) over sensor and events: equal checksums mean equal recordings, on every machine."""
        digest = hashlib.sha256(f"events {self.width} x {self.height}, {len(self)}\n".encode())
        for name, dtype in _DTYPES.items():
            digest.update(np.ascontiguousarray(getattr(self, name), dtype=np.dtype(dtype).newbyteorder("<")).data)
        return digest.hexdigest()

    @classmethod
    def empty(cls, *, width: int, height: int) -> Events:
        """A recording without events."""
        arrays: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, dtype=dtype) for name, dtype in _DTYPES.items()}
        return cls(**arrays, width=width, height=height)

    @classmethod
    def unchecked(cls, *arrays: npt.NDArray[Any], width: int, height: int) -> Events:
        """Events of arrays t, x, y, polarity that are known to be right, as a decoder has checked them."""
        events = object.__new__(cls)
        for name, array in zip(_DTYPES, arrays, strict=True):
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(events, name, view)
        object.__setattr__(events, "width", width)
        object.__setattr__(events, "height", height)
        return events


def concatenate(parts: Sequence[Events]) -> Events:
    """One recording of consecutive parts on the same clock, such as the blocks that a streaming reader gives.

    Args:
        parts: at least one; none begins before the one before it ended.

    Raises:
        ValueError: there is no part, the sensors differ, or time goes back from one part to the next.

    Example:
        >>> part = Events(t=[3], x=[0], y=[0], polarity=[1], width=1, height=1)
        >>> concatenate([part, part.shifted(4)]).t.tolist()
        [3, 7]
    """
    if not parts:
        raise ValueError("there are no events to concatenate; give at least one part (it may be empty)")
    sensors = sorted({(part.width, part.height) for part in parts})
    if len(sensors) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sensors)
        raise ValueError(f"the parts are of different sensors ({shown} px), expected the same")
    width, height = sensors[0]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _DTYPES}
    return Events(**arrays, width=width, height=height)


_DTYPES = {"t": np.int64, "x": np.uint16, "y": np.uint16, "polarity": np.uint8}


def _integers(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(_DTYPES[name])
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected one dimension, a value for each event")
    if not np.issubdtype(array.dtype, np.integer) and not (name == "polarity" and array.dtype == np.bool_):
        raise TypeError(f"{name} has dtype {array.dtype}, expected integers")
    return array


def _check_time(t: npt.NDArray[Any]) -> None:
    if not len(t):
        return
    if t[0] < 0:
        raise ValueError(f"event 0 has t = {t[0]} us, expected at least 0: microseconds since the recording's start")
    back = t[1:] < t[:-1]
    if back.any():
        event = int(back.argmax()) + 1
        raise ValueError(
            f"event {event} has t = {t[event]} us after {t[event - 1]} us: time goes back; sort the events by time "
            "(a stable sort keeps the order of equal times)"
        )
    if t[-1] > np.iinfo(np.int64).max:
        raise ValueError(f"event {len(t) - 1} has t = {t[-1]} us, which does not fit in int64")


def _check_range(values: npt.NDArray[Any], name: str, limit: int, what: str) -> None:
    if not len(values) or (int(values.min()) >= 0 and int(values.max()) < limit):
        return
    event = int(((values < 0) | (values >= limit)).argmax())
    if name == "polarity":
        raise ValueError(f"event {event} has polarity {values[event]}, expected 1 (brighter) or 0 (darker)")
    raise ValueError(
        f"event {event} has {name} = {values[event]}, outside the sensor: expected 0 to {limit - 1} ({what} is {limit})"
    )
