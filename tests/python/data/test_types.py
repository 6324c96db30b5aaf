import numpy as np
import pytest

from eccsnn.data import ImageSet, channel_statistics
from eccsnn.data.types import check_class_ids


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
    return ImageSet(pixels, [0, 1, 2, 0, 1, 2])


def test_take_and_gather_follow_nested_parts(images):
    whole = images.images
    part = images.take([5, 3, 1]).take([2, 0])
    assert part.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(part.images, whole[[1, 5]])
    np.testing.assert_array_equal(part.gather([1, 1, 0]), whole[[5, 5, 1]])
    np.testing.assert_array_equal(images.take(slice(1, 4)).images, whole[1:4])
    assert part.shape == (3, 4, 5)
    assert images.take([0, 3]).classes == (0,)


def test_taking_a_part_copies_no_pixels_and_gather_does(images):
    assert images.take([1, 2])._pool is images._pool
    assert not np.shares_memory(images.gather(slice(0, 2)), images.images)


def test_a_memory_map_stays_on_disk(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2))
    images = ImageSet(np.load(tmp_path / "a.npy", mmap_mode="r"), [0, 1])
    assert not images.images.flags.owndata
    assert type(images.gather([1])) is np.ndarray
    assert images.gather([1]).flags.writeable


def test_an_empty_set_is_fine(images):
    empty = images.take([])
    assert len(empty) == 0
    assert empty.images.shape == (0, 3, 4, 5)
    assert empty.classes == ()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros((2, 3, 4, 4), np.float32), [0, 1]), TypeError, "float32.*uint8"),
        ((np.zeros((3, 4, 4), np.uint8), [0, 1, 2]), ValueError, r"\(3, 4, 4\).*\[N, C, H, W\]"),
        ((np.zeros((2, 3, 4, 4), np.uint8), [0]), ValueError, "2 images but 1 labels"),
        ((np.zeros((2, 3, 4, 4), np.uint8), [0, -1]), ValueError, "-1"),
        ((np.zeros((2, 3, 4, 4), np.uint8), [0.0, 1.0]), TypeError, "float64.*integers"),
        ((np.zeros((2, 3, 4, 4), np.uint8), [[0], [1]]), ValueError, "one dimension"),
    ],
)
def test_wrong_arrays_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        ImageSet(*arguments)


def test_rows_must_exist():
    with pytest.raises(ValueError, match=r"rows span 0\.\.2"):
        ImageSet(np.zeros((2, 3, 4, 4), np.uint8), [0, 1], rows=[0, 2])


def test_statistics_equal_the_definition(images):
    mean, std = channel_statistics(images, chunk=4)
    scaled = images.images.astype(np.float64) / 255.0
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)


def test_statistics_do_not_depend_on_order_or_chunks(images):
    assert channel_statistics(images, chunk=1) == channel_statistics(images.take([4, 2, 0, 1, 3, 5]), chunk=1000)


def test_a_constant_channel_gets_std_one():
    mean, std = channel_statistics(ImageSet(np.full((2, 1, 3, 3), 51, np.uint8), [0, 0]))
    assert mean == (0.2,)
    assert std == (1.0,)


def test_statistics_of_nothing_are_refused(images):
    with pytest.raises(ValueError, match="empty set"):
        channel_statistics(images.take([]))


def test_class_ids_are_checked():
    assert check_class_ids(np.array([2, 0])) == (2, 0)
    with pytest.raises(ValueError, match="-1"):
        check_class_ids([0, -1])
    with pytest.raises(ValueError, match="twice"):
        check_class_ids([1, 1])


def test_event_frames_have_one_more_axis():
    frames = np.random.default_rng(0).integers(0, 9, (5, 3, 2, 4, 4), dtype=np.uint8)
    whole = ImageSet(frames, [0, 1, 0, 1, 0])
    assert (whole.shape, whole.timesteps) == ((2, 4, 4), 3)
    assert repr(whole) == "ImageSet(5 recordings in 3 frames of [2, 4, 4] in 2 classes)"
    np.testing.assert_array_equal(whole.take([4, 1]).gather([0]), frames[[4]])
    mean, std = channel_statistics(whole)
    np.testing.assert_allclose(mean, frames.mean((0, 1, 3, 4)) / 255)
    np.testing.assert_allclose(std, frames.std((0, 1, 3, 4)) / 255)
    mean, std = channel_statistics(whole, around_zero=True, chunk=2)
    assert mean == (0.0, 0.0)
    np.testing.assert_allclose(std, np.sqrt(np.square(frames / 255).mean((0, 1, 3, 4))))
