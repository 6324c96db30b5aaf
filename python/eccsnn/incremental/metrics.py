"""Metrics of class-incremental learning.

Everything starts from the accuracy matrix A: A[t][u] is the accuracy on the test samples of task u after task t was
learnt, with the model choosing among all classes it has learnt (task-agnostic). Rows have t + 1 entries, or one for
every task where forward transfer is wanted. Tasks may differ in size (B50-Inc10, or a last task with the remainder), so
every mean below says what it weighs: samples or tasks. `DEFINITIONS` holds the sentences that go with the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = Sequence[Sequence[float]]

FORGETTING = ("max_past", "from_learnt", "max_past_or_now")

DEFINITIONS: dict[str, str] = {
    "accuracy_matrix": (
        "A[t][u]: accuracy on the test samples of task u after task t, predicting among all classes learnt "
        "(task-agnostic)"
    ),
    "average_incremental_accuracy": (
        "mean over tasks t of the accuracy on the test samples of all classes seen up to t; every sample weighs the "
        "same (Rebuffi et al., iCaRL, CVPR 2017)"
    ),
    "average_task_accuracy": (
        "mean over tasks t of the mean over u <= t of A[t][u]; every task weighs the same (average incremental "
        "accuracy of Chaudhry et al., ECCV 2018)"
    ),
    "last_accuracy": "accuracy on the test samples of all classes after the last task; every sample weighs the same",
    "last_task_accuracy": "mean over u of A[T][u] after the last task T; every task weighs the same",
    "forgetting": (
        "max_past: mean over tasks u < T of max over t in u..T-1 of A[t][u], minus A[T][u]; every task weighs the "
        "same, negative where a task improved (Chaudhry et al., ECCV 2018)"
    ),
    "forgetting_from_learnt": (
        "from_learnt: mean over tasks u < T of A[u][u] - A[T][u], which is minus the backward transfer "
        "(Lopez-Paz and Ranzato, NeurIPS 2017)"
    ),
    "forgetting_max_past_or_now": (
        "max_past_or_now: mean over tasks u < T of max over t in u..T of A[t][u], minus A[T][u]; never negative"
    ),
    "performance_drop": (
        "accuracy on all seen classes after the first task minus that after the last; every sample weighs the same "
        "(Zhang et al., CEC, CVPR 2021)"
    ),
    "backward_transfer": "mean over tasks u < T of A[T][u] - A[u][u] (Lopez-Paz and Ranzato, NeurIPS 2017)",
    "forward_transfer": (
        "mean over tasks u from the second of A[u-1][u] minus the accuracy of an untrained model on task u (Lopez-Paz "
        "and Ranzato, NeurIPS 2017); A[u-1][u] is 0 where a model predicts only classes it has learnt"
    ),
}
"""Name of a metric -> its definition in words, with the source."""


def task_samples(labels: Any, tasks: Sequence[Sequence[int]]) -> list[int]:
    """Number of samples of each task.

    Args:
        labels: int `[N]` class ids.
        tasks: the classes of each task.

    Raises:
        ValueError: a class in two tasks, or a task without samples.

    Example:
        >>> task_samples([0, 0, 1, 2], [[0, 1], [2]])
        [3, 1]
    """
    truth = _class_ids(labels, "labels")
    seen: set[int] = set()
    counts = []
    for index, classes in enumerate(tasks):
        double = seen.intersection(classes)
        if double or len(set(classes)) != len(classes):
            raise ValueError(f"task {index} has the classes {list(classes)}, expected each class in one task and once")
        seen.update(classes)
        count = int(np.isin(truth, list(classes)).sum())
        if count == 0:
            raise ValueError(f"task {index} with the classes {list(classes)} has no samples; its accuracy is undefined")
        counts.append(count)
    return counts


def accuracy_matrix(
    predictions: Sequence[Any], labels: Any, tasks: Sequence[Sequence[int]], *, full: bool = False
) -> list[list[float]]:
    """The accuracy matrix from predictions on one test set.

    Args:
        predictions: for each task learnt so far, the class ids int `[N]` predicted after it for all test samples.
        labels: int `[N]` class ids.
        tasks: the classes of each task, in the order of learning.
        full: also the tasks that are not learnt yet at t (for `forward_transfer`).

    Returns:
        A[t][u] for u <= t, or for all u.

    Raises:
        ValueError: shapes that differ, more predictions than tasks, or a task without samples.

    Example:
        >>> accuracy_matrix([[0, 1, 0, 0], [0, 2, 2, 2]], [0, 1, 2, 2], [[0, 1], [2]])
        [[1.0], [0.5, 1.0]]
    """
    truth = _class_ids(labels, "labels")
    task_samples(truth, tasks)
    if not predictions or len(predictions) > len(tasks):
        raise ValueError(
            f"predictions after {len(predictions)} tasks, expected 1 to {len(tasks)}: one for each task learnt"
        )
    masks = [np.isin(truth, list(classes)) for classes in tasks]
    matrix = []
    for t, predicted in enumerate(predictions):
        answer = _class_ids(predicted, f"predictions after task {t}")
        if answer.shape != truth.shape:
            raise ValueError(
                f"predictions after task {t} have the shape {answer.shape}, expected {truth.shape} like the labels"
            )
        hit = answer == truth
        matrix.append([float(hit[mask].mean()) for mask in (masks if full else masks[: t + 1])])
    return matrix


def seen_accuracies(matrix: Matrix, samples: Sequence[int]) -> list[float]:
    """After each task t, the accuracy on the test samples of all classes seen so far (each sample weighs the same).

    Args:
        matrix: A.
        samples: test samples of each task (`task_samples`).

    Example:
        >>> seen_accuracies([[1.0], [0.5, 1.0]], [30, 10])
        [1.0, 0.625]
    """
    rows = _rows(matrix)
    weights = _weights(samples, len(rows))
    return [float(np.average(row[: t + 1], weights=weights[: t + 1])) for t, row in enumerate(rows)]


def average_incremental_accuracy(matrix: Matrix, samples: Sequence[int]) -> float:
    """Mean over tasks of `seen_accuracies`: within a task every sample weighs the same.

    Source: Rebuffi et al., iCaRL, CVPR 2017. For the variant in which every task weighs the same see
    `average_task_accuracy`; the two agree where all tasks have equally many test samples.

    Example:
        >>> average_incremental_accuracy([[1.0], [0.5, 1.0]], [30, 10])
        0.8125
    """
    return float(np.mean(seen_accuracies(matrix, samples)))


def average_task_accuracy(matrix: Matrix) -> float:
    """Mean over t of the mean over u <= t of A[t][u]: every task weighs the same (Chaudhry et al., ECCV 2018).

    Example:
        >>> average_task_accuracy([[1.0], [0.5, 1.0]])
        0.875
    """
    return float(np.mean([row[: t + 1].mean() for t, row in enumerate(_rows(matrix))]))


def last_accuracy(matrix: Matrix, samples: Sequence[int]) -> float:
    """Accuracy on the test samples of all seen classes after the last task (each sample weighs the same)."""
    return seen_accuracies(matrix, samples)[-1]


def last_task_accuracy(matrix: Matrix) -> float:
    """Mean over u of A[T][u] after the last task T: every task weighs the same."""
    rows = _rows(matrix)
    return float(rows[-1][: len(rows)].mean())


def forgetting_per_task(matrix: Matrix, definition: str = "max_past") -> list[float]:
    """Forgetting of each task but the last one learnt; see `forgetting`.

    Example:
        >>> forgetting_per_task([[0.5], [0.75, 1.0], [0.5, 0.25, 1.0]])
        [0.25, 0.75]
    """
    if definition not in FORGETTING:
        raise ValueError(f"definition is {definition!r}, expected one of {', '.join(FORGETTING)}")
    rows = _rows(matrix)
    last = len(rows) - 1
    result = []
    for u in range(last):
        # A task is only forgotten once it was learnt, so its history starts at its own row even in a full matrix.
        history = [row[u] for row in rows[u:]]
        if definition == "from_learnt":
            best = history[0]
        elif definition == "max_past":
            best = max(history[:-1])
        else:
            best = max(history)
        result.append(float(best - history[-1]))
    return result


def forgetting(matrix: Matrix, definition: str = "max_past") -> float | None:
    """Mean forgetting over the tasks before the last; every task weighs the same. None after a single task.

    Definitions by name:

    * ``"max_past"``: the best accuracy after any task since it was learnt but before the last, minus the accuracy now.
      Negative where the task improved. Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018.
    * ``"from_learnt"``: the accuracy right after learning it, minus the accuracy now (minus the backward transfer of
      Lopez-Paz and Ranzato, NeurIPS 2017).
    * ``"max_past_or_now"``: as ``"max_past"`` with the present in the maximum, so never negative.

    Raises:
        ValueError: an unknown definition or a malformed matrix.

    Example:
        >>> forgetting([[0.5], [0.75, 1.0], [0.5, 0.25, 1.0]])
        0.5
    """
    values = forgetting_per_task(matrix, definition)
    return float(np.mean(values)) if values else None


def performance_drop(matrix: Matrix, samples: Sequence[int]) -> float:
    """Accuracy on all seen classes after the first task minus that after the last (Zhang et al., CEC, CVPR 2021)."""
    accuracies = seen_accuracies(matrix, samples)
    return accuracies[0] - accuracies[-1]


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean over tasks before the last of A[T][u] - A[u][u]; None after one task.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017.
    """
    value = forgetting(matrix, "from_learnt")
    return None if value is None else -value


