import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.data import ImageSet, build_scenario, restrict
from eccsnn.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "num_classes", "sizes"),
    [
        ("B5-Inc1", 10, [5, 1, 1, 1, 1, 1]),
        ("B5-Inc5", 10, [5, 5]),
        ("B2-Inc2", 10, [2] * 5),
        ("B50-Inc10", 100, [50, 10, 10, 10, 10, 10]),
        ("B50-Inc5", 100, [50] + [5] * 10),
        ("B10-Inc10", 100, [10] * 10),
        ("B5-Inc3", 10, [5, 3, 2]),
        ("B4-Inc3", 10, [4, 3, 3]),
        ("B11-Inc10", 101, [11] + [10] * 9),
        ("B51-Inc10", 101, [51] + [10] * 5),
        ("B21-Inc40", 101, [21, 40, 40]),
        ("B5-Inc9", 10, [5, 5]),
        ("B10-Inc1", 10, [10]),
    ],
)
def test_sizes_of_tasks(name, num_classes, sizes):
    scenario = build_scenario(name, num_classes)
    assert [len(task) for task in scenario.tasks] == sizes
    assert scenario.class_order == tuple(range(num_classes))
    assert scenario.name == name


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.none() | st.integers(0, 5))
def test_every_class_is_in_exactly_one_task(num_classes, base, step, seed):
    if base > num_classes:
        base = num_classes
    scenario = build_scenario(f"B{base}-Inc{step}", num_classes, seed)
    assert sorted(scenario.class_order) == list(range(num_classes))
    assert all(len(task) == step for task in scenario.tasks[1:-1])
    assert all(type(c) is int for c in scenario.class_order)


def test_seeded_order_is_shuffled_and_repeatable():
    first = build_scenario("B5-Inc5", 100, seed=1)
    assert first == build_scenario("B5-Inc5", 100, seed=1)
    assert first != build_scenario("B5-Inc5", 100, seed=2)
    assert first.class_order != tuple(range(100))


@pytest.mark.parametrize("spelling", ["B-5, Inc-1", "b5-inc1", " B5 Inc1 ", "B5,Inc1"])
def test_other_spellings_get_the_standard_name(spelling):
    assert build_scenario(spelling, 10).name == "B5-Inc1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("5-1", "not understood"),
        ("B5", "not understood"),
        ("B5-Inc", "not understood"),
        ("B5-Inc1x", "not understood"),
        ("", "not understood"),
        (None, "not understood"),
        ("B0-Inc2", "write B2-Inc2"),
        ("B5-Inc0", "0 classes a task"),
        ("B11-Inc1", "11 classes, but the data set has 10"),
    ],
)
def test_bad_strings_say_what_is_expected(name, words):
    with pytest.raises(ConfigError, match=words):
        build_scenario(name, 10)


def test_a_data_set_without_classes_is_refused():
    with pytest.raises(ConfigError, match="num_classes is 0"):
        build_scenario("B1-Inc1", 0)


def test_classes_learned_accumulate():
    scenario = build_scenario("B2-Inc2", 5)
    assert [scenario.classes_learned(t) for t in range(4)] == [(), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    with pytest.raises(ValueError, match=r"expected 0\.\.3"):
        scenario.classes_learned(4)


@pytest.fixture
def images() -> ImageSet:
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    return ImageSet(pixels, [4, 0, 2, 4, 0, 2])


def test_restrict_keeps_order_and_global_labels(images):
    part = restrict(images, [4, 2])
    assert part.labels.tolist() == [4, 2, 4, 2]
    assert part.images[:, 0, 0, 0].tolist() == [0, 2, 3, 5]


def test_restrict_to_a_class_that_is_absent(images):
    assert restrict(images, [2, 7]).labels.tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"none of the classes \[7\].*\[0, 2, 4\]"):
        restrict(images, [7])
    assert len(restrict(images.take([]), [7])) == 0
    assert len(restrict(images, [])) == 0


@pytest.mark.parametrize("classes", [[-1], [0, 0]])
def test_restrict_refuses_impossible_classes(images, classes):
    with pytest.raises(ValueError, match="classes"):
        restrict(images, classes)
