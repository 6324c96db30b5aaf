import math

import pytest
import torch

from eccsnn.bench.timing import Budget, Candidate, measure, ratio


class FakeClock:
    """Time passes only where a call says how long it takes."""

    def __init__(self):
        self.time = 0.0
        self.order = []

    def now(self):
        return self.time

    def measure(self, call, repeats):
        begin = self.time
        for _ in range(repeats):
            name, seconds = call()
            self.order.append(name)
            self.time += seconds
        return self.time - begin


def takes(name, *seconds):
    """A candidate whose calls take these seconds in turn, the last for ever."""
    left = list(seconds)
    return Candidate(name, lambda: (name, left.pop(0) if len(left) > 1 else left[0]))


def test_candidates_take_turns_after_the_warm_up():
    clock = FakeClock()
    measure([takes("a", 1.0), takes("b", 2.0)], Budget(0.0, minimum_rounds=3, warmup_calls=2), clock=clock)
    assert clock.order == ["a", "a", "b", "b", *["a", "b"] * 3]


def test_median_and_interquartile_range():
    clock = FakeClock()
    timings = measure([takes("a", 9.0, 1.0, 2.0, 3.0, 4.0, 50.0)], Budget(0.0, 5, warmup_calls=1), clock=clock)
    assert timings["a"].median_s == 3.0  # the call of the warm-up does not count, the outlier hardly does
    assert timings["a"].iqr_s == 2.0
    assert timings["a"].rounds == 5


def test_the_budget_decides_between_the_least_and_the_most_rounds():
    def rounds(seconds, least=2, most=20):
        return measure([takes("a", 1.0)], Budget(seconds, least, most, 1), clock=FakeClock())["a"].rounds

    assert rounds(0.0) == 2
    assert rounds(7.5) == 8
    assert rounds(1000.0) == 20


def test_short_calls_are_repeated_within_a_round():
    timings = measure([takes("a", 1e-4), takes("b", 1.0)], Budget(0.0, 2, warmup_calls=1), clock=FakeClock())
    assert timings["a"].repeats == 10
    assert timings["b"].repeats == 1
    assert timings["a"].median_s == pytest.approx(1e-4)


def test_one_round_has_no_spread():
    assert measure([takes("a", 1.0)], Budget(0.0, 1, 1, 1), clock=FakeClock())["a"].iqr_s == 0


def test_a_ratio_has_the_quartiles_of_single_rounds():
    candidates = [takes("theirs", 1.0, 2.0, 4.0, 6.0, 8.0, 20.0), takes("ours", 1.0, 1.0, 2.0, 2.0, 2.0, 2.0)]
    timings = measure(candidates, Budget(0.0, 5, warmup_calls=1), clock=FakeClock())
    found = ratio([timings["theirs"]], [timings["ours"]])  # rounds: 2, 2, 3, 4, 10
    assert (found.value, found.low, found.high) == (3.0, 2.0, 4.0)
    assert found.spread == pytest.approx((8 - 4) / 6)
    both = ratio([timings["theirs"], timings["ours"]], [timings["ours"]])
    assert (both.value, both.low, both.high) == (4.0, 3.0, 5.0)


def test_the_observer_sees_progress():
    seen = []
    measure([takes("a", 1.0)], Budget(4.0, 2, 100, 1), clock=FakeClock(), observer=lambda *what: seen.append(what))
    assert seen[0] == ("warm-up: a", 0.0)
    assert [part for _, part in seen[1:]] == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_budget_refuses_seconds(seconds):
    with pytest.raises(ValueError, match="at least 0"):
        Budget(seconds)


@pytest.mark.parametrize("arguments", [{"minimum_rounds": 0}, {"maximum_rounds": 3}, {"warmup_calls": 0}])
def test_budget_refuses_rounds(arguments):
    with pytest.raises(ValueError, match="warm-up"):
        Budget(**arguments)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_candidates_have_names_of_their_own(names):
    with pytest.raises(ValueError, match="names that differ"):
        measure([takes(name, 1.0) for name in names], Budget(), clock=FakeClock())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_clock_of_a_gpu_waits_for_it():
    from eccsnn.bench.timing import clock_for

    x = torch.randn(4096, 4096, device="cuda")
    timings = measure([Candidate("a", lambda: x @ x)], Budget(0.0, 3), clock=clock_for("cuda"))
    assert timings["a"].median_s > 1e-5  # 137 GFLOP
