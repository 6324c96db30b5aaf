import numpy as np
import pytest
from PIL import Image

from eccsnn.data import load_dataset
from eccsnn.errors import DataError


def test_classes_follow_the_sorted_ids_and_val_serves_as_test(tiny_imagenet, overlap):
    data = load_dataset("tiny_imagenet", root=tiny_imagenet, image_size=64)
    assert data.name == "Tiny-ImageNet"
    assert data.class_names == ("goldfish", "crane (n02)", "crane (n03)")
    assert np.bincount(data.train.labels).tolist() == [9, 9, 9]
    assert np.bincount(data.val.labels).tolist() == [1, 1, 1]
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]
    assert overlap([data.train, data.val, data.test]) == 0


def test_annotations_label_the_test_images(tiny_imagenet):
    data = load_dataset("tiny_imagenet", root=tiny_imagenet.parent, image_size=64)
    lines = (tiny_imagenet / "val" / "val_annotations.txt").read_text().splitlines()
    expected = {}
    for line in lines:
        name, wnid = line.split("\t")[:2]
        pixels = np.asarray(Image.open(tiny_imagenet / "val" / "images" / name)).transpose(2, 0, 1)
        expected[pixels.tobytes()] = ["n01", "n02", "n03"].index(wnid)
    assert {i.tobytes(): int(k) for i, k in zip(data.test.images, data.test.labels, strict=True)} == expected


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_a_missing_file(tiny_imagenet, name):
    (tiny_imagenet / name).unlink()
    with pytest.raises(DataError, match=rf"has no {name} \(found .*\); expected wnids.txt, words.txt"):
        load_dataset("tiny_imagenet", root=tiny_imagenet)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("wnids.txt", "\n", "wnids.txt is empty"),
        ("wnids.txt", "n01\nn02\nn03\nn04\n", "train has no folder for n04"),
        ("wnids.txt", "n01\nn02\n", "a folder n03 that wnids.txt does not name"),
        ("words.txt", "n01\tgoldfish\n", "words.txt has no line for n02"),
        ("val/val_annotations.txt", "val_0.JPEG\tn77\n", "val_annotations.txt:1 names the class 'n77'"),
        ("val/val_annotations.txt", "val_0.JPEG n01\n", "val_annotations.txt:1 is 'val_0.JPEG n01', expected"),
        ("val/val_annotations.txt", "val_0.JPEG\tn01\n", "does not name val_1.JPEG"),
        ("val/val_annotations.txt", "no.JPEG\tn01\n", "names no.JPEG, which val/images lacks"),
    ],
)
def test_a_broken_text_file(tiny_imagenet, name, text, words):
    (tiny_imagenet / name).write_text(text)
    with pytest.raises(DataError, match=words):
        load_dataset("tiny_imagenet", root=tiny_imagenet)


def test_bytes_that_are_no_text(tiny_imagenet):
    (tiny_imagenet / "words.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"words\.txt cannot be read"):
        load_dataset("tiny_imagenet", root=tiny_imagenet)


def test_a_class_without_its_images_folder(tiny_imagenet):
    (tiny_imagenet / "train" / "n02" / "images").rename(tiny_imagenet / "train" / "n02" / "pictures")
    with pytest.raises(DataError, match=r"n02 has no folder 'images'"):
        load_dataset("tiny_imagenet", root=tiny_imagenet)
