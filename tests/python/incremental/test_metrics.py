import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.incremental import metrics
from eccsnn.incremental.metrics import (
    accuracy_matrix,
    average_incremental_accuracy,
    average_task_accuracy,
    backward_transfer,
    confusion_matrix,
    forgetting,
    forgetting_per_task,
    forward_transfer,
    last_accuracy,
    last_task_accuracy,
    performance_drop,
    seen_accuracies,
    task_samples,
)

# Three tasks; the first one recovers in the middle, the second one falls.
A = [[0.8], [0.9, 0.7], [0.6, 0.4, 1.0]]
SAMPLES = [50, 30, 20]


def tasks_of(base: int, increment: int, classes: int) -> list[list[int]]:
    starts = [0, *range(base, classes, increment)]
    return [list(range(a, b)) for a, b in zip(starts, [*starts[1:], classes], strict=True)]


def labels_of(classes: int, per_class: int) -> np.ndarray:
    return np.repeat(np.arange(classes), per_class)


# The scenarios of the published tables, with B5-Inc1 and a ragged last task (B50-Inc20 of 100 classes: 50, 20, 20, 10).
SCENARIOS = [
    pytest.param(tasks_of(*shape), id=f"B{shape[0]}-Inc{shape[1]} of {shape[2]}")
    for shape in [
        (10, 10, 100),
        (5, 5, 10),
        (5, 1, 10),
        (50, 10, 100),
        (50, 5, 100),
        (2, 2, 10),
        (4, 3, 10),
        (50, 20, 100),
        (11, 10, 101),
    ]
]


def test_by_hand():
    assert seen_accuracies(A, SAMPLES) == pytest.approx([0.8, (0.9 * 50 + 0.7 * 30) / 80, 0.3 + 0.12 + 0.2])
    assert average_incremental_accuracy(A, SAMPLES) == pytest.approx((0.8 + 0.825 + 0.62) / 3)
    assert average_task_accuracy(A) == pytest.approx((0.8 + 0.8 + 2 / 3) / 3)
    assert last_accuracy(A, SAMPLES) == pytest.approx(0.62)
    assert last_task_accuracy(A) == pytest.approx(2 / 3)
    assert performance_drop(A, SAMPLES) == pytest.approx(0.18)


def test_forgetting_by_hand():
    # max over the past: 0.9 - 0.6 and 0.7 - 0.4; since learning: 0.8 - 0.6 and 0.7 - 0.4
    assert forgetting_per_task(A) == pytest.approx([0.3, 0.3])
    assert forgetting(A) == pytest.approx(0.3)
    assert forgetting_per_task(A, "from_learnt") == pytest.approx([0.2, 0.3])
    assert forgetting(A, "from_learnt") == pytest.approx(0.25)
    assert backward_transfer(A) == pytest.approx(-0.25)


def test_forgetting_of_a_task_that_improves():
    better = [[0.5], [0.75, 1.0]]
    assert forgetting(better) == -0.25
    assert forgetting(better, "max_past_or_now") == 0.0
    assert backward_transfer(better) == 0.25


def test_the_present_is_not_part_of_the_past():
    # The best value of the first task is the last one: max_past looks at 0.5 and 0.6 only.
    late = [[0.5], [0.6, 1.0], [0.9, 1.0, 1.0]]
    assert forgetting_per_task(late) == pytest.approx([-0.3, 0.0])
    assert forgetting_per_task(late, "max_past_or_now") == pytest.approx([0.0, 0.0])


def test_zero_shot_accuracy_is_no_past_of_a_task():
    full = [[1.0, 0.9], [1.0, 0.4]]
    assert forgetting(full) == 0.0
    three = [[1.0, 0.9, 0.0], [1.0, 0.4, 0.0], [1.0, 0.3, 1.0]]
    assert forgetting_per_task(three) == pytest.approx([0.0, 0.1])


def test_a_single_task_has_nothing_to_forget():
    assert forgetting([[0.7]]) is None
    assert forgetting_per_task([[0.7]]) == []
    assert backward_transfer([[0.7]]) is None
    assert forward_transfer([[0.7]], [0.1]) is None
    assert performance_drop([[0.7]], [10]) == 0.0


