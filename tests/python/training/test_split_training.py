"""Training of cut networks: what each stage may change, and what each term of the loss does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eccsnn.data import Batch, ImageSet, MixedLabels, Splits
from eccsnn.models import build_model, insert_bottlenecks, split
from eccsnn.nn import ExitHead
from eccsnn.nn.rate_model import SpikeRateModel
from eccsnn.training import split_loss, timesteps_cross_entropy, train_cut
from eccsnn.training.split import running_mean, timestep_logits

POINT = "stage2"
NETWORK = {"name": "sew_resnet10", "width": 0.125, "timesteps": 3, "norm_gain": 2.0, "connect": "iand"}
TRAINING = {"epochs": 2, "batch_size": 20, "lr": 2e-3}


def make_splits(count=60):
    rng = np.random.default_rng(0)

    def part(n):
        labels = np.arange(n) % 3
        pixels = rng.integers(0, 60, (n, 3, 16, 16))
        for i, label in enumerate(labels):  # a bright stripe tells the class
            pixels[i, :, 5 * label : 5 * label + 5] += 150
        return ImageSet(pixels.astype(np.uint8), labels)

    return Splits("toy", ("a", "b", "c"), part(count), part(12), part(12), (0.3,) * 3, (0.25,) * 3, "toy")


@pytest.fixture(scope="module")
def splits():
    return make_splits()


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_model(num_classes=3, image_size=16, **NETWORK)


def a_batch(splits):
    images = torch.from_numpy(splits.train.images[:12]).float() / 128 - 1
    return Batch(images, torch.from_numpy(splits.train.labels[:12]), torch.arange(12))


def changed(before, after):
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}


def test_cross_entropy_over_timesteps_is_that_of_the_running_means():
    logits = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([10, 11, 12, 10, 11])
    each = [F.cross_entropy(logits[: t + 1].mean(0), labels - 10) for t in range(4)]
    for weight in (0.0, 0.3, 1.0):
        loss, last = timesteps_cross_entropy(logits, labels, [10, 11, 12], weight)
        torch.testing.assert_close(last, each[-1])
        torch.testing.assert_close(loss, (1 - weight) * each[-1] + weight * sum(each) / 4)
    torch.testing.assert_close(running_mean(logits)[2], logits[:3].mean(0))


def test_cross_entropy_over_timesteps_weighs_both_labels_of_mixed_samples():
    logits = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 1, 0, 2, 0])
    share = torch.tensor([0.25]).expand(5)
    mixed = timesteps_cross_entropy(logits, labels, [0, 1, 2], 0.3, MixedLabels(others, share))
    own, other = (timesteps_cross_entropy(logits, ids, [0, 1, 2], 0.3) for ids in (labels, others))
    for a, b, c in zip(mixed, own, other, strict=True):
        torch.testing.assert_close(a, 0.25 * b + 0.75 * c)


def test_the_unit_learns_alone_then_everything_does(splits, backbone):
    cut, result = train_cut(
        backbone, splits, point=POINT, trains="unit", unit={"channels": 2}, training=TRAINING, seed=0, exit_weight=0.5
    )
    start = insert_bottlenecks(backbone, {POINT: {"channels": 2}})
    moved = changed(start, cut)
    assert moved
    assert all(name.startswith("bottlenecks.") for name in moved)
    assert all(p.requires_grad for p in cut.parameters())
    assert {"cross_entropy", "wire_firing_rate", "val_accuracy"} <= result.records[-1].keys()

    tuned, _ = train_cut(cut, splits, point=POINT, trains="all", training=TRAINING, seed=0, exit_weight=0.5)
    assert any(name.startswith("stem") for name in changed(cut, tuned))
    assert any("bn.running_mean" in name and "bottlenecks" not in name for name in changed(cut, tuned))


def test_the_same_seed_trains_the_same(splits, backbone):
    def run():
        return train_cut(backbone, splits, point=POINT, trains="unit", unit={"channels": 1}, training=TRAINING, seed=3)[
            0
        ]

    assert not changed(run(), run())


def test_an_uncut_network_and_an_ann_count_too(splits, backbone):
    tuned, _ = train_cut(backbone, splits, point=None, trains="all", training=TRAINING, seed=0, exit_weight=1.0)
    assert changed(backbone, tuned)
    torch.manual_seed(0)
    ann = build_model("resnet18", num_classes=3, image_size=16, width=0.125)
    unit = {"kind": "bottlenet++", "channels": 2}
    cut, _ = train_cut(ann, splits, point="stage2", trains="unit", unit=unit, training=TRAINING, seed=0)
    logits, wire = timestep_logits(cut, a_batch(splits).images, "stage2")
    assert logits.shape == (1, 12, 3)
    assert wire is None
    with pytest.raises(ValueError, match="an uncut network has no unit"):
        train_cut(backbone, splits, point=None, trains="unit", training=TRAINING, seed=0)


def test_the_rate_term_makes_spikes_cheaper(splits, backbone):
    start = insert_bottlenecks(backbone, {POINT: {"channels": 2}})
    bits = {}
    for weight in (0.0, 3.0):
        rate = SpikeRateModel(2, 8, 8)
        _, result = train_cut(
            start,
            splits,
            point=POINT,
            trains="all",
            training={**TRAINING, "epochs": 6},
            seed=0,
            extra_modules={"rate": rate},
            rate_weight=weight,
        )
        bits[weight] = result.records[-1]["wire_bits"]
    assert bits[3.0] < 0.85 * bits[0.0]


def test_distillation_pulls_towards_the_teacher(splits, backbone):
    torch.manual_seed(1)
    teacher = build_model("resnet18", num_classes=3, image_size=16, width=0.125).eval()
    cut = insert_bottlenecks(backbone, {POINT: {"channels": 2}})
    weighted = split_loss(POINT, trains="all", teacher=teacher, logit_weight=0.5)(cut, a_batch(splits))
    plain = split_loss(POINT, trains="all")(cut, a_batch(splits))
    assert weighted[1]["logit_distillation"] > 0
    torch.testing.assert_close(weighted[0], plain[0] + 0.5 * weighted[1]["logit_distillation"], rtol=1e-3, atol=1e-4)


def test_the_exit_head_learns_from_spikes_that_pass_no_gradient_on(splits, backbone):
    cut = insert_bottlenecks(backbone, {POINT: {"channels": 2}})
    head = ExitHead(2, [[0, 1, 2]])
    loss, terms = split_loss(POINT, trains="all", exit_head=head)(copy.deepcopy(cut), a_batch(splits))
    assert torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)[0].abs().sum() > 0
    edge, _ = split(cut, POINT)
    wire = edge(a_batch(splits).images)
    own = F.cross_entropy(running_mean(head(wire)).flatten(0, 1), a_batch(splits).labels.repeat(3))
    torch.testing.assert_close(terms["exit_head"], own, rtol=1e-3, atol=1e-4)
    assert all(g is None for g in torch.autograd.grad(terms["exit_head"], list(cut.parameters()), allow_unused=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logit_weight": 0.5}, "there is no teacher"),
        ({"rate_weight": 0.5}, "there is no rate model"),
        ({"exit_weight": 1.5}, "exit_weight is 1.5"),
    ],
)
def test_weights_without_anything_to_weigh_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split_loss(POINT, trains="all", **options)
