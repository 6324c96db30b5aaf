"""count_moments against its reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.incremental import reference_counts
from eccsnn.incremental.count_moments import count_moments


def samples(count: int, features: int, max_count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count * 1000 + features)
    rows = torch.randint(0, max_count + 1, (count, features), generator=generator).to(dtype)
    return rows, torch.randint(0, 3, (count,), generator=generator)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 70),
    features=st.integers(1, 70),
    bound=st.sampled_from([(1, torch.uint8), (4, torch.int16), (200, torch.uint8), (32767, torch.int16)]),
)
def test_agrees_with_the_reference(count: int, features: int, bound: tuple[int, torch.dtype]) -> None:
    rows, classes = samples(count, features, *bound)
    moment, sums = count_moments(rows, classes, 3, bound[0])
    expected = reference_counts.count_moments(rows, classes, 3)
    assert torch.equal(moment, expected[0])
    assert torch.equal(sums, expected[1])


def test_takes_views_and_arrays() -> None:
    rows, classes = samples(20, 30, 4, torch.uint8)
    moment, sums = count_moments(rows.T.contiguous().T[:, ::2], classes.numpy(), 3, 4)
    expected = reference_counts.count_moments(rows[:, ::2], classes, 3)
    assert torch.equal(moment, expected[0])
    assert torch.equal(sums, expected[1])


def test_opcheck() -> None:
    rows, classes = samples(20, 30, 4, torch.uint8)
    torch.library.opcheck(torch.ops.eccsnn.count_moments, (rows, classes, 3, 4))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": torch.zeros(2, 3)}, TypeError, "float32, expected uint8 or int16"),
        ({"features": torch.zeros(6, dtype=torch.uint8)}, ValueError, r"shape \[6\], expected \[N, D\]"),
        ({"classes": [0]}, ValueError, r"classes have shape \[1\], expected \[2\]"),
        ({"classes": [0, 3]}, ValueError, r"classes span 0..3, expected values in 0..2"),
        ({"classes": [-1, 0]}, ValueError, r"classes span -1..0"),
        ({"max_count": 0}, ValueError, "max_count is 0, expected 1 to 32767"),
        (
            {"features": torch.full((2, 3), 5, dtype=torch.uint8)},
            ValueError,
            r"features span 5..5, expected values in 0..4",
        ),
        ({"features": torch.full((2, 3), -1, dtype=torch.int16)}, ValueError, r"features span -1..-1"),
    ],
)
def test_bad_input(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"features": torch.ones(2, 3, dtype=torch.uint8), "classes": [0, 1], "num_classes": 3, "max_count": 4}
    with pytest.raises(error, match=message):
        count_moments(**{**arguments, **change})


def test_the_op_itself_refuses_what_python_did_not_check() -> None:
    rows, classes = samples(4, 3, 4, torch.uint8)
    with pytest.raises(RuntimeError, match="expected 0 to 0"):
        torch.ops.eccsnn.count_moments(rows, torch.full_like(classes, 2), 1, 4)
    with pytest.raises(RuntimeError, match="expected features of dtype uint8 or int16"):
        torch.ops.eccsnn.count_moments(rows.float(), classes, 3, 4)
