"""What a recording is like, in numbers: events, duration, rate, polarities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eccsnn.data.events.types import Events

MOST_BINS = 10_000


@dataclass(frozen=True)
class Summary:
    """Numbers of one recording.

    Attributes:
        events: how many.
        brighter: how many of polarity 1.
        width: of the sensor in px.
        height: of the sensor in px.
        first_us: time of the first event; 0 for none.
        last_us: time of the last event; 0 for none.
        rate_per_bin: events a second in consecutive bins of `bin_us` from the first event; the last bin may be cut.
        bin_us: µs; what was asked for, doubled until `MOST_BINS` suffice.
    """

    events: int
    brighter: int
    width: int
    height: int
    first_us: int
    last_us: int
    rate_per_bin: tuple[float, ...]
    bin_us: int

    @property
    def duration_us(self) -> int:
        """From the first event to the last, in µs."""
        return self.last_us - self.first_us

    @property
    def rate_hz(self) -> float:
        """Events a second over the whole recording; 0 where it has no duration."""
        return self.events / self.duration_us * 1e6 if self.duration_us else 0.0

    @property
    def brighter_share(self) -> float:
        """Share of polarity 1; 0 for no events."""
        return self.brighter / self.events if self.events else 0.0


def summarize(blocks: Iterable[Events], *, bin_us: int = 100_000) -> Summary:
    """Counts a recording that comes in consecutive blocks, such as `iterate_events` gives.

    Memory stays bounded, however long the recording is and however far apart its times are.

    Raises:
        ValueError: there is no block, or `bin_us` is below 1.

    Example:
        >>> events = Events(t=[0, 50_000, 150_000], x=[0, 0, 1], y=[0, 0, 0], polarity=[1, 0, 1], width=2, height=1)
        >>> summary = summarize([events])
        >>> summary.rate_hz, summary.rate_per_bin
        (20.0, (20.0, 10.0))
    """
    if bin_us < 1:
        raise ValueError(f"bin_us is {bin_us}, expected at least 1")
    counts = np.zeros(0, dtype=np.int64)
    total = brighter = last = 0
    first: int | None = None
    sensor: tuple[int, int] | None = None
    for block in blocks:
        sensor = (block.width, block.height)
        if len(block) == 0:
            continue
        first = int(block.t[0]) if first is None else first
        last = int(block.t[-1])
        total += len(block)
        brighter += int(block.polarity.sum(dtype=np.int64))
        while (last - first) // bin_us >= MOST_BINS:
            bin_us *= 2
            counts = np.pad(counts, (0, len(counts) % 2)).reshape(-1, 2).sum(axis=1)
        found = np.bincount((block.t - first) // bin_us)
        if len(found) > len(counts):
            counts = np.pad(counts, (0, len(found) - len(counts)))
        counts[: len(found)] += found
    if sensor is None:
        raise ValueError("there is nothing to summarize; give at least one block of events (it may be empty)")
    rates = tuple((counts * (1e6 / bin_us)).tolist())
    return Summary(total, brighter, *sensor, first or 0, last, rates, bin_us)
