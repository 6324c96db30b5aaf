import numpy as np
import pytest
import torch

from eccsnn.data import ImageSet, augment_images, batches, normalize, num_batches
from eccsnn.data.batches import crop_padding

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(1, 256, (50, 3, 32, 32), dtype=np.uint8)
    return ImageSet(pixels, np.arange(50) % 10)


def epoch_of(images, **changes):
    options = {
        "batch_size": 8,
        "seed": 3,
        "epoch": 1,
        "shuffle": True,
        "augment": "crop_flip",
        "mean": MEAN,
        "std": STD,
    }
    return list(batches(images, **{**options, **changes}))


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x[:3], y[:3], strict=True)
    )


def test_the_same_seed_and_epoch_give_the_same_bits(images):
    assert same(epoch_of(images), epoch_of(images))


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 2}])
def test_another_seed_or_epoch_gives_another_order(images, change):
    assert epoch_of(images)[0].indices.tolist() != epoch_of(images, **change)[0].indices.tolist()


@pytest.mark.parametrize("start_step", range(8))
def test_a_resumed_epoch_goes_on_with_the_same_batches(images, start_step):
    assert same(epoch_of(images, start_step=start_step), epoch_of(images)[start_step:])


def test_resuming_does_not_depend_on_the_global_generators(images):
    expected = epoch_of(images)
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002 - the point is that it does not matter
    assert same(epoch_of(images), expected)


def test_an_epoch_has_every_image_once_with_its_label(images):
    seen = torch.cat([b.indices for b in epoch_of(images)])
    assert sorted(seen.tolist()) == list(range(50))
    labels = torch.cat([b.labels for b in epoch_of(images)])
    assert labels.tolist() == images.labels[seen.numpy()].tolist()


def test_shapes_types_and_the_last_batch(images):
    got = epoch_of(images)
    assert [len(b.labels) for b in got] == [8] * 6 + [2]
    assert got[0].images.shape == (8, 3, 32, 32)
    assert (got[0].images.dtype, got[0].labels.dtype, got[0].indices.dtype) == (torch.float32, torch.int64, torch.int64)
    assert [len(b.labels) for b in epoch_of(images, drop_last=True)] == [8] * 6
    assert num_batches(50, 8) == 7
    assert num_batches(50, 8, drop_last=True) == 6


def test_without_shuffle_the_set_comes_in_order_and_normalised(images):
    got = epoch_of(images, shuffle=False, augment=None)
    assert torch.cat([b.indices for b in got]).tolist() == list(range(50))
    expected = (images.images / 255.0 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(torch.cat([b.images for b in got]).numpy(), expected, atol=2e-6)


def test_a_part_of_a_larger_array_is_read_through_its_rows(images):
    part = images.take([7, 3, 9])
    (got,) = batches(part, 4, mean=None, std=None)
    np.testing.assert_allclose(got.images.numpy(), images.images[[7, 3, 9]] / 255.0, atol=1e-6)
    assert got.indices.tolist() == [0, 1, 2]


def test_an_empty_set_has_no_batches(images):
    assert list(batches(images.take([]), 4, shuffle=True)) == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [32, 16])
def test_every_crop_is_a_window_of_the_padded_image(images, dtype, size):
    original = torch.from_numpy(images.images[:, :, :size, :size].copy()).to(dtype)
    got = augment_images(original, "crop_flip", seed=0, epoch=0, step=0)
    pad = crop_padding(size)
    padded = torch.nn.functional.pad(original, (pad,) * 4)
    places = set()
    for image, out in zip(padded, got, strict=True):
        windows = {
            (y, x, flip): image[:, y : y + size, x : x + size].flip(-1)
            if flip
            else image[:, y : y + size, x : x + size]
            for y in range(2 * pad + 1)
            for x in range(2 * pad + 1)
            for flip in (False, True)
        }
        match = [place for place, window in windows.items() if torch.equal(window, out)]
        assert len(match) == 1
        places.add(match[0])
    assert got.dtype == dtype
    assert len({y for y, _, _ in places}) > pad
    assert len({x for _, x, _ in places}) > pad
    assert {flip for _, _, flip in places} == {False, True}


def test_all_places_of_the_crop_occur():
    ramp = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).expand(200, 1, 8, 8)  # padded by 1 px: 3 x 3 places
    got = augment_images(ramp, "crop_flip", seed=0, epoch=0, step=0)
    assert len({image.numpy().tobytes() for image in got}) == 3 * 3 * 2


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else(images):
    original = torch.from_numpy(images.images.copy())
    kept = original.clone()
    got = augment_images(original, "flip", seed=0, epoch=0, step=0)
    mirrored = [torch.equal(o.flip(-1), g) for o, g in zip(original, got, strict=True)]
    untouched = [torch.equal(o, g) for o, g in zip(original, got, strict=True)]
    assert all(a != b for a, b in zip(mirrored, untouched, strict=True))
    assert 10 < sum(mirrored) < 40
    assert torch.equal(original, kept)


def test_uint8_and_float_batches_are_augmented_alike(images):
    original = torch.from_numpy(images.images.copy())
    as_bytes = augment_images(original, "crop_flip", seed=1, epoch=2, step=3)
    as_floats = augment_images(original.double(), "crop_flip", seed=1, epoch=2, step=3)
    assert torch.equal(as_bytes.double(), as_floats)


def test_every_step_draws_its_own_augmentation(images):
    original = torch.from_numpy(images.images.copy())
    first = augment_images(original, "crop_flip", seed=0, epoch=0, step=0)
    assert not torch.equal(first, augment_images(original, "crop_flip", seed=0, epoch=0, step=1))
    assert not torch.equal(first, augment_images(original, "crop_flip", seed=0, epoch=1, step=0))


def test_padding_follows_the_image_size():
    assert [crop_padding(s) for s in (4, 28, 32, 64, 224)] == [1, 4, 4, 8, 28]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"start_step": 8}, r"start_step is 8, expected 0\.\.7"),
        ({"start_step": -1}, "start_step is -1"),
        ({"augment": "crop"}, "'crop', expected one of 'crop_flip', 'flip' or None"),
        ({"mean": None}, "belong together"),
        ({"mean": (0.5,), "std": (0.5,)}, "expected 3, one a channel"),
        ({"std": (0.5, 0.0, 0.5)}, "expected values > 0"),
        ({"std": (0.5, float("nan"), 0.5)}, "expected values > 0"),
        ({"seed": -1}, "integer >= 0"),
        ({"epoch": -1}, "integer >= 0"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_batch(images, changes, words):
    options = {"batch_size": 8, "shuffle": True, "mean": MEAN, "std": STD, **changes}
    with pytest.raises(ValueError, match=words):
        batches(images, **options)


def test_only_bytes_are_normalised():
    with pytest.raises(TypeError, match="float32, expected uint8"):
        normalize(torch.zeros(1, 3, 2, 2))


def test_augmenting_needs_four_dimensions():
    with pytest.raises(ValueError, match=r"\[3, 8, 8\], expected \[N, C, H, W\]"):
        augment_images(torch.zeros(3, 8, 8), "flip", seed=0, epoch=0, step=0)
