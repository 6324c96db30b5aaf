"""The circuit breaker on a clock of its own."""

import pytest

from eccsnn.services.breaker import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_opens_after_failures_in_a_row_and_backs_off() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failures_to_open=2, open_s=1.0, max_open_s=3.0, clock=clock)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.allows()  # never two in a row
    breaker.failed()
    pauses = []
    for _ in range(4):
        assert not breaker.allows()
        start = clock.now
        while not breaker.allows():
            clock.now += 0.5
        pauses.append(clock.now - start)
        assert breaker.is_open
        breaker.failed()
    assert pauses == [1.0, 2.0, 3.0, 3.0]


def test_an_answered_trial_closes_it_and_forgets_the_back_off() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failures_to_open=1, open_s=1.0, clock=clock)
    breaker.failed()
    clock.now = 1.0
    breaker.failed()
    clock.now = 3.0
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.is_open
    breaker.failed()
    clock.now = 4.0
    assert breaker.allows()


@pytest.mark.parametrize("options", [{"failures_to_open": 0}, {"open_s": 0.0}, {"open_s": 2.0, "max_open_s": 1.0}])
def test_numbers_are_checked(options) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        CircuitBreaker(**options)
