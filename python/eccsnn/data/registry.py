"""Data sets by name: what each is, and how its source is opened."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eccsnn.data import caltech, cifar, folder, tiny_imagenet
from eccsnn.data.digits import open_digits
from eccsnn.data.events import datasets as events
from eccsnn.data.source import Source
from eccsnn.errors import ConfigError


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
class SourceOptions:
    """What opening a source may need; each takes what applies to it."""

    root: str | Path | None
    image_size: int
    download: bool
    include_background: bool | None
    frames: events.FrameOptions


_DATASETS: dict[str, tuple[DatasetInfo, Callable[[SourceOptions], Source]]] = {}


def _register(info: DatasetInfo, open_source: Callable[[SourceOptions], Source]) -> None:
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


def find_dataset(name: str) -> tuple[DatasetInfo, Callable[[SourceOptions], Source]]:
    """What a data set is and how it is opened.

    Raises:
        ConfigError: no data set has that name.
    """
    if name not in _DATASETS:
        near = difflib.get_close_matches(str(name), _DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"unknown data set {name!r}; expected one of {', '.join(_DATASETS)}{hint}")
    return _DATASETS[name]
