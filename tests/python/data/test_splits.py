import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.data import stratified_split, stratified_subset

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda values: np.array(values, dtype=np.int64))


@given(LABELS, st.floats(0, 0.99), st.integers(0, 3))
def test_a_cut_is_a_partition_with_the_promised_share_of_every_class(labels, fraction, seed):
    kept, cut = stratified_split(labels, fraction, seed=seed, purpose="val")
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(labels)))
    for class_id, size in zip(*np.unique(labels, return_counts=True), strict=True):
        share = int((labels[cut] == class_id).sum())
        assert share <= max(size - 1, 0)
        if fraction == 0:
            assert share == 0
        elif size > 1:
            assert share >= 1
            assert abs(share - fraction * size) <= 1


def test_the_same_seed_gives_the_same_cut_and_another_seed_or_purpose_does_not():
    labels = np.repeat(np.arange(4), 50)
    cut = stratified_split(labels, 0.2, seed=0, purpose="val")[1].tolist()
    assert cut == stratified_split(labels, 0.2, seed=0, purpose="val")[1].tolist()
    assert cut != stratified_split(labels, 0.2, seed=1, purpose="val")[1].tolist()
    assert cut != stratified_split(labels, 0.2, seed=0, purpose="test")[1].tolist()


def test_what_a_class_gives_does_not_depend_on_the_others():
    labels = np.repeat(np.arange(2), 40)
    alone = stratified_split(labels[:40], 0.25, seed=0, purpose="val")[1]
    both = stratified_split(labels, 0.25, seed=0, purpose="val")[1]
    np.testing.assert_array_equal(both[both < 40], alone)


def test_a_cut_is_spread_over_a_class():
    cut = stratified_split(np.zeros(1000, dtype=np.int64), 0.5, seed=0, purpose="val")[1]
    assert 400 < cut.mean() < 600
    assert 150 < (cut < 500).sum() < 350


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_bad_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="0 <= fraction < 1"):
        stratified_split(np.zeros(3, dtype=np.int64), fraction, seed=0, purpose="val")


@given(LABELS, st.data())
def test_a_subset_has_the_asked_size_and_the_classes_in_proportion(labels, data):
    count = data.draw(st.integers(1, len(labels)))
    rows = stratified_subset(labels, count, seed=0, purpose="subset")
    assert len(rows) == count
    assert (np.diff(rows) > 0).all()
    classes, sizes = np.unique(labels, return_counts=True)
    if count >= len(classes):
        assert set(labels[rows].tolist()) == set(classes.tolist())
    for class_id, size in zip(classes, sizes, strict=True):
        share = int((labels[rows] == class_id).sum())
        assert share <= size
        assert share <= size * count / len(labels) + 1


def test_a_larger_subset_contains_the_smaller_one():
    labels = np.repeat(np.arange(5), 40)
    small = stratified_subset(labels, 25, seed=2, purpose="subset")
    large = stratified_subset(labels, 100, seed=2, purpose="subset")
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize("count", [0, 4])
def test_a_subset_of_impossible_size_is_refused(count):
    with pytest.raises(ValueError, match="between 1 and the 3"):
        stratified_subset(np.zeros(3, dtype=np.int64), count, seed=0, purpose="subset")
