"""Short trainings on CIFAR-10 from which the small configurations have the shape of their bottleneck units.

Units of several shapes are put into one trained network, each learns alone for an epoch and with the whole network for
two, on few images and one thread; what counts is the accuracy on validation images. Test images are not touched.
NETWORK is a file of `models/` of a run of neucodex/cifar10_small: `uncut.safetensors`, which has all its epochs.

    python experiments/unit_trials.py DATA/cifar10 NETWORK --out configs/neucodex/unit_trials.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from trials import write_trials

from eccsnn.data import load_dataset
from eccsnn.host_memory import keep_freed_memory
from eccsnn.training import FitOptions, load_model, train_cut

# Split point, channels, stride, kernel size. Bits an image are those of the wire, before the codec.
CANDIDATES = (
    ("stage3", 64, 1, 1),
    ("stage3", 32, 2, 2),
    ("stage3", 32, 2, 4),
    ("stage3", 4, 1, 1),
    ("stage3", 4, 2, 2),
    ("stage3", 4, 2, 4),
    ("stage3", 8, 4, 4),
    ("stage3", 16, 4, 4),
    ("stage3", 16, 4, 6),
    ("stage3", 64, 8, 8),
    ("stage2", 8, 4, 4),
    ("stage2", 32, 8, 8),
)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="CIFAR-10, as for data.root")
    parser.add_argument("network", type=Path, help="trained network without a unit")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--images", type=int, default=15_000)
    parser.add_argument("--epochs", type=int, default=2, help="of the whole network")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    splits = load_dataset("cifar10", root=options.root, subset={"train": options.images, "val": 5000, "test": 10})
    network = load_model(options.network)
    common: dict[str, Any] = {
        "seed": 0,
        "teacher": network,
        "logit_weight": 0.5,
        "exit_weight": 0.5,
        "temperature": 3.0,
        "options": FitOptions(augment="crop_flip", precision="bf16"),
    }
    rows = []
    for point, channels, stride, kernel_size in CANDIDATES:
        unit = {"channels": channels, "stride": stride, "kernel_size": kernel_size}
        first = {"epochs": 1, "batch_size": 64, "lr": 0.003}
        cut, alone = train_cut(network, splits, point=point, trains="unit", unit=unit, training=first, **common)
        bits = network.spec["timesteps"] * channels * cut.bottleneck(point).size ** 2
        then = {"epochs": options.epochs, "batch_size": 64, "lr": 0.001}
        _, whole = train_cut(cut, splits, point=point, trains="all", training=then, **common)
        rows.append(
            {
                "point": point,
                **unit,
                "wire_bits": bits,
                "unit_val_accuracy": [record["val_accuracy"] for record in alone.records],
                "whole_val_accuracy": [record["val_accuracy"] for record in whole.records],
            }
        )
        print(rows[-1], flush=True)
    write_trials(
        options.out,
        "python experiments/unit_trials.py DATA/cifar10 NETWORK",
        splits.name,
        images=options.images,
        epochs=options.epochs,
        network=network.spec,
        trials=rows,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
