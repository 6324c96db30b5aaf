"""Run directories made up for the tests, in the format that a real run writes (test_real_run.py compares them)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eccsnn.costs import image_costs, load_profile
from eccsnn.experiments.schema import load_config
from eccsnn.incremental.metrics import DEFINITIONS

NAME = "ecc_snn/digits_small"
CLASS_NAMES = [f"digit {i}" for i in range(10)]
TASKS = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
MEASURES = {"entropy": 2.0, "max_probability": 1.7, "margin": 1.4, "random": 0.0}
LAYERS = ("stem", *(f"convs.conv{i}" for i in range(2, 7)), "convs.conv_last", "hidden.0")
PROFILE = "edge_45nm_wifi"
IMAGE_BYTES = {"png": 412.6, "jpeg": 530.2, "raw": 3072.0}
SYNOPS, EDGE_MACS, CLOUD_MACS = 1234567.5, 442368.0, 19876543
COSTS = image_costs(
    load_profile(PROFILE),
    edge_synops=SYNOPS,
    edge_macs=EDGE_MACS,
    cloud_macs=CLOUD_MACS,
    bytes_up=IMAGE_BYTES["png"],
    bytes_down=40,
    image_size=32,
)


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
    config = merge(make_config(seed), changes.get("config", {}))
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (path / "run.json").write_text(json.dumps(merge(make_info(seed), changes.get("run", {})), indent=1))
    results = merge(make_results(rng), changes.get("results", {}))
    (path / "results.json").write_text(json.dumps(results, indent=1))
    lines = [json.dumps(line) for line in make_metrics(rng, changes.get("epochs", 8))]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


def make_config(seed: int) -> dict[str, Any]:
    return load_config(NAME, [f"seed={seed}"]).model_dump(mode="json")


def make_info(seed: int) -> dict[str, Any]:
    context = {
        "versions": {"eccsnn": "0.1.0", "torch": "2.14.1", "python": "3.11.2", "numpy": "2.4.6"},
        "hardware": {
            "cpu": "Example 7000 Processor",
            "cores": 2,
            "threads": 2,
            "isa": "avx2",
            "gpu": None,
            "memory_gib": 23.4,
            "os": "Linux-6.1-x86_64",
        },
        "git": {"sha": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    }
    seconds = {"cloud": 61.0, "edge": 72.5, "update_1": 40.1, "logits": 8.6, "counts": 4.0, "link": 12.0}
    return {
        "schema": "eccsnn.run/1",
        "name": NAME,
        "system": "ecc_snn",
        "status": "finished",
        "seed": seed,
        "started": "2026-02-03T10:11:12+00:00",
        "finished": "2026-02-03T10:14:30+00:00",
        "seconds": 198.2,
        **context,
        "stages": [
            {
                "name": name,
                "key": f"{number:x}" * 64,
                "reused": name == "cloud" and seed > 0,
                "seconds": taken,
                "computed": {**context, "device": "cpu"},
            }
            for number, (name, taken) in enumerate(seconds.items(), start=10)
        ],
        "session_seconds": 203.4,
    }


def make_metrics(rng: np.random.Generator, epochs: int) -> list[dict[str, Any]]:
    lines = []
    for stage, terms in (
        ("cloud", ["cross_entropy"]),
        ("edge", ["cross_entropy", "logit_distillation", "feature_distillation"]),
        ("update_1", ["cross_entropy", "logit_distillation", "lwf"]),
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
                    "lr": 1e-3 * (1 - epoch / (epochs + 1)),
                    "seconds": 7.5,
                    "samples_per_second": 167.6,
                    "val_accuracy": 0.97 - 0.6 * rest + 0.01 * rng.standard_normal(),
                }
            )
    return lines


def make_results(rng: np.random.Generator) -> dict[str, Any]:
    shift = 0.01 * float(rng.standard_normal())
    execution = [
        {
            "tasks_learned": t,
            "classes_learned": list(range(5 * t)),
            "sets": {
                "learned": make_set(180 * t, 0.9667 - 0.08 * (t - 1) + shift, 0.9861, range(5 * t), learnt=5 * t),
                "all": make_set(360, (0.4833 if t == 1 else 0.8867) + shift, 0.9861, range(10), learnt=5 * t),
            },
        }
        for t in (1, 2)
    ]
    main = {
        "average_incremental_accuracy": 0.9267 + shift,
        "last_accuracy": 0.8867 + shift,
        "forgetting": 0.0945,
    }
    other = {
        "average_task_accuracy": 0.9267 + shift,
        "last_task_accuracy": 0.8867 + shift,
        "forgetting_from_learnt": 0.0945,
        "forgetting_max_past_or_now": 0.0945,
        "performance_drop": 0.08,
    }
    return {
        "schema": "eccsnn.results/1",
        "system": "ecc_snn",
        "data": {
            "name": "scikit-learn digits",
            "class_names": CLASS_NAMES,
            "image_size": 32,
            "train": 1257,
            "val": 180,
            "test": 360,
            "fingerprint": "d" * 64,
        },
        "scenario": {"name": "B5-Inc5", "tasks": TASKS},
        "cloud": {
            "model": "vgg16",
            "width": 0.125,
            "macs": CLOUD_MACS,
            "parameters": 2101234,
            "test_accuracy": 0.9861,
            "test_accuracy_uploaded": 0.9861,
        },
        "edge": {
            "model": "spiking_vgg9",
            "width": 0.125,
            "timesteps": 4,
            "test_accuracy_learned": 0.9667 + shift,
            **make_counts(0.21),
        },
        "edge_updated": make_counts(0.23),
        "execution": execution,
        "costs": COSTS.rows(execution[-1]["sets"]["all"]["chosen"]["upload_rate"]),
        "image_bytes": IMAGE_BYTES,
        "profile": PROFILE,
        "notes": ["Nothing was selected on test data; thresholds were chosen on validation data of all classes."],
        "update": {
            "learner": "lwf",
            "accuracy_matrix": [[0.9667 + shift], [0.8722 + shift, 0.9012]],
            **main,
            "other": other,
            "confusion": [[34 if i == j else (1 if j == (i + 1) % 10 else 0) for j in range(10)] for i in range(10)],
            "definitions": {name: DEFINITIONS[name] for name in (*main, *other)},
            "upload_saved": {
                "provenance": "modelled",
                "definition": "retraining in the cloud: every new image up, the whole fp32 model down once an update",
                "images_not_uploaded": 630,
                "bytes_up_not_sent": 259938.0,
                "requests_not_sent": 630,
                "bytes_down_not_sent": 1382712,
            },
        },
        "link": {
            "provenance": "measured",
            "transport": "gRPC over TCP, loopback, through a counting proxy",
            "shape": "not shaped",
            "image_codec": "png",
            "requests": 200,
            "uploaded": 37,
            "fallbacks": 0,
            "fallback_reasons": {},
            "fallback_error": None,
            "payload_bytes_up": 412.6,
            "message_bytes_up": 466.1,
            "message_bytes_down": 78.0,
            "wire_bytes_up": 611.3,
            "wire_bytes_down": 187.9,
            "wire_total_bytes_up": 24310,
            "wire_total_bytes_down": 7911,
            "latency_ms": {
                "edge_median": 6.61,
                "edge_p95": 8.02,
                "cloud_median": 11.7,
                "cloud_p95": 15.2,
                "fallback_median": None,
                "all_mean": 7.6,
            },
            "edge_ms": 6.4,
            "queue_ms": 0.1,
            "compute_ms": 3.9,
            "accuracy": 0.97,
        },
    }


def make_counts(rate: float) -> dict[str, Any]:
    return {
        "synops_per_image": SYNOPS,
        "macs_per_image": EDGE_MACS,
        "dense_macs_per_image": 10982400.0,
        "parameters": 345678,
        "firing_rates": {f"{layer}.lif": rate / i + 0.01 for i, layer in enumerate(LAYERS, start=1)},
        "uncounted": [],
    }


def make_set(samples: int, edge: float, cloud: float, classes: range, learnt: int) -> dict[str, Any]:
    thresholds = [round(t, 3) for t in np.linspace(0, 1, 51).tolist()]
    curves, points = {}, {}
    for at, (measure, quality) in enumerate(MEASURES.items(), start=15):
        rates = [(1 - t) ** 1.5 if measure != "random" else 1 - t for t in thresholds]
        gained = [1 - (1 - rate) ** (1 + quality) for rate in rates]
        accuracy = [
            edge + (cloud - edge) * g + 0.008 * quality * r * (1 - r) for g, r in zip(gained, rates, strict=True)
        ]
        curves[measure] = {
            "threshold": thresholds,
            "accuracy": accuracy,
            "upload_rate": rates,
            "acc_i": [(a - edge) / (cloud - edge) for a in accuracy],
            **COSTS.curve(rates),
            "payload_bytes": [IMAGE_BYTES["png"] * r for r in rates],
        }
        chosen = {key: values[at] for key, values in curves[measure].items() if key != "device_energy_mj"}
        points[measure] = {"rule": "above_random", "chosen_on": "validation", **chosen}
    return {
        "samples": samples,
        "edge_only": {"energy_mj": COSTS.edge_only_energy.value, "latency_ms": COSTS.edge_latency.value},
        "edge_accuracy": edge,
        "cloud_accuracy": cloud,
        "curves": curves,
        "chosen": {
            "measure": "entropy",
            **points["entropy"],
            "per_class_upload_rate": {str(c): 0.2 + 0.02 * c if c < learnt else 0.9 - 0.03 * (c % 5) for c in classes},
        },
        "chosen_by_measure": points,
    }


def merge(base: Any, changes: Any) -> Any:
    """`base` with the values of `changes`, level by level; None removes a key."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    merged = {key: value for key, value in base.items() if not (key in changes and changes[key] is None)}
    for key, value in changes.items():
        if value is not None:
            merged[key] = merge(base.get(key), value)
    return merged
