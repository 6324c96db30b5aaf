"""Augmentation of event frames in batches, with random numbers that derive from (seed, epoch, step).

Frames are `[N, T, C, H, W]` of any dtype; a sample keeps its dtype, and nothing is changed in place. Labels mix where
samples do: `mix_frames` returns partners and shares, for `share * loss(labels) + (1 - share) * loss(labels[partner])`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eccsnn.data.seeding import random_words

FRAME_AUGMENTATIONS = ("flip", "flip_shift", "flip_shift_drop", "nda")
"""What `augment_frames` knows by name."""
_SHIFT_AT_48_PX = 5
_MOST_DROPPED = 0.5


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        frames: `[N, T, C, H, W]`, of the dtype that was given.
        partner: int64 `[N]`, the sample that was mixed into each.
        share: float32 `[N]`, how much of each is its own.
    """

    frames: Tensor
    partner: Tensor
    share: Tensor


def augment_frames(frames: Tensor, augment: str | None, *, seed: int, epoch: int, step: int) -> Tensor:
    """Augments a batch by the name that a configuration gives.

    Args:
        frames: `[N, T, C, H, W]`, any dtype, on any device.
        augment: `"flip"`: left to right with probability 1/2. `"flip_shift"`: also shifted by up to 5 px at 48 px, in
            proportion elsewhere; zeros come in. `"flip_shift_drop"`: also, with probability 3/4, events dropped by
            time, by area or at random. `"nda"`: flip, then one of shift, cut out, and shear. None: nothing.
        seed: integer >= 0.
        epoch: integer >= 0.
        step: integer >= 0; every step draws anew.

    Returns:
        A new tensor of the same shape, dtype and device, or `frames` itself for None.

    Raises:
        ValueError: the frames have no five dimensions or `augment` is unknown.

    Source:
        `"nda"`: Li et al., "Neuromorphic data augmentation for training spiking neural networks" (ECCV 2022), whose
        policy for CIFAR10-DVS flips and then takes one geometric change; its rotation is left out, a shift brings in
        zeros where public implementations roll the other side in (`torch.roll`), and how far all reach is ours.
        Dropping: Gu et al., "EventDrop: data augmentation for event-based learning" (IJCAI 2021).

    Example:
        >>> frames = torch.arange(4).view(1, 1, 1, 1, 4)
        >>> augment_frames(frames, "flip", seed=0, epoch=0, step=0).flatten().tolist()
        [3, 2, 1, 0]
    """
    if frames.dim() != 5:
        raise ValueError(f"frames have shape {list(frames.shape)}, expected [N, T, C, H, W]")
    if augment is None:
        return frames
    if augment not in FRAME_AUGMENTATIONS:
        known = ", ".join(map(repr, FRAME_AUGMENTATIONS))
        raise ValueError(f"augment is {augment!r}, expected one of {known} or None")
    draws = _uniform(len(frames), 8, "augment frames", seed, epoch, step)
    mirrored = torch.from_numpy(draws[:, 0] < 0.5).to(frames.device)
    frames = torch.where(mirrored.view(-1, 1, 1, 1, 1), frames.flip(-1), frames)
    if augment == "flip" or len(frames) == 0:
        return frames
    return torch.stack([_change(sample, row, augment) for sample, row in zip(frames, draws, strict=True)])


def mix_frames(frames: Tensor, *, seed: int, epoch: int, step: int) -> Mixed:
    """Puts a box in space and time of another sample into each, as EventMix does.

    A box of a random share of the volume, in a random place, comes from the partner. `share` is what is left of the
    sample's own events, counted, so that a box of silence leaves the label as it was.

    Args:
        frames: `[N, T, C, H, W]` of counts, at least 0.
        seed: integer >= 0.
        epoch: integer >= 0.
        step: integer >= 0.

    Returns:
        `Mixed(frames, partner, share)`; partners are a permutation of the batch.

    Raises:
        ValueError: the frames have no five dimensions.

    Source:
        Shen et al., "EventMix: an efficient data augmentation strategy for event-based learning" (2023), which takes
        masks of Gaussian mixtures and, among others, the ratio of event counts for labels; a box in place of a mixture
        is ours.

    Example:
        >>> mixed = mix_frames(torch.ones(4, 2, 1, 8, 8), seed=0, epoch=0, step=0)
        >>> sorted(mixed.partner.tolist()), mixed.frames.sum().item()
        ([0, 1, 2, 3], 512.0)
    """
    if frames.dim() != 5:
        raise ValueError(f"frames have shape {list(frames.shape)}, expected [N, T, C, H, W]")
    count = len(frames)
    draws = _uniform(count, 8, "mix frames", seed, epoch, step)
    partner = torch.from_numpy(np.argsort(draws[:, 7], kind="stable")).to(frames.device)
    mixed = frames.clone()
    share = torch.ones(count)
    for n in range(count):
        box = _box(frames.shape[1:], draws[n])
        other = frames[partner[n]][box]
        mixed[n][box] = other
        total = float(mixed[n].sum(dtype=torch.float64))
        if total > 0:
            share[n] = 1.0 - float(other.sum(dtype=torch.float64)) / total
    return Mixed(mixed, partner, share.to(frames.device))


