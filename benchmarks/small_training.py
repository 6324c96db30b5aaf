"""Does the small CIFAR-10 training run faster than at an earlier commit, with the same accuracy?

Each training runs in a process of its own, with the package of one of two checkouts (built in place), and the two take
turns, seed by seed. Network, neurons, batch size, optimizer and augmentation are those of `ecc_snn/cifar10_small`'s
edge; it learns all ten classes without a teacher. Accuracy is on validation images.

    git worktree add ../before 763e771         # the last commit before the kernels were made faster; build it in place
    python benchmarks/small_training.py --before ../before/python --after python --data-root DATA/cifar10
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NEURON = {"tau": 2.0, "v_threshold": 1.0, "v_reset": 0.0, "surrogate": "sigmoid"}


def train(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One training with the eccsnn that this process imports."""
    import torch

    from eccsnn.data import load_dataset
    from eccsnn.training import FitOptions
    from eccsnn.training.classifier import train_classifier

    try:
        from eccsnn.host_memory import keep_freed_memory
    except ImportError:
        pass  # the earlier commit has none
    else:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    subset = {"train": options.images, "val": options.val_images, "test": 10}
    splits = load_dataset("cifar10", root=options.data_root, subset=subset)
    start, cpu = time.perf_counter(), time.process_time()
    _, result = train_classifier(
        splits,
        model={"name": "spiking_vgg9", "width": 0.25, "timesteps": 4, "norm_gain": 2.0, "neuron": NEURON},
        training={"epochs": options.epochs, "batch_size": 64, "optimizer": "adam", "lr": 1e-3},
        seed=seed,
        options=FitOptions(augment="crop_flip", precision=options.precision),
    )
    speeds = [record["samples_per_second"] for record in result.records]
    return {
        "seed": seed,
        "samples_per_second": statistics.median(speeds),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "val_accuracy": result.records[-1]["val_accuracy"],
        "loss": result.records[-1]["loss"],
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Both checkouts in turn, for every seed."""
    runs: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    commits = {}
    for name in runs:
        package = Path(getattr(options, name)).resolve()
        commits[name] = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=package, capture_output=True, text=True, check=True
        ).stdout.strip()
    for index, seed in enumerate(options.seeds):
        for name in sorted(runs, reverse=index % 2 == 0):
            environment = os.environ | {"PYTHONPATH": str(Path(getattr(options, name)).resolve())}
            command = [sys.executable, __file__, *sys.argv[1:], "--only-seed", str(seed)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"the training of {name}, seed {seed}, failed:\n{done.stderr[-2000:]}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, runs[name][-1], flush=True)

    pairs = list(zip(runs["after"], runs["before"], strict=True))

    def ratio(key: str) -> dict[str, Any]:
        each = [after[key] / before[key] for after, before in pairs]
        return {"median": statistics.median(each), "each": each}

    differences = [after["val_accuracy"] - before["val_accuracy"] for after, before in pairs]
    return {
        "what": "training of the small CIFAR-10 edge network, two checkouts in turn",
        "command": "python benchmarks/small_training.py --before BEFORE/python --after python --data-root DATA "
        f"--epochs {options.epochs} --images {options.images} --precision {options.precision} "
        f"--seeds {' '.join(map(str, options.seeds))}",
        "data": "CIFAR-10 (JPEG)",
        "commits": commits,
        "hardware": {"processor": processor(), "threads": options.threads},
        "runs": runs,
        "speed_ratio": ratio("samples_per_second"),
        "cpu_time_ratio": ratio("cpu_seconds"),
        "val_accuracy_difference": {
            "mean": statistics.mean(differences),
            "standard_error": statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None,
            "each": differences,
        },
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="folder of the earlier checkout's package, built in place")
    parser.add_argument("--after", required=True, help="the same of the later one")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=12000, help="training images")
    parser.add_argument("--val-images", type=int, default=5000)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file; default: print only")
    parser.add_argument("--only-seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_seed is not None:
        print(json.dumps(train(options, options.only_seed)))
        return
    result = compare(options)
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
