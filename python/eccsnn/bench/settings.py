"""What every benchmark can be told that has one full size and a tiny one."""

from __future__ import annotations

from dataclasses import dataclass

from eccsnn.bench.timing import Budget
from eccsnn.errors import ConfigError
from eccsnn.nn._hints import nearest

SIZES = ("full", "tiny")


@dataclass(frozen=True)
class SizedSettings:
    """What is measured.

    Attributes:
        size: "full", or "tiny", which only shows that it runs.
        budget_s: Seconds a row.
        device: Where.

    Raises:
        ConfigError: `size` is unknown.

    Example:
        >>> SizedSettings(size="tiny").budget.seconds
        0.1
    """

    size: str = "full"
    budget_s: float = 5.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"--size: unknown {self.size!r}: {nearest(self.size, SIZES)}")

    @property
    def budget(self) -> Budget:
        """Budget of a row."""
        if self.size == "tiny":
            return Budget(min(self.budget_s, 0.1), minimum_rounds=3, warmup_calls=1)
        return Budget(self.budget_s)