def roll(sample: Tensor, dx: int, dy: int) -> Tensor:
    """A sample `[T, C, H, W]` moved by whole px; what leaves on one side is lost, and zeros come in on the other."""
    height, width = sample.shape[-2:]
    moved = torch.zeros_like(sample)
    if abs(dx) >= width or abs(dy) >= height:
        return moved
    source = sample[..., max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    moved[..., max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)] = source
    return moved


def shear(sample: Tensor, slope: float) -> Tensor:
    """A sample `[T, C, H, W]` whose rows move sideways by `slope` px a row from the middle one, in whole px."""
    height, width = sample.shape[-2:]
    rows = torch.arange(height)
    offset = torch.round((rows - (height - 1) / 2) * slope).long()
    source = torch.arange(width)[None, :] - offset[:, None]
    inside = ((source >= 0) & (source < width)).to(sample.device)
    taken = sample[..., rows[:, None].to(sample.device), source.clamp(0, width - 1).to(sample.device)]
    return torch.where(inside, taken, torch.zeros_like(taken))


def drop_time(sample: Tensor, begin: float, share: float) -> Tensor:
    """A sample `[T, C, H, W]` without the timesteps of a part of its duration, both in 0..1."""
    timesteps = len(sample)
    first = min(int(begin * timesteps), timesteps - 1)
    kept = sample.clone()
    kept[first : first + max(1, round(share * timesteps))] = 0
    return kept


def drop_area(sample: Tensor, left: float, top: float, side: float) -> Tensor:
    """A sample `[T, C, H, W]` without a rectangle; all in parts 0..1 of width and height."""
    height, width = sample.shape[-2:]
    x, y = int(left * width), int(top * height)
    kept = sample.clone()
    kept[..., y : y + max(1, round(side * height)), x : x + max(1, round(side * width))] = 0
    return kept


def drop_random(sample: Tensor, share: float, seed: int) -> Tensor:
    """A sample without a random share of its events: counts stay with probability `1 - share`, pixel by pixel."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(sample.shape, generator=generator) >= share
    return torch.where(kept.to(sample.device), sample, torch.zeros_like(sample))


def _change(sample: Tensor, row: np.ndarray, augment: str) -> Tensor:
    height, width = sample.shape[-2:]
    reach_x, reach_y = (max(1, round(_SHIFT_AT_48_PX * size / 48)) for size in (width, height))
    dx, dy = round((2 * row[1] - 1) * reach_x), round((2 * row[2] - 1) * reach_y)
    if augment == "nda":
        kind = int(row[3] * 3)
        if kind == 0:
            return roll(sample, dx, dy)
        if kind == 1:
            return drop_area(sample, row[4], row[5], row[6] / 3)
        return shear(sample, (2 * row[4] - 1) * 0.3)
    sample = roll(sample, dx, dy)
    if augment == "flip_shift":
        return sample
    kind, share = int(row[3] * 4), row[6] * _MOST_DROPPED
    if kind == 0:
        return sample
    if kind == 1:
        return drop_time(sample, row[4], share)
    if kind == 2:
        return drop_area(sample, row[4], row[5], share)
    return drop_random(sample, share, int(row[7] * 2**53))


def _box(shape: torch.Size, row: np.ndarray) -> tuple[slice, slice, slice, slice]:
    """A random box of `[T, C, H, W]` over all channels, of a share of the volume that is uniform in 0..1/2."""
    side = (row[0] / 2) ** (1 / 3)
    parts = [slice(None)] * 4
    for place, (dim, at) in enumerate(((0, row[1]), (2, row[2]), (3, row[3]))):
        size = shape[dim]
        length = min(size, round(side * size) + (row[4 + place] < 0.5 and side * size < 1))
        begin = int(at * (size - length + 1))
        parts[dim] = slice(begin, begin + length)
    return parts[0], parts[1], parts[2], parts[3]


def _uniform(count: int, columns: int, purpose: str, *keys: int) -> np.ndarray:
    """float64 `[count, columns]` in 0..1, 1 left out, drawn on the CPU: the same on every device."""
    words = random_words(count * columns, purpose, *keys)
    return ((words >> np.uint64(11)).astype(np.float64) / 2**53).reshape(count, columns)
