"""Run directories made up for the tests, in the format that a real run writes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CLASS_NAMES = [f"digit {i}" for i in range(10)]
TASKS = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
MEASURES = {"entropy": 2.0, "max_probability": 1.7, "margin": 1.4, "random": 0.0}
PROVENANCE = {
    "device_energy_mj": "modelled",
    "energy_mj": "modelled",
    "latency_ms": "modelled",
    "payload_bytes": "modelled",
}


def write_run(path: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Writes a complete run directory.

    Args:
        path: The folder, which is made.
        seed: Of the run; all made-up numbers follow from it.
        changes: `run`, `config`, `results`: dicts merged into the files; a value of None removes a key. `epochs`:
            number of epochs a stage.
    """
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    config = _merge(make_config(seed), changes.get("config", {}))
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (path / "run.json").write_text(json.dumps(_merge(make_info(seed), changes.get("run", {})), indent=1))
    results = _merge(make_results(rng), changes.get("results", {}))
    (path / "results.json").write_text(json.dumps(results, indent=1))
    lines = [json.dumps(line) for line in make_metrics(rng, changes.get("epochs", 8))]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


def make_config(seed: int) -> dict[str, Any]:
    return {
        "system": "ecc_snn",
        "name": "ecc_snn/digits_small",
        "seed": seed,
        "data": {"name": "digits", "image_size": 32, "val_fraction": 0.1},
        "scenario": "B5-Inc5",
        "edge": {
            "model": {"name": "spiking_vgg9", "width": 0.25, "timesteps": 4},
            "distillation": {"feature_weight": 0.2},
        },
        "execution": {"measure": "entropy", "rule": "accuracy_within"},
    }


