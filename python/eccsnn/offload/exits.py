"""Early exit over timesteps: when is a spiking network sure enough to stop?

After timestep t the confidence is the largest softmax of the running mean of the logits; inference stops at the first
timestep at which it reaches a threshold, and at the last one anyway.

Source: NeuCODEX (ICMLA 2025, arXiv 2509.19156): the accumulated output's confidence is compared with a threshold after
every timestep. Maximum softmax of the running mean is this project's reading of "confidence".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

NEVER = float("inf")
"""A threshold that no confidence reaches: every sample takes all timesteps."""

DEFAULT_TOLERANCE = 0.005


@dataclass(frozen=True)
class ExitCurve:
    """What each threshold achieves on one set of samples; `[P]` each, in the order of the thresholds.

    Attributes:
        threshold: Confidence at which a sample stops.
        accuracy: Of the answers given at the stop.
        timesteps: Mean timesteps used.
        costs: Mean of each named cost up to the stop, such as `payload_bytes`.
        samples: Number of samples.
        part: Which part of the data they are; no threshold is chosen on `test`.
    """

    threshold: FloatArray
    accuracy: FloatArray
    timesteps: FloatArray
    costs: dict[str, FloatArray]
    samples: int
    part: str = "unnamed"

    def __len__(self) -> int:
        return len(self.threshold)

    def point(self, index: int) -> dict[str, float]:
        """All figures at one threshold."""
        named = {"threshold": self.threshold, "accuracy": self.accuracy, "timesteps": self.timesteps, **self.costs}
        return {name: float(values[index]) for name, values in named.items()}

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists; a threshold that is never reached is None."""
        named = {"accuracy": self.accuracy, "timesteps": self.timesteps, **self.costs}
        threshold = [float(t) if np.isfinite(t) else None for t in self.threshold]
        return {"threshold": threshold, **{name: values.tolist() for name, values in named.items()}}


