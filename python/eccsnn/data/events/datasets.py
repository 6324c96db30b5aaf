"""Data sets of event cameras as event frames: what their downloads look like, and how they become arrays.

A recording becomes counts uint8 `[T, 2, S, S]`. Nothing of a recording is kept but that, so that the cache is small and
an epoch reads no event file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data.cache import Allocate
from eccsnn.data.decode import in_chunks
from eccsnn.data.events.classes import (
    CALTECH101_ONLY_CLASSES,
    CIFAR10_DVS_CLASSES,
    GESTURE_CLASSES,
    N_CALTECH101_CLASSES,
)
from eccsnn.data.events.faults import Faults, check_policy
from eccsnn.data.events.files import Sensor, read_events
from eccsnn.data.events.frames import SLICES, check_slices, fixed_frames, saturate
from eccsnn.data.events.simulate_dataset import MANIFEST
from eccsnn.data.events.types import Events
from eccsnn.data.source import ListedFile, Source, describe_folder, existing_folder, list_folder, subfolders
from eccsnn.data.types import pack_frames
from eccsnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

DEFAULT_FRAME_SIZE = 48
FRAMES_VERSION = 2
"""Raised when the same recording gives other frames: what is cached is then made anew."""
SIMULATED = "simulated DVS"
"""How the names of data begin that no camera recorded."""
DEFAULT_TIMESTEPS = 10


@dataclass(frozen=True)
class FrameOptions:
    """How recordings become frames.

    Attributes:
        size: height and width in px; None: 48, or the sensor's where that is smaller.
        timesteps: T, the number of slices.
        slice_by: `count` or `time`, see `eccsnn.data.events.frames`.
        policy: for bad events and empty recordings: `strict` or `skip`.
        binary: keeps whether there was an event and not how many: a bit a pixel on disk.
    """

    size: int | None = None
    timesteps: int = DEFAULT_TIMESTEPS
    slice_by: str = "count"
    policy: str = "strict"
    binary: bool = False


@dataclass(frozen=True)
class Kind:
    """A data set's sensor, the files of a recording, and where its folders may lie below a root."""

    dataset: str
    title: str
    sensor: Sensor
    suffixes: tuple[str, ...]
    below: tuple[str, ...]


CIFAR10_DVS = Kind(
    "cifar10_dvs", "CIFAR10-DVS", (128, 128), (".aedat", ".aedat4", ".npz"), ("", "CIFAR10DVS", "extract", "events_np")
)
N_CALTECH101 = Kind(
    "n_caltech101",
    "N-Caltech101",
    (240, 180),
    (".bin", ".npz"),
    ("Caltech101", "", "NCALTECH101/Caltech101", "extract/Caltech101", "events_np"),
)
N_MNIST = Kind("n_mnist", "N-MNIST", (34, 34), (".bin", ".npz"), ("", "NMNIST", "extract", "events_np"))
GESTURE = Kind("dvs128_gesture", "DVS128 Gesture", (128, 128), (".npy",), ("", "DVSGesture"))
KINDS = {kind.dataset: kind for kind in (CIFAR10_DVS, N_CALTECH101, N_MNIST, GESTURE)}
LAYOUTS = {
    "cifar10_dvs": "CLASS/*.aedat as published, CLASS/*.aedat4 (tonic's) or CLASS/*.npz (SpikingJelly's events_np)",
    "n_caltech101": "Caltech101/CLASS/*.bin as published, or CLASS/*.npz (SpikingJelly's events_np)",
    "n_mnist": "{Train,Test}/DIGIT/*.bin as published, or {train,test}/DIGIT/*.npz (SpikingJelly's events_np)",
    "dvs128_gesture": "{ibmGestureTrain,ibmGestureTest}/userNN_LIGHT/LABEL.npy, as tonic downloads it",
}


def open_cifar10_dvs(root: str | Path | None, options: FrameOptions) -> Source:
    """Ten classes of 1,000 recordings, without a test part: 9:1, stratified, is what most publications cut.

    Source: H. Li et al., CIFAR10-DVS, Frontiers in Neuroscience 11 (2017).

    Raises:
        DataError: the layout is another one, or a class has no recording.
    """
    folder = _locate(CIFAR10_DVS, root, CIFAR10_DVS_CLASSES)
    files = _list_classes(CIFAR10_DVS, folder, CIFAR10_DVS_CLASSES)
    return _source(CIFAR10_DVS, CIFAR10_DVS_CLASSES, folder, files, options)


