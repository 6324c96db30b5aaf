import numpy as np
from sklearn.datasets import load_digits

from eccsnn.data import load_dataset


def test_the_digits_are_whole_stratified_and_disjoint(overlap):
    data = load_dataset("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1293, 145, 359)
    assert data.name == "scikit-learn digits"
    assert data.class_names == tuple("0123456789")
    assert data.image_shape == (3, 32, 32)
    counts = np.bincount(load_digits().target)
    assert (np.abs(np.bincount(data.test.labels) - 0.2 * counts) <= 1).all()
    assert overlap([data.train, data.val, data.test]) == 0


def test_pixels_are_the_digits(cache_dir):
    data = load_dataset("digits", image_size=8, val_fraction=0.0)
    digits = load_digits()
    order = np.concatenate([data.train.images, data.test.images])
    assert order.max() == 255
    assert {i[0].tobytes() for i in order} == {np.rint(i * 255 / 16).astype(np.uint8).tobytes() for i in digits.images}
    np.testing.assert_array_equal(order[:, 0], order[:, 2])
    assert list(cache_dir.iterdir()) == []
