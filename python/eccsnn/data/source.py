"""Where images come from, before anything is decoded or cut: what each loader hands to the registry."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL

from eccsnn.data.cache import Allocate, AnyArray, CachedArrays, array_sha256, open_cached
from eccsnn.data.decode import IMAGE_SUFFIXES, decode_files
from eccsnn.errors import DataError

logger = logging.getLogger(__name__)

_IGNORED_FILES = frozenset({"Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, eq=False)
class Source:
    """A data set that was found but not decoded yet.

    Attributes:
        name: what was really found, for instance `"CIFAR-10 (JPEG)"`.
        class_names: by class id.
        has_test_part: whether the data set comes with a test part; else one has to be cut.
        key: JSON-able; what identifies the decoded arrays (data set, root, image size).
        signature: JSON-able; the state of the files (names, sizes, times), so that a change is noticed.
        build: allocates and fills `images` uint8 `[N, 3, S, S]` (event frames: `[N, T, 2, S, S]`), `labels` int64 `[N]`
            and `is_test` bool `[N]`; `is_usable` bool `[N]` where some are to be left out.
        use_cache: False where building is quicker than reading a cache.
        default_test_fraction: part that is cut for a test where there is none and nobody says how much.
        is_frames: whether the samples are event frames.
        is_simulated: whether no camera recorded them; every name under which they are shown says so.
    """

    name: str
    class_names: tuple[str, ...]
    has_test_part: bool
    key: Mapping[str, Any]
    signature: Mapping[str, Any]
    build: Callable[[Allocate], None]
    use_cache: bool = True
    default_test_fraction: float = 0.2
    is_frames: bool = False
    is_simulated: bool = False


class ListedFile(NamedTuple):
    """One image file of a listing: `path` below the root, class id, part, and what tells whether it has changed."""

    path: str
    label: int
    is_test: bool
    size: int
    mtime_ns: int


def source_from_files(
    dataset: str,
    name: str,
    class_names: Sequence[str],
    root: Path,
    files: Sequence[ListedFile],
    *,
    image_size: int,
    has_test_part: bool,
) -> Source:
    """A source whose images are decoded from a listing of files."""

    def build(allocate: Allocate) -> None:
        images = allocate("images", (len(files), 3, image_size, image_size), np.uint8)
        allocate("labels", (len(files),), np.int64)[:] = [f.label for f in files]
        allocate("is_test", (len(files),), np.bool_)[:] = [f.is_test for f in files]
        decode_files([root / f.path for f in files], images, description=f"decoding {name}")

    return Source(
        name=name,
        class_names=tuple(class_names),
        has_test_part=has_test_part,
        key={"dataset": dataset, "name": name, "root": str(root), "image_size": image_size},
        signature=files_signature(files),
        build=build,
    )


def files_signature(files: Iterable[ListedFile]) -> dict[str, Any]:
    """Names, sizes and times as one digest, and the decoder's version: another decoder may give other pixels."""
    digest = hashlib.sha256()
    count = 0
    for file in files:
        digest.update(repr(tuple(file)).encode("utf-8", "surrogateescape"))
        count += 1
    return {"files": digest.hexdigest(), "file count": count, "Pillow version": PIL.__version__}


def existing_folder(root: str | Path | None, dataset: str, expected: str) -> Path:
    """`root` as an absolute path to a folder.

    Raises:
        DataError: it was not given, does not exist, or is a file (an archive, perhaps).
    """
    if root is None:
        raise DataError(f"data set {dataset!r} needs root, a folder with {expected}")
    path = Path(root).expanduser().absolute()
    if not path.exists():
        raise DataError(f"root {path} does not exist; data set {dataset!r} expects a folder with {expected}")
    if not path.is_dir():
        raise DataError(
            f"root {path} is a file; unpack it first: data set {dataset!r} expects a folder with {expected}"
        )
    return path


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, hidden ones left out.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error}") from error


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, hidden ones left out."""
    return [entry.name for entry in list_folder(folder) if entry.is_dir()]


def list_images(root: Path, below: str, label: int, *, is_test: bool) -> list[ListedFile]:
    """The image files in the folder `root/below`, by name. Files of other types are left out, with a warning.

    Raises:
        DataError: there is no image in it.
    """
    folder = root / below
    files, others = [], []
    for entry in list_folder(folder):
        if entry.is_file() and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            state = entry.stat()
            files.append(ListedFile(f"{below}/{entry.name}", label, is_test, state.st_size, state.st_mtime_ns))
        elif entry.name not in _IGNORED_FILES:
            others.append(entry.name)
    if not files:
        found = f"only {_some(others)}" if others else "nothing"
        raise DataError(
            f"{folder} holds no image (found {found}); expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}; "
            "add images or remove the folder"
        )
    if others:
        logger.warning("%s: left out %d entries that are no image files: %s", folder, len(others), _some(others))
    return files


def describe_folder(folder: Path) -> str:
    """What is in a folder, for error messages."""
    names = [entry.name + ("/" if entry.is_dir() else "") for entry in list_folder(folder)]
    return _some(names) if names else "an empty folder"


def format_of(files: Sequence[ListedFile]) -> str:
    """The file format of a listing for display: "JPEG" as soon as one file is lossy, else "PNG" or "folder"."""
    suffixes = {os.path.splitext(f.path)[1].lower() for f in files}
    if suffixes & {".jpg", ".jpeg"}:
        return "JPEG"
    return "PNG" if suffixes == {".png"} else "folder"


def _some(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(repr(n) for n in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def read_source(source: Source, cache_dir: Path | None) -> CachedArrays:
    """The arrays of a source, from the cache where it uses one."""
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
