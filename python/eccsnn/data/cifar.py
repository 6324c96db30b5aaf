"""CIFAR-10 and CIFAR-100: the original pickles, or the images in folders `{train,test}/CLASS/*`."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data.cache import Allocate
from eccsnn.data.decode import resize_arrays
from eccsnn.data.folder import has_parts, list_parts
from eccsnn.data.source import (
    ListedFile,
    Source,
    describe_folder,
    existing_folder,
    files_signature,
    format_of,
    source_from_files,
)
from eccsnn.data.types import Int64Array, Uint8Array
from eccsnn.errors import DataError

logger = logging.getLogger(__name__)

_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class _Variant:
    dataset: str
    title: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    meta_file: str
    names_key: str
    labels_key: str
    class_names: tuple[str, ...]

    @property
    def layout(self) -> str:
        originals = ",".join((*self.train_files, self.test_file, self.meta_file))
        return f"{self.folder}/{{{originals}}} or {{train,test}}/CLASS/*"


_CIFAR10 = _Variant(
    dataset="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    train_files=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test_file="test_batch",
    meta_file="batches.meta",
    names_key="label_names",
    labels_key="labels",
    class_names=tuple(_CIFAR10_NAMES.split()),
)
_CIFAR100 = _Variant(
    dataset="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    train_files=("train",),
    test_file="test",
    meta_file="meta",
    names_key="fine_label_names",
    labels_key="fine_labels",
    class_names=tuple(_CIFAR100_NAMES.split()),
)
VARIANTS = {variant.dataset: variant for variant in (_CIFAR10, _CIFAR100)}


def open_cifar(dataset: str, root: str | Path | None, *, image_size: int = 32, download: bool = False) -> Source:
    """CIFAR-10 or CIFAR-100 (fine labels) with the original class order.

    `root` holds the original pickles (in `cifar-10-batches-py` or `cifar-100-python`, or is that folder), or the images
    in folders `{train,test}/CLASS/*` with the original class names. What was read is named: JPEG files give
    `"CIFAR-10 (JPEG)"`, because they are lossy and accuracies on them are a little lower.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).

    Args:
        dataset: `"cifar10"` or `"cifar100"`.
        root: the folder.
        image_size: 32 keeps the original pixels of the pickles; others are scaled bilinearly.
        download: fetches the original through torchvision, which checks its integrity, unless it is there.

    Raises:
        DataError: the layout is another one, a file is missing or broken, or a class is missing or unknown.
    """
    variant = VARIANTS[dataset]
    if download:
        _download(variant, root)
    path = existing_folder(root, dataset, variant.layout)
    for folder in (path / variant.folder, path):
        if (folder / variant.meta_file).is_file():
            return _source_from_pickles(variant, folder, image_size)
    if has_parts(path):
        class_names, files = list_parts(path, expected_classes=variant.class_names)
        name = f"{variant.title} ({format_of(files)})"
        return source_from_files(dataset, name, class_names, path, files, image_size=image_size, has_test_part=True)
    raise DataError(
        f"{path} holds neither {variant.title}'s original files nor folders of images (found {describe_folder(path)}); "
        f"expected {variant.layout}; download=true fetches the original"
    )


def _download(variant: _Variant, root: str | Path | None) -> None:
    if root is None:
        raise DataError(f"download=true needs root, the folder to download {variant.title} to")
    import torchvision.datasets

    loader = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[variant.dataset]
    try:
        loader(str(Path(root).expanduser()), train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{variant.title} could not be downloaded to {root}: {error}; unpack the original archive there by hand "
            f"({variant.layout})"
        ) from error


def _source_from_pickles(variant: _Variant, folder: Path, image_size: int) -> Source:
    names = _unpickle(folder / variant.meta_file).get(variant.names_key)
    if not isinstance(names, list) or tuple(names) != variant.class_names:
        raise DataError(
            f"{folder / variant.meta_file}: {variant.names_key!r} does not hold the {len(variant.class_names)} class "
            f"names of {variant.title}; use the original file"
        )
    listing = []
    for name in (*variant.train_files, variant.test_file):
        if not (folder / name).is_file():
            raise DataError(
                f"{folder} has no file {name!r} (found {describe_folder(folder)}); expected {variant.layout}"
            )
        state = os.stat(folder / name)
        listing.append(ListedFile(name, 0, name == variant.test_file, state.st_size, state.st_mtime_ns))

    def build(allocate: Allocate) -> None:
        parts = [_read_batch(folder / f.path, variant) for f in listing]
        _warn_unless_original(variant, folder)
        count = sum(len(labels) for _, labels in parts)
        images = allocate("images", (count, 3, image_size, image_size), np.uint8)
        all_labels = allocate("labels", (count,), np.int64)
        is_test = allocate("is_test", (count,), np.bool_)
        start = 0
        for file, (pixels, labels) in zip(listing, parts, strict=True):
            stop = start + len(labels)
            resize_arrays(pixels, images[start:stop], description=f"scaling {variant.title} {file.path}")
            all_labels[start:stop] = labels
            is_test[start:stop] = file.is_test
            start = stop

    return Source(
        name=variant.title,
        class_names=variant.class_names,
        has_test_part=True,
        key={"dataset": variant.dataset, "name": variant.title, "root": str(folder), "image_size": image_size},
        signature=files_signature(listing),
        build=build,
    )


def _read_batch(path: Path, variant: _Variant) -> tuple[Uint8Array, Int64Array]:
    batch = _unpickle(path)
    pixels, labels = batch.get("data"), batch.get(variant.labels_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        found = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path}: 'data' is {found}, expected uint8 [N, 3072] (3 x 32 x 32 a row)")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(label) is int for label in labels):
        found = f"a list of {len(labels)}" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}: {variant.labels_key!r} is {found}, expected a list of {len(pixels)} integers")
    if len(pixels) == 0:
        raise DataError(f"{path} holds no image")
    if not 0 <= min(labels) <= max(labels) < len(variant.class_names):
        raise DataError(
            f"{path}: labels span {min(labels)}..{max(labels)}, expected 0..{len(variant.class_names) - 1}; "
            "a class outside of it is unknown"
        )
    return pixels.reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.int64)


def _warn_unless_original(variant: _Variant, folder: Path) -> None:
    """torchvision knows the md5 of the published files; other files are read too, but not silently."""
    import torchvision.datasets

    loader = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[variant.dataset]
    for name, md5 in (*loader.train_list, *loader.test_list):
        with (folder / name).open("rb") as handle:
            if hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
                logger.warning("%s is not the published file of %s: its md5 differs", folder / name, variant.title)


# Pickles can run code, so only what the published files need is let through: arrays of plain numbers.
_ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0] for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1") if encoding == "latin1" else None,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")
        return _ALLOWED[module, name]


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            content = _ArrayUnpickler(handle, encoding="latin1").load()
    except Exception as error:  # broken pickles raise nearly every type
        raise DataError(f"{path} cannot be read as a CIFAR file ({error}); fetch the original again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, expected a dictionary as in the original")
    return content
