import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.costs import PROVENANCES, Quantity, relative_change


def energy(value: float = 1.0, provenance: str = "modelled", unit: str = "mJ", source: str = "a") -> Quantity:
    return Quantity(value, unit, provenance, source)


def test_sum_of_one_provenance_keeps_it():
    total = energy(1.0, source="edge") + energy(2.5, source="radio")
    assert (total.value, total.unit, total.provenance, total.source) == (3.5, "mJ", "modelled", "edge; radio")
    assert not total.is_mixed


def test_sum_of_different_provenance_says_so():
    total = energy(1.0, "published") + energy(2.0, "measured") + energy(3.0, "modelled")
    assert total.provenance == "measured + modelled + published"
    assert total.is_mixed
    assert (energy(1.0, "published") - energy(2.0, "measured")).provenance == "measured + published"


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "__truediv__"])
def test_different_units_are_refused(operation):
    with pytest.raises(ValueError, match=r"'mJ' and 'ms'"):
        getattr(energy(), operation)(energy(unit="ms"))


def test_units_of_one_dimension_are_not_converted_silently():
    with pytest.raises(ValueError, match=r"\.to\('mJ'\)"):
        energy(unit="mJ") + energy(unit="J")


def test_plain_numbers_are_not_added():
    with pytest.raises(TypeError):
        energy() + 1.0
    with pytest.raises(TypeError):
        sum([energy(), energy()])


def test_scaling_and_ratio():
    assert (3 * energy(2.0)).value == 6.0
    assert (energy(3.0) / 2).value == 1.5
    ratio = energy(1.0, "measured") / energy(4.0, "published")
    assert (ratio.value, ratio.unit, ratio.provenance) == (0.25, "1", "measured + published")
    with pytest.raises(ZeroDivisionError):
        energy() / energy(0.0)


def test_relative_change():
    change = relative_change(energy(1.0), energy(10.0))
    assert change.value == pytest.approx(-0.9)
    assert change.unit == "1"


@pytest.mark.parametrize(
    ("value", "unit", "target", "expected"),
    [(4600.0, "pJ", "nJ", 4.6), (0.69, "mJ", "uJ", 690.0), (2.5, "ms", "s", 0.0025), (3.0, "KiB", "B", 3072.0)],
)
def test_conversion(value, unit, target, expected):
    converted = energy(value, unit=unit).to(target)
    assert converted.unit == target
    assert converted.value == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("unit", "target"), [("mJ", "ms"), ("mJ", "kWh"), ("uJ/B", "J")])
def test_impossible_conversion(unit, target):
    with pytest.raises(ValueError, match="cannot convert"):
        energy(unit=unit).to(target)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": math.nan}, "finite"),
        ({"value": math.inf}, "finite"),
        ({"unit": ""}, "unit"),
        ({"source": " "}, "source"),
        ({"provenance": "guessed"}, "measured, modelled, published"),
        ({"provenance": "measured+modelled"}, "joined by"),
    ],
)
def test_bad_quantity(changes, message):
    with pytest.raises(ValueError, match=message):
        Quantity(**{"value": 1.0, "unit": "mJ", "provenance": "measured", "source": "meter", **changes})


@pytest.mark.parametrize("value", ["1", None, True])
def test_value_must_be_a_number(value):
    with pytest.raises(TypeError, match="expected a number"):
        Quantity(value, "mJ", "measured", "meter")


@given(st.lists(st.sampled_from(PROVENANCES), min_size=1, max_size=6))
def test_provenance_of_a_sum_is_the_set_of_its_parts(parts):
    total = energy(1.0, parts[0])
    for part in parts[1:]:
        total = total + energy(1.0, part)
    assert set(total.provenance.split(" + ")) == set(parts)
    assert total.value == len(parts)
