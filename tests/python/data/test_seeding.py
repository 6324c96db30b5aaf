import numpy as np
import pytest

from eccsnn.data.seeding import permutation, random_words


def test_the_numbers_never_change():
    # Written down once: another result would make every cut, batch and resumed run different from earlier ones.
    assert permutation(8, "shuffle", 0, 0).tolist() == [5, 1, 7, 0, 4, 6, 3, 2]
    assert random_words(2, "augment", 1, 2, 3).tolist() == [556529300905392298, 8297537985624256205]


def test_purpose_and_every_key_matter():
    base = random_words(4, "a", 0, 1, 2).tolist()
    others = [
        random_words(4, *key).tolist() for key in [("b", 0, 1, 2), ("a", 1, 1, 2), ("a", 0, 2, 2), ("a", 0, 1, 3)]
    ]
    assert base not in others
    assert len({tuple(o) for o in others}) == 4


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_has_every_number_once(count):
    order = permutation(count, "shuffle", 3)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


@pytest.mark.parametrize("key", [-1, 1.5, True, None])
def test_a_bad_seed_is_refused(key):
    with pytest.raises(ValueError, match="integer >= 0"):
        random_words(1, "a", key)
