"""Times several candidates of one row fairly.

Candidates take turns: in every round each of them runs once, so that a change of clock or a noisy neighbour hits all of
them alike. What counts is the median over the rounds, with the interquartile range as its spread.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

MINIMUM_MEASURED_S = 1e-3
"""What takes less than this is repeated within a round, so that the clock's own cost does not count."""

_MAXIMUM_REPEATS = 1000
_FLUSH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Candidate:
    """What is timed: a name and a call without arguments."""

    name: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and interquartile range over `rounds` rounds of `repeats` calls.

    Attributes:
        samples_s: Seconds of one call in every round, in order.
    """

    median_s: float
    iqr_s: float
    rounds: int
    repeats: int
    samples_s: tuple[float, ...]

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        return self.iqr_s / self.median_s


@dataclass(frozen=True)
class Ratio:
    """Their time over ours.

    Attributes:
        value: Of the medians.
        low, high: Lower and upper quartile of the ratios of single rounds, in which both ran one after the other.
        spread: The largest `Timing.spread` among the timings.
    """

    value: float
    low: float
    high: float
    spread: float


def ratio(theirs: Sequence[Timing], ours: Sequence[Timing]) -> Ratio:
    """Compares two groups of timings from the same rounds, each added up.

    Args:
        theirs: At least one.
        ours: At least one.

    Example:
        >>> timings = [Timing(m, 0.0, 2, 1, (m, m)) for m in (3.0, 2.0)]
        >>> ratio(timings[:1], timings[1:])
        Ratio(value=1.5, low=1.5, high=1.5, spread=0.0)
    """
    single = [
        sum(round_of_theirs) / sum(round_of_ours)
        for round_of_theirs, round_of_ours in zip(
            zip(*(timing.samples_s for timing in theirs), strict=True),
            zip(*(timing.samples_s for timing in ours), strict=True),
            strict=True,
        )
    ]
    low, high = quartiles(single)
    value = sum(timing.median_s for timing in theirs) / sum(timing.median_s for timing in ours)
    return Ratio(value, low, high, max(timing.spread for timing in (*theirs, *ours)))


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        seconds: Time for all rounds of a row, warm-up not counted.
        minimum_rounds: Rounds that are run even where that takes longer.
        maximum_rounds: Rounds after which more would say nothing new.
        warmup_calls: Calls of each candidate before the first round; at least 1.
    """

    seconds: float = 20.0
    minimum_rounds: int = 7
    maximum_rounds: int = 1000
    warmup_calls: int = 3

    def __post_init__(self) -> None:
        if not (self.seconds >= 0 and math.isfinite(self.seconds)):
            raise ValueError(f"budget is {self.seconds} s; expected a number of seconds of at least 0.")
        if self.minimum_rounds < 1 or self.maximum_rounds < self.minimum_rounds or self.warmup_calls < 1:
            raise ValueError(
                f"rounds {self.minimum_rounds} to {self.maximum_rounds} after {self.warmup_calls} calls of warm-up; "
                "expected at least one of each, and no more rounds at least than at most."
            )


class Clock(Protocol):
    """Measures calls in seconds."""

    def now(self) -> float:
        """Time of day, for the budget."""
        ...

    def measure(self, call: Callable[[], object], repeats: int) -> float:
        """Seconds that `repeats` calls take together."""
        ...


class CpuClock:
    """Wall time of the process."""

    def now(self) -> float:
        return time.perf_counter()

    def measure(self, call: Callable[[], object], repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return time.perf_counter() - begin


class CudaClock:
    """Time on the GPU between two events.

    The L2 cache is overwritten before each measurement, so that inputs come from memory; while the GPU does that, the
    host gets ahead with launching, so that its overhead counts only where it is the bottleneck.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=self._device)

    def now(self) -> float:
        torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def measure(self, call: Callable[[], object], repeats: int) -> float:
        total_ms = 0.0
        for _ in range(repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self._flush.zero_()
            begin.record()
            call()
            end.record()
            end.synchronize()
            total_ms += begin.elapsed_time(end)
        return total_ms / 1e3


def clock_for(device: str) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if device.startswith("cuda") else CpuClock()


Observer = Callable[[str, float], None]
"""Is told what is being done and which part of the row is done, 0 to 1."""


def ignore(what: str, part: float) -> None:
    """An observer that does nothing."""


def within(row: str, observer: Observer) -> Observer:
    """An observer that names the row, too."""

    def inner(what: str, part: float) -> None:
        observer(f"{row}: {what}", part)

    return inner


def measure(
    candidates: Sequence[Candidate], budget: Budget, *, clock: Clock | None = None, observer: Observer = ignore
) -> dict[str, Timing]:
    """Times candidates in turns.

    Args:
        candidates: At least one; their names differ.
        budget: How long.
        clock: Of the device that computes; None: wall time.
        observer: Is told of the progress.

    Returns:
        Name -> timing, in the order of the candidates.

    Raises:
        ValueError: There is no candidate, or two have the same name.

    Example:
        >>> timings = measure([Candidate("sum", lambda: sum(range(1000)))], Budget(0.0, minimum_rounds=3))
        >>> timings["sum"].rounds
        3
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"candidates are {names}; expected at least one, with names that differ.")
    clock = clock or CpuClock()
    repeats: dict[str, int] = {}
    for candidate in candidates:
        observer(f"warm-up: {candidate.name}", 0.0)
        for _ in range(budget.warmup_calls):
            taken = clock.measure(candidate.call, 1)
        repeats[candidate.name] = min(_MAXIMUM_REPEATS, max(1, math.ceil(MINIMUM_MEASURED_S / max(taken, 1e-9))))
    samples: dict[str, list[float]] = {name: [] for name in names}
    begin, rounds = clock.now(), 0
    while rounds < budget.maximum_rounds:
        elapsed = clock.now() - begin
        if rounds >= budget.minimum_rounds and elapsed >= budget.seconds:
            break
        by_time = elapsed / budget.seconds if budget.seconds else 1.0
        observer(f"round {rounds + 1}", min(rounds / budget.minimum_rounds, by_time, 1.0))
        for candidate in candidates:
            taken = clock.measure(candidate.call, repeats[candidate.name])
            samples[candidate.name].append(taken / repeats[candidate.name])
        rounds += 1
    return {name: _timing(samples[name], repeats[name]) for name in names}


def _timing(samples: list[float], repeats: int) -> Timing:
    low, high = quartiles(samples)
    return Timing(statistics.median(samples), high - low, len(samples), repeats, tuple(samples))


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile of at least one number."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high
