"""A data set of images as an event camera would have recorded it, in the original's files and folders."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data.events.files import replacing, write_events
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import Preset, find_preset
from eccsnn.data.types import ImageSet
from eccsnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SIMULATOR_VERSION = 1
"""Raised when the same image, preset and seed give other events."""
MANIFEST = "simulated.json"
FORMATS = {"original": "", "npz": ".npz"}
"""Formats of a simulated set: the original's, or compact arrays."""


@dataclass(frozen=True)
class SimulatedSet:
    """What `simulate_dataset` made.

    Attributes:
        root: its folder: `data.root` of the data set that it looks like.
        recordings: how many there are.
        made: how many of them this call made; the others were there.
        events: of the recordings that this call made.
        bytes_on_disk: of all recordings.
    """

    root: Path
    recordings: int
    made: int
    events: int
    bytes_on_disk: int


def simulate_dataset(
    images: ImageSet | Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[int] | npt.NDArray[np.int64],
    class_names: Sequence[str],
    root: str | Path,
    *,
    preset: str,
    format: str = "original",
    seed: int = 0,
    threads: int = 1,
    source: str = "",
    is_test: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSet:
    """Simulates a recording of every image.

    Recordings lie where the original has them, so its reader opens the result; `simulated.json` beside them says what
    they are. Every file is written whole or not at all, and files that are there are kept: the same call goes on
    where it was stopped. A recording depends on its image, the preset, `seed` and its number alone.

    Args:
        images: uint8 `[C, H, W]` each, C 1 or 3 (an `ImageSet`), or arrays `[H, W]` or `[H, W, 3]` of any sizes.
        labels: a class id for each.
        class_names: the folders.
        root: the folder to write to; it is made.
        preset: `"cifar10_dvs"`, `"n_caltech101"` or `"n_mnist"`.
        format: `"original"`, the files of the data set itself; `"npz"`, SpikingJelly's compressed arrays.
        seed: integer >= 0; recording `i` gets the noise of `(seed, i)`.
        threads: recordings that are simulated at the same time. The files are the same for every number.
        source: what the images are, for `simulated.json`.
        is_test: for each image whether it belongs to the test part, where the original has parts (n_mnist); None:
            nothing does.
        progress: is called with recordings done and recordings in all.

    Raises:
        ConfigError: no such preset or format, `is_test` for an original without parts, or the folder holds a set of
            other images or settings.
        ValueError: the lengths differ, or a label has no class name.
        DataError: a file cannot be written.
    """
    chosen = find_preset(preset)
    if format not in FORMATS:
        raise ConfigError(f"format is {format!r}, expected one of {', '.join(map(repr, FORMATS))}")
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1")
    labels = [int(label) for label in labels]
    if len(labels) != len(images):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels; give one for each")
    if any(not 0 <= label < len(class_names) for label in labels):
        raise ValueError(f"labels span {min(labels)}..{max(labels)}, expected 0 to {len(class_names) - 1}")
    if is_test is not None and chosen.test_folder is None:
        raise ConfigError(f"is_test is given, but {chosen.title} has no test part of its own; leave it out")
    if is_test is not None and len(is_test) != len(labels):
        raise ValueError(f"there are {len(labels)} labels and {len(is_test)} of is_test; give one for each")
    folder = Path(root)
    parts = [False] * len(labels) if is_test is None else [bool(test) for test in is_test]
    _claim(folder, _manifest(chosen, preset, format, seed, source, class_names, images, labels, parts))
    strangers = sorted({class_names[label] for label in labels} - {*chosen.classes})
    if strangers:
        logger.warning(
            "%s: %s has no class %s, so its readers refuse this set; name the folders of the images as it does",
            folder,
            chosen.title,
            ", ".join(map(repr, strangers[:6])) + (", ..." if len(strangers) > 6 else ""),
        )
    suffix = FORMATS[format] or chosen.suffix
    folders = [chosen.test_folder or "" if test else chosen.folder for test in parts]
    paths = list(_paths(folder, folders, chosen, labels, class_names, suffix))
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)

    def make(i: int) -> int:
        if paths[i].exists():
            return -1
        events = chosen.record(picture(images, i), seed=seed_of(seed, i))
        write_events(paths[i], events, "npz" if format == "npz" else chosen.file_format)
        return len(events)

    made = _run(make, len(paths), threads, progress)
    return SimulatedSet(
        root=folder,
        recordings=len(paths),
        made=sum(count >= 0 for count in made),
        events=sum(count for count in made if count > 0),
        bytes_on_disk=sum(path.stat().st_size for path in paths),
    )


