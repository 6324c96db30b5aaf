"""Binary frames as bits: in the cache, in memory, and as batches."""

import json
import logging

import numpy as np
import pytest

from eccsnn.data import ImageSet, batches, load_dataset, restrict
from eccsnn.data.types import pack_frames, unpack_frames

DIGITS = {"images": "digits", "limit": 24}


def load(cache, **options):
    return load_dataset("n_mnist", simulate=DIGITS, timesteps=3, cache_dir=cache, **options)


def frames(count=7, width=13):
    return np.random.default_rng(0).integers(0, 2, (count, 3, 2, 5, width)).astype(np.uint8)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 34])
def test_unpacking_undoes_packing(width):
    bits = frames(width=width)
    packed = pack_frames(bits)
    assert packed.shape == (7, 3, 2, 5, -(-width // 8))
    np.testing.assert_array_equal(unpack_frames(packed, width), bits)


def test_a_packed_set_gives_what_an_unpacked_one_gives():
    bits, labels = frames(), np.arange(7) % 3
    plain, packed = ImageSet(bits, labels), ImageSet(pack_frames(bits), labels, packed_width=13)
    assert (packed.shape, packed.timesteps, repr(packed)) == (plain.shape, plain.timesteps, repr(plain))
    np.testing.assert_array_equal(packed.images, bits)
    np.testing.assert_array_equal(packed.gather([4, 1]), bits[[4, 1]])
    np.testing.assert_array_equal(packed.take([5, 2]).gather([1]), bits[[2]])
    np.testing.assert_array_equal(restrict(packed, [1]).images, restrict(plain, [1]).images)
    for a, b in zip(batches(plain, 4, shuffle=True), batches(packed, 4, shuffle=True), strict=True):
        assert a.images.equal(b.images)


def test_a_width_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"expected \[N, T, C, H, 3\] for a width of 17 px"):
        ImageSet(pack_frames(frames()), np.zeros(7, int), packed_width=17)


def test_the_cache_keeps_bits_and_the_log_says_how_many_bytes(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="eccsnn"):
        binary, counts = load(tmp_path / "bits", binary=True), load(tmp_path / "counts")
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(binary, part).images, getattr(counts, part).images > 0)
    (file,) = (tmp_path / "bits").glob("n_mnist_simulated-*.images.*.npy")
    assert np.load(file, mmap_mode="r").nbytes == 24 * 3 * 2 * 34 * 5
    assert "packed bits" in caplog.text
    assert f"{24 * 3 * 2 * 34 * 34 / 1e6:.1f} MB on disk as bytes" in caplog.text


def test_bits_that_were_changed_on_disk_are_made_anew(tmp_path, caplog):
    before = load(tmp_path, binary=True)
    expected = before.train.images.copy()
    (file,) = tmp_path.glob("n_mnist_simulated-*.images.*.npy")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 255
    file.write_bytes(damaged)
    after = load(tmp_path, binary=True)
    assert "another checksum" in caplog.text
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.train.images, expected)
    (manifest,) = tmp_path.glob("n_mnist_simulated-*.json")
    assert json.loads(manifest.read_text())["key"]["binary"] == "packed bits"
    assert not list(tmp_path.glob("*.tmp"))
