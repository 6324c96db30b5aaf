"""What an answer says of a class: rounding that never crosses a threshold, ties, sizes."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eccsnn.offload.exits import confidence
from eccsnn.transport.answers import brief_answer_bytes, judge, make_answer, read_answer

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=6)


@given(LOGITS, st.integers(-2, 2))
@example([1.0, -2.0], 0)  # the nearest float32 is above
def test_the_rounded_confidence_reaches_a_float32_threshold_where_the_exact_one_does(values: list, ulps: int) -> None:
    logits = np.float32(values)
    exact = float(confidence(logits))
    threshold = np.float32(exact)
    for _ in range(abs(ulps)):
        threshold = np.nextafter(threshold, np.float32(np.sign(ulps) * np.inf))
    rounded = judge(logits, range(len(values))).confidence
    assert rounded == float(np.float32(rounded))
    assert (rounded >= float(threshold)) == (exact >= float(threshold))


@given(LOGITS, st.booleans())
def test_both_forms_say_the_same(values: list, first: bool) -> None:
    logits, ids = np.float32(values), [7 * k for k in range(len(values))]
    brief = read_answer(make_answer(logits, ids, 3, brief=True, first=first), ids, brief=True)
    full = read_answer(make_answer(logits, ids, 3, first=first), ids, brief=True)
    assert (brief.label, brief.confidence, brief.logits) == (full.label, full.confidence, None)
    assert full.label == ids[int(logits.argmax())]
    np.testing.assert_array_equal(full.logits, logits)


def test_the_first_of_equal_logits_wins() -> None:
    assert judge(np.float32([1, 2, 2]), [4, 9, 1]).label == 9


@pytest.mark.parametrize("classes", [1, 10, 101, 129, 1000])
def test_the_size_is_that_of_the_largest_answer_and_does_not_grow_with_the_classes(classes: int) -> None:
    ids = list(range(classes))
    sizes = [make_answer(np.eye(classes, dtype=np.float32)[k], ids, 1, brief=True).ByteSize() for k in (0, classes - 1)]
    assert brief_answer_bytes(ids) == max(sizes)
    assert brief_answer_bytes(ids) <= 10
    assert make_answer(np.zeros(classes, np.float32), ids, 1, brief=True, first=False).ByteSize() == sizes[0] - 2
