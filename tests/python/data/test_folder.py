import numpy as np
import pytest
from PIL import Image

from eccsnn.data import load_dataset
from eccsnn.errors import DataError


def load(root, **options):
    return load_dataset("image_folder", root=root, image_size=8, **options)


def test_parts_and_classes_follow_the_folders(pets, overlap):
    data = load(pets)
    assert data.name == "pets"
    assert data.class_names == ("cat", "dog")
    assert np.bincount(data.train.labels).tolist() == [18, 9]
    assert np.bincount(data.val.labels).tolist() == [2, 1]
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    assert overlap([data.train, data.val, data.test]) == 0


def test_pixels_and_labels_belong_together(pets):
    data = load(pets, val_fraction=0.0)
    for label, name in enumerate(data.class_names):
        for part, images in (("train", data.train), ("test", data.test)):
            written = {np.asarray(Image.open(p)).tobytes() for p in (pets / part / name).iterdir()}
            read = images.images[images.labels == label].transpose(0, 2, 3, 1)
            assert {np.ascontiguousarray(image).tobytes() for image in read} == written


def test_val_comes_from_train_alone(pets):
    written = {np.asarray(Image.open(p)).tobytes() for p in (pets / "train").rglob("*.png")}
    val = load(pets, val_fraction=0.5).val.images.transpose(0, 2, 3, 1)
    assert len(val) == 15
    assert {np.ascontiguousarray(image).tobytes() for image in val} < written


def test_a_flat_folder_gets_a_test_part(make_folder, overlap):
    root = make_folder({"cat": 20, "dog": 10})
    data = load(root)
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    assert np.bincount(data.val.labels).tolist() == [2, 1]
    assert overlap([data.train, data.val, data.test]) == 0
    assert np.bincount(load(root, test_fraction=0.5).test.labels).tolist() == [10, 5]


def test_the_cut_does_not_change_when_images_are_read_again(make_folder, tmp_path):
    root = make_folder({"cat": 20, "dog": 10})
    assert load(root).fingerprint == load(root, cache_dir=tmp_path / "other cache").fingerprint
    assert load(root).fingerprint != load(root, seed=1).fingerprint


def test_a_class_may_be_called_train(make_folder):
    assert load(make_folder({"train": 4, "boat": 4})).class_names == ("boat", "train")


def test_other_files_are_left_out_with_a_warning(pets, caplog):
    (pets / "train" / "cat" / "notes.txt").write_text("hello")
    (pets / "train" / "cat" / ".DS_Store").write_text("x")
    (pets / "train" / "cat" / "Thumbs.db").write_text("x")
    assert len(load(pets, val_fraction=0).train) == 30
    (message,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "left out 1 entries" in message
    assert "notes.txt" in message


def test_suffixes_in_capitals_are_read(make_folder):
    assert len(load(make_folder({"train/a": 2, "test/a": 1}, suffix=".PNG"), val_fraction=0).train) == 2


def test_no_root():
    with pytest.raises(DataError, match=r"needs root, a folder with \{train,test\}/CLASS"):
        load(None)


def test_root_does_not_exist(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        load(tmp_path / "nowhere")


def test_root_is_an_archive(tmp_path):
    (tmp_path / "pets.tar.xz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"pets\.tar\.xz is a file; unpack it first"):
        load(tmp_path / "pets.tar.xz")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"no class folders \(found an empty folder\); expected \{train,test\}"):
        load(tmp_path)


def test_images_without_class_folders(tmp_path, write_image):
    write_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no class folders \(found 'a.png'\)"):
        load(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_says_what_was_found(make_folder, part):
    other = {"train": "test", "test": "train"}[part]
    root = make_folder({f"{other}/cat": 2, "val/cat": 1})
    with pytest.raises(DataError, match=rf"no folder '{part}' \(found '{other}/', 'val/'\)"):
        load(root)


def test_a_class_missing_in_test(make_folder):
    root = make_folder({"train/cat": 2, "train/dog": 2, "test/cat": 1})
    with pytest.raises(DataError, match=r"test has no folder for 1 of the 2 classes of train: dog; add"):
        load(root)


def test_a_class_unknown_in_train(make_folder):
    root = make_folder({"train/cat": 2, "test/cat": 1, "test/dog": 1})
    with pytest.raises(DataError, match=r"test has folders that are no class of train: dog; expected cat"):
        load(root)


@pytest.mark.parametrize("folder", ["train/dog", "test/dog"])
def test_an_empty_class(make_folder, folder):
    root = make_folder({"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1, folder: 0})
    with pytest.raises(DataError, match=rf"{folder} holds no image \(found nothing\)"):
        load(root)


def test_a_class_with_other_files_only(make_folder):
    root = make_folder({"cat": 2, "dog": 0})
    (root / "dog" / "a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"dog holds no image \(found only 'a.mp4'\); expected files ending in .bmp"):
        load(root)


def test_a_broken_image_is_named_and_nothing_is_cached(pets, cache_dir):
    path = pets / "train" / "dog" / "0003.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(DataError, match=r"1 of 36 images are broken: .*train/dog/0003\.png cannot be read"):
        load(pets)
    assert [p for p in cache_dir.iterdir() if p.suffix != ".lock"] == []
    path.write_bytes(whole)
    assert len(load(pets).train) == 27


def test_one_image_a_class_leaves_nothing_to_test_on(make_folder):
    with pytest.raises(DataError, match="too few images for a test part"):
        load(make_folder({"cat": 1, "dog": 1}))


def test_an_added_a_removed_and_a_changed_image_are_noticed(pets, write_image, caplog):
    before = load(pets).fingerprint
    assert load(pets).fingerprint == before
    assert not [r for r in caplog.records if "source changed" in r.getMessage()]
    write_image(pets / "train" / "cat" / "new.png", seed=77)
    added = load(pets, val_fraction=0.0)
    assert len(added.train) == 31
    (pets / "train" / "cat" / "new.png").unlink()
    assert load(pets).fingerprint == before
    write_image(pets / "train" / "cat" / "0000.png", seed=78)
    assert load(pets).fingerprint != before
    assert len([r for r in caplog.records if "source changed" in r.getMessage()]) == 3
