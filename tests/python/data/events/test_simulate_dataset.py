"""Simulated data sets: the original's layout, resuming, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from eccsnn.data import ImageSet, load_dataset
from eccsnn.data.events import read_events
from eccsnn.data.events.classes import CIFAR10_DVS_CLASSES
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import PRESETS
from eccsnn.data.events.simulate_dataset import simulate_dataset
from eccsnn.errors import ConfigError


def images(count: int, channels: int = 3) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count) % 10)


def tree(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def simulated(root, count: int = 30, **options):
    data = images(count)
    return simulate_dataset(data, data.labels, CIFAR10_DVS_CLASSES, root, preset="cifar10_dvs", **options)


def test_the_readers_open_it_as_the_original(tmp_path):
    result = simulated(tmp_path / "set")
    assert (result.recordings, result.made) == (30, 30)
    assert result.bytes_on_disk >= 8 * result.events > 0
    events = read_events(tmp_path / "set" / "frog" / "cifar10_frog_0.aedat")
    picture = images(30).images[6].transpose(1, 2, 0)
    assert events == PRESETS["cifar10_dvs"].record(np.ascontiguousarray(picture), seed=6)
    splits = load_dataset("cifar10_dvs", root=tmp_path / "set", cache_dir=tmp_path / "cache")
    assert splits.num_classes == 10
    assert len(splits.train) + len(splits.val) + len(splits.test) == 30


def test_it_resumes_and_does_not_depend_on_threads(tmp_path):
    first = simulated(tmp_path / "a", 6)
    gone = tmp_path / "a" / "cat" / "cifar10_cat_0.aedat"
    expected = tree(tmp_path / "a")
    gone.unlink()
    again = simulated(tmp_path / "a", 6)
    assert (first.made, again.made) == (6, 1)
    assert tree(tmp_path / "a") == expected
    simulated(tmp_path / "b", 6, threads=3)
    assert tree(tmp_path / "b") == expected


def test_an_interrupted_set_has_no_half_file(tmp_path):
    def stop(done: int, count: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path, 20, progress=stop)
    files = list(tmp_path.rglob("*.aedat"))
    assert 3 <= len(files) < 20
    assert not list(tmp_path.rglob("*.part"))
    assert simulated(tmp_path, 20).made == 20 - len(files)


def test_it_says_that_it_is_simulated(tmp_path):
    simulated(tmp_path, 1, source="noise")
    manifest = json.loads((tmp_path / "simulated.json").read_text())
    assert "not recorded" in manifest["simulated"]
    assert manifest["source"] == "noise"
    assert manifest["sensor"]["threshold_on"] == PRESETS["cifar10_dvs"].sensor.threshold_on


def test_n_caltech101_keeps_the_images_shape(tmp_path):
    pictures = [np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)]
    simulate_dataset(pictures, [0], ["accordion"], tmp_path, preset="n_caltech101")
    events = read_events(tmp_path / "Caltech101" / "accordion" / "image_0001.bin")
    assert 200 < events.x.max() < 240
    assert 130 < events.y.max() < 160
    assert 290_000 < events.t[-1] <= 300_000


def test_compact_arrays(tmp_path):
    simulated(tmp_path / "files", 2)
    simulated(tmp_path / "arrays", 2, format="npz")
    arrays = read_events(tmp_path / "arrays" / "airplane" / "cifar10_airplane_0.npz", sensor=(128, 128))
    assert arrays == read_events(tmp_path / "files" / "airplane" / "cifar10_airplane_0.aedat")


def test_other_images_do_not_go_into_the_same_folder(tmp_path):
    simulated(tmp_path / "set", 4)
    before = tree(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"another recordings, images \(it has .*recordings 4"):
        simulated(tmp_path / "set", 8)
    data = images(4)
    with pytest.raises(ConfigError, match=r"another images .*choose another folder, or the same images"):
        simulate_dataset(data, data.labels[::-1], CIFAR10_DVS_CLASSES, tmp_path / "set", preset="cifar10_dvs")
    other = ImageSet(data.images[::-1], data.labels)
    with pytest.raises(ConfigError, match="another images"):
        simulate_dataset(other, data.labels, CIFAR10_DVS_CLASSES, tmp_path / "set", preset="cifar10_dvs")
    assert tree(tmp_path / "set") == before


def test_parts_and_files_are_part_of_what_a_folder_holds(tmp_path):
    data = images(2, channels=1)
    options = {"preset": "n_mnist", "root": tmp_path / "set"}
    simulate_dataset(data, [0, 1], "01", is_test=[False, True], **options)
    with pytest.raises(ConfigError, match="another images"):
        simulate_dataset(data, [0, 1], "01", is_test=[True, False], **options)
    for name in ("0", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            pixels = data.images[i, 0]
            Image.fromarray(np.pad(pixels, i)).save(tmp_path / "photos" / name / f"{i}.png")
    for seed in range(20):
        some = ImageFiles.of_folder(tmp_path / "photos", limit=2, seed=seed)
        simulate_dataset(some, some.labels, some.class_names, tmp_path / f"s{seed}", preset="n_mnist")
    prints = {json.loads((tmp_path / f"s{seed}" / "simulated.json").read_text())["images"] for seed in range(20)}
    assert len(prints) == 4


def test_bad_input_is_refused(tmp_path):
    simulated(tmp_path / "set", 1)
    with pytest.raises(ConfigError, match="another seed"):
        simulated(tmp_path / "set", 1, seed=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match=r"holds 'holiday\.jpg'"):
        simulated(tmp_path / "photos", 1)
    data = images(2)
    with pytest.raises(ConfigError, match="no preset 'dvs'"):
        simulate_dataset(data, data.labels, CIFAR10_DVS_CLASSES, tmp_path / "x", preset="dvs")
    with pytest.raises(ConfigError, match="format is 'hdf5'"):
        simulated(tmp_path / "x", 1, format="hdf5")
    with pytest.raises(ValueError, match="2 images and 1 labels"):
        simulate_dataset(data, [0], CIFAR10_DVS_CLASSES, tmp_path / "x", preset="cifar10_dvs")
    with pytest.raises(ValueError, match="expected 0 to 0"):
        simulate_dataset(data, [0, 1], ["cat"], tmp_path / "x", preset="cifar10_dvs")
