"""What is written here, tonic and SpikingJelly read as the same events; what they keep is read here."""

import numpy as np
import pytest

from eccsnn.data import load_dataset
from eccsnn.data.events import Events, read_events, write_events
from eccsnn.data.events.classes import CIFAR10_DVS_CLASSES, GESTURE_CLASSES
from eccsnn.data.events.frames import fixed_frames

tonic = pytest.importorskip("tonic", reason="tonic is not installed")
cifar10_dvs = pytest.importorskip("spikingjelly.datasets.cifar10_dvs", reason="SpikingJelly is not installed")
utils = pytest.importorskip("spikingjelly.datasets.utils")


def columns(events):
    return [a.tolist() for a in (events.t, events.x, events.y, events.polarity)]


def columns_of(record):
    return [np.asarray(record[name]).astype(np.int64).tolist() for name in ("t", "x", "y", "p")]


@pytest.fixture
def tonic_folder(tmp_path, monkeypatch):
    """A folder that tonic takes for its own download, however few files are in it."""
    monkeypatch.setattr(tonic.dataset.Dataset, "_is_file_present", lambda self: True)
    monkeypatch.setattr(tonic.dataset.Dataset, "_folder_contains_at_least_n_files_of_type", lambda *_: True)
    return tmp_path


def test_spikingjelly_reads_our_aedat2_and_we_its_npz(tmp_path, make_events):
    events = make_events(5000)
    write_events(tmp_path / "a.aedat", events)
    assert columns_of(cifar10_dvs._load_origin_data(tmp_path / "a.aedat")) == columns(events)
    cifar10_dvs._read_aedat_save_to_np(tmp_path / "a.aedat", tmp_path / "a.npz")
    assert read_events(tmp_path / "a.npz", sensor=(128, 128)) == events
    write_events(tmp_path / "ours.npz", events)
    assert columns_of(np.load(tmp_path / "ours.npz")) == columns(events)


def test_tonic_reads_the_records_of_our_aedat2_and_counts_from_the_other_corner(tmp_path, make_events):
    """tonic 1.7's `read_dvs_128` fails on every file (its own header reader gives it three values, it takes two), so
    that what it calls is compared; it takes the coordinates as they are in the address, from the far corner, and the
    bit of polarity, which is 1 for darker.
    """
    events = make_events(5000)
    path = tmp_path / "a.aedat"
    write_events(path, events)
    version, start, _ = tonic.io.read_aedat_header_from_file(str(path))
    raw = tonic.io.get_aer_events_from_file(str(path), version, start)
    address = raw["address"].astype(np.int64)
    assert version == 2.0
    assert raw["timeStamp"].astype(np.int64).tolist() == events.t.tolist()
    assert (127 - (address >> 8 & 0x7F)).tolist() == events.x.tolist()
    assert (127 - (address >> 1 & 0x7F)).tolist() == events.y.tolist()
    assert (1 - (address & 1)).tolist() == events.polarity.tolist()


