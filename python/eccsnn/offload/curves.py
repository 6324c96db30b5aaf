"""What offloading achieves: accuracy against upload rate, over thresholds.

A sample is uploaded when its ambiguity is greater than the threshold; then the cloud's answer counts, else the edge's.
For evaluation over all classes, a sample of a class that the edge has not learnt is simply wrong at the edge, whose
answer can only be a class it has learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

UPLOAD_ALL = -1.0
"""A threshold below every ambiguity: everything is uploaded, even samples whose ambiguity is exactly 0."""


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold achieves on one set of samples.

    Attributes:
        threshold: ambiguity above which a sample is uploaded.
        accuracy: of the edge's and the cloud's answers together.
        upload_rate: fraction uploaded (CUR).
        acc_i: `acc_improvement`, None where the cloud is not better than the edge.
    """

    threshold: float
    accuracy: float
    upload_rate: float
    acc_i: float | None


@dataclass(frozen=True)
class OffloadCurve:
    """Operating points in the order of their thresholds, `[P]` each.

    Attributes:
        threshold: thresholds.
        accuracy: accuracy at each.
        upload_rate: fraction uploaded at each.
        acc_i: `acc_improvement` at each, None where the cloud is not better than the edge.
        edge_accuracy: accuracy of the edge alone on these samples.
        cloud_accuracy: accuracy of the cloud alone on these samples.
        samples: number of samples.
        part: which part of the data they are, such as ``"validation"``; no threshold is chosen on ``"test"``.
    """

    threshold: FloatArray
    accuracy: FloatArray
    upload_rate: FloatArray
    acc_i: tuple[float | None, ...]
    edge_accuracy: float
    cloud_accuracy: float
    samples: int
    part: str = "unnamed"

    def __len__(self) -> int:
        return len(self.threshold)

    def point(self, index: int) -> OperatingPoint:
        """The operating point at an index."""
        return OperatingPoint(
            float(self.threshold[index]), float(self.accuracy[index]), float(self.upload_rate[index]), self.acc_i[index]
        )

    def to_json(self) -> dict[str, list[Any]]:
        """`threshold`, `accuracy`, `upload_rate` and `acc_i` as plain lists."""
        return {
            "threshold": self.threshold.tolist(),
            "accuracy": self.accuracy.tolist(),
            "upload_rate": self.upload_rate.tolist(),
            "acc_i": list(self.acc_i),
        }


def top1_correct(logits: Any, labels: Any, class_ids: Sequence[int] | None = None) -> BoolArray:
    """Whether the largest logit is the label's, for every sample.

    Args:
        logits: `[N, K]`, finite.
        labels: `[N]` class ids.
        class_ids: the class id of each column; 0 to K - 1 if not given. A label that is not among them is always wrong.

    Example:
        >>> top1_correct([[2.0, 1.0], [2.0, 1.0]], [7, 3], class_ids=[7, 9]).tolist()
        [True, False]
    """
    scores, truth = _array(logits), _array(labels)
    if scores.ndim != 2 or scores.shape[1] == 0 or truth.shape != scores.shape[:1]:
        raise ValueError(f"logits {scores.shape} and labels {truth.shape}, expected [N, K] with K >= 1 and [N]")
    if not np.isfinite(scores).all():
        raise ValueError("logits hold NaN or infinite values; expected finite numbers: check the input and the model")
    ids = np.arange(scores.shape[1]) if class_ids is None else np.asarray(class_ids)
    if ids.shape != (scores.shape[1],):
        raise ValueError(f"class_ids has {ids.size} entries, expected one for each of {scores.shape[1]} columns")
    return np.asarray(ids[scores.argmax(axis=1)] == truth)


def acc_improvement(acc_ecc: float, acc_edge: float, acc_cloud: float) -> float | None:
    """AccI = (acc_ecc - acc_edge) / (acc_cloud - acc_edge): the share of the gap to the cloud that is closed.

    None where the cloud is not better than the edge: there is no gap to close. Above 1 the two together beat the cloud.

    Example:
        >>> acc_improvement(0.75, 0.5, 1.0)
        0.5
    """
    gap = acc_cloud - acc_edge
    return None if gap <= 0 else (acc_ecc - acc_edge) / gap


