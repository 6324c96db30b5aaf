"""The one way from a data set's name to train, val and test."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data.cache import CachedArrays, array_sha256
from eccsnn.data.events import datasets as events
from eccsnn.data.events.simulated import open_simulated
from eccsnn.data.images_to_record import images_to_record
from eccsnn.data.registry import DatasetInfo, SourceOptions, find_dataset
from eccsnn.data.source import Source, read_source
from eccsnn.data.splits import stratified_split, stratified_subset
from eccsnn.data.types import ImageSet, Int64Array, Splits, channel_statistics
from eccsnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

DEFAULT_IMAGE_SIZE = 32
_PARTS = ("train", "val", "test")


def load_dataset(
    name: str,
    *,
    root: str | Path | None = None,
    display_name: str | None = None,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    test_fraction: float | None = None,
    subset: Mapping[str, int] | None = None,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    download: bool = False,
    include_background: bool | None = None,
    timesteps: int | None = None,
    slice_by: str | None = None,
    policy: str | None = None,
    binary: bool | None = None,
    simulate: Mapping[str, Any] | None = None,
) -> Splits:
    """Loads a data set as train, val and test.

    Decoded images are cached on disk (see `eccsnn.data.cache`) and memory-mapped from there. val is cut from the
    training data only, stratified by class. mean and std come from `train` alone.

    Data sets of event cameras come as event frames: samples `[T, 2, S, S]`, counts of darker and brighter events. Their
    mean is given as 0, so that a pixel without events stays 0, and std is that of the counts around 0; see
    `eccsnn.data.events` for what is behind them.

    Args:
        name: one of `list_datasets()`.
        root: the folder with the files; `list_datasets()` says what it must look like. digits needs none.
        display_name: what to call the data wherever results are shown; None: what was really read.
        image_size: height and width in px; None: 32 for images, 48 for event frames (34 for N-MNIST, whose sensor is
            that small).
        val_fraction: part of the training data, in `[0, 1)`; 0 gives an empty val.
        test_fraction: part of all images, in `(0, 1)`, for data without a test part of its own (digits, caltech101, a
            flat image folder, cifar10_dvs, n_caltech101); None: 0.2, or 0.1 for event frames. An error for data that
            comes with one.
        subset: how many images to keep of each part, for instance `{"train": 1000, "test": 500}`; stratified, seeded;
            a part that is not named stays whole.
        seed: of the cuts and subsets; has nothing to do with the seed of training.
        cache_dir: None: `$ECCSNN_CACHE`, else `~/.cache/eccsnn`.
        download: fetches the original files to `root` where the data set allows it.
        include_background: caltech101 and n_caltech101 only: BACKGROUND_Google as a class of its own; None: not for
            caltech101, but for n_caltech101, which has it as published.
        timesteps: event frames only: T, the number of slices of a recording; None: 10.
        slice_by: event frames only: `count` (None) for slices of as many events, `time` for slices of as much time.
        policy: event frames only: `strict` (None) makes a bad event or an empty recording an error, `skip` leaves it
            out and says how many there were.
        binary: event frames only: True keeps whether a pixel had an event, so that samples are spikes; std is then
            1/255, which leaves them 0 and 1. A bit a pixel on disk and in memory; each batch is unpacked.
        simulate: cifar10_dvs, n_caltech101 and n_mnist only: makes the recordings of images in place of reading them
            from `root`. `images` is the name of a data set of images and `root` its folder; `limit` how many of its
            images to take (stratified), `seed` chooses them and the camera's noise; see `images_to_record`.
            Every name of such data begins with "simulated DVS".

    Raises:
        ConfigError: an unknown name or an argument that is out of range or does not apply to this data set.
        DataError: the files are missing, broken or laid out in another way; the message says what was found.

    Example:
        >>> data = load_dataset("digits", subset={"train": 100})
        >>> data.name, len(data.train), data.train.shape, data.num_classes
        ('scikit-learn digits', 100, (3, 32, 32), 10)
    """
    info, open_source = find_dataset(name)
    _check_arguments(info, root, image_size, val_fraction, test_fraction, subset, seed, download, include_background)
    chosen = {"timesteps": timesteps, "slice_by": slice_by, "policy": policy, "binary": binary, "simulate": simulate}
    given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    if given and not info.is_frames:
        raise ConfigError(
            f"{next(iter(given))} applies to event frames only, not to data set {info.name!r}; leave it out"
        )
    given.pop("simulate", None)
    frames = events.FrameOptions(size=image_size, **given)
    started = time.perf_counter()
    cache = None if cache_dir is None else Path(cache_dir)
    if simulate is not None:
        source = _simulated(info, root, frames, cache, include_background, **simulate)
    else:
        size = DEFAULT_IMAGE_SIZE if image_size is None else image_size
        source = open_source(SourceOptions(root, size, download, include_background, frames))
    if source.has_test_part and test_fraction is not None:
        raise ConfigError(
            f"test_fraction is {test_fraction}, but {source.name} comes with a test part; leave test_fraction out"
        )
    arrays = read_source(source, cache)
    rows = _cut(source, arrays, val_fraction, test_fraction, subset or {}, seed)
    images, labels = arrays.arrays["images"], np.asarray(arrays.arrays["labels"])
    # The rows of a frame are whole bytes of bits; its columns are as many as its rows.
    packed_width = images.shape[-2] if frames.binary else None
    parts = {part: ImageSet(images, labels[rows[part]], rows=rows[part], packed_width=packed_width) for part in _PARTS}
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if frames.binary:  # pixels / 255 / std are then 0 and 1 again: spikes
        mean, std = (0.0, 0.0), (1 / 255, 1 / 255)
    else:
        mean, std = channel_statistics(parts["train"], around_zero=source.is_frames)
    splits = Splits(
        name=_shown_name(source, display_name),
        class_names=source.class_names,
        **parts,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(source, arrays, rows),
    )
    sizes = ", ".join(f"{len(parts[part])} {part}" for part in _PARTS)
    size_on_disk = f", {images.nbytes / 1e6:.1f} MB on disk as {'packed bits' if frames.binary else 'bytes'}"
    logger.info(
        "%s: %s of %d px%s in %.1f s",
        splits.name,
        sizes,
        images.shape[-2],
        size_on_disk if source.use_cache else "",
        time.perf_counter() - started,
    )
    return splits


def _shown_name(source: Source, display_name: str | None) -> str:
    """What results call the data; whoever renames simulated data cannot leave out that it is."""
    if display_name is None:
        return source.name
    hide = source.is_simulated and not display_name.startswith(events.SIMULATED)
    return f"{events.SIMULATED}: {display_name}" if hide else display_name


def _simulated(
    info: DatasetInfo,
    recordings: str | Path | None,
    frames: events.FrameOptions,
    cache_dir: Path | None,
    include_background: bool | None,
    *,
    images: str,
    root: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Source:
    """Recordings that are made of the images of another data set."""
    if recordings is not None:
        raise ConfigError(
            f"root is {str(recordings)!r} and simulate is given, too: recordings are either read or made. Leave one "
            "out; `eccsnn events simulate` writes files that root can point to"
        )
    if seed < 0 or (limit is not None and limit < 2):
        raise ConfigError(f"simulate.limit is {limit} and simulate.seed {seed}, expected at least 2 and 0")
    found = images_to_record(
        info.name,
        images,
        root=root,
        limit=limit,
        seed=seed,
        include_background=include_background,
        cache_dir=cache_dir,
    )
    return open_simulated(
        info.name,
        found.images,
        found.class_names,
        frames,
        source=found.name,
        key=found.key,
        seed=seed,
        is_test=found.is_test,
    )


def _check_arguments(
    info: DatasetInfo,
    root: str | Path | None,
    image_size: int | None,
    val_fraction: float,
    test_fraction: float | None,
    subset: Mapping[str, int] | None,
    seed: int,
    download: bool,
    include_background: bool | None,
) -> None:
    if info.layout is None and root is not None:
        raise ConfigError(f"root is {str(root)!r}, but data set {info.name!r} has no files; leave root out")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}, expected at least 1 px")
    if not 0.0 <= val_fraction < 1.0:
        raise ConfigError(f"val_fraction is {val_fraction}, expected 0 <= val_fraction < 1")
    if test_fraction is not None and not 0.0 < test_fraction < 1.0:
        raise ConfigError(f"test_fraction is {test_fraction}, expected 0 < test_fraction < 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, expected an integer >= 0")
    if download and not info.downloads:
        raise ConfigError(
            f"data set {info.name!r} cannot be downloaded; put its files in root: {info.layout or 'none needed'}"
        )
    if include_background is not None and not info.name.endswith("caltech101"):
        raise ConfigError(f"include_background applies to caltech101 and n_caltech101 only, not to {info.name!r}")
    unknown = sorted(set(subset or {}) - set(_PARTS))
    if unknown:
        raise ConfigError(f"subset names {unknown[0]!r}, expected only {', '.join(_PARTS)}")


def _cut(
    source: Source,
    arrays: CachedArrays,
    val_fraction: float,
    test_fraction: float | None,
    subset: Mapping[str, int],
    seed: int,
) -> dict[str, Int64Array]:
    labels = np.asarray(arrays.arrays["labels"])
    usable = np.asarray(arrays.arrays.get("is_usable", np.ones(len(labels), dtype=np.bool_)))
    if not usable.all():
        logger.warning("%s: %d of %d recordings are left out", source.name, (~usable).sum(), len(usable))
    if source.has_test_part:
        is_test = np.asarray(arrays.arrays["is_test"])
        learn, test = np.flatnonzero(usable & ~is_test), np.flatnonzero(usable & is_test)
    else:
        fraction = source.default_test_fraction if test_fraction is None else test_fraction
        rows_of = np.flatnonzero(usable)
        learn, test = (rows_of[r] for r in stratified_split(labels[rows_of], fraction, seed=seed, purpose="test"))
    kept, cut = stratified_split(labels[learn], val_fraction, seed=seed, purpose="val")
    rows = {"train": learn[kept], "val": learn[cut], "test": test}
    for part, count in subset.items():
        if not 1 <= count <= len(rows[part]):
            raise ConfigError(
                f"subset asks for {count} images of {part}, expected between 1 and the {len(rows[part])} there are"
            )
        rows[part] = rows[part][stratified_subset(labels[rows[part]], count, seed=seed, purpose=f"subset {part}")]
    if not len(rows["test"]):
        raise DataError(f"{source.name} has too few images for a test part: every class has one image only; add more")
    return rows


def _fingerprint(source: Source, arrays: CachedArrays, rows: Mapping[str, Int64Array]) -> str:
    content = {
        "arrays": dict(arrays.sha256),
        "class_names": list(source.class_names),
        "rows": {part: array_sha256(rows[part].astype("<i8")) for part in _PARTS},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