def make_info(seed: int) -> dict[str, Any]:
    return {
        "schema": "eccsnn.run/1",
        "name": "ecc_snn/digits_small",
        "system": "ecc_snn",
        "status": "finished",
        "seed": seed,
        "started": "2026-02-03T10:11:12+00:00",
        "finished": "2026-02-03T10:14:30+00:00",
        "seconds": 198.2,
        "versions": {"eccsnn": "0.1.0", "torch": "2.14.1", "python": "3.11.2", "numpy": "2.4.6"},
        "hardware": {"cpu": "Example 7000 Processor", "cores": 2, "isa": "avx2", "gpu": None, "memory_gib": 23.4},
        "git": {"sha": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "stages": [
            {"name": "cloud", "key": "a" * 64, "reused": seed > 0, "seconds": 61.0},
            {"name": "edge", "key": "b" * 64, "reused": False, "seconds": 72.5},
            {"name": "update-1", "key": "c" * 64, "reused": False, "seconds": 40.1},
        ],
    }


def make_metrics(rng: np.random.Generator, epochs: int) -> list[dict[str, Any]]:
    lines = []
    for stage, terms in (
        ("cloud", ["cross_entropy"]),
        ("edge", ["cross_entropy", "logit_distillation", "feature_distillation"]),
        ("update-1", ["cross_entropy", "lwf"]),
    ):
        for epoch in range(1, epochs + 1):
            rest = math.exp(-epoch / 3)
            losses = {term: (0.1 + rest) * (1 + 0.05 * rng.standard_normal()) for term in terms}
            lines.append(
                {
                    "time": f"2026-02-03T10:11:{epoch:02d}+00:00",
                    "stage": stage,
                    "kind": "epoch",
                    "epoch": epoch,
                    "epochs": epochs,
                    "loss": sum(losses.values()),
                    **losses,
                    "accuracy": 0.99 - 0.6 * rest,
                    "val_accuracy": 0.97 - 0.6 * rest + 0.01 * rng.standard_normal(),
                    "lr": 1e-3 * (1 - epoch / (epochs + 1)),
                    "seconds": 7.5,
                }
            )
    return lines


def make_results(rng: np.random.Generator) -> dict[str, Any]:
    shift = 0.01 * float(rng.standard_normal())
    return {
        "schema": "eccsnn.results/1",
        "system": "ecc_snn",
        "data": {
            "name": "scikit-learn digits",
            "class_names": CLASS_NAMES,
            "train": 1257,
            "val": 180,
            "test": 360,
            "image_size": 32,
        },
        "scenario": {"name": "B5-Inc5", "tasks": TASKS},
        "cloud": {"model": "vgg16", "width": 0.25, "parameters": 2101234, "macs": 19876543, "test_accuracy": 0.9861},
        "edge": {
            "model": "spiking_vgg9",
            "width": 0.25,
            "timesteps": 4,
            "parameters": 345678,
            "test_accuracy_learned": 0.9667 + shift,
            "synops_per_image": 1234567.5,
            "macs_per_image": 442368,
            "firing_rates": {f"lif{i}": 0.21 / i + 0.01 for i in range(1, 9)},
        },
        "execution": [
            {
                "tasks_learned": t,
                "classes_learned": list(range(5 * t)),
                "sets": {
                    "learned": make_set(180 * t, 0.9667 - 0.08 * (t - 1) + shift, 0.9861, range(5 * t), learnt=5 * t),
                    "all": make_set(360, (0.4833 if t == 1 else 0.8867) + shift, 0.9861, range(10), learnt=5 * t),
                },
            }
            for t in (1, 2)
        ],
        "update": {
            "learner": "lwf",
            "accuracy_matrix": [[0.9667 + shift], [0.8722 + shift, 0.9012]],
            "average_incremental_accuracy": 0.9267 + shift,
            "last_accuracy": 0.8867 + shift,
            "forgetting": 0.0945,
            "confusion": [[34 if i == j else (1 if j == (i + 1) % 10 else 0) for j in range(10)] for i in range(10)],
            "definitions": {"forgetting": "mean over old tasks of the best past accuracy minus the last"},
            "upload_saved": {"payload_bytes": 654321, "requests": 630, "provenance": "measured"},
        },
        "link": {
            "provenance": "measured",
            "requests": 200,
            "uploaded": 37,
            "fallbacks": 0,
            "image_codec": "png",
            "payload_bytes_up": 412.6,
            "wire_bytes_up": 611.3,
            "wire_bytes_down": 187.9,
            "latency_ms": {"edge_median": 6.61, "edge_p95": 8.02, "cloud_median": 11.7, "cloud_p95": 15.2},
            "accuracy": 0.97,
            "transport": "gRPC over TCP, loopback",
        },
        "costs": [
            {
                "name": "edge energy per image",
                "value": 0.00321,
                "unit": "mJ",
                "provenance": "modelled",
                "source": "45 nm arithmetic (Horowitz 2014)",
            },
            {
                "name": "radio energy per image",
                "value": 8.77,
                "unit": "mJ",
                "provenance": "published",
                "source": "ECC-SNN",
            },
            {
                "name": "image payload",
                "value": 412.6,
                "unit": "bytes",
                "provenance": "measured",
                "source": "test images",
            },
        ],
        "provenance": PROVENANCE,
        "profile": "edge_45nm_wifi",
        "notes": ["Ambiguity of one-class tasks is defined here, not in the paper."],
    }


def make_set(samples: int, edge: float, cloud: float, classes: range, learnt: int) -> dict[str, Any]:
    thresholds = [round(t, 3) for t in np.linspace(0, 1, 51).tolist()]
    curves = {}
    for measure, quality in MEASURES.items():
        rates = [(1 - t) ** 1.5 if measure != "random" else 1 - t for t in thresholds]
        gained = [1 - (1 - rate) ** (1 + quality) for rate in rates]
        accuracy = [
            edge + (cloud - edge) * g + 0.008 * quality * r * (1 - r) for g, r in zip(gained, rates, strict=True)
        ]
        curves[measure] = {
            "threshold": thresholds,
            "upload_rate": rates,
            "accuracy": accuracy,
            "acc_i": [(a - edge) / (cloud - edge) for a in accuracy],
            "device_energy_mj": [0.0032] * len(rates),
            "energy_mj": [0.0032 + 1.4 * r for r in rates],
            "latency_ms": [2.5 + 9.1 * r for r in rates],
            "payload_bytes": [412.6 * r for r in rates],
        }
    at = 15
    chosen = {key: values[at] for key, values in curves["entropy"].items()}
    return {
        "samples": samples,
        "edge_accuracy": edge,
        "cloud_accuracy": cloud,
        "edge_only": {"energy_mj": 0.0032, "latency_ms": 2.5, "payload_bytes": 0},
        "cloud_only": {"energy_mj": 1.398, "latency_ms": 9.1, "payload_bytes": 412.6},
        "curves": curves,
        "chosen": {
            "measure": "entropy",
            "rule": "accuracy_within",
            "chosen_on": "validation",
            **chosen,
            "per_class_upload_rate": {str(c): 0.2 + 0.02 * c if c < learnt else 0.9 - 0.03 * (c % 5) for c in classes},
        },
    }


def _merge(base: Any, changes: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    merged = {key: value for key, value in base.items() if not (key in changes and changes[key] is None)}
    for key, value in changes.items():
        if value is not None:
            merged[key] = _merge(base.get(key), value)
    return merged
