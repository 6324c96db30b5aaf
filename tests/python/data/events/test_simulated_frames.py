"""Data sets of recordings that are made of images: no file of a recording, but the same frames as from one."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eccsnn.data import ImageSet, batches, load_dataset
from eccsnn.data.events.camera_path import CameraPath
from eccsnn.data.events.datasets import FrameOptions, read_frames
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import PRESETS
from eccsnn.data.events.simulate_dataset import simulate_dataset
from eccsnn.data.events.simulated import open_simulated
from eccsnn.errors import ConfigError, DataError

DIGITS = {"images": "digits", "limit": 20}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def splits(cache):
    return load_dataset("cifar10_dvs", simulate=DIGITS, timesteps=3, image_size=16, cache_dir=cache)


def built(source):
    arrays = {}

    def allocate(name, shape, dtype):
        return arrays.setdefault(name, np.zeros(shape, dtype=dtype))

    source.build(allocate)
    return arrays


@pytest.mark.parametrize("preset", ["cifar10_dvs", "n_caltech101", "n_mnist"])
def test_frames_are_those_of_the_files_that_the_simulator_writes(tmp_path, preset):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16)).astype(np.uint8)
    images = ImageSet(pixels, [0, 1])
    options = FrameOptions(size=24, timesteps=4)
    source = open_simulated(preset, images, ("a", "b"), options, source="noise", key={}, seed=5)
    made = simulate_dataset(images, images.labels, ("a", "b"), tmp_path / "set", preset=preset, seed=5)
    files = sorted(p for p in made.root.rglob("*") if p.suffix in (".aedat", ".bin"))
    frames = built(source)["images"]
    assert len(files) == 2
    assert frames.sum() > 1000
    for file, expected in zip(files, frames, strict=True):
        np.testing.assert_array_equal(read_frames(file, preset, options), expected)


def write_mnist(root):
    """Images as MNIST is often unpacked: {train,test}/DIGIT/*.png of 28 px."""
    random = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 1)):
        for digit in range(10):
            folder = root / part / str(digit)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 255, (28, 28)).astype(np.uint8)).save(folder / f"{i}.png")
    return root


def test_n_mnist_keeps_the_parts_of_its_images(cache, tmp_path):
    made = {"images": "image_folder", "root": str(write_mnist(tmp_path / "mnist"))}
    splits = load_dataset("n_mnist", simulate=made, timesteps=2, val_fraction=0.0, cache_dir=cache)
    assert (len(splits.train), len(splits.test)) == (30, 10)
    assert splits.image_shape == (2, 34, 34)
    assert splits.name.startswith("simulated DVS: N-MNIST of")
    some = load_dataset("n_mnist", simulate=made | {"limit": 20}, timesteps=2, val_fraction=0.0, cache_dir=cache)
    assert (len(some.train), len(some.test)) == (10, 10)
    with pytest.raises(ConfigError, match="comes with a test part"):
        load_dataset("n_mnist", simulate=made, timesteps=2, test_fraction=0.5, cache_dir=cache)


def test_names_say_that_nothing_was_recorded(splits, cache):
    assert splits.name == "simulated DVS: CIFAR10-DVS of scikit-learn digits"
    named = load_dataset(
        "cifar10_dvs", simulate=DIGITS, timesteps=3, image_size=16, cache_dir=cache, display_name="my digits"
    )
    assert named.name == "simulated DVS: my digits"
    assert named.fingerprint == splits.fingerprint
    assert len(splits.train) + len(splits.val) + len(splits.test) == 20
    assert splits.timesteps == 3
    assert splits.image_shape == (2, 16, 16)


def test_binary_frames_are_spikes(splits, cache):
    binary = load_dataset("cifar10_dvs", simulate=DIGITS, timesteps=3, image_size=16, cache_dir=cache, binary=True)
    np.testing.assert_array_equal(binary.train.images, splits.train.images > 0)
    (batch,) = batches(binary.train, 100, mean=binary.mean, std=binary.std)
    assert set(batch.images.unique().tolist()) == {0.0, 1.0}


def test_another_seed_makes_another_camera(splits, cache):
    other = load_dataset("cifar10_dvs", simulate=DIGITS | {"seed": 1}, timesteps=3, image_size=16, cache_dir=cache)
    assert other.fingerprint != splits.fingerprint


def write_photos(folder, classes, count=3):
    """Photographs of several shapes, none of them square."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 255, (20 + 4 * i, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"image_{i + 1:04d}.png")


@pytest.fixture
def caltech(tmp_path):
    write_photos(
        tmp_path / "caltech101" / "101_ObjectCategories", ("BACKGROUND_Google", "Faces", "Faces_easy", "anchor")
    )
    return tmp_path


def test_caltech101_is_recorded_whole_and_with_the_classes_of_n_caltech101(cache, caltech, tmp_path):
    made = {"images": "caltech101", "root": str(caltech)}
    options = {"timesteps": 2, "image_size": 24, "cache_dir": cache}
    data = load_dataset("n_caltech101", simulate=made, **options)
    assert data.class_names == ("BACKGROUND_Google", "Faces_easy", "anchor")
    assert data.name == "simulated DVS: N-Caltech101 of Caltech-101"
    assert len(data.train) + len(data.val) + len(data.test) == 9
    assert (data.train.images[..., 16:].sum(axis=(1, 2, 3, 4)) > 0).all()  # the right third, too
    files = ImageFiles.of_folder(caltech / "caltech101" / "101_ObjectCategories", ignore=("Faces",))
    simulate_dataset(files, files.labels, files.class_names, tmp_path / "set", preset="n_caltech101")
    read = load_dataset("n_caltech101", root=tmp_path / "set", **options)
    assert read.class_names == data.class_names
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(read, part).images, getattr(data, part).images)


def test_the_background_is_left_out_on_demand(cache, caltech):
    made = {"images": "caltech101", "root": str(caltech)}
    options = {"timesteps": 2, "image_size": 24, "cache_dir": cache, "simulate": made}
    data = load_dataset("n_caltech101", include_background=False, **options)
    assert data.class_names == ("Faces_easy", "anchor")
    assert data.name == "simulated DVS: N-Caltech101 of Caltech-101 without background"
    with pytest.raises(ConfigError, match="include_background is False, which does not apply to images of 'digits'"):
        load_dataset("n_caltech101", simulate=DIGITS, include_background=False, cache_dir=cache)


def test_changed_photographs_are_recorded_anew(cache, tmp_path):
    write_photos(tmp_path / "photos" / "train", ("ant", "anchor"))
    write_photos(tmp_path / "photos" / "test", ("ant", "anchor"), count=1)
    options = {"timesteps": 2, "image_size": 24, "cache_dir": cache}
    made = {"images": "image_folder", "root": str(tmp_path / "photos")}
    before = load_dataset("n_caltech101", simulate=made, **options)
    assert len(before.train) + len(before.val) + len(before.test) == 6  # the training part
    Image.fromarray(np.full((30, 30, 3), 9, np.uint8)).save(tmp_path / "photos/train/ant/image_0001.png")
    assert load_dataset("n_caltech101", simulate=made, **options).fingerprint != before.fingerprint


def test_another_camera_is_another_entry_of_the_cache(splits, cache, monkeypatch):
    preset = PRESETS["cifar10_dvs"]
    for change in (
        {"sensor": replace(preset.sensor, threshold_on=0.5)},
        {"path": CameraPath.closed_loops(loops=2, side_px=4.0, side_us=54_000)},
        {"border_px": 1},
    ):
        monkeypatch.setitem(PRESETS, "cifar10_dvs", replace(preset, **change))
        other = load_dataset("cifar10_dvs", simulate=DIGITS, timesteps=3, image_size=16, cache_dir=cache)
        assert other.fingerprint != splits.fingerprint


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("digits", {"simulate": DIGITS}, "simulate applies to event frames only"),
        ("digits", {"binary": True}, "binary applies to event frames only"),
        ("cifar10_dvs", {"simulate": DIGITS, "root": "x"}, "recordings are either read or made"),
        ("cifar10_dvs", {"simulate": {"images": "n_mnist"}}, "which are recordings already"),
        ("cifar10_dvs", {"simulate": {"images": "digit"}}, "did you mean 'digits'"),
        ("cifar10_dvs", {"simulate": {"images": "digits", "root": "x"}}, "has no files"),
        ("cifar10_dvs", {"simulate": {"images": "digits", "limit": 1}}, "expected at least 2"),
        ("cifar10_dvs", {"simulate": DIGITS, "image_size": 129}, "expected at most 128"),
        ("n_mnist", {"simulate": DIGITS, "image_size": 35}, "expected at most 34"),
        ("dvs128_gesture", {"simulate": DIGITS}, "no preset 'dvs128_gesture'"),
    ],
)
def test_what_cannot_be_made_is_an_error(cache, name, given, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(name, cache_dir=cache, **given)


def test_a_recording_with_fewer_events_than_slices_is_an_error():
    grey = ImageSet(np.full((1, 1, 8, 8), 90, np.uint8), [0])
    source = open_simulated("n_caltech101", grey, ("a",), FrameOptions(size=8, timesteps=10**6), source="grey", key={})
    with pytest.raises(DataError, match="image 0 of grey: its simulated recording is too short"):
        built(source)


def test_more_slices_than_a_recording_has_are_refused_before_they_are_laid_out(cache):
    with pytest.raises(
        DataError, match=r"its simulated recording is too short: \d+ events cannot be cut into 1000000000"
    ):
        load_dataset("cifar10_dvs", cache_dir=cache, timesteps=10**9, simulate={"images": "digits", "limit": 40})
