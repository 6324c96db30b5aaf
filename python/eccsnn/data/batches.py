"""Deterministic batches: what batch `step` of epoch `epoch` holds follows from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eccsnn.data.events.augment import FRAME_AUGMENTATIONS, augment_frames, mix_frames
from eccsnn.data.seeding import permutation, random_words
from eccsnn.data.types import ImageSet

AUGMENTATIONS = ("crop_flip", "flip")
"""Of images and of event frames alike; frames know `eccsnn.data.events.augment.FRAME_AUGMENTATIONS`, too."""
MIXES = ("event_mix",)
"""Ways to mix event frames of a batch with each other: `eccsnn.data.events.augment.mix_frames`."""
_PADDING_AT_32_PX = 4


class MixedLabels(NamedTuple):
    """Labels of what was mixed into the samples of a batch, int64 `[N]`, and how much of each sample is still its own,
    float32 `[N]` in 0..1.
    """

    labels: Tensor
    share: Tensor


class Batch(NamedTuple):
    """One batch: `images` float32 `[N, C, H, W]`, `labels` int64 `[N]`, `indices` int64 `[N]` into the image set.

    Event frames have time first, as models take it: `images` float32 `[T, N, C, H, W]`. `mixed` is None where samples
    were not mixed; else losses weigh two labels a sample.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    mixed: MixedLabels | None = None


