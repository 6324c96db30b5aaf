"""Short trainings on CIFAR-10 from which the small configurations of cut networks have their learning rates.

Every candidate trains on the same few images for two epochs, on one thread; what counts is the accuracy on validation
images. Test images are not touched. ANNs get the same trials as spiking networks.

    python experiments/recipe_trials.py DATA/cifar10 --out configs/neucodex/recipe_trials.json
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
from eccsnn.training import FitOptions, train_classifier

SEW: dict[str, Any] = {"name": "sew_resnet10", "timesteps": 4, "norm_gain": 2.0, "connect": "add"}
DEEPER: dict[str, Any] = SEW | {"name": "sew_resnet18", "stem_stride": 2}
MOBILENET: dict[str, Any] = {"name": "spiking_mobilenet", "timesteps": 4, "norm_gain": 2.0, "stem_stride": 2}
CANDIDATES: list[tuple[dict[str, Any], float]] = [
    *((SEW, lr) for lr in (0.001, 0.003, 0.01)),
    (SEW | {"norm_gain": 1.0}, 0.003),
    (SEW | {"connect": "iand"}, 0.003),
    (DEEPER, 0.003),
    (DEEPER | {"connect": "iand"}, 0.003),
    ({"name": "spiking_vgg9", "timesteps": 4, "norm_gain": 2.0}, 0.003),
    (MOBILENET, 0.003),
    (MOBILENET | {"depthwise_neurons": False}, 0.003),
    *(({"name": "resnet18"}, lr) for lr in (0.001, 0.003, 0.01)),
]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="CIFAR-10, as for data.root")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    subset = {"train": options.images, "val": 2000, "test": 10}
    splits = load_dataset("cifar10", root=options.root, subset=subset)
    rows = []
    for model, lr in CANDIDATES:
        _, result = train_classifier(
            splits,
            model={"width": 0.25, **model},
            training={"epochs": options.epochs, "batch_size": 64, "lr": lr},
            seed=0,
            options=FitOptions(augment="crop_flip", precision="bf16"),
        )
        rows.append({"model": model, "lr": lr, "val_accuracy": [r["val_accuracy"] for r in result.records]})
        print(rows[-1], flush=True)
    write_trials(
        options.out,
        "python experiments/recipe_trials.py DATA/cifar10",
        splits.name,
        images=options.images,
        epochs=options.epochs,
        width=0.25,
        trials=rows,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
