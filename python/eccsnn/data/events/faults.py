"""What to do with bad events and files, and what was left out of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.errors import ConfigError, DataError

POLICIES = ("strict", "skip")
"""strict: the first fault is an error. skip: what is bad is left out, counted and reported."""


@dataclass
class Faults:
    """Counts what was left out under the policy `skip`; one may be handed to many readers, to add up.

    Attributes:
        time_back: events before the one before them.
        outside: events outside the sensor, or that are no events of this camera.
        truncated: files that end in the middle of an event or of a packet.
        empty: recordings without an event, or with too few, where a data set has no use for them.
        broken: recordings of which more than half of the events are bad, where a data set has no use for them.
        first: what the first fault was, with file and place.
    """

    time_back: int = 0
    outside: int = 0
    truncated: int = 0
    empty: int = 0
    broken: int = 0
    first: str = ""

    @property
    def total(self) -> int:
        """How much was left out: events, ends of files and recordings."""
        return self.time_back + self.outside + self.truncated + self.empty + self.broken

    def add(self, other: Faults) -> None:
        """Adds the counts of another one."""
        self.time_back += other.time_back
        self.outside += other.outside
        self.truncated += other.truncated
        self.empty += other.empty
        self.broken += other.broken
        self.first = self.first or other.first

    def in_words(self) -> str:
        """One line for a log.

        Example:
            >>> Faults(time_back=2, truncated=1, first="a.bin: byte 10 (event 2): ...").in_words()
            '2 events back in time, 1 truncated file; the first: a.bin: byte 10 (event 2): ...'
        """
        counts = (
            (self.time_back, "event{} back in time"),
            (self.outside, "event{} outside the sensor"),
            (self.truncated, "truncated file{}"),
            (self.empty, "empty recording{}"),
            (self.broken, "broken recording{}"),
        )
        shown = [f"{count} {what.format('' if count == 1 else 's')}" for count, what in counts if count]
        return ", ".join(shown) + (f"; the first: {self.first}" if self.first else "") if shown else "nothing"


def check_policy(policy: str) -> bool:
    """Whether the policy is `skip`; raises ConfigError for an unknown one."""
    if policy not in POLICIES:
        raise ConfigError(f"policy is {policy!r}, expected one of {', '.join(map(repr, POLICIES))}")
    return policy == "skip"


class Sieve:
    """Checks the columns of a file that NumPy or a library has read, block after block.

    Args:
        path: of the file, for messages.
        sensor: (width, height) in px.
        skip: whether bad events are left out; else the first one is an error.
        faults: where they are counted.
    """

    def __init__(self, path: Path, sensor: tuple[int, int], skip: bool, faults: Faults) -> None:
        self._path, self._sensor, self._skip, self._faults = path, sensor, skip, faults
        self._seen = 0
        self._last = 0

    def __call__(
        self, t: npt.NDArray[Any], x: npt.NDArray[Any], y: npt.NDArray[Any], polarity: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], ...]:
        """The good events of the next block.

        Raises:
            DataError: one is bad and the policy is strict.
        """
        width, height = self._sensor
        t = t.astype(np.int64, copy=False)  # what does not fit becomes negative, which is before the start
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (polarity >= 0) & (polarity <= 1)
        if not inside.all():
            event = int((~inside).argmax())
            self._fault(
                "outside",
                int((~inside).sum()),
                event,
                f"x = {x[event]}, y = {y[event]}, polarity = {polarity[event]}, expected 0 to {width - 1}, "
                f"0 to {height - 1} and 0 or 1: another sensor's size may be right, see the argument sensor",
            )
        good = np.flatnonzero(inside)
        times = t[good]
        newest = np.maximum.accumulate(np.concatenate(([self._last], times)))[:-1]
        forward = times >= newest
        if not forward.all():
            event = int((~forward).argmax())
            self._fault(
                "time_back",
                int((~forward).sum()),
                int(good[event]),
                f"time goes back from {newest[event]} to {times[event]} us",
            )
            good = good[forward]
        self._seen += len(t)
        if len(good):
            self._last = int(t[good[-1]])
        return (t, x, y, polarity) if len(good) == len(t) else (t[good], x[good], y[good], polarity[good])

    def _fault(self, kind: str, count: int, event: int, what: str) -> None:
        message = f"{self._path}: event {self._seen + event}: {what}"
        if not self._skip:
            raise DataError(f"{message}; the policy 'skip' leaves such events out")
        self._faults.add(Faults(**{kind: count}, first=message))
