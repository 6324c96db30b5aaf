"""Event data sets in tiny copies of their layouts, in the real formats."""

import logging
import struct

import numpy as np
import pytest

from eccsnn.data import load_dataset
from eccsnn.data.events import Events, frames, write_events
from eccsnn.data.events.classes import CIFAR10_DVS_CLASSES, N_CALTECH101_CLASSES
from eccsnn.data.events.datasets import FrameOptions, read_frames
from eccsnn.errors import ConfigError, DataError


@pytest.fixture
def cifar10_dvs(tmp_path, make_events):
    """cifar10_dvs(".aedat", count=10, below=""): ten classes of so many recordings."""

    def make(suffix=".aedat", count=10, below=""):
        for label, name in enumerate(CIFAR10_DVS_CLASSES):
            folder = tmp_path / below / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                write_events(folder / f"cifar10_{name}_{i}{suffix}", make_events(400, seed=100 * label + i))
        return tmp_path

    return make


def test_cifar10_dvs_is_cut_nine_to_one_in_every_class(cifar10_dvs):
    root = cifar10_dvs()
    data = load_dataset("cifar10_dvs", root=root, timesteps=4, image_size=16, val_fraction=0.0)
    assert data.name == "CIFAR10-DVS (.aedat)"
    assert data.class_names == CIFAR10_DVS_CLASSES
    assert (data.timesteps, data.image_shape) == (4, (2, 16, 16))
    assert np.bincount(data.train.labels).tolist() == [9] * 10
    assert np.bincount(data.test.labels).tolist() == [1] * 10
    assert data.train.images.shape == (90, 4, 2, 16, 16)
    assert data.train.images.sum() == 90 * 400  # no event is lost
    other = load_dataset("cifar10_dvs", root=root, timesteps=4, image_size=16, val_fraction=0.0, seed=1)
    assert other.fingerprint != data.fingerprint
    again = load_dataset("cifar10_dvs", root=root, timesteps=4, image_size=16, val_fraction=0.0)
    assert again.fingerprint == data.fingerprint


def test_the_defaults_are_ten_slices_of_48_px_by_count(cifar10_dvs, make_events):
    data = load_dataset("cifar10_dvs", root=cifar10_dvs(count=3))
    assert data.train.images.shape[1:] == (10, 2, 48, 48)
    expected = {
        frames.fixed_frames(make_events(400, seed=100 * label + i), 10, height=48, width=48).tobytes()
        for label in range(10)
        for i in range(3)
    }
    images = np.concatenate([part.images for part in (data.train, data.val, data.test)])
    assert {image.astype(np.int32).tobytes() for image in images} == expected


def test_all_formats_of_cifar10_dvs_give_the_same_frames(cifar10_dvs):
    options = {"timesteps": 3, "image_size": 8}
    prints = []
    for number, (suffix, below) in enumerate(((".aedat", "extract"), (".npz", "events_np"), (".aedat4", "CIFAR10DVS"))):
        root = cifar10_dvs(suffix, count=2, below=f"{number}/{below}") / str(number)
        prints.append(load_dataset("cifar10_dvs", root=root, **options))
    assert len({data.fingerprint for data in prints}) == 1
    assert [data.name for data in prints] == [f"CIFAR10-DVS ({s})" for s in (".aedat", ".npz", ".aedat4")]


def test_what_changes_the_frames_is_another_entry_of_the_cache(cifar10_dvs, cache_dir):
    root = cifar10_dvs(count=2)
    base = {"timesteps": 4, "image_size": 8, "slice_by": "count", "policy": "strict"}
    for change in ({}, {"timesteps": 5}, {"image_size": 9}, {"slice_by": "time"}, {"policy": "skip"}):
        load_dataset("cifar10_dvs", root=root, **{**base, **change})
    assert len(list(cache_dir.glob("cifar10_dvs-*.json"))) == 5


def test_statistics_leave_silence_at_zero(cifar10_dvs):
    data = load_dataset("cifar10_dvs", root=cifar10_dvs(count=3), timesteps=4, image_size=8)
    counts = data.train.images.astype(np.float64)
    assert data.mean == (0.0, 0.0)
    expected = np.sqrt(np.square(counts).mean(axis=(0, 1, 3, 4))) / 255
    np.testing.assert_allclose(data.std, expected)