def forward_transfer(matrix: Matrix, untrained: Sequence[float]) -> float | None:
    """Mean over tasks u from the second of A[u-1][u] - untrained[u]; None after one task.

    Args:
        matrix: the full matrix (`accuracy_matrix(..., full=True)`).
        untrained: accuracy of an untrained model on each task.

    Raises:
        ValueError: the matrix is not full, or `untrained` has another length.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017.
    """
    rows = _rows(matrix)
    count = len(rows)
    if any(len(row) < count for row in rows):
        raise ValueError(
            "forward transfer needs the accuracy on tasks before they are learnt; use accuracy_matrix(full=True)"
        )
    if len(untrained) < count:
        raise ValueError(f"untrained has {len(untrained)} entries, expected one for each of {count} tasks")
    if count == 1:
        return None
    return float(np.mean([rows[u - 1][u] - untrained[u] for u in range(1, count)]))


def confusion_matrix(labels: Any, predictions: Any, classes: Sequence[int]) -> list[list[int]]:
    """Counts: rows are true classes, columns predicted ones, both in the order of `classes`.

    Raises:
        ValueError: a label or prediction that is not among the classes.

    Example:
        >>> confusion_matrix([7, 7, 3], [7, 3, 3], classes=[7, 3])
        [[1, 1], [0, 1]]
    """
    truth, answer = _class_ids(labels, "labels"), _class_ids(predictions, "predictions")
    if truth.shape != answer.shape:
        raise ValueError(f"labels {truth.shape} and predictions {answer.shape}, expected the same number of samples")
    position = {int(label): index for index, label in enumerate(classes)}
    foreign = sorted((set(truth.tolist()) | set(answer.tolist())) - set(position))
    if foreign:
        raise ValueError(f"labels or predictions hold the classes {foreign}, expected only {list(classes)}")
    counts = np.zeros((len(position), len(position)), dtype=np.int64)
    rows = [position[label] for label in truth.tolist()]
    columns = [position[label] for label in answer.tolist()]
    np.add.at(counts, (rows, columns), 1)
    return [[int(count) for count in row] for row in counts]


def _rows(matrix: Matrix) -> list[npt.NDArray[np.float64]]:
    rows = [np.asarray(row, dtype=np.float64) for row in matrix]
    if not rows:
        raise ValueError("the accuracy matrix has no rows, expected one for each task learnt")
    for t, row in enumerate(rows):
        if row.ndim != 1 or len(row) < t + 1:
            raise ValueError(
                f"row {t} of the accuracy matrix has {row.size} entries, expected at least {t + 1} (tasks 0 to {t})"
            )
        if not ((row >= 0) & (row <= 1)).all():
            raise ValueError(f"row {t} of the accuracy matrix is {row.tolist()}, expected fractions in [0, 1]")
    return rows


def _weights(samples: Sequence[int], tasks: int) -> npt.NDArray[np.float64]:
    weights = np.asarray(samples, dtype=np.float64)
    if weights.ndim != 1 or len(weights) < tasks or not (weights > 0).all():
        raise ValueError(f"samples are {list(samples)}, expected a positive number for each of {tasks} tasks")
    return weights


def _class_ids(values: Any, name: str) -> npt.NDArray[np.int64]:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"{name} have the shape {array.shape} and dtype {array.dtype}, expected integer class ids [N]")
    return array.astype(np.int64)
