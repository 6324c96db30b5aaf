import numpy as np
import pytest

from eccsnn.data import channel_statistics, list_datasets, load_dataset
from eccsnn.errors import ConfigError


def load(root, **options):
    return load_dataset("image_folder", root=root, image_size=8, **options)


def test_every_data_set_says_what_it_needs():
    infos = {info.name: info for info in list_datasets()}
    images = ["digits", "image_folder", "cifar10", "cifar100", "caltech101", "tiny_imagenet"]
    assert list(infos) == [*images, "cifar10_dvs", "n_caltech101", "n_mnist", "dvs128_gesture"]
    assert all(info.title and info.description for info in infos.values())
    assert [name for name, info in infos.items() if info.layout is None] == ["digits"]
    assert "data_batch_1" in infos["cifar10"].layout
    assert "100 classes" in infos["cifar100"].description


def test_loading_twice_gives_the_same(pets):
    first, second = load(pets), load(pets)
    assert first.fingerprint == second.fingerprint
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(first, part).images, getattr(second, part).images)
        np.testing.assert_array_equal(getattr(first, part).labels, getattr(second, part).labels)


@pytest.mark.parametrize("change", [{"seed": 1}, {"val_fraction": 0.2}, {"subset": {"test": 3}}])
def test_the_fingerprint_covers_the_cut(pets, change):
    assert load(pets).fingerprint != load(pets, **change).fingerprint


def test_the_fingerprint_covers_class_names_and_not_the_display_name(pets):
    before = load(pets).fingerprint
    assert load(pets, display_name="Pets, scaled").fingerprint == before
    for part in ("train", "test"):
        (pets / part / "cat").rename(pets / part / "bird")
    assert load(pets).fingerprint != before


def test_the_fingerprint_does_not_depend_on_where_the_data_lie(pets):
    before = load(pets).fingerprint
    assert load(pets.rename(pets.with_name("moved"))).fingerprint == before


def test_statistics_come_from_train_alone(pets):
    data = load(pets, subset={"train": 10})
    assert (data.mean, data.std) == channel_statistics(data.train)
    assert data.mean != load(pets).mean


def test_subsets_are_stratified_parts_of_the_whole(pets):
    whole, part = load(pets), load(pets, subset={"train": 9, "test": 3})
    assert np.bincount(part.train.labels).tolist() == [6, 3]
    assert np.bincount(part.test.labels).tolist() == [2, 1]
    np.testing.assert_array_equal(part.val.images, whole.val.images)
    rows = {image.tobytes() for image in whole.train.images}
    assert {image.tobytes() for image in part.train.images} < rows


def test_no_val_when_none_is_asked_for(pets):
    data = load(pets, val_fraction=0.0)
    assert (len(data.train), len(data.val)) == (30, 0)
    assert data.val.shape == (3, 8, 8)


def test_parts_share_one_array_on_disk(pets):
    data = load(pets)
    assert data.train._pool.base is data.test._pool.base
    assert not data.train._pool.flags.writeable


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cifar", {}, r"unknown data set 'cifar'; expected one of digits, .*did you mean 'cifar10'"),
        ("xyz", {}, "unknown data set 'xyz'"),
        ("digits", {"root": "/data"}, "leave root out"),
        ("digits", {"image_size": 0}, "image_size is 0"),
        ("digits", {"val_fraction": 1.0}, "val_fraction is 1.0, expected 0 <= val_fraction < 1"),
        ("digits", {"val_fraction": -0.1}, "val_fraction is -0.1"),
        ("digits", {"test_fraction": 0.0}, "test_fraction is 0.0, expected 0 < test_fraction < 1"),
        ("digits", {"seed": -1}, "seed is -1"),
        ("digits", {"download": True}, "cannot be downloaded"),
        ("tiny_imagenet", {"download": True}, "cannot be downloaded; put its files in root: wnids.txt"),
        ("digits", {"include_background": True}, "caltech101 only, not to 'digits'"),
        ("digits", {"subset": {"trian": 5}}, "subset names 'trian', expected only train, val, test"),
        ("digits", {"subset": {"val": 100000}}, "subset asks for 100000 images of val, expected between 1 and the 145"),
        ("digits", {"subset": {"train": 0}}, "subset asks for 0 images of train"),
    ],
)
def test_arguments_are_checked(name, options, words):
    with pytest.raises(ConfigError, match=words):
        load_dataset(name, **options)


def test_a_home_may_be_written_with_a_tilde(pets, monkeypatch):
    monkeypatch.setenv("HOME", str(pets.parent))
    assert load("~/pets").fingerprint == load(pets).fingerprint