def open_n_caltech101(root: str | Path | None, options: FrameOptions, *, include_background: bool = True) -> Source:
    """8,709 recordings in 101 classes, those of `N_CALTECH101_CLASSES`, without a test part.

    The classes are the folders that are there. Where those are not the 101 of the original, the name says so.

    Source: G. Orchard et al., Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades,
    Frontiers in Neuroscience 9 (2015).

    Raises:
        DataError: the layout is another one, a folder is no class, or a class has no recording.
    """
    known = (*N_CALTECH101_CLASSES, *CALTECH101_ONLY_CLASSES)
    folder = _locate(N_CALTECH101, root, *((name,) for name in known))  # any one will do: a part is opened, too
    found = subfolders(folder)
    unknown = [name for name in found if name not in known]
    if unknown:
        raise DataError(
            f"{folder} has a folder {unknown[0]!r}, which is no class of N-Caltech101 (found "
            f"{describe_folder(folder)}); expected {LAYOUTS['n_caltech101']}"
        )
    title = "N-Caltech101"
    if set(found) != set(N_CALTECH101_CLASSES):
        title += f" ({len(found)} folders, not its 101)"
        logger.warning("%s has %d class folders, not the 101 of N-Caltech101", folder, len(found))
    if not include_background:
        found = [name for name in found if name != N_CALTECH101_CLASSES[0]]
        title += " without background"
    return _source(N_CALTECH101, found, folder, _list_classes(N_CALTECH101, folder, found), options, title=title)


def open_n_mnist(root: str | Path | None, options: FrameOptions) -> Source:
    """60,000 + 10,000 recordings of ten digits. Source: as `open_n_caltech101`.

    Raises:
        DataError: the layout is another one, or a digit has no recording.
    """
    folder = _locate(N_MNIST, root, ("Train",), ("train",))
    classes = tuple(str(digit) for digit in range(10))
    parts = ("Train", "Test") if (folder / "Train").is_dir() else ("train", "test")
    files = [
        file for part in parts for file in _list_classes(N_MNIST, folder, classes, below=part, is_test=part == parts[1])
    ]
    return _source(N_MNIST, classes, folder, files, options, has_test_part=True)


def open_dvs128_gesture(root: str | Path | None, options: FrameOptions) -> Source:
    """1,077 + 264 recordings of eleven gestures, cut and in milliseconds, as tonic distributes DVS128 Gesture.

    Source: A. Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR (2017).

    Raises:
        DataError: the layout is another one, or a file's name is no label.
    """
    parts = ("ibmGestureTrain", "ibmGestureTest")
    folder = _locate(GESTURE, root, parts)
    files = []
    for part in parts:
        for user in subfolders(folder / part):
            for name, size, mtime_ns in _recordings(folder / part / user, GESTURE.suffixes):
                stem = Path(name).stem
                if not (stem.isdigit() and int(stem) < len(GESTURE_CLASSES)):
                    raise DataError(
                        f"{folder / part / user / name}: expected a name 0.npy to 10.npy, which is the label"
                    )
                files.append(ListedFile(f"{part}/{user}/{name}", int(stem), part == parts[1], size, mtime_ns))
    if not files:
        raise DataError(f"{folder} has no recordings; expected {LAYOUTS['dvs128_gesture']}")
    return _source(GESTURE, GESTURE_CLASSES, folder, files, options, has_test_part=True)


def _locate(kind: Kind, root: str | Path | None, *expected: Sequence[str]) -> Path:
    """The first folder below the root that has all folders of one of the lists."""
    layout = LAYOUTS[kind.dataset]
    path = existing_folder(root, kind.dataset, layout)
    candidates = [path / below for below in kind.below if (path / below).is_dir()]
    for folder in candidates:
        if any(all((folder / name).is_dir() for name in names) for names in expected):
            return folder
    missing = min(
        ([name for name in names if not (folder / name).is_dir()] for folder in candidates for names in expected),
        key=len,
    )
    raise DataError(
        f"{path} holds no {kind.title}: there is no folder {missing[0]!r} (found {describe_folder(path)}); "
        f"expected {layout}"
    )


def _list_classes(
    kind: Kind, root: Path, classes: Sequence[str], *, below: str = "", is_test: bool = False
) -> list[ListedFile]:
    files = []
    for label, name in enumerate(classes):
        where = f"{below}/{name}" if below else name
        if not (root / where).is_dir():
            raise DataError(f"{root} has no folder {where!r}; expected {LAYOUTS[kind.dataset]}")
        listed = _recordings(root / where, kind.suffixes)
        if not listed:
            raise DataError(f"{root / where} holds no recording; expected files ending in {', '.join(kind.suffixes)}")
        files += [ListedFile(f"{where}/{file}", label, is_test, size, time) for file, size, time in listed]
    return files


