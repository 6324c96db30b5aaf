"""Choosing the upload threshold, on validation data and by a named rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from eccsnn.offload.curves import OffloadCurve

Rule = Literal["accuracy_within", "above_random", "max_accuracy", "target_upload_rate"]
RULES = get_args(Rule)
DEFAULT_RULE: Rule = "above_random"
DEFAULT_TOLERANCE = 0.005
REFERENCES = ("best", "cloud")


@dataclass(frozen=True)
class Choice:
    """A chosen threshold and what it achieved where it was chosen.

    Attributes:
        threshold: ambiguity above which a sample is uploaded.
        rule: the rule in words, with its parameters.
        chosen_on: the part of the data it was chosen on.
        accuracy: accuracy there.
        upload_rate: upload rate there.
        index: the point's index on the curve.
    """

    threshold: float
    rule: str
    chosen_on: str
    accuracy: float
    upload_rate: float
    index: int

    def to_json(self) -> dict[str, Any]:
        """`threshold`, `rule` and `chosen_on` as a results file holds them."""
        return {"threshold": self.threshold, "rule": self.rule, "chosen_on": self.chosen_on}


def choose_threshold(
    curve: OffloadCurve,
    *,
    rule: str = DEFAULT_RULE,
    tolerance: float = DEFAULT_TOLERANCE,
    reference: str = "best",
    target: float | None = None,
) -> Choice:
    """Chooses a point of a curve that was made on validation data.

    Rules:

    * ``"accuracy_within"``: the fewest uploads, and with them the least energy and latency, whose accuracy is
      at least the reference's less `tolerance`. The reference is the best accuracy on the curve (``"best"``) or the
      cloud's alone (``"cloud"``; if no point reaches it, the most accurate one is taken).
    * ``"above_random"`` (default): the point furthest above the line that uploading at random would follow, from the
      edge's accuracy at no upload to the cloud's at full upload: the knee of the curve, where an upload buys the most.
      It has no parameter.
    * ``"max_accuracy"``: the highest accuracy; of equals the fewest uploads.
    * ``"target_upload_rate"``: the most uploads that do not exceed `target`.

    Among points of equal accuracy and upload rate the largest threshold is taken.

    Args:
        curve: made on validation data; one whose part is ``"test"`` is refused.
        rule: one of `RULES`.
        tolerance: for ``"accuracy_within"``, as a fraction: 0.005 is half a percentage point.
        reference: for ``"accuracy_within"``.
        target: for ``"target_upload_rate"``, in [0, 1].

    Raises:
        ValueError: a curve made on test data, an unknown rule, a parameter out of range, or a target below every upload
            rate on the curve.

    Example:
        >>> from eccsnn.offload import offload_curve
        >>> curve = offload_curve([True, False], [True, True], [0.1, 0.9], [0.0, 0.5, 1.0], part="validation")
        >>> choose_threshold(curve).threshold
        0.5
    """
    if curve.part == "test":
        raise ValueError("the curve was made on test data; choose the threshold on validation data, then evaluate it")
    if len(curve) == 0:
        raise ValueError("the curve has no points, expected at least one threshold")
    accuracy, upload_rate = curve.accuracy, curve.upload_rate
    if rule == "accuracy_within":
        if not 0.0 <= tolerance <= 1.0:
            raise ValueError(f"tolerance is {tolerance}, expected a fraction in [0, 1] (0.005 is half a point)")
        if reference not in REFERENCES:
            raise ValueError(f"reference is {reference!r}, expected one of {', '.join(REFERENCES)}")
        best = float(accuracy.max())
        floor = best - tolerance if reference == "best" else min(best, curve.cloud_accuracy - tolerance)
        # Accuracies are multiples of 1 / samples; the slack only absorbs the rounding of the floor.
        allowed = accuracy >= floor - 1e-9
        words = f"fewest uploads with accuracy within {tolerance:g} of the {reference}"
        index = _first(curve, allowed, upload_rate, -accuracy)
    elif rule == "above_random":
        line = curve.edge_accuracy + upload_rate * (curve.cloud_accuracy - curve.edge_accuracy)
        words = "furthest above uploading at random"
        # Rounded, so that points of equal gain are equal and the fewest uploads decide.
        index = _first(curve, np.ones(len(curve), dtype=bool), -np.round(accuracy - line, 9), upload_rate)
    elif rule == "max_accuracy":
        words = "highest accuracy, then fewest uploads"
        index = _first(curve, np.ones(len(curve), dtype=bool), -accuracy, upload_rate)
    elif rule == "target_upload_rate":
        if target is None or not 0.0 <= target <= 1.0:
            raise ValueError(f"target is {target}, expected an upload rate in [0, 1] for this rule")
        allowed = upload_rate <= target + 1e-12
        if not allowed.any():
            raise ValueError(
                f"every point of the curve uploads more than the target {target} (at least {upload_rate.min():.4g}); "
                "include larger thresholds or raise the target"
            )
        words = f"most uploads up to {target:g}"
        index = _first(curve, allowed, -upload_rate, -accuracy)
    else:
        raise ValueError(f"rule is {rule!r}, expected one of {', '.join(RULES)}")
    point = curve.point(index)
    return Choice(point.threshold, f"{rule}: {words}", curve.part, point.accuracy, point.upload_rate, index)


def _first(curve: OffloadCurve, allowed: np.ndarray, first_key: np.ndarray, second_key: np.ndarray) -> int:
    """Index of the allowed point with the least first key, then the least second, then the largest threshold."""
    candidates = np.flatnonzero(allowed)
    order = np.lexsort((-curve.threshold[candidates], second_key[candidates], first_key[candidates]))
    return int(candidates[order[0]])
