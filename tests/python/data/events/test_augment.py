"""Augmentation of event frames: what each change does, and that seeds decide."""

from __future__ import annotations

import pytest
import torch

from eccsnn.data.events import augment as module
from eccsnn.data.events.augment import FRAME_AUGMENTATIONS, augment_frames, mix_frames


def batch(count: int = 16, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 9, (count, 5, 2, 24, 20), generator=generator).to(dtype)


@pytest.mark.parametrize("name", FRAME_AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_dtype_and_input_are_kept_and_events_only_vanish(name, dtype):
    frames = batch(dtype=dtype)
    before = frames.clone()
    changed = augment_frames(frames, name, seed=1, epoch=2, step=3)
    assert torch.equal(frames, before)
    assert (changed.shape, changed.dtype) == (frames.shape, frames.dtype)
    assert not torch.equal(changed, frames)
    assert (changed.sum(dim=(1, 2, 3, 4)) <= frames.sum(dim=(1, 2, 3, 4))).all()
    assert changed.sum() > 0.3 * frames.sum()


@pytest.mark.parametrize("name", FRAME_AUGMENTATIONS)
def test_the_same_step_is_the_same_and_another_is_not(name):
    first = augment_frames(batch(), name, seed=1, epoch=0, step=0)
    assert torch.equal(first, augment_frames(batch(), name, seed=1, epoch=0, step=0))
    for other in (
        {"seed": 2, "epoch": 0, "step": 0},
        {"seed": 1, "epoch": 1, "step": 0},
        {"seed": 1, "epoch": 0, "step": 1},
    ):
        assert not torch.equal(first, augment_frames(batch(), name, **other))


def test_flip_mirrors_about_half_of_the_samples():
    frames = batch(200)
    flipped = augment_frames(frames, "flip", seed=0, epoch=0, step=0)
    mirrored = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(flipped, frames, strict=True)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, flipped, frames, strict=True))
    assert 70 <= sum(mirrored) <= 130


def test_roll_moves_and_loses_what_leaves():
    sample = torch.arange(1, 13).view(1, 1, 3, 4)
    assert module.roll(sample, 1, 0)[0, 0].tolist() == [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11]]
    assert module.roll(sample, -2, 1)[0, 0].tolist() == [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]]
    assert module.roll(sample, 0, 3).sum() == 0


def test_shear_keeps_the_middle_row():
    sample = torch.arange(1, 16).view(1, 1, 3, 5)
    assert module.shear(sample, 1.0)[0, 0].tolist() == [[2, 3, 4, 5, 0], [6, 7, 8, 9, 10], [0, 11, 12, 13, 14]]


def test_drops_take_out_what_they_say():
    sample = torch.ones(10, 2, 20, 20)
    assert module.drop_time(sample, 0.5, 0.2).sum(dim=(1, 2, 3)).ne(0).tolist() == [True] * 5 + [False] * 2 + [True] * 3
    area = module.drop_area(sample, 0.25, 0.5, 0.5)
    assert area[0, 0, 10:20, 5:15].sum() == 0
    assert area.sum() == 10 * 2 * (400 - 100)
    assert module.drop_random(sample, 0.3, seed=0).mean().item() == pytest.approx(0.7, abs=0.02)


def test_mixing_shares_by_events():
    frames = batch(8)
    mixed = mix_frames(frames, seed=0, epoch=0, step=0)
    assert sorted(mixed.partner.tolist()) == list(range(8))
    assert torch.equal(mixed.frames, mix_frames(frames, seed=0, epoch=0, step=0).frames)
    assert not torch.equal(mixed.frames, mix_frames(frames, seed=0, epoch=0, step=1).frames)
    for n in range(8):
        own, other = mixed.frames[n] == frames[n], mixed.frames[n] == frames[mixed.partner[n]]
        assert (own | other).all()
    assert (mixed.share > 0.3).all()
    assert (mixed.share < 1).any()


def test_a_silent_partner_leaves_the_label():
    frames = batch(2)
    frames[1] = 0
    for step in range(20):
        mixed = mix_frames(frames, seed=0, epoch=0, step=step)
        if mixed.partner.tolist() == [1, 0]:
            assert mixed.share[0] == 1.0
            return
    pytest.fail("no step of twenty swapped the two samples")


@pytest.mark.parametrize(
    "function",
    [lambda x: augment_frames(x, "flip", seed=0, epoch=0, step=0), lambda x: mix_frames(x, seed=0, epoch=0, step=0)],
)
def test_bad_input_is_refused(function):
    with pytest.raises(ValueError, match=r"expected \[N, T, C, H, W\]"):
        function(torch.zeros(2, 3, 4, 5))
    assert function(torch.zeros(0, 3, 2, 4, 5)) is not None
    with pytest.raises(ValueError, match="augment is 'fli'"):
        augment_frames(batch(1), "fli", seed=0, epoch=0, step=0)