def offload_curve(
    edge_correct: Any,
    cloud_correct: Any,
    ambiguity: Any,
    thresholds: Any = None,
    *,
    part: str = "unnamed",
) -> OffloadCurve:
    """Accuracy and upload rate over a grid of thresholds.

    Args:
        edge_correct: bool `[N]`, whether the edge's answer is right.
        cloud_correct: bool `[N]`, whether the cloud's answer is right.
        ambiguity: `[N]`.
        thresholds: `[P]`; 0, 0.01, ..., 1 if not given.
        part: which part of the data the samples are.

    Raises:
        ValueError: shapes that differ, no samples, NaN, or correctness that is not true or false.

    Example:
        >>> curve = offload_curve([True, False], [True, True], [0.1, 0.9], [0.0, 0.5, 1.0])
        >>> curve.accuracy.tolist(), curve.upload_rate.tolist()
        ([1.0, 1.0, 0.5], [1.0, 0.5, 0.0])
    """
    edge, cloud, unsure = _samples(edge_correct, cloud_correct, ambiguity)
    grid = np.linspace(0.0, 1.0, 101) if thresholds is None else np.asarray(_array(thresholds), dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or np.isnan(grid).any():
        raise ValueError(f"thresholds have the shape {grid.shape}, expected [P] with P >= 1 and no NaN")
    # Sorted once: a threshold then only asks how many samples lie at or below it.
    order = np.argsort(unsure, kind="stable")
    kept = np.searchsorted(unsure[order], grid, side="right")
    return _curve(edge[order], cloud[order], kept, grid, part)


def exact_curve(edge_correct: Any, cloud_correct: Any, ambiguity: Any, *, part: str = "unnamed") -> OffloadCurve:
    """Every operating point that any threshold can reach, from uploading everything to uploading nothing.

    The thresholds are the distinct ambiguities themselves, and before them one below all (0, or `UPLOAD_ALL` where a
    sample's ambiguity is 0).

    Example:
        >>> exact_curve([True, False, True], [True, True, True], [0.2, 0.9, 0.2]).upload_rate.round(2).tolist()
        [1.0, 0.33, 0.0]
    """
    edge, cloud, unsure = _samples(edge_correct, cloud_correct, ambiguity)
    order = np.argsort(unsure, kind="stable")
    distinct, counts = np.unique(unsure, return_counts=True)
    below = 0.0 if distinct[0] > 0 else min(UPLOAD_ALL, float(distinct[0]) - 1.0)
    grid = np.concatenate([[below], distinct])
    kept = np.concatenate([[0], np.cumsum(counts)])
    return _curve(edge[order], cloud[order], kept, grid, part)


def operating_point(edge_correct: Any, cloud_correct: Any, ambiguity: Any, threshold: float) -> OperatingPoint:
    """What one threshold, chosen elsewhere, achieves on these samples."""
    return offload_curve(edge_correct, cloud_correct, ambiguity, [threshold]).point(0)


def per_class_upload_rate(ambiguity: Any, labels: Any, threshold: float) -> dict[int, float]:
    """Fraction of each class's samples that is uploaded; a class without samples is absent.

    Example:
        >>> per_class_upload_rate([0.1, 0.9, 0.9], [3, 3, 5], 0.5)
        {3: 0.5, 5: 1.0}
    """
    unsure, truth = np.asarray(_array(ambiguity), dtype=np.float64), _array(labels)
    if unsure.ndim != 1 or truth.shape != unsure.shape:
        raise ValueError(f"ambiguity {unsure.shape} and labels {truth.shape}, expected [N] each")
    if np.isnan(unsure).any() or np.isnan(threshold):
        raise ValueError("ambiguity or threshold is NaN, expected numbers")
    uploaded = unsure > threshold
    return {int(label): float(uploaded[truth == label].mean()) for label in np.unique(truth)}


def _curve(edge: BoolArray, cloud: BoolArray, kept: npt.NDArray[np.intp], grid: FloatArray, part: str) -> OffloadCurve:
    """Builds the curve from samples sorted by ambiguity, of which the first `kept` stay at the edge."""
    count = edge.size
    edge_hits = np.concatenate([[0], np.cumsum(edge)])
    cloud_hits = np.concatenate([[0], np.cumsum(cloud)])
    accuracy = (edge_hits[kept] + cloud_hits[-1] - cloud_hits[kept]) / count
    acc_edge, acc_cloud = float(edge_hits[-1] / count), float(cloud_hits[-1] / count)
    return OffloadCurve(
        threshold=grid.astype(np.float64),
        accuracy=accuracy,
        upload_rate=(count - kept) / count,
        acc_i=tuple(acc_improvement(float(value), acc_edge, acc_cloud) for value in accuracy),
        edge_accuracy=acc_edge,
        cloud_accuracy=acc_cloud,
        samples=count,
        part=part,
    )


def _samples(edge_correct: Any, cloud_correct: Any, ambiguity: Any) -> tuple[BoolArray, BoolArray, FloatArray]:
    edge, cloud = _correct(edge_correct, "edge_correct"), _correct(cloud_correct, "cloud_correct")
    unsure = np.asarray(_array(ambiguity), dtype=np.float64)
    if edge.ndim != 1 or edge.shape != cloud.shape or edge.shape != unsure.shape:
        raise ValueError(
            f"edge_correct {edge.shape}, cloud_correct {cloud.shape} and ambiguity {unsure.shape}, expected [N] each"
        )
    if edge.size == 0:
        raise ValueError("no samples were given, expected at least one")
    if not np.isfinite(unsure).all():
        raise ValueError(
            f"ambiguity of {int((~np.isfinite(unsure)).sum())} samples is NaN or infinite, expected [0, 1]"
        )
    return edge, cloud, unsure


def _correct(values: Any, name: str) -> BoolArray:
    array = _array(values)
    if array.dtype != np.bool_:
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name} holds values other than true and false; compare predictions with labels first")
        array = array.astype(np.bool_)
    return array


def _array(values: Any) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        return np.asarray(values.numpy())
    return np.asarray(values)
