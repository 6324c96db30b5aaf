import os
import pickle

import numpy as np
import pytest
import torchvision.datasets

from eccsnn.data import cifar, load_dataset
from eccsnn.errors import ConfigError, DataError

FOLDER = "cifar-10-batches-py"


def rewrite(path, **changes):
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(pickle.dumps({**content, **changes}, protocol=2))


@pytest.mark.parametrize(
    ("dataset", "title", "classes", "train"), [("cifar10", "CIFAR-10", 10, 100), ("cifar100", "CIFAR-100", 100, 200)]
)
def test_the_original_files(make_cifar, dataset, title, classes, train):
    root = make_cifar(dataset, per_file=20 if dataset == "cifar10" else 200)
    data = load_dataset(dataset, root=root)
    assert data.name == title
    assert data.num_classes == classes
    assert data.class_names[:2] == (("airplane", "automobile") if classes == 10 else ("apple", "aquarium_fish"))
    assert len(data.train) + len(data.val) == train
    assert set(data.val.labels.tolist()) == set(range(classes))


def test_pixels_are_in_the_original_order(make_cifar):
    data = load_dataset("cifar10", root=make_cifar(), val_fraction=0.0)
    expected = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8).reshape(20, 3, 32, 32)
    np.testing.assert_array_equal(data.train.gather(slice(0, 20)), expected)
    assert data.train.labels[:20].tolist() == [i % 10 for i in range(20)]
    expected = np.random.default_rng(5).integers(0, 256, (20, 3072), dtype=np.uint8).reshape(20, 3, 32, 32)
    np.testing.assert_array_equal(data.test.images, expected)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_pickles_of_python_2_read_the_same(make_cifar, pickle_py2, tmp_path, dataset):
    new = load_dataset(dataset, root=make_cifar(dataset))
    (tmp_path / dataset).rename(tmp_path / "new")
    old = load_dataset(dataset, root=make_cifar(dataset, dump=pickle_py2))
    assert old.fingerprint == new.fingerprint


def test_the_root_may_be_the_inner_folder(make_cifar):
    root = make_cifar()
    assert load_dataset("cifar10", root=root / FOLDER).fingerprint == load_dataset("cifar10", root=root).fingerprint


def test_another_size(make_cifar):
    assert load_dataset("cifar10", root=make_cifar(), image_size=48).image_shape == (3, 48, 48)


def test_files_that_are_not_the_published_ones_are_not_taken_silently(make_cifar, caplog):
    load_dataset("cifar10", root=make_cifar())
    assert len([r for r in caplog.records if "md5 differs" in r.getMessage()]) == 6


@pytest.mark.parametrize(
    ("suffix", "name"), [(".jpg", "CIFAR-10 (JPEG)"), (".png", "CIFAR-10 (PNG)"), (".bmp", "CIFAR-10 (folder)")]
)
def test_folders_of_images_are_named_for_what_they_are(make_folder, suffix, name):
    names = cifar.VARIANTS["cifar10"].class_names
    root = make_folder({f"{part}/{c}": 2 for part in ("train", "test") for c in names}, suffix=suffix)
    data = load_dataset("cifar10", root=root)
    assert data.name == name
    assert data.class_names == names
    assert (len(data.train), len(data.val), len(data.test)) == (10, 10, 20)
    assert load_dataset("cifar10", root=root, display_name="mine").name == "mine"


def test_folders_must_have_the_classes_of_the_data_set(make_folder):
    names = cifar.VARIANTS["cifar10"].class_names
    root = make_folder({f"{part}/{c}": 1 for part in ("train", "test") for c in (*names, "zebra")})
    with pytest.raises(
        DataError, match=r"train has folders that are no class of this data set: zebra; expected airplane"
    ):
        load_dataset("cifar10", root=root)
    root = make_folder({f"{part}/{c}": 1 for part in ("train", "test") for c in names[1:]}, name="less")
    with pytest.raises(DataError, match=r"train has no folder for 1 of the 10 classes of this data set: airplane"):
        load_dataset("cifar10", root=root)


