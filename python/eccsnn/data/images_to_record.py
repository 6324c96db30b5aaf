"""What a simulated camera looks at: the images of another data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data import caltech, folder
from eccsnn.data.cache import array_sha256
from eccsnn.data.events.classes import N_CALTECH101_CLASSES
from eccsnn.data.events.datasets import FrameOptions
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import find_preset
from eccsnn.data.events.simulated import image_size_for
from eccsnn.data.registry import SourceOptions, find_dataset
from eccsnn.data.source import existing_folder, files_signature, read_source
from eccsnn.data.splits import stratified_subset
from eccsnn.data.types import ImageSet
from eccsnn.errors import ConfigError


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
    preset, (looked_at, open_images) = find_preset(dataset), find_dataset(images)
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
    source = open_images(SourceOptions(root, image_size_for(dataset), False, None, FrameOptions()))
    arrays = read_source(source, cache_dir)
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
