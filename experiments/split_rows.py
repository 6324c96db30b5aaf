"""Collected results of cut networks as rows: which runs belong together, and the arithmetic of a row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eccsnn.experiments.split_results import right_answers
from eccsnn.offload import paired_bootstrap
from eccsnn.offload.intervals import Interval

SYSTEMS = {
    "edge_only": "edge only",
    "cloud_only": "cloud only",
    "bottlenet": "BottleNet",
    "bottlenet_pp": "BottleNet++",
    "spikebottlenet": "SpikeBottleNet",
    "neucodex": "NeuCODEX",
    "ecc_snn": "ECC-SNN",
}
File = dict[str, Any]


@dataclass
class Row:
    """One system at one operating point, over its seeds.

    Attributes:
        system: Key of `SYSTEMS`.
        label: How tables call it.
        variant: Settings that differ from the shipped ones; empty for the main rows.
        files: Collected results, one a seed.
        key: Network in the results: `cut`, `uncut`, `png`, `jpeg`; empty for ECC-SNN.
        at: `all_timesteps` or `chosen`.
        records: Figures of each seed.
    """

    system: str
    label: str
    variant: str
    files: list[File]
    key: str
    at: str
    records: list[dict[str, float | None]] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """One figure of every seed that has it."""
        return [value for record in self.records if (value := record.get(name)) is not None]

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the seeds that have it."""
        values = self.values(name)
        return statistics.mean(values) if values else None

    @property
    def network(self) -> str:
        """Network and split point in a few words."""
        config, results = self.files[0]["config"], self.files[0]["results"]
        if self.system == "ecc_snn":
            return f"{results['edge']['model']} x{results['edge']['width']:g}, T = {results['edge']['timesteps']}"
        net = results["network"]
        text = f"{net['name']} x{net['width']:g}" + (f", T = {net['timesteps']}" if "timesteps" in net else "")
        unit = config.get("unit")
        if self.key != "cut" or not unit:
            return text
        text += f", {unit['point']}, {unit['channels']} channels"
        return text + (f", stride {unit['stride']}" if unit["stride"] > 1 else "")

    @property
    def wire_mode(self) -> str:
        """Mode of early exit in which the bytes on the wire were measured; empty where they were not."""
        return _wire_bytes(self.files[0], self.at)[1] if self.key == "cut" else ""

    def loss(self) -> Interval | None:
        """Accuracy of the uncut network at all timesteps less that of this row, with its interval."""
        if self.system in ("cloud_only", "ecc_snn") or (self.key == "uncut" and self.at == "all_timesteps"):
            return None
        results = [file["results"] for file in self.files]
        answers = "right_at_stop" if self.at == "chosen" else "right"
        count = results[0]["data"]["test"]
        first = np.stack([right_answers(r["uncut"]["right"], count) for r in results])
        second = np.stack([right_answers(r[self.key][answers], count) for r in results])
        return paired_bootstrap(first, second)


def by_data(files: Iterable[File]) -> dict[str, list[File]]:
    """Files by the fingerprint of their data and split, the order of the first of each kept."""
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(file["results"]["data"]["fingerprint"], []).append(file)
    return found


def rows(files: Sequence[File]) -> list[Row]:
    """Rows of one data set, in the order of `SYSTEMS`, variants behind the shipped settings."""
    groups: dict[tuple[str, str, str], list[File]] = {}
    for file in files:
        groups.setdefault((file["results"]["system"], file["run"]["name"], file["variant"]), []).append(file)
    order = list(SYSTEMS)
    found = []
    for (system, _, variant), members in sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0])):
        members.sort(key=lambda file: file["run"]["seed"])
        found += _rows_of(system, variant, members)
    return found


def main_rows(found: Sequence[Row]) -> list[Row]:
    """Rows of the shipped settings; of ECC-SNN what distils logits and features, as its own tables do."""
    main = [row for row in found if row.system != "ecc_snn" and not row.variant]
    learners = [row for row in found if row.system == "ecc_snn"]
    both = [row for row in learners if row.variant == "logits + features"]
    return main + (both or learners[:1])


def missing(found: Sequence[Row]) -> list[str]:
    """Systems without a row."""
    there = {row.system for row in found}
    return [name for system, name in SYSTEMS.items() if system not in there]


