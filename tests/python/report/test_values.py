"""The examples in the docstrings of small helpers hold."""

import doctest

import pytest

import eccsnn.report.compare
import eccsnn.report.execution
import eccsnn.report.markup
import eccsnn.report.values
from eccsnn.report.values import duration, quantity


@pytest.mark.parametrize(
    "module", [eccsnn.report.values, eccsnn.report.markup, eccsnn.report.execution, eccsnn.report.compare]
)
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000012345, "1.234e-05"), (True, "–"), ("7", "–"), (float("inf"), "–"), (-1234.0, "-1,234"), (1e300, "1e+300")],
)
def test_quantities(value: object, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.00234, "2.34 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (90, "1 min 30 s"),
        (7200, "2 h 0 min"),
        (None, "–"),
    ],
)
def test_durations(seconds: object, text: str) -> None:
    assert duration(seconds) == text
