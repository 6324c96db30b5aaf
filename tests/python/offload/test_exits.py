"""Early exit over timesteps, against a loop over samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.offload import (
    NEVER,
    choose_exit,
    confidence,
    default_thresholds,
    exit_curve,
    exit_timesteps,
    running_mean,
)


def sample(timesteps=4, samples=50, classes=5, seed=0):
    generator = np.random.default_rng(seed)
    return 3 * generator.standard_normal((timesteps, samples, classes)), generator.integers(0, classes, samples)


def by_hand(logits, label, class_ids, threshold):
    """One sample: the answer, whether it is right, and the timesteps used."""
    total = np.zeros(logits.shape[1])
    for t, step in enumerate(logits, start=1):
        total += step
        mean = total / t
        p = np.exp(mean - mean.max())
        if p.max() / p.sum() >= threshold or t == len(logits):
            return class_ids[mean.argmax()] == label, t
    raise AssertionError


@given(st.integers(1, 5), st.integers(1, 20), st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_a_curve_is_what_a_loop_over_samples_finds(timesteps, samples, classes, threshold, seed):
    logits, labels = sample(timesteps, samples, classes, seed)
    ids = list(range(10, 10 + classes))
    costs = np.random.default_rng(seed).integers(0, 100, (timesteps, samples))
    curve = exit_curve(logits, labels + 10, ids, thresholds=[threshold], costs={"bytes": costs})
    each = [by_hand(logits[:, n], labels[n] + 10, ids, threshold) for n in range(samples)]
    assert curve.accuracy[0] == pytest.approx(np.mean([right for right, _ in each]))
    assert curve.timesteps[0] == pytest.approx(np.mean([used for _, used in each]))
    spent = [costs[:used, n].sum() for n, (_, used) in enumerate(each)]
    assert curve.costs["bytes"][0] == pytest.approx(np.mean(spent))


def test_the_ends_of_the_default_grid_are_one_timestep_and_all_of_them():
    logits, labels = sample()
    curve = exit_curve(logits, labels, range(5), costs={"steps": [1, 1, 1, 1]})
    assert curve.timesteps[0] == 1
    assert curve.timesteps[-1] == 4
    assert curve.threshold[-1] == NEVER
    np.testing.assert_array_equal(curve.timesteps, curve.costs["steps"])
    assert (np.diff(curve.timesteps) >= 0).all()
    assert curve.accuracy[-1] == (logits.mean(0).argmax(1) == labels).mean()
    assert curve.to_json()["threshold"][-1] is None
    assert (np.diff(default_thresholds()) > 0).all()


def test_another_head_may_decide():
    logits, labels = sample()
    sure = np.zeros_like(logits)
    sure[1:, :, 0] = 100.0
    curve = exit_curve(logits, labels, range(5), thresholds=[0.9], deciding=sure)
    assert curve.timesteps[0] == 2
    assert curve.accuracy[0] == (logits[:2].mean(0).argmax(1) == labels).mean()


def test_the_choice_spends_the_fewest_timesteps_that_the_tolerance_allows():
    logits, labels = sample(samples=400)
    logits[np.arange(4)[:, None], np.arange(400)[None], labels] += np.arange(4)[:, None]  # later is better
    curve = exit_curve(logits, labels, range(5), part="validation")
    full = curve.accuracy[-1]
    for tolerance in (0.0, 0.01, 0.05, 1.0):
        index = choose_exit(curve, tolerance)
        assert curve.accuracy[index] >= full - tolerance - 1e-9
        cheaper = curve.timesteps < curve.timesteps[index]
        assert (curve.accuracy[cheaper] < full - tolerance).all()
    assert curve.timesteps[choose_exit(curve, 1.0)] == 1


def test_softmax_of_large_logits_does_not_overflow():
    assert confidence([[1e4, 0.0], [-1e4, -1e4]]).tolist() == [1.0, 0.5]
    assert exit_timesteps(confidence(running_mean([[[1e300, 0.0]]])), 1.0).tolist() == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: running_mean(np.zeros((2, 3))), r"\[2, 3\], expected \[T, N, K\]"),
        (lambda: running_mean(np.full((1, 1, 1), np.nan)), "NaN"),
        (lambda: exit_timesteps(np.zeros(3), 0.5), r"expected \[T, N\]"),
        (lambda: exit_timesteps(np.zeros((2, 3)), float("nan")), "threshold is NaN"),
        (lambda: exit_curve(np.zeros((2, 3, 4)), [0, 1], range(4)), "expected 3 and 4"),
        (lambda: exit_curve(np.zeros((2, 3, 4)), [0] * 3, range(5)), "5 class ids"),
        (lambda: exit_curve(np.zeros((2, 3, 4)), [0] * 3, range(4), deciding=np.zeros((1, 3, 2))), "deciding has"),
        (lambda: exit_curve(np.zeros((2, 3, 4)), [0] * 3, range(4), costs={"b": [1, 2, 3]}), "cost 'b'"),
        (lambda: choose_exit(exit_curve(*sample()[:2], range(5), part="test")), "test data"),
        (lambda: choose_exit(exit_curve(*sample()[:2], range(5), thresholds=[])), "0 points"),
        (lambda: choose_exit(exit_curve(*sample()[:2], range(5)), 2.0), "tolerance is 2.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