def _rows_of(system: str, variant: str, files: list[File]) -> list[Row]:
    name = SYSTEMS[system]
    if system == "ecc_snn":
        row = Row(system, name, variant, files, "", "chosen", [_ecc_snn(file["results"]) for file in files])
        return [row]
    if system == "cloud_only":
        points = [(f"{name}, {codec.upper()}", codec, "chosen") for codec in ("png", "jpeg")]
    else:
        key = "uncut" if system == "edge_only" else "cut"
        exits = files[0]["results"][key]["exit"] is not None
        points = [(f"{name}, all timesteps" if exits else name, key, "all_timesteps")]
        points += [(f"{name}, early exit", key, "chosen")] if exits else []
    return [
        Row(system, label, variant, files, key, at, [_record(file, key, at) for file in files])
        for label, key, at in points
    ]


def _record(file: File, key: str, at: str) -> dict[str, float | None]:
    results = file["results"]
    record: dict[str, float | None] = dict(results[key][at])
    record["jpeg_bytes"] = results["image_bytes"]["jpeg"]
    if "uncut" in results:
        uncut = results["uncut"]["all_timesteps"]
        record["uncut_accuracy"] = uncut["accuracy"]
        record["uncut_energy_mj"] = uncut["device_energy_mj"]
    if key == "cut":
        payload = results["payload"]
        for yardstick, times in payload[at]["times_smaller_than"].items():
            record[f"times_{yardstick}"] = times
        rates = payload.get("wire_firing_rate")
        record["wire_firing_rate"] = statistics.mean(rates) if rates else None
        record["wire_bytes_up"] = _wire_bytes(file, at)[0]
    return record


def _wire_bytes(file: File, at: str) -> tuple[float | None, str]:
    """Bytes on the measured wire of an image, and in which mode of early exit: that in which the run decides to stop.

    The first link of the run is taken. Its samples stop where the network exits early, so that a link says nothing of
    the same network at all timesteps.
    """
    results, decide = file["results"], file["config"]["exit"]["decide"]
    if at == "all_timesteps" and results["cut"]["exit"] is not None:
        return None, ""
    mode = "edge_exit_head" if decide == "edge_head" else "speculative"
    found = [row["bytes"]["wire_up"] for row in results.get("link") or [] if row["mode"] == mode]
    return next(((float(size), mode) for size in found if size is not None), (None, ""))


def _ecc_snn(results: dict[str, Any]) -> dict[str, float | None]:
    """All classes after the last update, at the chosen threshold; the device pays for the edge and its radio."""
    part = results["execution"][-1]["sets"]["all"]
    chosen = part["chosen"]
    radio = next(row["value"] for row in results["costs"] if row["name"] == "radio energy per uploaded image")
    link = results.get("link") or {}
    return {
        "accuracy": chosen["accuracy"],
        "payload_bytes": chosen["payload_bytes"],
        "device_energy_mj": part["edge_only"]["energy_mj"] + chosen["upload_rate"] * radio,
        "energy_mj": chosen["energy_mj"],
        "latency_speculative_ms": chosen["latency_ms"],
        "latency_lock_step_ms": chosen["latency_ms"],
        "jpeg_bytes": results["image_bytes"]["jpeg"],
        "wire_bytes_up": link.get("wire_bytes_up"),
        "uncut_energy_mj": part["edge_only"]["energy_mj"],
    }


# --- the Pareto front ------------------------------------------------------------------------------------------------

GOALS: dict[str, Callable[[Row], float | None]] = {
    "accuracy": lambda row: None if (mean := row.mean("accuracy")) is None else -mean,
    "bytes": lambda row: 0.0 if row.system == "edge_only" else row.mean("payload_bytes"),
    "device energy": lambda row: row.mean("device_energy_mj"),
    "latency": lambda row: row.mean("latency_speculative_ms"),
}
"""What a front is made of, each the smaller the better."""


def pareto(found: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Rows that have all of `GOALS`, and whether no other row is at least as good in each and better in one."""
    scored = [(row, [goal(row) for goal in GOALS.values()]) for row in found]
    full = [(row, [float(s) for s in scores if s is not None]) for row, scores in scored if None not in scores]

    def beaten(mine: list[float]) -> bool:
        return any(all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine for _, other in full)

    return [(row, not beaten(scores)) for row, scores in full]
