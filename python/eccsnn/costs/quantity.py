"""Numbers that know their unit and where they come from.

A cost is only worth reading with its unit and its provenance, and the two are easily lost when numbers are added.
`Quantity` refuses to add different units, and a sum of figures of different provenance says so in its own provenance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

PROVENANCES = ("measured", "modelled", "published")
"""measured: off a clock, a counter or a wire; modelled: from counts and constants; published: others' figures."""

_JOIN = " + "

# unit -> (dimension, how many of the dimension's smallest unit); whole numbers keep conversions free of rounding
_CONVERTIBLE: dict[str, tuple[str, int]] = {
    "pJ": ("energy", 1),
    "nJ": ("energy", 10**3),
    "uJ": ("energy", 10**6),
    "mJ": ("energy", 10**9),
    "J": ("energy", 10**12),
    "us": ("time", 1),
    "ms": ("time", 10**3),
    "s": ("time", 10**6),
    "B": ("data", 1),
    "KiB": ("data", 1024),
    "MiB": ("data", 1024**2),
}


@dataclass(frozen=True)
class Quantity:
    """A finite number with its unit, its provenance and its source.

    Args:
        value: the number, finite.
        unit: unit as text, for example ``"mJ"``, ``"ms"``, ``"B"``, ``"Mbit/s"``, or ``"1"`` for a ratio.
        provenance: ``"measured"``, ``"modelled"`` or ``"published"``; a sum of several is ``"measured + modelled"``.
        source: where the number comes from, in words that a reader can follow.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is not finite, the unit or the source is empty, or the provenance is unknown.

    Example:
        >>> edge = Quantity(0.5, "mJ", "modelled", "45 nm arithmetic")
        >>> radio = Quantity(1.5, "mJ", "measured", "power meter")
        >>> (edge + radio).provenance
        'measured + modelled'
    """

    value: float
    unit: str
    provenance: str
    source: str

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, Real):
            raise TypeError(f"value of a Quantity is {self.value!r}, expected a number (int or float)")
        object.__setattr__(self, "value", float(self.value))
        if not math.isfinite(self.value):
            raise ValueError(
                f"value of a Quantity is {self.value}, expected a finite number; check what it was computed from"
            )
        for field in ("unit", "source"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{field} of a Quantity is {text!r}, expected text (a ratio has the unit '1')")
        if not isinstance(self.provenance, str):
            raise ValueError(
                f"provenance of a Quantity is {self.provenance!r}, expected one of {', '.join(PROVENANCES)}"
            )
        unknown = [part for part in self.provenance.split(_JOIN) if part not in PROVENANCES]
        if unknown:
            raise ValueError(
                f"provenance of a Quantity is {self.provenance!r}, expected one of {', '.join(PROVENANCES)} "
                f"or several of them joined by '{_JOIN}'"
            )
        object.__setattr__(self, "provenance", _merge_provenance(self.provenance))

    @property
    def is_mixed(self) -> bool:
        """Whether the number is a sum or ratio of figures of different provenance."""
        return _JOIN in self.provenance

    def to(self, unit: str) -> Quantity:
        """The same quantity in another unit of the same dimension (energy, time or data).

        Raises:
            ValueError: one of the units is not known or they measure different things.

        Example:
            >>> Quantity(4600.0, "pJ", "published", "table").to("nJ").value
            4.6
        """
        if unit == self.unit:
            return self
        here, there = _CONVERTIBLE.get(self.unit), _CONVERTIBLE.get(unit)
        if here is None or there is None or here[0] != there[0]:
            raise ValueError(
                f"cannot convert {self.unit!r} to {unit!r}; units that convert into one another: {_convertible_units()}"
            )
        return Quantity(self.value * here[1] / there[1], unit, self.provenance, self.source)

    def __add__(self, other: object) -> Quantity:
        if not isinstance(other, Quantity):
            return NotImplemented
        self._require_same_unit(other, "add")
        return Quantity(
            self.value + other.value,
            self.unit,
            _merge_provenance(self.provenance, other.provenance),
            _merge(self, other),
        )

    def __sub__(self, other: object) -> Quantity:
        if not isinstance(other, Quantity):
            return NotImplemented
        self._require_same_unit(other, "subtract")
        return Quantity(
            self.value - other.value,
            self.unit,
            _merge_provenance(self.provenance, other.provenance),
            _merge(self, other),
        )

    def __mul__(self, factor: object) -> Quantity:
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        return Quantity(self.value * float(factor), self.unit, self.provenance, self.source)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Quantity:
        """Divides by a number (same unit) or by a quantity of the same unit (a ratio with the unit ``"1"``)."""
        if isinstance(other, Quantity):
            self._require_same_unit(other, "divide")
            if other.value == 0:
                raise ZeroDivisionError(f"{self} divided by {other}")
            merged = _merge_provenance(self.provenance, other.provenance)
            return Quantity(self.value / other.value, "1", merged, _merge(self, other))
        if isinstance(other, bool) or not isinstance(other, Real):
            return NotImplemented
        return Quantity(self.value / float(other), self.unit, self.provenance, self.source)

    def __str__(self) -> str:
        return f"{self.value:.6g} {self.unit} ({self.provenance})"

    def _require_same_unit(self, other: Quantity, verb: str) -> None:
        if self.unit != other.unit:
            raise ValueError(
                f"cannot {verb} {self.unit!r} and {other.unit!r}; convert one first, as with .to({self.unit!r})"
            )


def relative_change(new: Quantity, old: Quantity) -> Quantity:
    """Change from `old` to `new` as a fraction of `old`: -0.9 means 90% less.

    Example:
        >>> row = dict(unit="mJ", provenance="modelled", source="example")
        >>> relative_change(Quantity(1.0, **row), Quantity(4.0, **row)).value
        -0.75
    """
    ratio = new / old
    return Quantity(ratio.value - 1.0, "1", ratio.provenance, ratio.source)


def _merge_provenance(*texts: str) -> str:
    parts = {part for text in texts for part in text.split(_JOIN)}
    return _JOIN.join(part for part in PROVENANCES if part in parts)


def _merge(first: Quantity, second: Quantity) -> str:
    parts: dict[str, Any] = dict.fromkeys(first.source.split("; "))
    parts.update(dict.fromkeys(second.source.split("; ")))
    return "; ".join(parts)


def _convertible_units() -> str:
    groups: dict[str, list[str]] = {}
    for unit, (dimension, _) in _CONVERTIBLE.items():
        groups.setdefault(dimension, []).append(unit)
    return ", ".join(f"{dimension}: {' '.join(units)}" for dimension, units in groups.items())
