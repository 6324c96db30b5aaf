import numpy as np
import pytest
import torchvision.datasets

from eccsnn.data import load_dataset
from eccsnn.errors import DataError

BELOW = "caltech101/101_ObjectCategories"


@pytest.fixture
def root(make_folder):
    counts = {"BACKGROUND_Google": 10, "Faces": 20, "accordion": 10, "yin_yang": 5}
    return make_folder({f"{BELOW}/{name}": count for name, count in counts.items()}, suffix=".jpg", name="data")


def test_classes_and_cuts(root, overlap):
    data = load_dataset("caltech101", root=root, image_size=8)
    assert data.name == "Caltech-101"
    assert data.class_names == ("Faces", "accordion", "yin_yang")
    assert np.bincount(data.test.labels).tolist() == [4, 2, 1]
    assert np.bincount(data.val.labels).tolist() == [2, 1, 1]
    assert np.bincount(data.train.labels).tolist() == [14, 7, 3]
    assert overlap([data.train, data.val, data.test]) == 0


def test_the_classes_are_torchvisions(root):
    reference = torchvision.datasets.Caltech101(str(root))
    assert load_dataset("caltech101", root=root, image_size=8).class_names == tuple(reference.categories)


def test_with_background(root):
    without = load_dataset("caltech101", root=root, image_size=8)
    data = load_dataset("caltech101", root=root, image_size=8, include_background=True)
    assert data.class_names == ("BACKGROUND_Google", "Faces", "accordion", "yin_yang")
    assert data.name == "Caltech-101 with background"
    assert load_dataset("caltech101", root=root, image_size=8).fingerprint == without.fingerprint


def test_both_variants_are_cached_side_by_side(root, caplog):
    for _ in range(2):
        for background in (False, True):
            load_dataset("caltech101", root=root, image_size=8, include_background=background)
    assert not [r for r in caplog.records if "building the data cache" in r.getMessage()]


def test_the_cut_follows_seed_and_fraction(root):
    base = load_dataset("caltech101", root=root, image_size=8)
    other = load_dataset("caltech101", root=root, image_size=8, seed=1)
    assert base.fingerprint != other.fingerprint
    assert not np.array_equal(base.test.images, other.test.images)
    assert len(load_dataset("caltech101", root=root, image_size=8, test_fraction=0.4).test) == 14


def test_the_root_may_be_given_at_three_levels(root):
    prints = {
        load_dataset("caltech101", root=r, image_size=8).fingerprint for r in (root, root / "caltech101", root / BELOW)
    }
    assert len(prints) == 1


def test_display_name(root):
    assert load_dataset("caltech101", root=root, display_name="Caltech-101 (128 px)").name == "Caltech-101 (128 px)"


def test_another_layout(tmp_path):
    (tmp_path / "Faces").mkdir()
    with pytest.raises(DataError, match=r"holds no caltech101/101_ObjectCategories \(found 'Faces/'\)"):
        load_dataset("caltech101", root=tmp_path)


def test_download_goes_through_torchvision(root, monkeypatch):
    calls = []
    monkeypatch.setattr(torchvision.datasets, "Caltech101", lambda r, download: calls.append((r, download)))
    load_dataset("caltech101", root=root, image_size=8, download=True)
    assert calls == [(str(root), True)]


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torchvision.datasets, "Caltech101", offline)
    with pytest.raises(DataError, match=r"could not be downloaded.*unreachable; unpack it there by hand"):
        load_dataset("caltech101", root=tmp_path, download=True)
    with pytest.raises(DataError, match="download=true needs root"):
        load_dataset("caltech101", download=True)
