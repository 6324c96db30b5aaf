"""Caltech-101 in torchvision's layout. It has no test part; one is cut, stratified and seeded."""

from __future__ import annotations

from pathlib import Path

from eccsnn.data.folder import list_classes
from eccsnn.data.source import Source, describe_folder, existing_folder, source_from_files
from eccsnn.errors import DataError

LAYOUT = "caltech101/101_ObjectCategories/CLASS/image_NNNN.jpg"
_BACKGROUND = "BACKGROUND_Google"


def open_caltech101(
    root: str | Path | None, *, image_size: int = 32, include_background: bool = False, download: bool = False
) -> Source:
    """The 101 object classes; `include_background` adds `BACKGROUND_Google` as a class of its own (then 102).

    `root` may be the folder above `caltech101`, that folder, or `101_ObjectCategories` itself. Images have many shapes:
    the largest centred square is scaled to `image_size`.

    Source: L. Fei-Fei, R. Fergus, P. Perona, CVPR Workshop on Generative-Model Based Vision (2004).

    Raises:
        DataError: the layout is another one, or a class is empty.
    """
    if download:
        _download(root)
    folder = find_classes(root)
    class_names, files = list_classes(folder, ignore=() if include_background else (_BACKGROUND,))
    name = "Caltech-101 with background" if include_background else "Caltech-101"
    return source_from_files("caltech101", name, class_names, folder, files, image_size=image_size, has_test_part=False)


def find_classes(root: str | Path | None) -> Path:
    """The folder of the class folders, `101_ObjectCategories`.

    Raises:
        DataError: the layout is another one.
    """
    path = existing_folder(root, "caltech101", LAYOUT)
    candidates = (path / "caltech101" / "101_ObjectCategories", path / "101_ObjectCategories", path)
    folder = next((c for c in candidates if c.is_dir() and c.name == "101_ObjectCategories"), None)
    if folder is None:
        raise DataError(
            f"{path} holds no caltech101/101_ObjectCategories (found {describe_folder(path)}); expected {LAYOUT}, "
            "which download=true or unpacking the original archive gives"
        )
    return folder


def _download(root: str | Path | None) -> None:
    if root is None:
        raise DataError("download=true needs root, the folder to download Caltech-101 to")
    import torchvision.datasets

    try:
        torchvision.datasets.Caltech101(str(Path(root).expanduser()), download=True)
    except (OSError, RuntimeError, ImportError) as error:
        raise DataError(
            f"Caltech-101 could not be downloaded to {root}: {error}; unpack it there by hand ({LAYOUT})"
        ) from error
