import pytest

from eccsnn.nn import ATan, Rect, Sigmoid, make_surrogate


@pytest.mark.parametrize(("kind", "expected"), [("atan", ATan(2.0)), ("sigmoid", Sigmoid(4.0)), ("rect", Rect(1.0))])
def test_a_name_builds_the_surrogate_with_its_default_width(kind, expected):
    surrogate = make_surrogate(kind)
    assert surrogate == expected
    assert surrogate.kind == kind
    assert make_surrogate(kind, 3.0).alpha == 3.0


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ValueError, match="'sigmoid'"):
        make_surrogate("sigmod")


@pytest.mark.parametrize("surrogate", [ATan, Sigmoid, Rect])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "2", True])
def test_a_width_that_is_no_positive_number_is_refused(surrogate, value):
    with pytest.raises(ValueError, match="above 0"):
        surrogate(value)