def seed_of(seed: int, number: int) -> int:
    """One integer of two, so that no two recordings of any seeds share their noise."""
    return (seed << 32) + number


def _run(
    make: Callable[[int], int], count: int, threads: int, progress: Callable[[int, int], None] | None
) -> list[int]:
    results = []
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[int]] = [pool.submit(make, i) for i in range(count)]
        try:
            for done, future in enumerate(waiting, 1):
                results.append(future.result())
                if progress is not None:
                    progress(done, count)
        except BaseException:  # the first error, or Ctrl-C: what has not begun does not begin
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def _paths(
    root: Path,
    folders: Sequence[str],
    preset: Preset,
    labels: Sequence[int],
    class_names: Sequence[str],
    suffix: str,
) -> Iterator[Path]:
    numbers: Counter[Path] = Counter()
    for part, label in zip(folders, labels, strict=True):
        name = class_names[label]
        folder = root / part / name
        yield folder / (preset.file_name(name, numbers[folder]) + suffix)
        numbers[folder] += 1


def picture(images: ImageSet | Sequence[npt.NDArray[np.uint8]], i: int) -> npt.NDArray[np.uint8]:
    """Image `i` as the simulator takes it, uint8 `[H, W]` or `[H, W, 3]`."""
    if not isinstance(images, ImageSet):
        return images[i]
    image = images.gather([i])[0]
    return image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


def _fingerprint(
    images: ImageSet | Sequence[npt.NDArray[np.uint8]], labels: Sequence[int], is_test: Sequence[bool]
) -> str:
    """sha256 (hex) over the images in their order, with labels and parts: files by name and size, others by pixels.

    A recording has its name from its place among the images of its class, so other images would be other recordings
    under the names of these.
    """
    digest = hashlib.sha256()
    for i, (label, test) in enumerate(zip(labels, is_test, strict=True)):
        if isinstance(images, ImageFiles):
            file = images.files[i]
            what = repr((file.path, file.size)).encode("utf-8", "surrogateescape")
        else:
            pixels = picture(images, i)
            what = repr(pixels.shape).encode() + pixels.tobytes()
        digest.update(f"{label} {int(test)} {len(what)}\n".encode() + what)
    return digest.hexdigest()


def _manifest(
    preset: Preset,
    name: str,
    format: str,
    seed: int,
    source: str,
    class_names: Sequence[str],
    images: ImageSet | Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[int],
    is_test: Sequence[bool],
) -> dict[str, Any]:
    return {
        "simulated": f"{preset.title}, simulated: not recorded by a camera",
        "simulator_version": SIMULATOR_VERSION,
        "preset": name,
        "format": format,
        "seed": seed,
        "source": source,
        "classes": list(class_names),
        **preset.settings(),
        "recordings": len(labels),
        "images": _fingerprint(images, labels, is_test),
    }


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, or finds that the folder's is the same."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / MANIFEST
        if path.exists():
            other = json.loads(path.read_text())
            different = [key for key in manifest if other.get(key) != manifest[key]]
            if different:
                was = {key: other.get(key) for key in ("source", "recordings", "format", "seed")}
                raise ConfigError(
                    f"{folder} holds a simulated set with another {', '.join(different)} (it has "
                    f"{', '.join(f'{key} {value!r}' for key, value in was.items())}); choose another folder, or the "
                    "same images and settings to go on with it"
                )
            return
        strangers = [entry for entry in os.listdir(folder) if not entry.startswith(".")]
        if strangers:
            raise ConfigError(f"{folder} holds {strangers[0]!r} and no {MANIFEST}; choose an empty or a new folder")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n")
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} cannot be used: {error}; choose another folder") from error
