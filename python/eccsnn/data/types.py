"""What the rest of the package sees of a data set: arrays of images or event frames with labels, cut into train, val
and test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Uint8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


class ImageSet:
    """Images or event frames with labels; a cheap view where it is a part of a larger array.

    Train, val and the tasks of a scenario are all parts of the same decoded array (often a memory map on disk). Such a
    part keeps the whole array and its row numbers, so cutting copies no pixels; `gather` reads only the rows needed.

    Args:
        images: uint8 `[M, C, H, W]`, or event frames `[M, T, C, H, W]`; may be a read-only memory map.
        labels: int64 `[N]`, global class ids `>= 0` of the visible images.
        rows: int64 `[N]`, which rows of `images` are visible; None: all of them in order (`N == M`).
        packed_width: W, where `images` are binary frames packed by `pack_frames`, `[M, T, C, H, ceil(W / 8)]`; every
            access unpacks what it reads. None: they are not packed.

    Raises:
        TypeError: `images` is not uint8 or `labels` are not integers.
        ValueError: the shapes do not fit together, a label is negative, or a row does not exist.

    Example:
        >>> pixels = np.zeros((4, 3, 8, 8), dtype=np.uint8)
        >>> part = ImageSet(pixels, np.array([0, 1, 0, 1])).take([3, 0])
        >>> len(part), part.labels.tolist(), part.shape
        (2, [1, 0], (3, 8, 8))
    """

    def __init__(
        self,
        images: Uint8Array,
        labels: npt.ArrayLike,
        *,
        rows: npt.ArrayLike | None = None,
        packed_width: int | None = None,
    ) -> None:
        images = np.asarray(images)  # drops np.memmap's subclass, whose indexing is slow; the mapping stays
        if images.dtype != np.uint8:
            raise TypeError(f"images have dtype {images.dtype}, expected uint8 pixels in 0..255")
        if images.ndim not in (4, 5):
            raise ValueError(f"images have shape {images.shape}, expected [N, C, H, W], or frames [N, T, C, H, W]")
        if packed_width is not None and (images.ndim != 5 or images.shape[-1] != -(-packed_width // 8)):
            raise ValueError(
                f"packed frames have shape {images.shape}, expected [N, T, C, H, {-(-packed_width // 8)}] for a width "
                f"of {packed_width} px"
            )
        self._packed_width = packed_width
        self._pool: Uint8Array = images
        self._rows: Int64Array | None = None if rows is None else _integers(rows, "rows")
        self.labels: Int64Array = _integers(labels, "labels")
        visible = len(images) if self._rows is None else len(self._rows)
        if len(self.labels) != visible:
            raise ValueError(f"{visible} images but {len(self.labels)} labels; give one label for each image")
        if len(self.labels) and self.labels.min() < 0:
            raise ValueError(f"labels contain {self.labels.min()}, expected class ids >= 0")
        if self._rows is not None and len(self._rows) and not 0 <= self._rows.min() <= self._rows.max() < len(images):
            raise ValueError(f"rows span {self._rows.min()}..{self._rows.max()}, but there are {len(images)} images")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        what = "images" if self.timesteps is None else f"recordings in {self.timesteps} frames"
        return f"ImageSet({len(self)} {what} of {list(self.shape)} in {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, or of one frame."""
        channels, height, width = self._pool.shape[-3:]
        return channels, height, width if self._packed_width is None else self._packed_width

    @property
    def timesteps(self) -> int | None:
        """T of event frames; None for images."""
        return self._pool.shape[1] if self._pool.ndim == 5 else None

    @property
    def classes(self) -> tuple[int, ...]:
        """The class ids that occur, in ascending order."""
        return tuple(int(c) for c in np.unique(self.labels))

    @property
    def images(self) -> Uint8Array:
        """uint8 `[N, C, H, W]` (frames: `[N, T, C, H, W]`).

        For a part of a larger array each access copies its pixels; prefer `gather`.
        """
        return self._unpacked(self._pool if self._rows is None else np.take(self._pool, self._rows, axis=0))

    def gather(self, indices: npt.ArrayLike | slice) -> Uint8Array:
        """A new array uint8 `[n, C, H, W]` (frames: `[n, T, C, H, W]`) with the images at `indices` of this set, in
        that order.
        """
        chosen = self._resolve(indices)
        return self._unpacked(np.take(self._pool, chosen if self._rows is None else self._rows[chosen], axis=0))

    def take(self, indices: npt.ArrayLike | slice) -> ImageSet:
        """The images at `indices` as a set of their own, without copying pixels."""
        chosen = self._resolve(indices)
        rows = chosen if self._rows is None else self._rows[chosen]
        return ImageSet(self._pool, self.labels[chosen], rows=rows, packed_width=self._packed_width)

    def _unpacked(self, images: Uint8Array) -> Uint8Array:
        return images if self._packed_width is None else unpack_frames(images, self._packed_width)

    def _resolve(self, indices: npt.ArrayLike | slice) -> Int64Array:
        if isinstance(indices, slice):
            return np.arange(len(self), dtype=np.int64)[indices]
        return _integers(indices, "indices")


