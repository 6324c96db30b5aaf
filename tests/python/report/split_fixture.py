"""Runs of cut networks and their yardsticks for the tests: made-up outputs and counts, judged by the real code.

test_real_split_run.py holds them against a real one.
"""

import json
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from report_fixture import make_info, merge

from eccsnn.data import Splits
from eccsnn.experiments import split_results
from eccsnn.experiments.live import load_splits
from eccsnn.experiments.schema import load_config

NAMES = {
    "neucodex": "neucodex/digits_debug",
    "spikebottlenet": "spikebottlenet/digits_debug",
    "bottlenet": "baselines/bottlenet_digits_debug",
    "bottlenet_pp": "baselines/bottlenet_pp_digits_debug",
    "edge_only": "baselines/edge_only_digits_debug",
    "cloud_only": "baselines/cloud_only_digits_debug",
}
POINT, WIRE, STEPS = [16, 8, 8], [2, 8, 8], 4
STAGES = ("network", "uncut", "unit", "finetune", "tables", "outputs", "counts")
LINK = [
    {
        "provenance": "measured",
        "mode": mode,
        "threshold": 0.9,
        "transport": "gRPC over TCP, loopback",
        "shape": "RTT 20 ms, 10 Mbit/s up, 10 Mbit/s down",
        "images": 50,
        "lost": 0,
        "accuracy": 0.94,
        "latency_ms": {"median": latency, "p95": latency + 3},
        "round_trips": {"median": trips, "p95": trips + 0.1},
        "timesteps": {"needed": 2.0, "edge": 2.5, "sent": 2.5, "cloud": 2.2},
        "bytes": {"payload_up": 31.0, "message_up": 60.0, "message_down": 90.0, "wire_up": 210.0, "wire_down": 250.0},
        "wasted": {"edge_timesteps": 0.5, "sent_timesteps": 0.5, "cloud_timesteps": 0.2, "payload_bytes": 6.0},
    }
    for mode, latency, trips in (("lock_step", 61.0, 2.05), ("speculative", 34.5, 1.08))
]
LINK.append(LINK[0] | {"mode": "edge_exit_head", "bytes": {**LINK[0]["bytes"], "wire_up": 70.0}})  # type: ignore[dict-item]
LINK.append(LINK[1] | {"shape": "RTT 100 ms, not limited up, not limited down"})


def write_split_run(
    path: Path, system: str = "neucodex", *, seed: int = 0, overrides: Any = (), **changes: Any
) -> Path:
    """Writes a complete run directory.

    Args:
        path: The folder, which is made.
        system: A system of `eccsnn.experiments.split_schema`.
        seed: Of the run; all made-up numbers follow from it.
        overrides: Of the configuration, as on the command line.
        changes: `run`, `results`: dicts merged into the files; a value of None removes a key.
    """
    path.mkdir(parents=True)
    name = NAMES[system]
    config = load_config(name, [f"seed={seed}", *overrides])
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (path / "config.yaml").write_text(text, encoding="utf-8")
    info = make_info(seed) | {"name": name, "system": system}
    info["stages"] = [{**info["stages"][0], "name": stage, "key": f"{i:x}" * 64} for i, stage in enumerate(STAGES)]
    (path / "run.json").write_text(json.dumps(merge(info, changes.get("run", {})), indent=1))
    results = merge(make_results(config, seed), changes.get("results", {}))
    (path / "results.json").write_text(json.dumps(results, indent=1))
    lines = [
        {"stage": stage, "kind": "epoch", "epoch": e, "epochs": 3, "loss": 2 / e, "lr": 1e-3, "val_accuracy": 0.3 * e}
        for stage in ("network", "uncut", "unit", "finetune")
        for e in (1, 2, 3)
    ]
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@cache
def _splits(name: str) -> Splits:
    return load_splits(load_config(name))


def make_results(config: Any, seed: int) -> dict[str, Any]:
    """Judges made-up logits, packets and operations by the experiments' own code."""
    splits, rng = _splits(config.name), np.random.default_rng(seed)
    steps = STEPS if config.spiking else 1
    arrays: dict[str, np.ndarray] = {}
    skill = {"uncut": 1.6, "cut": 1.3, "png": 2.2, "jpeg": 2.0}
    for name, strength in skill.items():
        for part in ("val", "test"):
            labels = getattr(splits, part).labels
            signal = strength * np.eye(splits.num_classes)[labels]
            arrays[f"{name}_{part}_logits"] = (signal + rng.standard_normal((steps, *signal.shape))).astype(np.float32)
            arrays[f"{name}_{part}_bytes"] = rng.integers(8, 20, (steps, len(labels)))
    if config.spiking:
        arrays["cut_test_firing_rate"] = np.linspace(0.16, 0.13, STEPS)
    with TemporaryDirectory() as folder:
        outputs = Path(folder)
        np.savez_compressed(outputs / "outputs.npz", **arrays)  # type: ignore[arg-type]
        head = {"exit_head": {"macs": 20.0}} if config.exit.decide == "edge_head" else {}
        (outputs / "counts.json").write_text(json.dumps(make_counts(config.spiking) | head))
        collect = split_results.collect_cloud_only if config.system == "cloud_only" else split_results.collect
        return collect(config, splits, outputs, outputs)


def make_counts(spiking: bool) -> dict[str, Any]:
    """Operations as the stage `counts` writes them."""

    def work(share: float, layers: tuple[str, ...]) -> dict[str, Any]:
        if not spiking:
            return {"synops": [0.0], "macs": [2e6 * share], "dense": [2e6 * share], "parameters": int(8e4 * share)}
        return {
            "synops": [5e5 * share * t / STEPS for t in range(1, STEPS + 1)],
            "macs": [55296.0] * STEPS,
            "dense": [2e6 * share * t for t in range(1, STEPS + 1)],
            "firing_rates": {layer: 0.3 / (i + 1) for i, layer in enumerate(layers)},
            "uncounted": [],
            "parameters": int(8e4 * share),
        }

    edge = ("part.stem.lif", "part.blocks.0.convs.0.lif", "part.bottlenecks.stage2.encoder.lif")
    cloud = {key: value for key, value in work(0.4, ("blocks.2.convs.0.lif",)).items() if key != "parameters"}
    return {
        "images": 100,
        "image_bytes": {"png": 551.0, "jpeg": 401.6, "raw": 768.0},
        "uncut": work(1.0, ("part.stem.lif", "part.blocks.0.convs.0.lif", "part.blocks.2.convs.0.lif")),
        "plain_edge": work(0.65, edge[:2]),
        "edge": work(0.7, edge),
        "cloud": cloud if spiking else work(0.4, ()),
        "point": {"name": "stage2", "shape": POINT, "bits": math.prod(POINT)},
        "wire": {"name": "bottleneck:stage2", "shape": WIRE},
    }
