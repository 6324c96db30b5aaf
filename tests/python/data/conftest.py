"""Tiny data sets in the real layouts."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eccsnn.data import cifar


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test, so that none touches the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ECCSNN_CACHE", str(folder))
    return folder


@pytest.fixture
def write_image() -> Callable[..., np.ndarray]:
    """write_image(path, seed, size=(width, height)): noise as an image file; returns its pixels [H, W, 3]."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (8, 8)) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    return write


@pytest.fixture
def make_folder(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """make_folder({"train/cat": 3, ...}, suffix=".png"): a folder with that many images in each subfolder."""

    def make(counts: dict[str, int], suffix: str = ".png", name: str = "pets") -> Path:
        root = tmp_path / name
        for seed, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                write_image(root / folder / f"{i:04d}{suffix}", seed=1000 * seed + i)
        return root

    return make


@pytest.fixture
def pets(make_folder: Callable[..., Path]) -> Path:
    """{train,test}/{cat,dog}/*: 20 and 10 images to learn from, 4 and 2 to measure on."""
    return make_folder({"train/cat": 20, "train/dog": 10, "test/cat": 4, "test/dog": 2})


@pytest.fixture
def make_cifar(tmp_path: Path) -> Callable[..., Path]:
    """make_cifar("cifar10", per_file=20, dump=pickle_py2): tiny files in the original format; returns the root."""

    def make(dataset: str = "cifar10", per_file: int = 20, dump: Callable[[Any], bytes] | None = None) -> Path:
        variant = cifar.VARIANTS[dataset]
        folder = tmp_path / dataset / variant.folder
        folder.mkdir(parents=True)
        dump = dump or (lambda content: pickle.dumps(content, protocol=2))
        classes = len(variant.class_names)
        for number, name in enumerate((*variant.train_files, variant.test_file)):
            pixels = np.random.default_rng(number).integers(0, 256, (per_file, 3072), dtype=np.uint8)
            labels = [(number + i) % classes for i in range(per_file)]
            (folder / name).write_bytes(dump({"batch_label": name, variant.labels_key: labels, "data": pixels}))
        (folder / variant.meta_file).write_bytes(dump({variant.names_key: list(variant.class_names)}))
        return tmp_path / dataset

    return make


@pytest.fixture
def pickle_py2() -> Callable[[Any], bytes]:
    """Pickles as Python 2 did in 2009, opcode by opcode: byte strings and arrays as in the original files."""

    def integer(value: int) -> bytes:
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + value.to_bytes(4, "little", signed=True)

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value
        )

    def array(value: np.ndarray) -> bytes:
        empty = b"cnumpy.core.multiarray\n_reconstruct\n" + b"(cnumpy\nndarray\nK\x00\x85U\x01bt" + b"R"
        dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + integer(-1) * 2 + b"K\x00tb"
        shape = b"(" + b"".join(map(integer, value.shape)) + b"t"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    def encode(value: Any) -> bytes:
        if isinstance(value, dict):
            return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(encode, value)) + b"e"
        if isinstance(value, np.ndarray):
            return array(value)
        return text(value.encode("ascii")) if isinstance(value, str) else integer(value)

    return lambda content: b"\x80\x02" + encode(content) + b"."


@pytest.fixture
def tiny_imagenet(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Path:
    """Tiny-ImageNet's layout with three classes, two of which share their first word."""
    root = tmp_path / "tiny-imagenet-200"
    words = {"n03": "crane", "n01": "goldfish, Carassius auratus", "n02": "crane, wading bird"}
    annotations = []
    for number, wnid in enumerate(words):
        for i in range(10):
            write_image(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", seed=100 * number + i, size=(64, 64))
        for i in range(2):
            name = f"val_{2 * number + i}.JPEG"
            write_image(root / "val" / "images" / name, seed=1000 + 2 * number + i, size=(64, 64))
            annotations.append(f"{name}\t{wnid}\t0\t0\t62\t62\n")
    (root / "wnids.txt").write_text("\n".join(words) + "\n")
    (root / "words.txt").write_text("".join(f"{k}\t{v}\n" for k, v in words.items()) + "n99\tother\n")
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    return root


def _rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.fixture
def overlap() -> Callable[[Sequence[Any]], int]:
    """How many different images occur in more than one of the given image sets."""

    def count(sets: Sequence[Any]) -> int:
        contents = [_rows(s.images) for s in sets]
        return sum(len(c) for c in contents) - len(set().union(*contents))

    return count
