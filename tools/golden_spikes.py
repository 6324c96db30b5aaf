r"""Makes the golden spikes of the codec's tests: trains small spiking nets and keeps what crosses their cuts.

    python tools/golden_spikes.py --root /path/to/cifar10 --train 2500 --epochs 3 --wide-train 2400 \
        --learn 300 --small --out tests/golden/spikes

A spiking VGG-9 at a quarter of its width is trained, then cut: after a layer a bottleneck unit (convolution, batch norm
and LIF down to few channels, and back) is trained with the rest of the network for another epoch. For every cut, spikes
of images that were not trained on are kept: those of `learn` images for starting tables, those of `judged` images to
judge the codec with. About four minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eccsnn import ops
from eccsnn.data import ImageSet, batches, load_dataset
from eccsnn.models import Model
from eccsnn.models.spiking import ConvLIF, Pass
from eccsnn.training import cross_entropy, fit
from eccsnn.training.classifier import build_seeded

NEURON = {"tau": 2.0}
# name of the cut -> (layer, channels of the bottleneck or None, kernel size, stride)
CUTS: dict[str, tuple[str, int | None, int, int]] = {
    "conv2": ("conv2", None, 0, 0),
    "conv4": ("conv4", None, 0, 0),
    "conv_last": ("conv_last", None, 0, 0),
    "conv4_c16": ("conv4", 16, 1, 1),
    "conv4_c8_s2": ("conv4", 8, 3, 2),
    "conv4_c2_s2": ("conv4", 2, 3, 2),
    "conv_last_c8": ("conv_last", 8, 1, 1),
    "conv_last_c4": ("conv_last", 4, 1, 1),
    "conv_last_c2": ("conv_last", 2, 1, 1),
    "conv_last_c1": ("conv_last", 1, 1, 1),
}
WIDE_CUT = "wide_conv2"
# What tests/golden/spikes keeps, so that it stays small: images to learn from, images to judge with.
KEPT = {
    "conv_last_c2": (300, 40),
    "conv4_c2_s2": (300, 40),
    "conv_last_c8": (200, 30),
    "conv4_c16": (32, 4),
    "conv_last": (32, 4),
    WIDE_CUT: (4, 1),
}


class Bottleneck(nn.Module):
    """A layer, then down to few channels and up again; `spikes` are those in between, of the latest pass."""

    def __init__(self, layer: ConvLIF, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        wide, size, _ = layer.lif.shape
        size = layer.lif.shape[1]
        self.layer = layer
        self.encoder = ConvLIF(wide, channels, size // stride, NEURON, kernel_size, stride)
        self.decoder = ConvLIF(channels, wide, size, NEURON, kernel_size)
        self.stride = stride
        self.spikes: Tensor | None = None
        with torch.no_grad():  # few inputs: lift the currents to the threshold from the start
            for part in (self.encoder, self.decoder):
                part.bn.weight.fill_(2.0)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        self.spikes = self.encoder(self.layer(x, run), run)
        x = self.spikes
        if self.stride > 1:
            x = x.repeat_interleave(self.stride, -1).repeat_interleave(self.stride, -2)
        return self.decoder(x, run)


def train(model: Model, images: ImageSet, splits: Any, epochs: int, lr: float, seed: int) -> None:
    def loss(net: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return cross_entropy(net(batch.images), batch.labels, net.head.class_ids), {}

    result = fit(model, images, loss, mean=splits.mean, std=splits.std, epochs=epochs, lr=lr, seed=seed)
    print("loss", [round(record["loss"], 3) for record in result.records], f"{result.seconds:.0f} s", flush=True)


@torch.no_grad()
def spikes_at(model: Model, images: ImageSet, splits: Any, layer: str, bottleneck: Bottleneck | None) -> np.ndarray:
    """Packed spikes uint8 [N, T, H, W, ceil(C / 8)]."""
    model.eval()
    parts = []
    for batch in batches(images, 50, mean=splits.mean, std=splits.std):
        features = model.forward_features(batch.images)
        spikes = features.maps[layer] if bottleneck is None else bottleneck.spikes
        assert spikes is not None
        parts.append(ops.pack_spikes(spikes).movedim(1, 0).numpy())
    return np.concatenate(parts)


@torch.no_grad()
def accuracy(model: Model, images: ImageSet, splits: Any) -> float:
    model.eval()
    right = sum(
        int((model(batch.images).argmax(1) == batch.labels).sum())
        for batch in batches(images, 100, mean=splits.mean, std=splits.std)
    )
    return right / len(images.labels)


def take(images: ImageSet, begin: int, end: int) -> ImageSet:
    rows = np.random.default_rng(0).permutation(len(images.labels))[begin:end]
    return ImageSet(images.gather(rows), images.labels[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="CIFAR-10, as `eccsnn list datasets` says")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a cut")
    parser.add_argument("--train", type=int, default=10_000, help="images to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--wide-train", type=int, default=1500, help="images for the net at full width, one epoch")
    parser.add_argument("--learn", type=int, default=400, help="images for starting tables")
    parser.add_argument("--judged", type=int, default=40, help="images to judge with")
    parser.add_argument("--small", action="store_true", help="keep as few as the tests need")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cuts", nargs="*", default=[*CUTS, WIDE_CUT])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    splits = load_dataset("cifar10", root=options.root, val_fraction=0.1, subset={"train": options.train})
    held_out = take(splits.test, 0, 1000)
    learn, judged = take(splits.test, 1000, 1000 + options.learn), take(splits.test, 9000, 9000 + options.judged)

    def save(name: str, model: Model, layer: str, bottleneck: Bottleneck | None) -> None:
        shape = bottleneck.encoder.lif.shape if bottleneck is not None else None
        parts = [spikes_at(model, part, splits, layer, bottleneck) for part in (learn, judged)]
        channels = shape[0] if shape else model.feature_maps[layer].channels
        rate = float(np.unpackbits(parts[1]).sum()) / (parts[1][..., 0].size * channels)
        if options.small and name in KEPT:
            parts = [part[:count] for part, count in zip(parts, KEPT[name], strict=True)]
        np.savez_compressed(options.out / f"{name}.npz", learn=parts[0], judged=parts[1], channels=channels)
        print(
            f"{name}: {parts[1].shape} C={channels} rate {rate:.3f} accuracy {accuracy(model, held_out, splits):.3f}",
            flush=True,
        )

    spec = {"name": "spiking_vgg9", "timesteps": 4, "num_classes": 10, "image_size": 32, "norm_gain": 2.0}
    cuts = [name for name in options.cuts if name in CUTS]
    weights = {}
    if cuts:
        backbone = build_seeded(options.seed, width=0.25, **spec)
        train(backbone, splits.train, splits, options.epochs, 2e-3, options.seed)
        weights = {name: value.clone() for name, value in backbone.state_dict().items()}
    for name in cuts:
        layer, channels, kernel_size, stride = CUTS[name]
        model = build_seeded(options.seed, width=0.25, **spec)
        model.load_state_dict(weights)
        bottleneck = None
        if channels is not None:
            torch.manual_seed(options.seed)
            bottleneck = Bottleneck(model.convs[layer], channels, kernel_size, stride)
            model.convs[layer] = bottleneck
            train(model, splits.train, splits, 1, 1e-3, options.seed + 1)
        save(name, model, layer, bottleneck)
    if WIDE_CUT in options.cuts:
        model = build_seeded(options.seed, width=1.0, **spec)
        train(model, take(splits.train, 0, options.wide_train), splits, 1, 1e-3, options.seed)
        save(WIDE_CUT, model, "conv2", None)


if __name__ == "__main__":
    main()