def _recordings(folder: Path, suffixes: Sequence[str]) -> list[tuple[str, int, int]]:
    found = []
    for entry in list_folder(folder):
        if entry.is_file() and os.path.splitext(entry.name)[1].lower() in suffixes:
            state = entry.stat()
            found.append((entry.name, state.st_size, state.st_mtime_ns))
    return found


def _source(
    kind: Kind,
    class_names: Sequence[str],
    root: Path,
    files: Sequence[ListedFile],
    options: FrameOptions,
    *,
    title: str | None = None,
    has_test_part: bool = False,
) -> Source:
    size = check_options(kind, options)
    digest = hashlib.sha256()
    for file in files:
        digest.update(repr(tuple(file)).encode("utf-8", "surrogateescape"))
    key: dict[str, Any] = {
        "dataset": kind.dataset,
        "classes": list(class_names),
        "root": str(root),
        "image_size": size,
        **frames_key(options),
    }
    formats = ", ".join(sorted({Path(file.path).suffix for file in files}))
    simulated = any((folder / MANIFEST).is_file() for folder in (root, root.parent))
    name = f"{title or kind.title} ({formats})"
    return Source(
        name=f"{SIMULATED}: {name}" if simulated else name,
        class_names=tuple(class_names),
        has_test_part=has_test_part,
        key=key,
        signature={"files": digest.hexdigest(), "file count": len(files), "frames version": FRAMES_VERSION},
        build=_Builder(kind, root, files, size, options).build,
        default_test_fraction=0.1,
        is_frames=True,
        is_simulated=simulated,
    )


def check_options(kind: Kind, options: FrameOptions) -> int:
    """Checks how recordings are to become frames.

    Returns:
        Height and width of the frames in px.

    Raises:
        ConfigError: an option is out of range or unknown.
    """
    check_policy(options.policy)
    if options.slice_by not in SLICES or options.timesteps < 1:
        raise ConfigError(
            f"timesteps is {options.timesteps} and slice_by {options.slice_by!r}, expected at least 1 and one of "
            f"{', '.join(map(repr, SLICES))}"
        )
    largest = min(kind.sensor)
    size = min(DEFAULT_FRAME_SIZE, largest) if options.size is None else options.size
    if size > largest:
        raise ConfigError(
            f"image_size is {size}, but the sensor of {kind.title} has {kind.sensor[0]} x {kind.sensor[1]} px; "
            f"expected at most {largest}"
        )
    return size


def frames_key(options: FrameOptions) -> dict[str, Any]:
    """What of the options makes other frames, for the cache's key."""
    key = {"timesteps": options.timesteps, "slice_by": options.slice_by, "policy": options.policy}
    return key | ({"binary": "packed bits"} if options.binary else {})  # counts keep the key they had before


