"""Image files to square uint8 arrays, many at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eccsnn.data.types import Uint8Array
from eccsnn.errors import DataError

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_CHUNK = 64
_LONG_JOB = 2000
_FAULTS_SHOWN = 5


def decode_image(path: str | Path, image_size: int = 32) -> Uint8Array:
    """Reads one image file as the loaders do: RGB, largest centred square, bilinear (antialiased) to `image_size`.

    Cutting the centre square keeps the aspect ratio: the same as scaling the shorter side and cropping the centre.

    Returns:
        uint8 `[3, image_size, image_size]`.

    Raises:
        DataError: the file is missing, empty, truncated or no image.
    """
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}, expected at least 1")
    try:
        if os.path.getsize(path) == 0:
            raise DataError(f"{path} is empty (0 bytes), expected an image; remove or replace the file")
        with Image.open(path) as image:
            return to_square(image, image_size)
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly every type when they meet broken bytes
        raise DataError(f"{path} cannot be read as an image ({error}); remove or replace the file") from error


def to_square(image: Image.Image, image_size: int) -> Uint8Array:
    """An opened image as uint8 `[3, image_size, image_size]`, cut and scaled as in `decode_image`."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} with pixels of 32 bits is not supported, convert it to 8 bits a channel")
    elif image.mode == "P":
        image = image.convert("RGBA")  # palettes with transparency do not go to RGB in one step
    image = image.convert("RGB")
    if image.size != (image_size, image_size):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def decode_files(paths: Sequence[str | Path], out: Uint8Array, *, description: str) -> None:
    """Decodes `paths[i]` into `out[i]` (uint8 `[N, 3, S, S]`) on all cores, with a progress bar where it takes a while.

    Raises:
        DataError: some files are broken; the message names the first of them and how many there are.
    """
    faults: dict[int, DataError] = {}

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            try:
                out[i] = decode_image(paths[i], out.shape[-1])
            except DataError as error:
                faults[i] = error

    in_chunks(len(paths), work, description=description)
    if faults:
        shown = [str(faults[i]) for i in sorted(faults)[:_FAULTS_SHOWN]]
        more = f" (and {len(faults) - len(shown)} more)" if len(faults) > len(shown) else ""
        raise DataError(f"{len(faults)} of {len(paths)} images are broken: " + "; ".join(shown) + more)


def resize_arrays(images: Uint8Array, out: Uint8Array, *, description: str) -> None:
    """Scales `images` (uint8 `[N, 3, h, w]`) into `out` (uint8 `[N, 3, S, S]`) as `decode_image` does."""
    if images.shape == out.shape:
        out[...] = images
        return

    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            out[i] = to_square(Image.fromarray(np.ascontiguousarray(images[i].transpose(1, 2, 0))), out.shape[-1])

    in_chunks(len(images), work, description=description)


def in_chunks(count: int, work: Callable[[int, int], None], *, description: str) -> None:
    """Calls `work(start, stop)` for consecutive ranges that cover `0..count`, on as many threads as there are cores."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = count < _LONG_JOB or not console.is_terminal
    if count >= _LONG_JOB:
        logger.info("%s: %d images", description, count)
    with (
        Progress(*columns, console=console, transient=True, disable=quiet) as progress,
        ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool,
    ):
        bar = progress.add_task(description, total=count)
        ranges = [(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
        futures = {pool.submit(work, *bounds): bounds for bounds in ranges}
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance(bar, futures[future][1] - futures[future][0])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