def num_batches(count: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Batches in one epoch of `count` images.

    Example:
        >>> num_batches(10, 4), num_batches(10, 4, drop_last=True)
        (3, 2)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    return count // batch_size if drop_last else -(-count // batch_size)


def batches(
    images: ImageSet,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = False,
    augment: str | None = None,
    mix: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    start_step: int = 0,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Iterates over one epoch.

    The order derives from (seed, epoch) and the augmentation of a batch from (seed, epoch, step), so an epoch that is
    resumed at `start_step` yields exactly the batches that were still to come. Random numbers are drawn on the CPU: the
    pixels are the same on every device.

    Args:
        images: the set to iterate over.
        batch_size: images a batch; the last one may be smaller unless `drop_last`.
        seed: integer >= 0.
        epoch: integer >= 0.
        shuffle: False keeps the order of the set.
        augment: `"crop_flip"` (random crop after padding, and horizontal flip), `"flip"` or None; for event frames also
            a name of `eccsnn.data.events.augment.FRAME_AUGMENTATIONS`.
        mix: event frames only: `"event_mix"` mixes the samples of a batch after they were augmented, and says so in
            `Batch.mixed`; None: nothing is mixed.
        mean: per channel, for pixels scaled to 0..1; None with `std` None leaves them in 0..1.
        std: per channel.
        device: where the batch goes; pixels travel as uint8.
        start_step: number of batches to skip.
        drop_last: leaves out an incomplete last batch.

    Yields:
        `Batch(images float32 [N, C, H, W], labels int64 [N], indices int64 [N])`; for event frames
        `images float32 [T, N, C, H, W]`, a view of memory in the order `[N, T, C, H, W]`.

    Raises:
        ValueError: an argument is out of range, `augment` or `mix` is unknown or not for these samples, or `mean` and
            `std` do not fit the channels.

    Example:
        >>> data = ImageSet(np.full((3, 1, 2, 2), 255, dtype=np.uint8), [0, 1, 2])
        >>> [batch.labels.tolist() for batch in batches(data, 2)]
        [[0, 1], [2]]
    """
    steps = num_batches(len(images), batch_size, drop_last=drop_last)
    if not 0 <= start_step <= steps:
        raise ValueError(f"start_step is {start_step}, expected 0..{steps}, the batches of one epoch")
    _check_augment(augment, is_frames=images.timesteps is not None)
    if mix is not None and (mix not in MIXES or images.timesteps is None):
        raise ValueError(
            f"mix is {mix!r}, expected None, or for event frames one of {', '.join(map(repr, MIXES))}; these are "
            f"{'images' if images.timesteps is None else 'event frames'}"
        )
    _affine(mean, std, images.shape[0])
    order = permutation(len(images), "shuffle", seed, epoch) if shuffle else np.arange(len(images), dtype=np.int64)
    target = torch.device(device)

    def generate() -> Iterator[Batch]:
        for step in range(start_step, steps):
            indices = order[step * batch_size : (step + 1) * batch_size]
            pixels = torch.from_numpy(images.gather(indices))
            labels = torch.from_numpy(images.labels[indices])
            pixels = augment_images(pixels, augment, seed=seed, epoch=epoch, step=step)
            mixed = None
            if mix is not None:
                pixels, partner, share = mix_frames(pixels, seed=seed, epoch=epoch, step=step)
                mixed = MixedLabels(labels[partner].to(target), share.to(target))
            if target.type == "cuda":
                pixels, labels = pixels.pin_memory(), labels.pin_memory()
            pixels, labels = pixels.to(target, non_blocking=True), labels.to(target, non_blocking=True)
            yield Batch(model_input(pixels, mean, std), labels, torch.from_numpy(indices.copy()).to(target), mixed)

    return generate()


def augment_images(images: Tensor, augment: str | None, *, seed: int, epoch: int, step: int) -> Tensor:
    """Augments a batch with random numbers derived from (seed, epoch, step).

    The crop pads with zeros (black before normalisation), 4 px at 32 px images and in proportion at others, and cuts a
    window of the original size at a random place; the flip mirrors each image left to right with probability 1/2.

    Args:
        images: `[N, C, H, W]`, or event frames `[N, T, C, H, W]`, all frames of which are treated alike; any dtype; not
            changed.
        augment: as for `batches`; None returns `images` as they are.

    Returns:
        A new tensor of the same shape, dtype and device.
    """
    _check_augment(augment, is_frames=images.ndim == 5)
    if augment is None:
        return images
    if images.ndim == 5 and augment not in AUGMENTATIONS:
        return augment_frames(images, augment, seed=seed, epoch=epoch, step=step)
    if images.ndim == 5:  # one window for all frames: timesteps are so many more channels
        alike = augment_images(images.flatten(1, 2), augment, seed=seed, epoch=epoch, step=step)
        return alike.view(images.shape)
    if images.ndim != 4:
        raise ValueError(f"images have shape {list(images.shape)}, expected [N, C, H, W] or [N, T, C, H, W]")
    count, _, height, width = images.shape
    words = torch.from_numpy((random_words(3 * count, "augment", seed, epoch, step) >> np.uint64(33)).astype(np.int64))
    top, left, mirror = words.view(3, count)
    if augment == "crop_flip":
        pad_y, pad_x = crop_padding(height), crop_padding(width)
        padded = torch.nn.functional.pad(images, (pad_x, pad_x, pad_y, pad_y))
        # All windows as a view; indexing by image and place then copies whole rows of pixels.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
        every = torch.arange(count, device=images.device)
        row, column = (top % (2 * pad_y + 1)).to(images.device), (left % (2 * pad_x + 1)).to(images.device)
        images = windows[every, row, column]
    mirrored = (mirror % 2 == 1).to(images.device)
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)


def crop_padding(size: int) -> int:
    """Padding of the random crop in px for images of `size` px: 4 at 32 px, in proportion elsewhere, at least 1.

    Example:
        >>> crop_padding(32), crop_padding(64)
        (4, 8)
    """
    return max(1, round(_PADDING_AT_32_PX * size / 32))


def normalize(images: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Tensor:
    """uint8 `[..., C, H, W]` to float32 `(pixel / 255 - mean) / std`; without mean and std only scaled to 0..1.

    Raises:
        TypeError: `images` is not uint8.
        ValueError: `mean` and `std` do not fit the channels, or one is given without the other.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images have dtype {images.dtype}, expected uint8 pixels in 0..255")
    scale, shift = _affine(mean, std, images.shape[-3])
    scale_t = torch.tensor(scale, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    shift_t = torch.tensor(shift, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    return images.to(torch.float32).mul_(scale_t).add_(shift_t)


def model_input(pixels: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Tensor:
    """What a model takes of samples as they are stored: normalised, and time first.

    Args:
        pixels: uint8 `[N, C, H, W]`, or event frames `[N, T, C, H, W]`.
        mean, std: per channel; see `normalize`.

    Returns:
        float32 `[N, C, H, W]`, or `[T, N, C, H, W]` as a view.

    Raises:
        TypeError, ValueError: as `normalize`.

    Example:
        >>> model_input(torch.zeros(5, 3, 2, 8, 8, dtype=torch.uint8)).shape
        torch.Size([3, 5, 2, 8, 8])
    """
    values = normalize(pixels, mean, std)
    return values.transpose(0, 1) if values.ndim == 5 else values


def _affine(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[list[float], list[float]]:
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together: give both or none")
    if mean is None or std is None:
        return [1.0 / 255.0] * channels, [0.0] * channels
    if len(mean) != channels or len(std) != channels:
        raise ValueError(f"mean has {len(mean)} and std {len(std)} values, expected {channels}, one a channel")
    if any(not s > 0 for s in std):
        raise ValueError(f"std is {list(std)}, expected values > 0")
    return [1.0 / (255.0 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]


def _check_augment(augment: str | None, *, is_frames: bool) -> None:
    known = tuple(dict.fromkeys((*AUGMENTATIONS, *FRAME_AUGMENTATIONS))) if is_frames else AUGMENTATIONS
    if augment is not None and augment not in known:
        what = "event frames" if is_frames else "images"
        raise ValueError(f"augment is {augment!r}, expected one of {', '.join(map(repr, known))} or None for {what}")
