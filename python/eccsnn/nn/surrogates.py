"""Surrogate gradients: what the backward pass uses in place of the derivative of the spike's step function.

With u = h - v_threshold, the forward pass is always the step `u >= 0`; a surrogate names the smooth (or boxed) function
whose derivative g'(u) stands in for the step's. The arithmetic lives in `eccsnn.ops`; here are the names and widths.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from eccsnn.nn._hints import nearest


def _check_positive(owner: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{owner}: {name} is {value!r}, expected a finite number above 0")


@dataclass(frozen=True)
class ATan:
    """Arc tangent: g'(u) = alpha / (2 (1 + (pi/2 alpha u)^2)).

    Source: Fang et al., "Incorporating learnable membrane time constant...", ICCV 2021.

    Args:
        alpha: Steepness; larger is closer to the step.
    """

    alpha: float = 2.0
    kind: ClassVar[str] = "atan"

    def __post_init__(self) -> None:
        _check_positive("ATan", "alpha", self.alpha)


@dataclass(frozen=True)
class Sigmoid:
    """Logistic function: g'(u) = alpha s (1 - s) with s = 1 / (1 + exp(-alpha u)).

    Args:
        alpha: Steepness; larger is closer to the step.
    """

    alpha: float = 4.0
    kind: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        _check_positive("Sigmoid", "alpha", self.alpha)


@dataclass(frozen=True)
class Rect:
    """Rectangle: g'(u) = 1 / width inside a window of that width around the threshold, 0 outside.

    Source: Wu et al., "Spatio-temporal backpropagation...", Frontiers in Neuroscience 2018 (their h1).

    Args:
        width: Width of the window, in the membrane's unit.
    """

    width: float = 1.0
    kind: ClassVar[str] = "rect"

    def __post_init__(self) -> None:
        _check_positive("Rect", "width", self.width)

    @property
    def alpha(self) -> float:
        """The width, under the name that all surrogates share (`surrogate_alpha` of the op and of configs)."""
        return self.width


Surrogate = ATan | Sigmoid | Rect

_BY_KIND: dict[str, type[ATan] | type[Sigmoid] | type[Rect]] = {s.kind: s for s in (ATan, Sigmoid, Rect)}


def make_surrogate(kind: str, alpha: float | None = None) -> Surrogate:
    """Builds a surrogate from its spelling in configs.

    Args:
        kind: `atan`, `sigmoid` or `rect`.
        alpha: Steepness (for `rect`: width of the window); None takes the surrogate's own default.

    Raises:
        ValueError: The kind is unknown or alpha is not a positive number.

    Example:
        >>> make_surrogate("sigmoid")
        Sigmoid(alpha=4.0)
        >>> make_surrogate("rect", 0.5).alpha
        0.5
    """
    if kind not in _BY_KIND:
        raise ValueError(f"unknown surrogate {kind!r}: {nearest(kind, _BY_KIND)}")
    surrogate = _BY_KIND[kind]
    return surrogate() if alpha is None else surrogate(alpha)
