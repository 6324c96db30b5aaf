import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.offload import DEFAULT_RULE, RULES, choose_threshold, exact_curve, offload_curve


def curve(accuracy, upload_rate, threshold=None, cloud=0.9, part="validation"):
    base = offload_curve([True], [True], [0.5], [0.0], part=part)
    count = len(accuracy)
    return replace(
        base,
        threshold=np.asarray(threshold if threshold is not None else np.linspace(0, 1, count)),
        accuracy=np.asarray(accuracy, dtype=float),
        upload_rate=np.asarray(upload_rate, dtype=float),
        acc_i=(None,) * count,
        cloud_accuracy=cloud,
    )


CURVE = curve([0.9, 0.93, 0.926, 0.92, 0.6], [1.0, 0.8, 0.5, 0.3, 0.0])


def within(curve, **options):
    return choose_threshold(curve, rule="accuracy_within", **options)


def test_the_default_rule_is_the_one_of_configurations():
    from eccsnn.experiments.ecc_snn_schema import Execution

    assert Execution().rule == DEFAULT_RULE == inspect.signature(choose_threshold).parameters["rule"].default


def test_accuracy_within_takes_the_fewest_uploads_within_half_a_point_of_the_best():
    choice = within(CURVE)
    assert (choice.index, choice.threshold, choice.accuracy, choice.upload_rate) == (2, 0.5, 0.926, 0.5)
    assert choice.rule == "accuracy_within: fewest uploads with accuracy within 0.005 of the best"
    assert choice.chosen_on == "validation"
    assert choice.to_json() == {"threshold": 0.5, "rule": choice.rule, "chosen_on": "validation"}


def test_tolerance():
    assert within(CURVE, tolerance=0.0).index == 1
    assert within(CURVE, tolerance=0.01).index == 3
    assert within(CURVE, tolerance=1.0).index == 4


def test_reference_cloud():
    assert within(CURVE, reference="cloud").index == 3
    assert within(CURVE, reference="cloud", tolerance=0.3).index == 4
    # No point comes within half a point of such a cloud, so the most accurate one is taken.
    assert within(replace(CURVE, cloud_accuracy=0.99), reference="cloud").index == 1
    assert within(replace(CURVE, cloud_accuracy=0.933), reference="cloud").index == 1


def test_max_accuracy_and_its_ties():
    assert choose_threshold(CURVE, rule="max_accuracy").index == 1
    tied = curve([0.9, 0.9, 0.9, 0.5], [1.0, 0.4, 0.4, 0.0])
    assert choose_threshold(tied, rule="max_accuracy").index == 2


def test_target_upload_rate():
    assert choose_threshold(CURVE, rule="target_upload_rate", target=0.5).index == 2
    assert choose_threshold(CURVE, rule="target_upload_rate", target=0.49).index == 3
    assert choose_threshold(CURVE, rule="target_upload_rate", target=0.0).index == 4
    with pytest.raises(ValueError, match="uploads more than the target"):
        choose_threshold(curve([0.9], [0.7]), rule="target_upload_rate", target=0.5)


def test_points_in_any_order():
    order = [3, 1, 4, 0, 2]
    shuffled = curve(CURVE.accuracy[order], CURVE.upload_rate[order], CURVE.threshold[order])
    assert choose_threshold(shuffled).threshold == choose_threshold(CURVE).threshold


def test_test_data_is_refused():
    with pytest.raises(ValueError, match="test data"):
        choose_threshold(replace(CURVE, part="test"))


def test_nothing_but_one_curve_and_the_rule_goes_into_the_choice():
    parameters = inspect.signature(choose_threshold).parameters
    assert list(parameters) == ["curve", "rule", "tolerance", "reference", "target"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "best"}, "accuracy_within, above_random, max_accuracy, target_upload_rate"),
        ({"rule": "accuracy_within", "tolerance": -0.1}, "tolerance"),
        ({"rule": "accuracy_within", "tolerance": 5}, "tolerance"),
        ({"rule": "accuracy_within", "reference": "edge"}, "best, cloud"),
        ({"rule": "target_upload_rate"}, "target is None"),
        ({"rule": "target_upload_rate", "target": 1.5}, "target is 1.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(CURVE, **options)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    st.floats(0, 0.2),
    st.sampled_from(RULES),
)
def test_a_choice_keeps_its_promise(samples, tolerance, rule):
    edge, cloud, unsure = zip(*samples, strict=True)
    points = exact_curve(edge, cloud, unsure, part="validation")
    choice = choose_threshold(points, rule=rule, tolerance=tolerance, target=0.5)
    if rule == "accuracy_within":
        assert choice.accuracy >= points.accuracy.max() - tolerance - 1e-8
        cheaper = points.upload_rate < choice.upload_rate
        assert (points.accuracy[cheaper] < points.accuracy.max() - tolerance + 1e-8).all()
    elif rule == "max_accuracy":
        assert choice.accuracy == points.accuracy.max()
    elif rule == "above_random":
        line = points.edge_accuracy + points.upload_rate * (points.cloud_accuracy - points.edge_accuracy)
        gain = points.accuracy - line
        assert gain[choice.index] >= gain.max() - 1e-8
        assert choice.upload_rate <= points.upload_rate[gain >= gain.max() - 1e-10].min() + 1e-12
    else:
        assert choice.upload_rate <= 0.5
    assert choice.threshold in points.threshold


def test_above_random_takes_the_knee():
    # edge 2/4, cloud 4/4; the random line goes from 0.5 to 1.0
    curve = offload_curve(
        [True, True, False, False], [True] * 4, [0.1, 0.2, 0.8, 0.9], [0.0, 0.15, 0.5, 0.85, 1.0], part="validation"
    )
    choice = choose_threshold(curve, rule="above_random")
    assert (choice.threshold, choice.accuracy, choice.upload_rate) == (0.5, 1.0, 0.5)


def test_above_random_uploads_nothing_where_uploads_buy_nothing():
    curve = offload_curve([True, False], [True, False], [0.1, 0.9], [0.0, 0.5, 1.0], part="validation")
    assert choose_threshold(curve, rule="above_random").upload_rate == 0.0