def frames_shape(count: int, size: int, options: FrameOptions) -> tuple[int, ...]:
    """Shape of the frames of `count` recordings on disk: `[N, T, 2, S, S]`, binary ones as `pack_frames` packs them."""
    return (count, options.timesteps, 2, size, -(-size // 8) if options.binary else size)


def store_frames(events: Events, options: FrameOptions, out: np.ndarray) -> int:
    """As `write_frames`, into an array of `frames_shape`."""
    if not options.binary:
        return write_frames(events, options, out)
    size = out.shape[-2]
    frames = np.empty((options.timesteps, 2, size, size), dtype=np.uint8)
    write_frames(events, options, frames)
    out[...] = pack_frames(frames)
    return 0


def write_frames(events: Events, options: FrameOptions, out: np.ndarray) -> int:
    """Frames of one recording into uint8 `[T, 2, S, S]`; returns how many counts were above 255.

    Raises:
        ValueError: the recording is too short for so many slices.
    """
    size = out.shape[-1]
    frames = fixed_frames(events, options.timesteps, slice_by=options.slice_by, height=size, width=size)
    if options.binary:
        out[...] = frames > 0
        return 0
    out[...], over = saturate(frames)
    return over


def warn_of_saturation(where: object, cells: int, recordings: int) -> None:
    """Says how many counts of how many recordings did not fit into a byte."""
    if cells:
        logger.warning(
            "%s: %d counts of %d recordings were above 255 and became 255; larger frames or more slices keep them",
            where,
            cells,
            recordings,
        )


def read_frames(path: str | Path, dataset: str, options: FrameOptions) -> np.ndarray:
    """One recording as the samples of a data set are: uint8 `[T, 2, S, S]`.

    Args:
        path: a file of any format in docs/event_formats.md.
        dataset: a name of `LAYOUTS`, whose sensor it must be of.
        options: as the data set was opened with; `size` is needed.

    Raises:
        DataError: the file is broken, of another sensor, or has too few events.
    """
    kind, path = KINDS[dataset], Path(path)
    size = check_options(kind, options)
    out = np.zeros((options.timesteps, 2, size, size), dtype=np.uint8)
    faults = Faults()
    events = read_recording(path, kind, options.policy, faults)
    problem = _mostly_bad(events, faults)
    if problem:
        raise DataError(f"{path}: {problem}")
    try:
        write_frames(events, options, out)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return out


def read_recording(path: Path, kind: Kind, policy: str, faults: Faults) -> Events:
    """Events of a file, which must be of the data set's sensor; a file without a byte has none under the policy `skip`.

    Raises:
        DataError: the file is broken or of another sensor.
    """
    if check_policy(policy) and path.is_file() and path.stat().st_size == 0:  # of a format with a header, too
        return Events.empty(width=kind.sensor[0], height=kind.sensor[1])
    sensor = None if path.suffix.lower() == ".aedat4" else kind.sensor
    events = read_events(path, sensor=sensor, policy=policy, faults=faults)
    width, height = kind.sensor
    if (events.width, events.height) != (width, height):
        raise DataError(
            f"{path} is of a sensor of {events.width} x {events.height} px, expected {width} x {height} as "
            f"{kind.title} has"
        )
    return events


def _mostly_bad(events: Events, faults: Faults) -> str:
    """What is wrong with a recording of which the policy `skip` has left less than half; else nothing.

    One event far ahead makes all after it events back in time: what is left may be anything but the recording.
    """
    lost = faults.time_back + faults.outside
    if lost <= len(events):
        return ""
    return f"{lost} of {lost + len(events)} events are bad, too many to leave out ({faults.in_words()})"


class _Builder:
    """Fills the cache: `images` of `frames_shape`, `labels`, `is_test`, and `is_usable` where files are bad."""

    def __init__(self, kind: Kind, root: Path, files: Sequence[ListedFile], size: int, options: FrameOptions) -> None:
        self._kind, self._root, self._files, self._size, self._options = kind, root, files, size, options
        self._faults, self._errors, self._over, self._lock = Faults(), dict[int, DataError](), [0, 0], threading.Lock()

    def build(self, allocate: Allocate) -> None:
        count = len(self._files)
        self._check_slices()
        images = allocate("images", frames_shape(count, self._size, self._options), np.uint8)
        allocate("labels", (count,), np.int64)[:] = [f.label for f in self._files]
        allocate("is_test", (count,), np.bool_)[:] = [f.is_test for f in self._files]
        usable = allocate("is_usable", (count,), np.bool_)

        def work(start: int, stop: int) -> None:
            for i in range(start, stop):
                try:
                    usable[i] = self._convert(self._root / self._files[i].path, images[i])
                except DataError as error:
                    self._errors[i] = error

        in_chunks(count, work, description=f"making frames of {self._kind.title}")
        if self._errors:
            first = min(self._errors)
            advice = (
                "The policy 'skip' leaves bad events and empty recordings out"
                if self._options.policy == "strict"
                else "The policy 'skip' leaves out bad events and empty recordings, and no files that cannot be read: "
                "get those again, or move them elsewhere"
            )
            raise DataError(
                f"{len(self._errors)} of {count} recordings are bad. The first: {self._errors[first]}. {advice}"
            )
        if self._faults.total:
            logger.warning("%s: left out %s", self._root, self._faults.in_words())
        warn_of_saturation(self._root, *self._over)

    def _check_slices(self) -> None:
        """One recording at least has to be long enough, before gigabytes are laid out for their slices."""
        problem = None
        for file in self._files:
            try:
                events = read_recording(self._root / file.path, self._kind, self._options.policy, Faults())
                check_slices(events, self._options.timesteps, self._options.slice_by)
            except DataError:
                return  # which is said with the others
            except ValueError as error:
                problem = problem or f"{self._root / file.path}: {error}"
            else:
                return
        raise DataError(f"no recording is long enough. The first: {problem}; take fewer timesteps")

    def _convert(self, path: Path, out: np.ndarray) -> bool:
        options, faults = self._options, Faults()
        events = read_recording(path, self._kind, options.policy, faults)
        problem, over = _mostly_bad(events, faults), 0
        if problem:
            faults = Faults(broken=1, first=f"{path}: {problem}")
        else:
            try:
                over = store_frames(events, options, out)
            except ValueError as error:
                problem = f"{path}: {error}"
                if options.policy == "strict":
                    raise DataError(problem) from None
                faults.add(Faults(empty=1, first=problem))
        with self._lock:
            self._faults.add(faults)
            self._over = [self._over[0] + over, self._over[1] + (over > 0)]
        return not problem
