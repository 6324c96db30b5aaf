"""Folders of images: `{train,test}/CLASS/*`, or `CLASS/*` where a test part is still to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eccsnn.data.source import (
    ListedFile,
    Source,
    describe_folder,
    existing_folder,
    list_images,
    source_from_files,
    subfolders,
)
from eccsnn.errors import DataError

LAYOUT = "{train,test}/CLASS/* or CLASS/*"


def open_image_folder(root: str | Path | None, *, image_size: int = 32) -> Source:
    """Classes are the folder names in alphabetical order (byte order, as `sorted` gives it).

    With `train/` and `test/` below the root these are the parts; otherwise every folder is a class and a test part is
    cut from each.

    Raises:
        DataError: the layout is another one, a folder is empty, or train and test have different classes.
    """
    path = existing_folder(root, "image_folder", LAYOUT)
    if has_parts(path):
        class_names, files = list_parts(path)
    else:
        class_names, files = list_classes(path)
    return source_from_files(
        "image_folder", path.name, class_names, path, files, image_size=image_size, has_test_part=has_parts(path)
    )


def has_parts(root: Path) -> bool:
    """Whether `root` has the layout `{train,test}/CLASS/*` (`train` has folders in it, so it is no class)."""
    return any((root / part).is_dir() and bool(subfolders(root / part)) for part in ("train", "test"))


def list_parts(root: Path, expected_classes: Sequence[str] | None = None) -> tuple[tuple[str, ...], list[ListedFile]]:
    """Lists `{train,test}/CLASS/*`.

    Args:
        root: the folder that holds `train` and `test`.
        expected_classes: the only classes allowed, and all required; None: those of `train`.

    Returns:
        `(class_names, files)`.

    Raises:
        DataError: a part or a class is missing, a class is unknown, or a class holds no image.
    """
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise DataError(
                f"{root} has no folder {part!r} (found {describe_folder(root)}); expected {{train,test}}/CLASS/*: "
                "images to learn from in train, images to measure on in test"
            )
    given = tuple(subfolders(root / "train"))
    class_names = given if expected_classes is None else tuple(expected_classes)
    if not class_names:
        raise DataError(f"{root / 'train'} has no class folders (found {describe_folder(root / 'train')})")
    for part in ("train", "test"):
        present = subfolders(root / part)
        _check_classes(root / part, present, class_names, "this data set" if expected_classes else "train")
    files = []
    for part in ("train", "test"):
        for label, name in enumerate(class_names):
            files += list_images(root, f"{part}/{name}", label, is_test=part == "test")
    return class_names, files


def list_classes(root: Path, below: str = "", ignore: Sequence[str] = ()) -> tuple[tuple[str, ...], list[ListedFile]]:
    """Lists `CLASS/*` in `root/below`, leaving out the classes in `ignore`; returns `(class_names, files)`.

    Raises:
        DataError: there are no class folders, or one holds no image.
    """
    folder = root / below if below else root
    class_names = tuple(name for name in subfolders(folder) if name not in ignore)
    if not class_names:
        raise DataError(f"{folder} has no class folders (found {describe_folder(folder)}); expected {LAYOUT}")
    files = []
    for label, name in enumerate(class_names):
        files += list_images(root, f"{below}/{name}" if below else name, label, is_test=False)
    return class_names, files


def _check_classes(folder: Path, present: Sequence[str], expected: Sequence[str], whose: str) -> None:
    missing = [name for name in expected if name not in present]
    if missing:
        raise DataError(
            f"{folder} has no folder for {len(missing)} of the {len(expected)} classes of {whose}: "
            f"{', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}; add their images"
        )
    unknown = [name for name in present if name not in expected]
    if unknown:
        raise DataError(
            f"{folder} has folders that are no class of {whose}: {', '.join(unknown[:6])}"
            f"{', ...' if len(unknown) > 6 else ''}; expected {', '.join(list(expected)[:12])}"
            f"{', ...' if len(expected) > 12 else ''}"
        )