def running_mean(logits: Any) -> FloatArray:
    """Mean of the logits up to and with each timestep.

    Args:
        logits: `[T, N, K]`, of each timestep alone, finite.

    Returns:
        `[T, N, K]`.

    Raises:
        ValueError: Another shape, no timestep, no class, or values that are not finite.

    Example:
        >>> running_mean([[[1.0]], [[0.0]]]).flatten().tolist()
        [1.0, 0.5]
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] == 0 or values.shape[2] == 0:
        raise ValueError(f"logits have shape {list(values.shape)}, expected [T, N, K] with T and K of at least 1")
    if not np.isfinite(values).all():
        raise ValueError("logits hold NaN or infinite values; expected finite numbers: check the input and the model")
    return values.cumsum(axis=0) / np.arange(1, len(values) + 1)[:, None, None]


def confidence(running: Any) -> FloatArray:
    """Largest softmax of logits `[..., K]`; `[...]`, in (0, 1].

    Example:
        >>> confidence([[0.0, 0.0]]).tolist()
        [0.5]
    """
    values = np.asarray(running, dtype=np.float64)
    # exp(0) = 1 for the largest, so that the softmax of the largest is one over the sum.
    return np.asarray(1.0 / np.exp(values - values.max(axis=-1, keepdims=True)).sum(axis=-1))


def exit_timesteps(confidences: Any, threshold: float) -> npt.NDArray[np.int64]:
    """Timesteps that each sample uses.

    Args:
        confidences: `[T, N]`.
        threshold: A sample stops at the first timestep whose confidence is at least this.

    Returns:
        int64 `[N]`, from 1 to T.

    Raises:
        ValueError: Another shape, or a threshold that is not a number.

    Example:
        >>> exit_timesteps([[0.6, 0.9], [0.95, 0.99]], 0.9).tolist()
        [2, 1]
    """
    values = np.asarray(confidences, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"confidences have shape {list(values.shape)}, expected [T, N] with T of at least 1")
    if np.isnan(threshold):
        raise ValueError("threshold is NaN, expected a confidence such as 0.9")
    sure = values >= threshold
    return np.where(sure.any(axis=0), sure.argmax(axis=0) + 1, len(values))


def exit_curve(
    logits: Any,
    labels: Any,
    class_ids: Sequence[int],
    *,
    thresholds: Any = None,
    deciding: Any = None,
    costs: dict[str, Any] | None = None,
    part: str = "unnamed",
) -> ExitCurve:
    """Accuracy, timesteps and costs over exit thresholds.

    Args:
        logits: `[T, N, K]` of each timestep alone: they give the answers.
        labels: Class ids `[N]`.
        class_ids: Class id of each logit.
        thresholds: `[P]`; None: a grid that is fine near 1, and `NEVER`.
        deciding: Logits `[T, N, K']` of whoever decides to stop, where that is another head; None: `logits`.
        costs: Name to what each timestep costs, `[T, N]` (or `[T]` where all samples cost the same); summed up to the
            stop.
        part: Which part of the data this is.

    Raises:
        ValueError: Shapes do not fit, or values are not finite.

    Example:
        >>> logits = [[[0.1, 0.0]], [[0.0, 9.0]]]                       # unsure at first, then another answer
        >>> curve = exit_curve(logits, [1], [0, 1], thresholds=[0.5, 0.9], costs={"payload_bytes": [10, 8]})
        >>> curve.accuracy.tolist(), curve.timesteps.tolist(), curve.costs["payload_bytes"].tolist()
        ([0.0, 1.0], [1.0, 2.0], [10.0, 18.0])
    """
    running = running_mean(logits)
    truth, ids = np.asarray(labels), np.asarray(class_ids)
    timesteps, samples, classes = running.shape
    if truth.shape != (samples,) or ids.shape != (classes,):
        raise ValueError(
            f"labels {list(truth.shape)} and {ids.size} class ids, expected {samples} and {classes} for logits "
            f"{list(running.shape)}"
        )
    sure = confidence(running if deciding is None else running_mean(deciding))
    if sure.shape != (timesteps, samples):
        raise ValueError(f"deciding has T, N = {list(sure.shape)}, expected {[timesteps, samples]} as logits have")
    grid = default_thresholds() if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    correct = ids[running.argmax(axis=2)] == truth
    totals = {}
    for name, each in (costs or {}).items():
        values = np.asarray(each, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape not in ((timesteps, 1), (timesteps, samples)):
            raise ValueError(f"cost {name!r} has shape {list(values.shape)}, expected [{timesteps}] or [T, N]")
        totals[name] = np.broadcast_to(values.cumsum(axis=0), (timesteps, samples))
    used = [exit_timesteps(sure, threshold) for threshold in grid]
    every = np.arange(samples)

    def mean_at(table: Any) -> FloatArray:
        return np.array([table[stop - 1, every].mean() if samples else np.nan for stop in used], dtype=np.float64)

    return ExitCurve(
        threshold=grid,
        accuracy=mean_at(correct),
        timesteps=np.array([stop.mean() if samples else np.nan for stop in used], dtype=np.float64),
        costs={name: mean_at(total) for name, total in totals.items()},
        samples=samples,
        part=part,
    )


def default_thresholds(points: int = 61) -> FloatArray:
    """Thresholds from 0 (stop after the first timestep) to 1 - 10^-6, spaced evenly in log(1 - threshold), and `NEVER`.

    Example:
        >>> default_thresholds(4).round(6).tolist()
        [0.0, 0.999, 0.999999, inf]
    """
    return np.concatenate([1.0 - np.logspace(0, -6, points - 1), [NEVER]])


def choose_exit(curve: ExitCurve, tolerance: float = DEFAULT_TOLERANCE) -> int:
    """Index of the point with the fewest timesteps whose accuracy is at most `tolerance` below that of all timesteps.

    Of points with equal timesteps the more accurate, then the larger threshold is taken.

    Args:
        curve: Made on validation data.
        tolerance: Accuracy given up, as a fraction: 0.005 is half a percentage point.

    Raises:
        ValueError: The curve was made on test data or has no points, or the tolerance is out of range.

    Example:
        >>> logits = [[[0.1, 0.0]], [[0.0, 9.0]]]
        >>> curve = exit_curve(logits, [1], [0, 1], thresholds=[0.5, 0.9, 0.95, NEVER], part="validation")
        >>> float(curve.threshold[choose_exit(curve)])
        inf
    """
    if curve.part == "test":
        raise ValueError("the curve was made on test data; choose the threshold on validation data, then evaluate it")
    if len(curve) == 0 or curve.samples == 0:
        raise ValueError(f"the curve has {len(curve)} points over {curve.samples} samples, expected at least one each")
    if not 0.0 <= tolerance <= 1.0:
        raise ValueError(f"tolerance is {tolerance}, expected a fraction in [0, 1] (0.005 is half a point)")
    full = curve.accuracy[np.lexsort((curve.threshold, curve.timesteps))[-1]]
    allowed = np.flatnonzero(curve.accuracy >= full - tolerance - 1e-9)
    order = np.lexsort((-curve.threshold[allowed], -curve.accuracy[allowed], curve.timesteps[allowed]))
    return int(allowed[order[0]])