def test_a_bad_recording_is_an_error_or_skipped_and_counted(cifar10_dvs, caplog):
    root = cifar10_dvs(count=3)
    options = {"root": root, "timesteps": 4, "image_size": 8}
    victim = root / "cat" / "cifar10_cat_1.aedat"
    good = victim.read_bytes()
    write_events(victim, Events.empty(width=128, height=128))
    with pytest.raises(DataError, match=r"1 of 30 recordings.*cifar10_cat_1.aedat: 0 events cannot be cut into 4"):
        load_dataset("cifar10_dvs", **options)
    with caplog.at_level(logging.WARNING):
        data = load_dataset("cifar10_dvs", policy="skip", **options)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 29
    assert "left out 1 empty recording; the first: " in caplog.text
    caplog.clear()
    load_dataset("cifar10_dvs", policy="skip", **options)  # from the cache
    assert "1 of 30 recordings are left out" in caplog.text
    victim.write_bytes(good[:-3])
    with pytest.raises(DataError, match=r"cifar10_cat_1.aedat: byte \d+ \(event 399\).*truncated"):
        load_dataset("cifar10_dvs", **options)
    data = load_dataset("cifar10_dvs", policy="skip", **options)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 30


def test_a_recording_that_loses_most_of_its_events_is_skipped_and_counted(cifar10_dvs, make_events, caplog):
    root = cifar10_dvs(count=3)
    options = {"root": root, "timesteps": 4, "image_size": 8, "policy": "skip"}
    victim = root / "cat" / "cifar10_cat_1.aedat"
    events = make_events(400, seed=0)
    for outlier, usable in ((100, 29), (300, 30)):  # one time twenty minutes ahead: 299 or 99 events are before it
        data = bytearray(victim.read_bytes()[: -8 * 400])
        for i, (t, x, y, p) in enumerate(zip(events.t, events.x, events.y, events.polarity, strict=True)):
            t = int(t) + (1_200_000_000 if i == outlier else 0)
            data += struct.pack(">II", (127 - int(x)) << 8 | (127 - int(y)) << 1 | (1 - int(p)), t)
        victim.write_bytes(data)
        caplog.clear()
        splits = load_dataset("cifar10_dvs", **options)
        assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == usable
        if usable == 29:
            assert "left out 1 broken recording; the first: " in caplog.text
            assert "cifar10_cat_1.aedat: 299 of 400 events are bad" in caplog.text
            with pytest.raises(DataError, match=r"cifar10_cat_1\.aedat: 299 of 400 events are bad, too many"):
                read_frames(victim, "cifar10_dvs", FrameOptions(size=8, timesteps=4, policy="skip"))
        else:
            assert "left out 99 events back in time" in caplog.text


