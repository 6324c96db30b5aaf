"""Paired intervals, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from eccsnn.offload import paired_interval


def test_pairs_that_agree_leave_no_doubt():
    right = np.random.default_rng(0).random(500) < 0.7
    interval = paired_interval(right, right)
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_the_width_is_that_of_the_normal_approximation():
    generator = np.random.default_rng(1)
    a, b = generator.random(4000) < 0.8, generator.random(4000) < 0.7
    interval = paired_interval(a, b)
    difference = a.astype(float) - b
    error = difference.std() / np.sqrt(len(difference))
    assert interval.mean == pytest.approx(difference.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=1e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        shared = generator.random(300) < 0.6
        a, b = shared | (generator.random(300) < 0.2), shared  # the true difference is 0.4 * 0.2
        interval = paired_interval(a, b)
        covered += interval.low <= 0.08 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_seeds_that_differ_widen_it():
    right = np.random.default_rng(3).random((3, 1000)) < np.array([[0.6], [0.7], [0.8]])
    zero = np.zeros_like(right)
    assert paired_interval(right, zero).high - paired_interval(right, zero).low > 0.1
    assert paired_interval(right[1], zero[1]).high - paired_interval(right[1], zero[1]).low < 0.07
    assert paired_interval(right, zero).seeds == 3


@pytest.mark.parametrize("spread", [0, 0.02, 0.1])
@pytest.mark.parametrize("shared", [0, 0.5, 0.9])
def test_with_three_seeds_it_covers_the_truth_as_often_as_it_says(spread, shared):
    """Seeds differ by samples alone, by a little more, or much more than that; they err on the same samples or not."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        common = generator.random(300) < shared
        chance = np.where(common, generator.random(300), generator.random((3, 300)))
        right = chance < 0.5 + spread * generator.standard_normal((3, 1))
        interval = paired_interval(right, np.zeros_like(right))
        covered += interval.low <= 0.5 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_of_seeds_alone_it_is_students_interval():
    """Every sample tells the same of a seed: the means of three seeds are all that there is."""
    rates = np.array([[0.6], [0.7], [0.9]])
    interval = paired_interval(np.repeat(rates, 50, axis=1), np.zeros((3, 50)))
    half = 4.302653 * rates.std(ddof=1) / np.sqrt(3)  # t with two degrees of freedom, from a table
    assert (interval.low, interval.high) == pytest.approx((rates.mean() - half, rates.mean() + half))


def test_seeds_that_agree_widen_nothing():
    right = np.random.default_rng(6).random(2000) < 0.7
    one = paired_interval(right, np.zeros_like(right))
    three = paired_interval(np.stack([right] * 3), np.zeros((3, 2000)))
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 0], [1]), {}, r"\[1, 2\] and \[1, 1\]"),
        (([], []), {}, "expected twice the same"),
        (([np.nan, 1], [0, 1]), {}, "NaN"),
        (([1, 1], [0, 1]), {"confidence": 1.0}, "confidence is 1.0"),
        (([[1], [0]], [[0], [0]]), {}, "N of 2 at least"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        paired_interval(*arguments, **options)
