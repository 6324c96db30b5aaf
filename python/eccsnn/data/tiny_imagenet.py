"""Tiny-ImageNet in the layout of its archive. Its test part has no labels, so the val part serves as test."""

from __future__ import annotations

from collections import Counter
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

LAYOUT = "wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt"


def open_tiny_imagenet(root: str | Path | None, *, image_size: int = 64) -> Source:
    """200 classes of 64 px images; class ids follow the sorted WordNet ids, class names are the first word of each.

    `root` may be the folder above `tiny-imagenet-200` or that folder itself.

    Raises:
        DataError: a file or folder is missing, a class has no images, or an annotation names an unknown class or file.
    """
    path = existing_folder(root, "tiny_imagenet", LAYOUT)
    if (path / "tiny-imagenet-200").is_dir():
        path = path / "tiny-imagenet-200"
    for needed in ("wnids.txt", "words.txt", "train", "val/images", "val/val_annotations.txt"):
        if not (path / needed).exists():
            raise DataError(f"{path} has no {needed} (found {describe_folder(path)}); expected {LAYOUT}")
    wnids = sorted(set(_read(path / "wnids.txt").split()))
    if not wnids:
        raise DataError(f"{path / 'wnids.txt'} is empty, expected one WordNet id a line")
    files = _list_train(path, wnids) + _list_val(path, wnids)
    names = _class_names(path, wnids)
    return source_from_files(
        "tiny_imagenet", "Tiny-ImageNet", names, path, files, image_size=image_size, has_test_part=True
    )


def _list_train(path: Path, wnids: list[str]) -> list[ListedFile]:
    present = subfolders(path / "train")
    missing, unknown = sorted(set(wnids) - set(present)), sorted(set(present) - set(wnids))
    if missing or unknown:
        fault = f"no folder for {missing[0]}" if missing else f"a folder {unknown[0]} that wnids.txt does not name"
        raise DataError(f"{path / 'train'} has {fault}; expected one folder for each line of wnids.txt")
    files = []
    for label, wnid in enumerate(wnids):
        if not (path / "train" / wnid / "images").is_dir():
            raise DataError(f"{path / 'train' / wnid} has no folder 'images'; expected train/<wnid>/images/*.JPEG")
        files += list_images(path, f"train/{wnid}/images", label, is_test=False)
    return files


def _list_val(path: Path, wnids: list[str]) -> list[ListedFile]:
    annotations = path / "val" / "val_annotations.txt"
    labels: dict[str, int] = {}
    ids = {wnid: label for label, wnid in enumerate(wnids)}
    for number, line in enumerate(_read(annotations).splitlines(), start=1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if len(fields) < 2:
            raise DataError(f"{annotations}:{number} is {line[:60]!r}, expected 'file<TAB>wnid<TAB>box'")
        if fields[1] not in ids:
            raise DataError(f"{annotations}:{number} names the class {fields[1]!r}, which wnids.txt does not")
        labels[fields[0]] = ids[fields[1]]
    listed = list_images(path, "val/images", 0, is_test=True)
    found = {Path(f.path).name: f for f in listed}
    absent, extra = sorted(set(labels) - set(found)), sorted(set(found) - set(labels))
    if absent or extra:
        fault = f"names {absent[0]}, which val/images lacks" if absent else f"does not name {extra[0]} of val/images"
        raise DataError(f"{annotations} {fault}; expected one line for each image")
    return [file._replace(label=labels[name]) for name, file in found.items()]


def _class_names(path: Path, wnids: list[str]) -> list[str]:
    words = dict(line.split("\t", 1) for line in _read(path / "words.txt").splitlines() if "\t" in line)
    unnamed = [wnid for wnid in wnids if wnid not in words]
    if unnamed:
        raise DataError(f"{path / 'words.txt'} has no line for {unnamed[0]}; expected 'wnid<TAB>words'")
    names = [words[wnid].split(",")[0].strip() for wnid in wnids]
    counts = Counter(names)
    return [f"{name} ({wnid})" if counts[name] > 1 else name for name, wnid in zip(names, wnids, strict=True)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