def test_neither_layout(tmp_path):
    (tmp_path / "something").mkdir()
    with pytest.raises(
        DataError, match=r"\(found 'something/'\); expected cifar-10-batches-py/\{data_batch_1.*download=true"
    ):
        load_dataset("cifar10", root=tmp_path)


def test_a_missing_batch(make_cifar):
    root = make_cifar()
    (root / FOLDER / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"no file 'data_batch_3' \(found 'batches.meta'"):
        load_dataset("cifar10", root=root)


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_named(make_cifar, name, keep):
    path = make_cifar() / FOLDER / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{name} cannot be read as a CIFAR file"):
        load_dataset("cifar10", root=path.parent)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": np.zeros((20, 3071), np.uint8)}, r"uint8 \[20, 3071\], expected uint8 \[N, 3072\]"),
        ({"data": np.zeros((20, 3072), np.int64)}, r"int64 \[20, 3072\], expected uint8"),
        ({"data": [1, 2]}, "'data' is list"),
        ({"labels": [0] * 19}, "list of 19, expected a list of 20 integers"),
        ({"labels": ["cat"] * 20}, "expected a list of 20 integers"),
        ({"labels": None}, "'labels' is NoneType"),
        ({"labels": [0] * 19 + [10]}, r"labels span 0\.\.10, expected 0\.\.9"),
        ({"labels": [0] * 19 + [-1]}, r"labels span -1\.\.0"),
    ],
)
def test_contents_are_validated(make_cifar, changes, words):
    root = make_cifar()
    rewrite(root / FOLDER / "data_batch_4", **changes)
    with pytest.raises(DataError, match=rf"data_batch_4.*{words}"):
        load_dataset("cifar10", root=root)


def test_a_batch_without_images(make_cifar, pickle_py2):
    root = make_cifar()
    nothing = {"labels": [], "data": np.zeros((0, 3072), np.uint8)}
    (root / FOLDER / "data_batch_4").write_bytes(pickle_py2(nothing))
    with pytest.raises(DataError, match="data_batch_4 holds no image"):
        load_dataset("cifar10", root=root)


def test_other_class_names(make_cifar):
    root = make_cifar()
    rewrite(root / FOLDER / "batches.meta", label_names=["cat"] * 10)
    with pytest.raises(DataError, match=r"'label_names' does not hold the 10 class names of CIFAR-10"):
        load_dataset("cifar10", root=root)


def test_a_pickle_of_something_else(make_cifar):
    root = make_cifar()
    (root / FOLDER / "data_batch_1").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="holds a list, expected a dictionary"):
        load_dataset("cifar10", root=root)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_cannot_run_code(make_cifar, tmp_path):
    root = make_cifar()
    (root / FOLDER / "data_batch_1").write_bytes(pickle.dumps({"data": Evil(tmp_path / "owned")}, protocol=2))
    with pytest.raises(DataError, match=r"asks for posix\.mkdir, which no CIFAR file needs"):
        load_dataset("cifar10", root=root)
    assert not (tmp_path / "owned").exists()


def test_download_goes_through_torchvision(make_cifar, tmp_path, monkeypatch):
    calls = []

    class Downloader:
        train_list = torchvision.datasets.CIFAR10.train_list
        test_list = torchvision.datasets.CIFAR10.test_list

        def __init__(self, root, train, download):
            calls.append((root, train, download))
            make_cifar()

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Downloader)
    assert len(load_dataset("cifar10", root=tmp_path / "cifar10", download=True).test) == 20
    assert calls == [(str(tmp_path / "cifar10"), True, True)]


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", offline)
    with pytest.raises(
        DataError, match=r"CIFAR-100 could not be downloaded.*unreachable; unpack the original archive there"
    ):
        load_dataset("cifar100", root=tmp_path, download=True)
    with pytest.raises(DataError, match="download=true needs root"):
        load_dataset("cifar100", download=True)


def test_there_is_a_test_part_already(make_cifar):
    with pytest.raises(ConfigError, match=r"test_fraction is 0.5, but CIFAR-10 comes with a test part"):
        load_dataset("cifar10", root=make_cifar(), test_fraction=0.5)