def pack_frames(frames: Uint8Array) -> Uint8Array:
    """Binary frames as bits: an eighth of the bytes.

    Args:
        frames: uint8 `[..., W]`; whatever is not 0 becomes 1.

    Returns:
        uint8 `[..., ceil(W / 8)]`: bit i of byte j is column 8 j + i, and bits past the last column are 0.

    Example:
        >>> pack_frames(np.array([[0, 1, 0, 0, 0, 0, 0, 0, 3]], dtype=np.uint8)).tolist()
        [[2, 1]]
    """
    return np.packbits(frames, axis=-1, bitorder="little")


def unpack_frames(packed: Uint8Array, width: int) -> Uint8Array:
    """What `pack_frames` was given, as 0 and 1: uint8 `[..., ceil(W / 8)]` to `[..., W]`.

    Example:
        >>> unpack_frames(np.array([[2, 1]], dtype=np.uint8), 9).tolist()
        [[0, 1, 0, 0, 0, 0, 0, 0, 1]]
    """
    return np.unpackbits(packed, axis=-1, count=width, bitorder="little")


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set ready for an experiment.

    Attributes:
        name: what to call it wherever a result is shown, for instance `"CIFAR-10 (JPEG)"`.
        class_names: the name of class id `k` is `class_names[k]`.
        train: what a model may learn from.
        val: cut from the training data; everything that is selected (epochs, thresholds) is selected here.
        test: only ever measured on.
        mean: per channel, of `train` alone, for pixels scaled to 0..1; 0 for event frames.
        std: per channel, likewise; of event frames around 0.
        fingerprint: sha256 (hex) over pixels, labels, class names and the cut; equal fingerprints mean equal data.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet = field(repr=False)
    val: ImageSet = field(repr=False)
    test: ImageSet = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, or of one frame."""
        return self.train.shape

    @property
    def timesteps(self) -> int | None:
        """T of event frames; None for images."""
        return self.train.timesteps


def channel_statistics(
    images: ImageSet, *, chunk: int = 1024, around_zero: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1, over all images, pixels and timesteps.

    Sums are integers, so the result does not depend on the order of the images or on the machine.

    Args:
        images: the set.
        chunk: images that are looked at at once.
        around_zero: gives 0 as the mean, and the root of the mean square as std. For event frames, where 0 is no event
            and has to stay 0.

    Returns:
        `(mean [C], std [C])`; a constant channel gets std 1, so that dividing by it is harmless.

    Raises:
        ValueError: there is no image.
    """
    if len(images) == 0:
        raise ValueError("mean and std of an empty set are not defined; give at least one image")
    channels, height, width = images.shape
    total = np.zeros(channels, dtype=np.uint64)
    squares = np.zeros(channels, dtype=np.uint64)
    for start in range(0, len(images), chunk):
        block = images.gather(slice(start, start + chunk))
        for channel in range(channels):
            values = block[..., channel, :, :].astype(np.uint32)
            total[channel] += values.sum(dtype=np.uint64)
            squares[channel] += np.square(values, out=values).sum(dtype=np.uint64)
    count = len(images) * height * width * (images.timesteps or 1)
    mean, std = [], []
    for first, second in zip(total.tolist(), squares.tolist(), strict=True):
        first = 0 if around_zero else first
        variance = count * second - first * first  # exact: Python integers, scaled by count^2
        mean.append(first / count / 255.0)
        std.append(variance**0.5 / count / 255.0 if variance > 0 else 1.0)
    return tuple(mean), tuple(std)


def _integers(values: npt.ArrayLike, what: str) -> Int64Array:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1:
        raise ValueError(f"{what} have shape {array.shape}, expected one dimension")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{what} have dtype {array.dtype}, expected integers")
    return array.astype(np.int64, copy=False)


def check_class_ids(classes: Sequence[int]) -> tuple[int, ...]:
    """`classes` as a tuple of distinct ids `>= 0`; raises ValueError otherwise."""
    ids = tuple(int(c) for c in classes)
    if any(c < 0 for c in ids):
        raise ValueError(f"classes contain {min(ids)}, expected class ids >= 0")
    if len(set(ids)) != len(ids):
        raise ValueError(f"classes {list(ids)} name a class twice; give each class once")
    return ids
