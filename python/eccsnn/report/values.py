"""Reading loosely filled results, and writing numbers the same way everywhere in a report."""

import math
from collections.abc import Mapping
from typing import Any

MISSING = "–"
PROVENANCES = ("measured", "modelled", "published")
UNSTATED = "unstated"


def dig(record: Any, *path: str) -> Any:
    """The value under a path of keys, or None where any part of the path is absent.

    >>> dig({"edge": {"model": "spiking_vgg9"}}, "edge", "model")
    'spiking_vgg9'
    >>> dig({"edge": None}, "edge", "model") is None
    True
    """
    for key in path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(key)
    return record


def finite(value: Any) -> float | None:
    """The value as a float, or None for anything that is not a finite number (None, NaN, text, a bool).

    >>> finite(0.5), finite(float("nan")), finite("0.5")
    (0.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: Any, digits: int = 2) -> str:
    """A fraction in percent.

    >>> percent(0.97333), percent(None)
    ('97.33%', '–')
    """
    number = finite(value)
    return MISSING if number is None else f"{100 * number:.{digits}f}%"


def points(value: Any) -> str:
    """A difference of two fractions in signed percentage points.

    >>> points(0.0415), points(-0.001)
    ('+4.15 pp', '−0.10 pp')
    """
    number = finite(value)
    return MISSING if number is None else f"{100 * number:+.2f} pp".replace("-", "−")


def quantity(value: Any) -> str:
    """A number for a table: whole numbers with separators, the rest with four significant digits or no decimals.

    >>> quantity(1234567), quantity(0.68999), quantity(12345.6), quantity(-0.0)
    ('1,234,567', '0.69', '12,346', '0')
    """
    number = finite(value)
    if number is None:
        return MISSING
    if number == int(number) or abs(number) >= 1000:
        return f"{number + 0.0:,.0f}" if abs(number) < 1e15 else f"{number:.4g}"
    return f"{number:.4g}"


def duration(seconds: Any) -> str:
    """A time span in the two largest units that matter.

    >>> duration(0.00123), duration(12.34), duration(3725)
    ('1.23 ms', '12.3 s', '1 h 2 min')
    """
    number = finite(seconds)
    if number is None:
        return MISSING
    if number < 0.9995:
        return f"{1000 * number:.3g} ms"
    if number < 60:
        return f"{number:.1f} s"
    minutes = round(number / 60)
    if minutes < 60:
        whole, rest = divmod(round(number), 60)
        return f"{whole} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def provenance(value: Any) -> str:
    """The provenance of a figure; a sum may have several, joined by a plus sign.

    A figure that comes without one is ``"unstated"``: it is never given a better origin than it came with.

    >>> provenance("measured + modelled"), provenance(None)
    ('measured + modelled', 'unstated')
    """
    parts = str(value).split(" + ")
    return " + ".join(parts) if all(part in PROVENANCES for part in parts) else UNSTATED
