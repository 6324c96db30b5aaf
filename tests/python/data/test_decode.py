import numpy as np
import pytest
from PIL import Image

from eccsnn.data import decode_image
from eccsnn.data.decode import decode_files, in_chunks, resize_arrays
from eccsnn.errors import DataError


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path, write_image):
    pixels = write_image(tmp_path / "a.png", size=(16, 16))
    got = decode_image(tmp_path / "a.png", 16)
    assert (got.dtype, got.shape) == (np.uint8, (3, 16, 16))
    np.testing.assert_array_equal(got, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("size", "columns", "rows"), [((20, 8), slice(6, 14), slice(0, 8)), ((8, 20), slice(0, 8), slice(6, 14))]
)
def test_the_centre_square_is_cut(tmp_path, write_image, size, columns, rows):
    pixels = write_image(tmp_path / "a.png", size=size)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", 8), pixels[rows, columns].transpose(2, 0, 1))


def test_scaling_down_is_antialiased(tmp_path):
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    Image.fromarray(checkers.astype(np.uint8)).save(tmp_path / "a.png")
    got = decode_image(tmp_path / "a.png", 8)
    assert got.min() > 110
    assert got.max() < 145


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_common_mode_becomes_rgb(tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 0xFFFF, np.uint16))
    else:
        image = Image.new("RGB", (8, 8), "white").convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    with Image.open(path) as written:
        assert written.mode == mode
    np.testing.assert_array_equal(decode_image(path, 8), np.full((3, 8, 8), 255))


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png is empty \(0 bytes\).*remove or replace"):
        decode_image(tmp_path / "a.png", 8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif"])
def test_a_truncated_file_is_named(tmp_path, write_image, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"a\{suffix} cannot be read as an image"):
        decode_image(path, 8)


def test_text_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        decode_image(tmp_path / "a.png", 8)
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        decode_image(tmp_path / "b.png", 8)


def test_an_image_too_large_to_be_honest_is_refused(tmp_path, write_image, monkeypatch):
    write_image(tmp_path / "a.png", size=(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png cannot be read.*exceeds limit"):
        decode_image(tmp_path / "a.png", 8)


def test_bad_size():
    with pytest.raises(ValueError, match="image_size is 0"):
        decode_image("a.png", 0)


def test_many_files_land_in_their_own_rows(tmp_path, write_image):
    paths = [tmp_path / f"{i}.png" for i in range(150)]
    expected = np.stack([write_image(path, seed=i).transpose(2, 0, 1) for i, path in enumerate(paths)])
    out = np.zeros((150, 3, 8, 8), np.uint8)
    decode_files(paths, out, description="decoding")
    np.testing.assert_array_equal(out, expected)


def test_all_broken_files_are_counted_and_the_first_named(tmp_path, write_image):
    paths = [tmp_path / f"{i:02d}.png" for i in range(20)]
    for path in paths:
        write_image(path)
    for path in paths[3:12]:
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"9 of 20 images are broken: \S*03\.png .*\(and 4 more\)"):
        decode_files(paths, np.zeros((20, 3, 8, 8), np.uint8), description="decoding")


def test_arrays_are_scaled_or_copied():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    same, larger = np.zeros_like(images), np.zeros((3, 3, 16, 16), np.uint8)
    resize_arrays(images, same, description="")
    resize_arrays(images, larger, description="")
    np.testing.assert_array_equal(same, images)
    np.testing.assert_allclose(larger.mean(axis=(2, 3)), images.mean(axis=(2, 3)), atol=12)


def test_an_error_in_a_thread_arrives():
    def work(start, stop):
        raise KeyError(start)

    with pytest.raises(KeyError):
        in_chunks(3, work, description="")