def test_tonic_reads_our_aedat4_as_cifar10_dvs(tonic_folder, make_events):
    expected = []
    for label, name in enumerate(CIFAR10_DVS_CLASSES):
        folder = tonic_folder / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for i in range(2):
            expected.append(make_events(300, seed=10 * label + i))
            write_events(folder / f"{i}.aedat4", expected[-1])
    theirs = tonic.datasets.CIFAR10DVS(save_to=str(tonic_folder))
    found = {str(columns_of(events)): label for events, label in (theirs[i] for i in range(len(theirs)))}
    assert found == {str(columns(events)): i // 2 for i, events in enumerate(expected)}
    ours = load_dataset("cifar10_dvs", root=tonic_folder, timesteps=2, image_size=8, val_fraction=0.0)
    assert len(ours.train) + len(ours.test) == len(theirs)


def test_both_read_our_atis_files(tmp_path, make_events):
    events = make_events(5000, width=240, height=180)
    write_events(tmp_path / "a.bin", events)
    assert columns_of(utils.load_ATIS_bin(tmp_path / "a.bin")) == columns(events)
    record = tonic.io.read_mnist_file(str(tmp_path / "a.bin"), dtype=tonic.datasets.NMNIST.dtype)
    assert columns_of(record) == columns(events)


def test_tonic_adds_the_time_of_overflows_as_we_do_and_spikingjelly_takes_them_for_events(tmp_path):
    events = Events([5, 8_400_000, 9_000_000], [1, 2, 3], [4, 5, 6], [1, 0, 1], width=34, height=34)
    write_events(tmp_path / "a.bin", events)
    record = tonic.io.read_mnist_file(str(tmp_path / "a.bin"), dtype=tonic.datasets.NMNIST.dtype)
    assert columns_of(record) == columns(events)
    theirs = utils.load_ATIS_bin(tmp_path / "a.bin")
    is_event = theirs["y"] != 240
    assert not is_event.all()
    assert theirs["x"][is_event].tolist() == [1, 2, 3]
    assert theirs["t"].max() < 2**23


def test_tonic_shifts_each_recording_of_n_caltech101_to_its_own_origin(tonic_folder, make_events):
    events = make_events(50, width=240, height=180)
    inner = Events(events.t, events.x // 2 + 60, events.y // 2 + 45, events.polarity, width=240, height=180)
    folder = tonic_folder / "NCALTECH101" / "Caltech101" / "ant"
    folder.mkdir(parents=True)
    write_events(folder / "image_0001.bin", inner)
    record, label = tonic.datasets.NCALTECH101(save_to=str(tonic_folder))[0]
    assert label == "ant"
    shifted = Events(inner.t, inner.x - inner.x.min(), inner.y - inner.y.min(), inner.polarity, width=240, height=180)
    assert columns_of(record) == columns(shifted)
    assert columns(shifted) != columns(inner)
    assert read_events(folder / "image_0001.bin", sensor=(240, 180)) == inner  # here they stay where they were


def test_n_mnist_as_tonic_lays_it_out(tonic_folder, make_events):
    for part in ("Train", "Test"):
        for digit in range(10):
            folder = tonic_folder / "NMNIST" / part / str(digit)
            folder.mkdir(parents=True)
            for i in range(2):
                write_events(folder / f"{i:05d}.bin", make_events(50, seed=digit + 10 * i, width=34, height=34))
    theirs = tonic.datasets.NMNIST(save_to=str(tonic_folder), train=True)
    ours = load_dataset("n_mnist", root=tonic_folder, timesteps=2, val_fraction=0.0)
    assert ours.train.labels.tolist() == theirs.targets
    to_frame = tonic.transforms.ToFrame(sensor_size=tonic.datasets.NMNIST.sensor_size, n_event_bins=2)
    for i in (0, 7, 19):
        np.testing.assert_array_equal(ours.train.images[i], to_frame(theirs[i][0]))


def test_dvs128_gesture_as_tonic_lays_it_out(tonic_folder, make_events):
    for part in ("ibmGestureTrain", "ibmGestureTest"):
        for user in ("user01_led", "user02_natural"):
            folder = tonic_folder / "DVSGesture" / part / user
            folder.mkdir(parents=True)
            for label in range(11):
                write_events(folder / f"{label}.npy", make_events(100, seed=label))
    theirs = tonic.datasets.DVSGesture(save_to=str(tonic_folder), train=True)
    assert [name.lower() for name in theirs.classes[:3]] == list(GESTURE_CLASSES[:3])
    ours = load_dataset("dvs128_gesture", root=tonic_folder, timesteps=2, val_fraction=0.0)
    assert ours.name == "DVS128 Gesture (.npy)"
    assert sorted(ours.train.labels.tolist()) == sorted(theirs.targets)
    for path, label in zip(theirs.data, theirs.targets, strict=True):
        x, y, p, t_ms = np.load(path).T
        assert columns(read_events(path)) == [(1000 * t_ms).tolist(), x.tolist(), y.tolist(), p.tolist()]
        assert path.endswith(f"{label}.npy")


@pytest.mark.parametrize("count", [7, 10, 999])
@pytest.mark.parametrize("timesteps", [1, 3, 7])
@pytest.mark.parametrize("slice_by", ["count", "time"])
def test_frames_are_those_of_spikingjelly(count, timesteps, slice_by, make_events):
    events = make_events(count, seed=count, width=12, height=9, duration_us=60)
    record = {"t": events.t, "x": events.x, "y": events.y, "p": events.polarity}
    split_by = {"count": "number", "time": "time"}[slice_by]
    frames = fixed_frames(events, timesteps, slice_by=slice_by)
    if (frames.sum((1, 2, 3)) == 0).any():
        with pytest.raises(IndexError):  # a slice without events, which is a frame without events here
            utils.integrate_events_by_fixed_frames_number(record, split_by, timesteps, 9, 12)
        return
    expected = utils.integrate_events_by_fixed_frames_number(record, split_by, timesteps, 9, 12)
    np.testing.assert_array_equal(frames, expected)
