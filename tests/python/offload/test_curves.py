import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.offload import (
    UPLOAD_ALL,
    acc_improvement,
    exact_curve,
    offload_curve,
    operating_point,
    per_class_upload_rate,
    top1_correct,
)

# Four samples: the edge is right on the sure ones, the cloud on all but the third.
EDGE = [True, True, True, False]
CLOUD = [True, True, False, True]
UNSURE = [0.0, 0.2, 0.6, 0.8]


@st.composite
def samples(draw):
    count = draw(st.integers(1, 30))
    booleans = st.lists(st.booleans(), min_size=count, max_size=count)
    # Few distinct values make ties, and 0 and 1 the borders, likely.
    values = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return draw(booleans), draw(booleans), draw(st.lists(values, min_size=count, max_size=count))


def brute_force(edge, cloud, unsure, threshold):
    up = np.asarray(unsure) > threshold
    return np.where(up, cloud, edge).mean(), up.mean()


def test_four_samples_by_hand():
    curve = offload_curve(EDGE, CLOUD, UNSURE, [0.0, 0.1, 0.5, 0.6, 0.8, 1.0])
    # threshold 0 keeps the first sample, 0.5 uploads the last two, 0.6 only the last, 0.8 none
    assert curve.upload_rate.tolist() == [0.75, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert curve.accuracy.tolist() == [0.75, 0.75, 0.75, 1.0, 0.75, 0.75]
    assert (curve.edge_accuracy, curve.cloud_accuracy, curve.samples) == (0.75, 0.75, 4)
    assert curve.acc_i == (None,) * 6  # edge and cloud are equally accurate


def test_acc_i_along_a_curve():
    curve = offload_curve([True, False, False, False], [True, True, True, False], [0.1, 0.3, 0.5, 0.7], [0.0, 0.3, 0.6])
    assert curve.accuracy.tolist() == [0.75, 0.5, 0.25]
    assert curve.acc_i == (1.0, 0.5, 0.0)


def test_acc_improvement():
    assert acc_improvement(0.9, 0.6, 1.0) == pytest.approx(0.75)
    assert acc_improvement(0.9, 0.8, 0.8) is None
    assert acc_improvement(0.99, 1.0, 0.99) is None  # not 1: nothing was won
    assert acc_improvement(1.0, 0.5, 0.75) == 2.0


def test_classes_the_edge_has_not_learnt_are_wrong_at_the_edge():
    # The edge knows 4 and 7; the third sample is of class 9.
    edge = top1_correct([[1.0, 0.0], [0.0, 1.0], [0.2, 0.1]], [4, 7, 9], class_ids=[4, 7])
    assert edge.tolist() == [True, True, False]
    point = operating_point(edge, [True, True, True], [0.1, 0.1, 0.9], 0.5)
    assert (point.accuracy, point.upload_rate, point.acc_i) == (1.0, pytest.approx(1 / 3), 1.0)


@settings(max_examples=100)
@given(samples(), st.lists(st.floats(-1, 2), min_size=1, max_size=10))
def test_equals_a_loop_over_thresholds(data, thresholds):
    curve = offload_curve(*data, thresholds)
    for index, threshold in enumerate(thresholds):
        accuracy, rate = brute_force(*data, threshold)
        assert curve.accuracy[index] == pytest.approx(accuracy)
        assert curve.upload_rate[index] == pytest.approx(rate)


@settings(max_examples=100)
@given(samples())
def test_threshold_zero_uploads_all_that_is_ambiguous_and_one_nothing(data):
    edge, _, unsure = data
    curve = offload_curve(*data)
    assert (curve.threshold[0], curve.threshold[-1], len(curve)) == (0.0, 1.0, 101)
    assert curve.upload_rate[0] == pytest.approx(np.mean(np.asarray(unsure) > 0))
    assert curve.upload_rate[-1] == 0.0
    assert curve.accuracy[-1] == pytest.approx(np.mean(edge))


@settings(max_examples=100)
@given(samples())
def test_upload_rate_never_rises_with_the_threshold(data):
    for curve in (offload_curve(*data), exact_curve(*data)):
        assert (np.diff(curve.threshold) > 0).all()
        assert (np.diff(curve.upload_rate) <= 0).all()


@settings(max_examples=100)
@given(samples())
def test_exact_curve_holds_every_reachable_point(data):
    edge, cloud, unsure = data
    exact = exact_curve(*data)
    assert len(exact) == len(set(unsure)) + 1
    assert (np.diff(exact.upload_rate) < 0).all()
    assert (exact.upload_rate[0], exact.upload_rate[-1]) == (1.0, 0.0)
    assert exact.accuracy[0] == pytest.approx(np.mean(cloud))
    assert exact.accuracy[-1] == pytest.approx(np.mean(edge))
    reachable = {(round(a, 9), round(r, 9)) for a, r in zip(exact.accuracy, exact.upload_rate, strict=True)}
    grid = offload_curve(*data)
    assert {(round(a, 9), round(r, 9)) for a, r in zip(grid.accuracy, grid.upload_rate, strict=True)} <= reachable
    # Its thresholds are thresholds: used as a grid they give the same points.
    again = offload_curve(edge, cloud, unsure, exact.threshold)
    assert again.upload_rate.tolist() == exact.upload_rate.tolist()


def test_exact_curve_by_hand():
    curve = exact_curve(EDGE, CLOUD, UNSURE)
    assert curve.threshold.tolist() == [UPLOAD_ALL, 0.0, 0.2, 0.6, 0.8]
    assert curve.upload_rate.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert curve.accuracy.tolist() == [0.75, 0.75, 0.75, 1.0, 0.75]
    assert exact_curve(EDGE, CLOUD, [0.1, 0.2, 0.6, 0.8]).threshold[0] == 0.0


def test_torch_and_numpy_agree():
    left = offload_curve(EDGE, CLOUD, UNSURE)
    right = offload_curve(torch.tensor(EDGE), torch.tensor(CLOUD), torch.tensor(UNSURE, dtype=torch.float64))
    assert left.accuracy.tolist() == right.accuracy.tolist()
    assert left.upload_rate.tolist() == right.upload_rate.tolist()


def test_zeros_and_ones_count_as_correctness():
    assert (
        offload_curve([1, 1, 1, 0], [1, 1, 0, 1], UNSURE).accuracy.tolist()
        == offload_curve(EDGE, CLOUD, UNSURE).accuracy.tolist()
    )


def test_to_json_is_plain():
    data = offload_curve(EDGE, CLOUD, UNSURE, [0.0, 1.0]).to_json()
    assert json.loads(json.dumps(data)) == {
        "threshold": [0.0, 1.0],
        "accuracy": [0.75, 0.75],
        "upload_rate": [0.75, 0.0],
        "acc_i": [None, None],
    }


def test_per_class_upload_rate():
    rates = per_class_upload_rate(UNSURE, torch.tensor([5, 5, 2, 5]), 0.2)
    assert rates == {2: 1.0, 5: pytest.approx(1 / 3)}
    assert per_class_upload_rate(UNSURE, [1, 1, 1, 1], 1.0) == {1: 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([True], CLOUD, UNSURE), "expected \\[N\\]"),
        ((EDGE, CLOUD, UNSURE[:3]), "expected \\[N\\]"),
        (([], [], []), "no samples"),
        ((EDGE, CLOUD, [0.0, 0.1, float("nan"), 0.2]), "NaN"),
        (([3, 1, 2, 0], CLOUD, UNSURE), "compare predictions with labels"),
        ((EDGE, CLOUD, UNSURE, []), "P >= 1"),
        ((EDGE, CLOUD, UNSURE, [float("nan")]), "no NaN"),
        ((EDGE, CLOUD, UNSURE, 0.5), "\\[P\\]"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        offload_curve(*arguments)


def test_bad_logits_and_labels():
    with pytest.raises(ValueError, match="NaN"):
        top1_correct([[float("nan"), 1.0]], [0])
    with pytest.raises(ValueError, match="expected \\[N, K\\]"):
        top1_correct([[0.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match="class_ids has 1 entries"):
        top1_correct([[0.0, 1.0]], [0], class_ids=[4])
    with pytest.raises(ValueError, match="expected \\[N\\] each"):
        per_class_upload_rate([0.1, 0.2], [1], 0.5)
