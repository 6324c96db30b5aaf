import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eccsnn.offload import MEASURES, ambiguity

LOGITS = np.log([[0.5, 0.25, 0.25], [0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]])

finite_logits = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(2, 8)),
    elements=st.floats(-1e30, 1e30, allow_nan=False),
)


def test_entropy_by_hand():
    # 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2
    expected = [
        1.5 * math.log(2) / math.log(3),
        -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3),
        1.0,
    ]
    assert ambiguity(LOGITS) == pytest.approx(expected)


def test_max_probability_by_hand():
    assert ambiguity(LOGITS, measure="max_probability") == pytest.approx([0.75, 0.45, 1.0])


def test_margin_by_hand():
    assert ambiguity(LOGITS, measure="margin") == pytest.approx([0.75, 0.5, 1.0])


@pytest.mark.parametrize("measure", ["entropy", "max_probability", "margin"])
def test_minimum_over_heads_of_their_own_softmax(measure):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 7)) * 3
    first, second = ambiguity(logits[:, :4], measure=measure), ambiguity(logits[:, 4:], measure=measure)
    expected = np.minimum(first, second)
    assert ambiguity(logits, [4, 3], measure) == pytest.approx(expected)
    assert ambiguity(logits, [slice(0, 4), slice(4, 7)], measure) == pytest.approx(expected)
    assert not np.allclose(ambiguity(logits, measure=measure), expected)


def test_a_head_of_one_class_means_concatenated_logits():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 6))
    assert ambiguity(logits, [5, 1]) == pytest.approx(ambiguity(logits))
    assert ambiguity(logits, [1] * 6, "margin") == pytest.approx(ambiguity(logits, measure="margin"))
    assert ambiguity(logits, [3, 3], over="all") == pytest.approx(ambiguity(logits))


def test_random_is_seeded_and_ignores_the_logits():
    first = ambiguity(LOGITS, measure="random", seed=3)
    assert (first == ambiguity(LOGITS * 2, measure="random", seed=3)).all()
    assert (first != ambiguity(LOGITS, measure="random", seed=4)).all()
    assert ((first >= 0) & (first < 1)).all()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_torch_and_numpy_agree(measure, dtype):
    logits = torch.tensor(LOGITS).to(dtype).requires_grad_()
    values = ambiguity(logits, measure=measure)
    assert values.dtype == np.float64
    assert values == pytest.approx(ambiguity(logits.detach().double().numpy(), measure=measure))


@settings(max_examples=100)
@given(finite_logits, st.sampled_from(MEASURES))
def test_values_lie_in_the_unit_interval(logits, measure):
    values = ambiguity(logits, measure=measure)
    assert values.shape == (len(logits),)
    assert ((values >= 0) & (values <= 1)).all()


@settings(max_examples=50)
@given(finite_logits, st.sampled_from(MEASURES), st.integers(0, 5))
def test_order_of_classes_does_not_matter(logits, measure, seed):
    shuffled = logits[:, np.random.default_rng(seed).permutation(logits.shape[1])]
    assert ambiguity(shuffled, measure=measure) == pytest.approx(ambiguity(logits, measure=measure), abs=1e-12)


@pytest.mark.parametrize("measure", ["entropy", "max_probability", "margin"])
def test_extremes(measure):
    assert ambiguity([[3.0, 3.0, 3.0]], measure=measure) == pytest.approx([1.0])
    assert ambiguity([[1e308, -1e308, 0.0]], measure=measure).tolist() == [0.0]


def test_no_samples():
    assert ambiguity(np.zeros((0, 4))).shape == (0,)


def test_argument_is_not_changed():
    logits = LOGITS.copy()
    ambiguity(logits)
    assert (logits == LOGITS).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("measure", MEASURES)
def test_not_finite(bad, measure):
    logits = LOGITS.copy()
    logits[1, 2] = bad
    for given_logits in (logits, torch.tensor(logits)):
        with pytest.raises(ValueError, match=r"1 of 3 samples \(first: sample 1\) hold NaN or infinite"):
            ambiguity(given_logits, measure=measure)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([2], "cover 2 classes, expected all 3"),
        ([2, 2], "cover 4 classes"),
        ([3, 0], "sizes >= 1"),
        ([slice(0, 2), slice(1, 3)], "follow one another"),
        ([slice(0, 1), slice(2, 3)], "follow one another"),
        ([slice(0, 3, 2)], "follow one another"),
        ([], "cover 0 classes"),
    ],
)
def test_bad_heads(heads, message):
    with pytest.raises(ValueError, match=message):
        ambiguity(LOGITS, heads)


def test_bad_arguments():
    with pytest.raises(ValueError, match="entropy, max_probability, margin, random"):
        ambiguity(LOGITS, measure="energy")
    with pytest.raises(ValueError, match="expected 'heads'"):
        ambiguity(LOGITS, over="tasks")
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        ambiguity(LOGITS[0])
    with pytest.raises(ValueError, match="at least two"):
        ambiguity([[1.0]])
    with pytest.raises(TypeError, match="floating point"):
        ambiguity([[1, 2]])
    with pytest.raises(TypeError, match="floating point"):
        ambiguity(torch.tensor([[1, 2]]))
