"""A circuit breaker: stop asking a cloud that does not answer, and ask again now and then."""

from __future__ import annotations

import time
from collections.abc import Callable


class CircuitBreaker:
    """Closed while the cloud answers; open after some failures in a row; then one trial at growing intervals.

    Args:
        failures_to_open: failures in a row that open it.
        open_s: how long it stays open the first time; doubles with every failed trial.
        max_open_s: longest time it stays open.
        clock: time in seconds that never goes back.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> now = 0.0
        >>> breaker = CircuitBreaker(failures_to_open=2, open_s=1.0, clock=lambda: now)
        >>> breaker.failed(); breaker.allows()
        True
        >>> breaker.failed(); breaker.allows()      # two in a row: open
        False
        >>> now = 1.5; breaker.allows()             # one trial
        True
        >>> breaker.succeeded(); breaker.is_open
        False
    """

    def __init__(
        self,
        *,
        failures_to_open: int = 3,
        open_s: float = 1.0,
        max_open_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures_to_open < 1 or not 0 < open_s <= max_open_s:
            raise ValueError(
                f"failures_to_open is {failures_to_open}, open_s {open_s}, max_open_s {max_open_s}; expected at least "
                "1, and 0 < open_s <= max_open_s"
            )
        self._failures_to_open = failures_to_open
        self._first_open_s = open_s
        self._max_open_s = max_open_s
        self._clock = clock
        self._failures = 0
        self._next_open_s = open_s
        self._open_until: float | None = None
        self._last_failure = ""

    @property
    def is_open(self) -> bool:
        """Whether the last calls failed, so that at most trials go through."""
        return self._open_until is not None

    @property
    def why_open(self) -> str:
        """A sentence for who is not let through, with the last failure that was told."""
        last = f"; the last failure: {self._last_failure}" if self._last_failure else ""
        return f"the cloud failed several times in a row; the edge asks again later{last}"

    def allows(self) -> bool:
        """Whether a call may be made now."""
        return self._open_until is None or self._clock() >= self._open_until

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0
        self._next_open_s = self._first_open_s
        self._open_until = None
        self._last_failure = ""

    def failed(self, why: str | None = None) -> None:
        """A call was not answered; `why` is what `why_open` tells those that follow."""
        self._failures += 1
        self._last_failure = why or ""
        if self.is_open or self._failures >= self._failures_to_open:
            self._open_until = self._clock() + self._next_open_s
            self._next_open_s = min(2 * self._next_open_s, self._max_open_s)
