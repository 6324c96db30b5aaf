"""Paired bootstrap intervals, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from eccsnn.offload import paired_bootstrap


def test_pairs_that_agree_leave_no_doubt():
    right = np.random.default_rng(0).random(500) < 0.7
    interval = paired_bootstrap(right, right)
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_the_width_is_that_of_the_normal_approximation():
    generator = np.random.default_rng(1)
    a, b = generator.random(4000) < 0.8, generator.random(4000) < 0.7
    interval = paired_bootstrap(a, b, draws=4000)
    difference = a.astype(float) - b
    error = difference.std() / np.sqrt(len(difference))
    assert interval.mean == pytest.approx(difference.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        shared = generator.random(300) < 0.6
        a, b = shared | (generator.random(300) < 0.2), shared  # the true difference is 0.4 * 0.2
        interval = paired_bootstrap(a, b, draws=400, seed=trial)
        covered += interval.low <= 0.08 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_seeds_that_differ_widen_it():
    right = np.random.default_rng(3).random((3, 1000)) < np.array([[0.6], [0.7], [0.8]])
    zero = np.zeros_like(right)
    assert paired_bootstrap(right, zero).high - paired_bootstrap(right, zero).low > 0.1
    assert paired_bootstrap(right[1], zero[1]).high - paired_bootstrap(right[1], zero[1]).low < 0.07
    assert paired_bootstrap(right, zero).seeds == 3


def test_with_three_seeds_it_covers_the_truth_at_least_as_often_as_it_says():
    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(120):
        rates = 0.5 + 0.1 * generator.standard_normal((3, 1))  # the spread of seeds outweighs that of samples
        right = generator.random((3, 400)) < rates
        interval = paired_bootstrap(right, np.zeros_like(right), draws=200, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
    assert covered / 120 >= 0.94


def test_seeds_that_agree_widen_nothing():
    right = np.random.default_rng(6).random(2000) < 0.7
    one = paired_bootstrap(right, np.zeros_like(right))
    three = paired_bootstrap(np.stack([right] * 3), np.zeros((3, 2000)))
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.1)


def test_the_same_seed_draws_the_same():
    right = np.random.default_rng(4).random(50) < 0.5
    assert paired_bootstrap(right, ~right, seed=7) == paired_bootstrap(right, ~right, seed=7)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 0], [1]), {}, r"\[1, 2\] and \[1, 1\]"),
        (([], []), {}, "expected twice the same"),
        (([np.nan], [0]), {}, "NaN"),
        (([1], [0]), {"confidence": 1.0}, "confidence is 1.0"),
        (([1], [0]), {"draws": 0}, "draws 0"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(*arguments, **options)