def test_counts_that_do_not_fit_in_a_byte_are_reported(tmp_path, caplog):
    for name in CIFAR10_DVS_CLASSES:
        (tmp_path / name).mkdir()
        for i in range(2):
            t = np.arange(600)
            at = np.full(600, i)
            write_events(tmp_path / name / f"{i}.aedat", Events(t, at, at, at, width=128, height=128))
    data = load_dataset("cifar10_dvs", root=tmp_path, timesteps=2, image_size=8, val_fraction=0.0)
    assert data.train.images.max() == 255
    assert "40 counts of 20 recordings were above 255" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 129}, "image_size is 129, but the sensor of CIFAR10-DVS has 128 x 128 px"),
        ({"timesteps": 0}, "timesteps is 0"),
        ({"slice_by": "number"}, "slice_by 'number', expected at least 1 and one of 'count', 'time'"),
        ({"policy": "ignore"}, "policy is 'ignore', expected one of 'strict', 'skip'"),
        ({"include_background": True}, "include_background applies to caltech101 and n_caltech101 only"),
        ({"download": True}, "cannot be downloaded"),
    ],
)
def test_wrong_options(cifar10_dvs, options, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset("cifar10_dvs", root=cifar10_dvs(count=2), **options)


@pytest.mark.parametrize("suffix", [".aedat", ".aedat4", ".npz"])
def test_a_file_without_a_byte_is_an_empty_recording(cifar10_dvs, caplog, suffix):
    options = {"root": cifar10_dvs(suffix, count=3), "timesteps": 4, "image_size": 8}
    victim = options["root"] / "cat" / f"cifar10_cat_1{suffix}"
    victim.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 30 recordings.*cifar10_cat_1.*The policy 'skip' leaves bad events and"):
        load_dataset("cifar10_dvs", **options)
    data = load_dataset("cifar10_dvs", policy="skip", **options)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 29
    assert "left out 1 empty recording; the first: " in caplog.text
    victim.write_bytes(b"what is this?")
    with pytest.raises(DataError, match=r"1 of 30 .*cifar10_cat_1.*no files that cannot be read: get those again, or"):
        load_dataset("cifar10_dvs", policy="skip", **options)


@pytest.mark.parametrize("policy", ["strict", "skip"])
@pytest.mark.parametrize("slice_by", ["count", "time"])
def test_more_slices_than_any_recording_has_are_refused_before_they_are_laid_out(cifar10_dvs, policy, slice_by):
    options = {"root": cifar10_dvs(count=2), "timesteps": 10**9, "slice_by": slice_by, "policy": policy}
    with pytest.raises(
        DataError, match=r"no recording is long enough\. The first: .*400 events .*; take fewer timesteps"
    ):
        load_dataset("cifar10_dvs", **options)


def test_frame_options_are_refused_for_images():
    with pytest.raises(ConfigError, match="timesteps applies to event frames only, not to data set 'digits'"):
        load_dataset("digits", timesteps=4)


def test_a_missing_class_of_cifar10_dvs_is_an_error(cifar10_dvs):
    root = cifar10_dvs(count=1)
    (root / "cat").rename(root / "katze")
    with pytest.raises(DataError, match=r"holds no CIFAR10-DVS: there is no folder 'cat' .*expected CLASS/"):
        load_dataset("cifar10_dvs", root=root)


def write_caltech(root, classes, make_events, count=3, suffix=".bin"):
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            recording = make_events(200, seed=100 * label + i, width=240, height=180)
            write_events(root / name / f"image_{i:04d}{suffix}", recording)


def test_n_caltech101_has_a_class_list_of_its_own(tmp_path, make_events):
    write_caltech(tmp_path / "Caltech101", N_CALTECH101_CLASSES, make_events, count=2)
    options = {"root": tmp_path, "timesteps": 2, "image_size": 8}
    data = load_dataset("n_caltech101", **options)
    assert data.name == "N-Caltech101 (.bin)"
    assert len(data.class_names) == 101
    assert "BACKGROUND_Google" in data.class_names
    assert "Faces" not in data.class_names
    without = load_dataset("n_caltech101", include_background=False, **options)
    assert without.class_names == data.class_names[1:]
    assert without.name == "N-Caltech101 without background (.bin)"


def test_an_incomplete_n_caltech101_says_so(tmp_path, make_events, caplog):
    write_caltech(tmp_path, ("Faces", "ant", "anchor"), make_events)
    data = load_dataset("n_caltech101", root=tmp_path, timesteps=2, image_size=8)
    assert data.class_names == ("Faces", "anchor", "ant")
    assert data.name == "N-Caltech101 (3 folders, not its 101) (.bin)"
    assert "has 3 class folders, not the 101" in caplog.text
    (tmp_path / "zebra").mkdir()
    with pytest.raises(DataError, match="a folder 'zebra', which is no class of N-Caltech101"):
        load_dataset("n_caltech101", root=tmp_path)


def test_n_mnist_has_its_own_parts_and_size(tmp_path, make_events):
    for part, count in (("Train", 3), ("Test", 1)):
        for digit in range(10):
            (tmp_path / part / str(digit)).mkdir(parents=True)
            for i in range(count):
                recording = make_events(50, seed=digit, width=34, height=34)
                write_events(tmp_path / part / str(digit) / f"{i:05d}.bin", recording)
    data = load_dataset("n_mnist", root=tmp_path, timesteps=2, val_fraction=0.0)
    assert (len(data.train), len(data.test), data.image_shape) == (30, 10, (2, 34, 34))
    with pytest.raises(ConfigError, match="comes with a test part"):
        load_dataset("n_mnist", root=tmp_path, test_fraction=0.1)


@pytest.mark.parametrize(
    ("below", "suffix"),
    [
        ("Caltech101", ".bin"),
        ("", ".bin"),
        ("NCALTECH101/Caltech101", ".bin"),  # tonic's
        ("extract/Caltech101", ".bin"),  # SpikingJelly's
        ("events_np", ".npz"),
    ],
)
def test_n_caltech101_is_found_wherever_libraries_put_it(tmp_path, make_events, below, suffix):
    write_caltech(tmp_path / below, ("anchor", "yin_yang"), make_events, suffix=suffix)
    data = load_dataset("n_caltech101", root=tmp_path, timesteps=2, image_size=8)
    assert data.class_names == ("anchor", "yin_yang")
    assert data.name == f"N-Caltech101 (2 folders, not its 101) ({suffix})"


def test_a_folder_without_classes_is_no_n_caltech101(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"holds no N-Caltech101: there is no folder .*found 'photos/'"):
        load_dataset("n_caltech101", root=tmp_path)