def test_forward_transfer_by_hand():
    full = [[0.9, 0.3, 0.1], [0.8, 0.9, 0.5], [0.7, 0.8, 0.9]]
    # (0.3 - 0.2) and (0.5 - 0.1)
    assert forward_transfer(full, [0.5, 0.2, 0.1]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="full=True"):
        forward_transfer(A, [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="untrained has 2 entries"):
        forward_transfer(full, [0.1, 0.1])


@pytest.mark.parametrize("tasks", SCENARIOS)
def test_a_perfect_learner(tasks):
    labels = labels_of(sum(map(len, tasks)), 3)
    seen = [sum(map(len, tasks[: t + 1])) for t in range(len(tasks))]
    predictions = [np.where(labels < limit, labels, 0) for limit in seen]
    matrix = accuracy_matrix(predictions, labels, tasks)
    assert matrix == [[1.0] * (t + 1) for t in range(len(tasks))]
    samples = task_samples(labels, tasks)
    assert samples == [3 * len(task) for task in tasks]
    assert average_incremental_accuracy(matrix, samples) == last_accuracy(matrix, samples) == 1.0
    assert forgetting(matrix) == 0.0
    full = accuracy_matrix(predictions, labels, tasks, full=True)
    assert forward_transfer(full, [0.0] * len(tasks)) == 0.0


@pytest.mark.parametrize("tasks", SCENARIOS)
def test_a_learner_that_knows_only_the_last_task(tasks):
    classes = sum(map(len, tasks))
    labels = labels_of(classes, 4)
    predictions = [np.where(np.isin(labels, task), labels, task[0]) for task in tasks]
    matrix = accuracy_matrix(predictions, labels, tasks)
    assert matrix == [[0.0] * t + [1.0] for t in range(len(tasks))]
    samples = task_samples(labels, tasks)
    seen = np.cumsum([len(task) for task in tasks])
    share = [len(task) / total for task, total in zip(tasks, seen, strict=True)]
    assert seen_accuracies(matrix, samples) == pytest.approx(share)
    assert average_incremental_accuracy(matrix, samples) == pytest.approx(np.mean(share))
    assert last_accuracy(matrix, samples) == pytest.approx(len(tasks[-1]) / classes)
    assert average_task_accuracy(matrix) == pytest.approx(np.mean([1 / (t + 1) for t in range(len(tasks))]))
    assert last_task_accuracy(matrix) == pytest.approx(1 / len(tasks))
    for definition in metrics.FORGETTING:
        assert forgetting(matrix, definition) == 1.0


@pytest.mark.parametrize("tasks", SCENARIOS)
def test_a_learner_frozen_after_the_first_task(tasks):
    classes = sum(map(len, tasks))
    labels = labels_of(classes, 2)
    predictions = [np.where(labels < len(tasks[0]), labels, 0) for _ in tasks]
    matrix = accuracy_matrix(predictions, labels, tasks)
    samples = task_samples(labels, tasks)
    assert forgetting(matrix) == 0.0
    assert last_accuracy(matrix, samples) == pytest.approx(len(tasks[0]) / classes)
    assert performance_drop(matrix, samples) == pytest.approx(1 - len(tasks[0]) / classes)


def test_samples_and_tasks_weigh_differently_where_tasks_are_ragged():
    matrix, samples = [[1.0], [1.0, 0.0]], [90, 10]
    assert average_incremental_accuracy(matrix, samples) == pytest.approx(0.95)
    assert average_task_accuracy(matrix) == pytest.approx(0.75)


@settings(max_examples=50)
@given(st.integers(0, 2**16), st.integers(1, 5))
def test_seen_accuracy_equals_a_direct_count(seed, count):
    rng = np.random.default_rng(seed)
    tasks = tasks_of(3, 2, 3 + 2 * (count - 1))
    classes = sum(map(len, tasks))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 40)])
    predictions = [rng.integers(0, classes, labels.size) for _ in tasks]
    matrix = accuracy_matrix(predictions, labels, tasks)
    direct = []
    for t, predicted in enumerate(predictions):
        seen = labels < sum(map(len, tasks[: t + 1]))
        direct.append((predicted == labels)[seen].mean())
    assert seen_accuracies(matrix, task_samples(labels, tasks)) == pytest.approx(direct)


def test_class_ids_in_any_order_and_torch_tensors():
    labels = torch.tensor([7, 7, 2, 5])
    predictions = [torch.tensor([7, 2, 2, 2]), torch.tensor([5, 7, 2, 5])]
    assert accuracy_matrix(predictions, labels, [[7, 2], [5]]) == [[pytest.approx(2 / 3)], [pytest.approx(2 / 3), 1.0]]


def test_confusion_matrix_by_hand():
    counts = confusion_matrix([0, 0, 1, 4], torch.tensor([0, 4, 4, 4]), classes=[4, 0, 1])
    assert counts == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert all(isinstance(count, int) for row in counts for count in row)
    with pytest.raises(ValueError, match=r"the classes \[9\]"):
        confusion_matrix([0], [9], classes=[0])
    with pytest.raises(ValueError, match="same number"):
        confusion_matrix([0, 0], [0], classes=[0])


def test_every_metric_is_defined_in_words():
    for name in ("average_incremental_accuracy", "average_task_accuracy", "last_accuracy", "last_task_accuracy"):
        assert "weighs the same" in metrics.DEFINITIONS[name]
    assert "Chaudhry" in metrics.DEFINITIONS["forgetting"]
    for name in metrics.FORGETTING:
        assert any(text.startswith(f"{name}:") for text in metrics.DEFINITIONS.values())


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([], "no rows"),
        ([[1.0], [1.0]], "row 1 .* at least 2"),
        ([[float("nan")]], "fractions"),
        ([[1.5]], "fractions"),
        ([[98.0]], "fractions"),
    ],
)
def test_malformed_matrix(matrix, message):
    with pytest.raises(ValueError, match=message):
        forgetting(matrix)
    with pytest.raises(ValueError, match=message):
        average_incremental_accuracy(matrix, [1, 1])


@pytest.mark.parametrize("samples", [[1], [1, 1, 0], [[1, 1, 1]], [1, 1, -1]])
def test_bad_samples(samples):
    with pytest.raises(ValueError, match="samples are"):
        average_incremental_accuracy(A, samples)


def test_bad_arguments():
    with pytest.raises(ValueError, match="max_past, from_learnt, max_past_or_now"):
        forgetting(A, "mean")
    with pytest.raises(ValueError, match="has no samples"):
        task_samples([0, 1], [[0, 1], [2]])
    with pytest.raises(ValueError, match="each class in one task"):
        task_samples([0, 1], [[0, 1], [1]])
    with pytest.raises(ValueError, match="expected 1 to 1"):
        accuracy_matrix([[0], [0]], [0], [[0]])
    with pytest.raises(ValueError, match="like the labels"):
        accuracy_matrix([[0, 1]], [0], [[0]])
    with pytest.raises(ValueError, match="integer class ids"):
        accuracy_matrix([[0.0]], [0], [[0]])
