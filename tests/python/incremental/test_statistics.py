"""Exact statistics: the same bits in any order, restored by subtraction, safe in files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.errors import CheckpointError
from eccsnn.incremental.statistics import CountStatistics


def samples(count=60, features=40, max_count=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, max_count + 1, (count, features)), rng.integers(0, 5, count)


def learnt(rows, labels, max_count=4, source="trunk"):
    statistics = CountStatistics(rows.shape[1], max_count, source)
    statistics.add(rows, labels)
    return statistics


def test_they_are_the_sums_of_the_samples():
    for max_count in (1, 4, 127, 200, 32767):
        rows, labels = samples(max_count=max_count)
        statistics = learnt(rows, labels, max_count)
        assert (statistics.second_moment() == rows.T @ rows).all()
        assert (statistics.second_moment(np.float64) == (rows.T @ rows).astype(np.float64)).all()
        assert statistics.classes == (0, 1, 2, 3, 4)
        assert (statistics.sums == [rows[labels == k].sum(0) for k in range(5)]).all()
        assert (statistics.samples == np.bincount(labels)).all()


@settings(deadline=None, max_examples=120)
@given(data=st.data(), max_count=st.sampled_from([1, 4, 300]))
def test_the_state_has_the_same_bits_in_any_order_batches_threads_and_merges(data, max_count):
    rows, labels = samples(40, 33, max_count)
    expected = learnt(rows, labels, max_count).to_bytes()
    order = data.draw(st.permutations(range(40)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 40), max_size=6)))
    parts = [CountStatistics(33, max_count, "trunk")]
    for begin, end in zip([0, *cuts], [*cuts, 40], strict=True):
        if data.draw(st.booleans()):
            parts.append(CountStatistics(33, max_count, "trunk"))
        chosen = order[begin:end]
        parts[-1].add(rows[chosen], labels[chosen], threads=data.draw(st.integers(1, 4)))
    while len(parts) > 1:
        other = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts[data.draw(st.integers(0, len(parts) - 1))].merge(other)
    assert parts[0].to_bytes() == expected


def test_a_thousand_random_orders_differ_in_no_bit():
    rows, labels = samples(50, 20)
    expected = learnt(rows, labels).to_bytes()
    rng = np.random.default_rng(1)
    for _ in range(1000):
        order = rng.permutation(50)
        parts = []
        for chosen in np.array_split(order, rng.integers(1, 6)):
            parts.append(CountStatistics(20, 4, "trunk"))
            for batch in np.array_split(chosen, rng.integers(1, 4)):
                parts[-1].add(rows[batch], labels[batch], threads=int(rng.integers(1, 3)))
        while len(parts) > 1:
            other = parts.pop(rng.integers(len(parts)))
            parts[rng.integers(len(parts))].merge(other)
        assert parts[0].to_bytes() == expected


def test_unlearning_restores_the_state():
    rows, labels = samples()
    state = learnt(rows[:30], labels[:30])
    before = state.to_bytes()
    state.add(rows[30:], labels[30:])
    state.subtract(rows[30:], labels[30:], threads=2)
    assert state.to_bytes() == before
    whole = learnt(rows, labels)
    of_class = learnt(rows[labels == 3], labels[labels == 3])
    whole.subtract_statistics(of_class)
    assert whole.to_bytes() == learnt(rows[labels != 3], labels[labels != 3]).to_bytes()
    assert 3 not in whole.classes


def test_it_widens_before_it_overflows():
    rows = np.full((3, 2), 32767)
    state = learnt(rows[:2], [0, 0], 32767)
    narrow = state.to_bytes()
    state.add(rows[2:], [0])
    assert state.second_moment().tolist() == [[3 * 32767**2] * 2] * 2
    assert len(state.to_bytes()) > len(narrow)
    state.subtract(rows[2:], [0])
    assert state.to_bytes() == narrow


def test_a_state_takes_what_the_documentation_says():
    state = CountStatistics(1024, 4)
    state.add(np.zeros((10, 1024), np.uint8), np.arange(10))
    assert state.state_bytes < 2.5e6
    assert len(state.to_bytes()) < 2.5e6


@pytest.mark.parametrize(
    ("rows", "labels", "error", "message"),
    [
        ([[1, 5]], [0], ValueError, "feature 1 of sample 0 is 5, expected an integer count in 0..4"),
        (np.array([[1, 5]], np.uint8), [0], ValueError, r"feature 1 of sample 0 is 5, expected a count in 0..4"),
        ([[1, -1]], [0], ValueError, "is -1"),
        ([[0.5, 1.0]], [0], ValueError, "is 0.5, expected an integer count"),
        ([[float("nan"), 1.0]], [0], ValueError, "is nan"),
        ([[1, 2, 3]], [0], ValueError, r"shape \[1, 3\], expected \[N, 2\]"),
        ([1, 2], [0], ValueError, r"shape \[2\], expected \[N, 2\]"),
        ([["a", "b"]], [0], TypeError, "expected integers, or floats"),
        ([[1, 2]], [-1], ValueError, "labels contain -1"),
        ([[1, 2]], np.array([2**63 + 5], np.uint64), ValueError, "labels contain 9223372036854775813"),
        ([[1, 2]], [0, 1], ValueError, r"labels have shape \[2\], expected \[1\]"),
        ([[1, 2]], [0.0], TypeError, "labels have dtype float64"),
    ],
)
def test_bad_input_changes_nothing(rows, labels, error, message):
    state = learnt(np.array([[1, 2], [3, 4]]), [0, 1])
    before = state.to_bytes()
    with pytest.raises(error, match=message):
        state.add(rows, labels)
    assert state.to_bytes() == before


def test_what_was_not_added_cannot_be_subtracted():
    state = learnt(np.array([[1, 2], [3, 4]]), [0, 1])
    before = state.to_bytes()
    for rows, labels, message in (
        ([[1, 2]], [7], "1 samples of class 7: the state has 0"),
        ([[1, 2], [1, 2]], [0, 0], "2 samples of class 0: the state has 1"),
        ([[2, 2]], [0], "sum of feature 0 would become -1"),
        ([[0, 2]], [0], "sum of feature 0 would become 1 over 0 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            state.subtract(rows, labels)
    with pytest.raises(ValueError, match="of the source 'other'"):
        state.merge(CountStatistics(2, 4, "other"))
    with pytest.raises(ValueError, match="3 features"):
        state.merge(CountStatistics(3, 4, "trunk"))
    assert state.to_bytes() == before


def test_other_samples_with_the_same_sums_are_found_in_the_second_moment():
    state = learnt(np.array([[4, 4], [0, 0], [1, 1]]), [0, 0, 0])
    before = state.to_bytes()
    for _ in range(2):  # a refusal leaves nothing behind
        with pytest.raises(
            ValueError, match="leave a second moment of 17 of features 0 and 1 beside their square sums 1 and 1, so"
        ):
            state.subtract([[4, 0], [0, 4]], [0, 0], threads=2)
        with pytest.raises(ValueError, match="so it is not a part of the whole"):
            state.subtract_statistics(learnt(np.array([[4, 0], [0, 4]]), [0, 0]))
        assert state.to_bytes() == before
    squares = learnt(np.array([[4, 0], [0, 0]]), [0, 0])
    with pytest.raises(ValueError, match="square sum of feature 0 would become 12 beside the sum 2"):
        squares.subtract([[2, 0]], [0])


@settings(deadline=None, max_examples=200)
@given(data=st.data(), max_count=st.sampled_from([1, 2, 32767]))
def test_what_a_subtraction_leaves_is_a_state_or_nothing_has_changed(data, max_count):
    values = st.sampled_from(sorted({0, 1, max_count}))
    rows = np.array(data.draw(st.lists(st.tuples(values, values, values), min_size=1, max_size=6)))
    wrong = np.array(data.draw(st.lists(st.tuples(values, values, values), min_size=1, max_size=6)))
    state = learnt(rows, [0] * len(rows), max_count)
    before = state.to_bytes()
    try:
        state.subtract(wrong, [0] * len(wrong))
    except ValueError:
        assert state.to_bytes() == before
    assert CountStatistics.from_bytes(state.to_bytes(), "trunk") == state


def test_tensors_and_floats_are_taken():
    rows, labels = samples()
    expected = learnt(rows, labels).to_bytes()
    for form in (torch.from_numpy(rows), torch.from_numpy(rows).float(), rows.astype(np.int32), rows.astype(np.uint8)):
        assert learnt(form, torch.from_numpy(labels)).to_bytes() == expected


def test_files_come_back_and_broken_ones_are_refused(tmp_path):
    state = learnt(*samples())
    path = tmp_path / "statistics.bin"
    state.save(path)
    assert CountStatistics.load(path, "trunk") == state
    state.save(str(path))
    assert CountStatistics.load(str(path), "trunk") == state
    with pytest.raises(CheckpointError, match="other features than those of 'another'"):
        CountStatistics.load(path, "another")
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match=r"statistics\.bin: no state file: .*cut short\? Delete it"):
        CountStatistics.load(path, "trunk")
    path.write_bytes(data[:90] + bytes([data[90] ^ 4]) + data[91:])
    with pytest.raises(CheckpointError, match="checksum"):
        CountStatistics.load(path, "trunk")
    with pytest.raises(CheckpointError, match="cannot read the state file"):
        CountStatistics.load(tmp_path / "none", "trunk")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_bytes_are_a_state_or_an_error(data):
    good = learnt(*samples(5, 3)).to_bytes()
    begin = data.draw(st.integers(0, len(good)))
    changed = good[:begin] + data.draw(st.binary(max_size=40)) + good[data.draw(st.integers(begin, len(good))) :]
    if changed != good:
        with pytest.raises(CheckpointError):
            CountStatistics.from_bytes(changed, "trunk")


def test_numbers_out_of_range():
    for features, max_count, message in (
        (0, 4, "features is 0"),
        (40000, 4, "features is 40000"),
        (4, 0, "max_count is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            CountStatistics(features, max_count)
    for features, max_count, message in (
        (4, 4.5, "max_count is 4.5, expected an integer"),
        ("4", 4, "features is '4', expected an integer"),
        (True, 4, "features is True"),
    ):
        with pytest.raises(TypeError, match=message):
            CountStatistics(features, max_count)
    state = CountStatistics(np.int64(2), np.int16(4))
    for change in (state.add, state.subtract):
        with pytest.raises(ValueError, match="threads is 0, expected at least 1"):
            change([[1, 2]], [0], threads=0)
