"""Data sets by name, and the one way from a source to train, val and test."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data import caltech, cifar, folder, tiny_imagenet
from eccsnn.data.cache import AnyArray, CachedArrays, array_sha256, open_cached
from eccsnn.data.digits import open_digits
from eccsnn.data.events import datasets as events
from eccsnn.data.events.classes import N_CALTECH101_CLASSES
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import find_preset
from eccsnn.data.events.simulated import image_size_for, open_simulated
from eccsnn.data.source import Source, existing_folder, files_signature
from eccsnn.data.splits import stratified_split, stratified_subset
from eccsnn.data.types import ImageSet, Int64Array, Splits, channel_statistics
from eccsnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

DEFAULT_IMAGE_SIZE = 32
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """What `eccsnn list datasets` shows.

    Attributes:
        name: for `load_dataset` and configs.
        title: the usual name.
        description: what it is and how it is read.
        layout: what `root` must look like; None: no root is needed.
        downloads: whether `download=True` works.
        is_frames: whether samples are event frames `[T, 2, S, S]`.
        num_classes: how many classes it always has; None: the folders that are there.
    """

    name: str
    title: str
    description: str
    layout: str | None
    downloads: bool = False
    is_frames: bool = False
    num_classes: int | None = None


@dataclass(frozen=True)
class _Options:
    root: str | Path | None
    image_size: int
    download: bool
    include_background: bool | None
    frames: events.FrameOptions


@dataclass(frozen=True, eq=False)
class ImagesToRecord:
    """What a simulated camera looks at.

    Attributes:
        images: with labels.
        class_names: by class id.
        name: what they are.
        is_test: bool `[N]`, which are the test part; None: there is none.
        key: JSON-able; identifies the images.
    """

    images: ImageSet | ImageFiles
    class_names: tuple[str, ...]
    name: str
    is_test: npt.NDArray[np.bool_] | None
    key: Mapping[str, Any]


_DATASETS: dict[str, tuple[DatasetInfo, Callable[[_Options], Source]]] = {}


def _register(info: DatasetInfo, open_source: Callable[[_Options], Source]) -> None:
    _DATASETS[info.name] = (info, open_source)


_register(
    DatasetInfo(
        "digits",
        "scikit-learn digits",
        "1,797 handwritten digits that come with scikit-learn; no files",
        None,
        num_classes=10,
    ),
    lambda o: open_digits(image_size=o.image_size),
)
_register(
    DatasetInfo("image_folder", "Image folder", "any images, one folder a class", folder.LAYOUT),
    lambda o: folder.open_image_folder(o.root, image_size=o.image_size),
)
for _name, _variant in cifar.VARIANTS.items():
    _register(
        DatasetInfo(
            _name,
            _variant.title,
            f"50,000 + 10,000 images of 32 px in {len(_variant.class_names)} classes; "
            "the original pickles, or folders of images",
            _variant.layout,
            downloads=True,
            num_classes=len(_variant.class_names),
        ),
        lambda o, name=_name: cifar.open_cifar(  # type: ignore[misc]
            name, o.root, image_size=o.image_size, download=o.download
        ),
    )
_register(
    DatasetInfo(
        "caltech101",
        "Caltech-101",
        "8,677 images in 101 classes; the centre square is scaled to image_size; the test part is cut, stratified",
        caltech.LAYOUT,
        downloads=True,
    ),
    lambda o: caltech.open_caltech101(
        o.root, image_size=o.image_size, include_background=bool(o.include_background), download=o.download
    ),
)
_register(
    DatasetInfo(
        "tiny_imagenet",
        "Tiny-ImageNet",
        "100,000 + 10,000 images of 64 px in 200 classes; the val part serves as test",
        tiny_imagenet.LAYOUT,
    ),
    lambda o: tiny_imagenet.open_tiny_imagenet(o.root, image_size=o.image_size),
)

_register(
    DatasetInfo(
        "cifar10_dvs",
        "CIFAR10-DVS",
        "10,000 recordings of a moving CIFAR-10 in 10 classes, 128 px; the test part is cut, stratified, 9:1",
        events.LAYOUTS["cifar10_dvs"],
        is_frames=True,
        num_classes=10,
    ),
    lambda o: events.open_cifar10_dvs(o.root, o.frames),
)
_register(
    DatasetInfo(
        "n_caltech101",
        "N-Caltech101",
        "8,709 recordings of Caltech-101 in saccades, 101 classes of its own, 240 x 180 px; the test part is cut, "
        "stratified, 9:1",
        events.LAYOUTS["n_caltech101"],
        is_frames=True,
    ),
    lambda o: events.open_n_caltech101(
        o.root, o.frames, include_background=o.include_background is None or o.include_background
    ),
)
_register(
    DatasetInfo(
        "n_mnist",
        "N-MNIST",
        "60,000 + 10,000 recordings of MNIST in saccades, 34 px",
        events.LAYOUTS["n_mnist"],
        is_frames=True,
        num_classes=10,
    ),
    lambda o: events.open_n_mnist(o.root, o.frames),
)
_register(
    DatasetInfo(
        "dvs128_gesture",
        "DVS128 Gesture",
        "1,077 + 264 recordings of 11 gestures, 128 px, as tonic has cut them",
        events.LAYOUTS["dvs128_gesture"],
        is_frames=True,
        num_classes=11,
    ),
    lambda o: events.open_dvs128_gesture(o.root, o.frames),
)


def list_datasets() -> list[DatasetInfo]:
    """All data sets that `load_dataset` knows.

    Example:
        >>> [info.name for info in list_datasets() if not info.is_frames]
        ['digits', 'image_folder', 'cifar10', 'cifar100', 'caltech101', 'tiny_imagenet']
        >>> [info.name for info in list_datasets() if info.is_frames]
        ['cifar10_dvs', 'n_caltech101', 'n_mnist', 'dvs128_gesture']
    """
    return [info for info, _ in _DATASETS.values()]


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
    info, open_source = _find(name)
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
        source = open_source(_Options(root, size, download, include_background, frames))
    if source.has_test_part and test_fraction is not None:
        raise ConfigError(
            f"test_fraction is {test_fraction}, but {source.name} comes with a test part; leave test_fraction out"
        )
    arrays = _read(source, cache)
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


def images_to_record(
    dataset: str,
    images: str,
    *,
    root: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    include_background: bool | None = None,
    cache_dir: Path | None = None,
) -> ImagesToRecord:
    """The images of a data set that the camera of an event data set looks at.

    The training part of images that come in parts (both parts where the recordings have parts, too); all of others.
    A camera that keeps the shape of images (that of `n_caltech101`) gets the files of `caltech101` or an
    `image_folder` as they are, without the classes that it has not recorded; else they are squares.

    Args:
        dataset: the event data set, a preset of the simulator.
        images: the data set of images.
        root: its folder.
        limit: images at most, stratified; None: all.
        seed: which images those are.
        include_background: False leaves BACKGROUND_Google out, True and None do not.
        cache_dir: as for `load_dataset`.

    Raises:
        ConfigError: an unknown name, or an argument that does not apply.
        DataError: the images are missing or laid out in another way.
    """
    preset, (looked_at, open_images) = find_preset(dataset), _find(images)
    if looked_at.is_frames:
        raise ConfigError(f"simulate.images is {images!r}, which are recordings already; expected a data set of images")
    if looked_at.layout is None and root is not None:
        raise ConfigError(f"simulate.root is {str(root)!r}, but data set {images!r} has no files; leave root out")
    if preset.keep_aspect and images in ("caltech101", "image_folder"):
        where, name = _folder_of_images(images, root)
        ignore = preset.left_out
        if include_background is False:
            ignore, name = (*ignore, N_CALTECH101_CLASSES[0]), f"{name} without background"
        files = ImageFiles.of_folder(where, limit=limit, seed=seed, ignore=ignore)
        return ImagesToRecord(
            files,
            files.class_names,
            name,
            None,
            {"images": str(where), "classes": list(files.class_names), **files_signature(files.files)},
        )
    if include_background is not None:
        raise ConfigError(
            f"include_background is {include_background}, which does not apply to images of {images!r}; leave it out"
        )
    source = open_images(_Options(root, image_size_for(dataset), False, None, events.FrameOptions()))
    arrays = _read(source, cache_dir)
    pixels, labels = arrays.arrays["images"], np.asarray(arrays.arrays["labels"])
    is_test = np.asarray(arrays.arrays["is_test"])
    has_parts = source.has_test_part and preset.test_folder is not None
    rows = np.arange(len(labels), dtype=np.int64)
    if source.has_test_part and not has_parts:  # who recorded the original took the training images, or all
        rows = np.flatnonzero(~is_test)
    if limit is not None and limit < len(rows):
        strata = 2 * labels[rows] + is_test[rows] if has_parts else labels[rows]
        rows = rows[stratified_subset(strata, limit, seed=seed, purpose="simulated recordings")]
    return ImagesToRecord(
        ImageSet(pixels, labels[rows], rows=rows),
        source.class_names,
        source.name,
        is_test[rows] if has_parts else None,
        {"images": dict(arrays.sha256), "rows": array_sha256(rows.astype("<i8"))},
    )


def _folder_of_images(images: str, root: str | Path | None) -> tuple[Path, str]:
    """Where the class folders of the images are that are learnt from, and their name."""
    if images == "caltech101":
        return caltech.find_classes(root), "Caltech-101"
    path = existing_folder(root, images, folder.LAYOUT)
    return path / "train" if folder.has_parts(path) else path, path.name


def _find(name: str) -> tuple[DatasetInfo, Callable[[_Options], Source]]:
    if name not in _DATASETS:
        near = difflib.get_close_matches(str(name), _DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"unknown data set {name!r}; expected one of {', '.join(_DATASETS)}{hint}")
    return _DATASETS[name]


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


def _read(source: Source, cache_dir: Path | None) -> CachedArrays:
    if source.use_cache:
        return open_cached(
            str(source.key["dataset"]),
            key=source.key,
            signature=source.signature,
            build=source.build,
            cache_dir=cache_dir,
        )
    arrays: dict[str, AnyArray] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        arrays[name] = np.zeros(shape, dtype=dtype)
        return arrays[name]

    source.build(allocate)
    return CachedArrays(arrays, {name: array_sha256(array) for name, array in arrays.items()})


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
