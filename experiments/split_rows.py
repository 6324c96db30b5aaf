"""Collected results of cut networks as rows: which runs belong together, and the arithmetic of a row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eccsnn.costs import FRAMING, bytes_on_air, load_profile, radio_energy_mj
from eccsnn.experiments.split_results import right_answers
from eccsnn.offload import paired_interval
from eccsnn.offload.intervals import Interval
from eccsnn.report import split as report

SYSTEMS = report.SYSTEMS | {"ecc_snn": "ECC-SNN"}
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
        mode: How its timesteps travel, of `eccsnn.costs.timesteps`; all of its figures are of this mode. Empty for ECC-SNN.
        records: Figures of each seed.
    """

    system: str
    label: str
    variant: str
    files: list[File]
    key: str
    at: str
    mode: str
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

    def loss(self) -> Interval | None:
        """Accuracy of the uncut network at all timesteps less that of this row, with its interval."""
        if self.system in ("cloud_only", "ecc_snn") or (self.key == "uncut" and self.at == "all_timesteps"):
            return None
        results = [file["results"] for file in self.files]
        answers = "right_at_stop" if self.at == "chosen" else "right"
        count = results[0]["data"]["test"]
        first = np.stack([right_answers(r["uncut"]["right"], count) for r in results])
        second = np.stack([right_answers(r[self.key][answers], count) for r in results])
        return paired_interval(first, second)


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
        return [Row(system, name, variant, files, "", "chosen", "", [_ecc_snn(file) for file in files])]
    if system == "cloud_only":
        points = [(f"{name}, {codec.upper()}", codec, "all_timesteps", "upload") for codec in ("png", "jpeg")]
    else:
        key = "uncut" if system == "edge_only" else "cut"
        network = files[0]["results"][key]
        exits, modes = network["exit"] is not None, list(network["by_mode"])
        whole = ("all_timesteps" if key == "cut" else "edge_only") if exits else modes[0]
        points = [(f"{name}, all timesteps" if exits else name, key, "all_timesteps", whole)]
        points += [(f"{name}, early exit", key, "chosen", mode) for mode in modes] if exits else []
    return [
        Row(system, label, variant, files, key, at, mode, [_record(file, key, at, mode) for file in files])
        for label, key, at, mode in points
    ]


def _record(file: File, key: str, at: str, mode: str) -> dict[str, float | None]:
    results = file["results"]
    found = results[key]
    record: dict[str, float | None] = dict(found["all_timesteps"] if at == "all_timesteps" else found["by_mode"][mode])
    record["jpeg_bytes"] = results["image_bytes"]["jpeg"]
    if "uncut" in results:
        uncut = results["uncut"]["all_timesteps"]
        record["uncut_accuracy"] = uncut["accuracy"]
        record["uncut_energy_mj"] = uncut["device_energy_mj"]
    if key == "cut":
        payload = results["payload"]
        sizes = payload["all_timesteps"] if at == "all_timesteps" else payload["by_mode"][mode]
        for yardstick, times in sizes["times_smaller_than"].items():
            record[f"times_{yardstick}"] = times
        rates = payload.get("wire_firing_rate")
        record["wire_firing_rate"] = statistics.mean(rates) if rates else None
        record["wire_bytes_up"] = _wire_bytes(results, at, mode)
    return record


def _wire_bytes(results: dict[str, Any], at: str, mode: str) -> float | None:
    """Bytes of an image on the measured wire, in the row's own mode, over the first link of the run.

    The samples of a link stop where the network exits early, so that a link says nothing of the same network at all
    timesteps; where nothing exits, speculation sends all of them without waiting.
    """
    exits = results["cut"]["exit"] is not None
    if at == "all_timesteps" and exits:
        return None
    measured = mode if exits else "speculative"
    found = [row["bytes"]["wire_up"] for row in results.get("link") or [] if row["mode"] == measured]
    return next((float(size) for size in found if size is not None), None)


def _ecc_snn(file: File) -> dict[str, float | None]:
    """All classes after the last update, at the chosen threshold; the device pays for the edge and its radio.

    Its own results price payloads alone; here each upload gets the framing that those of the other systems have.
    """
    results = file["results"]
    part = results["execution"][-1]["sets"]["all"]
    chosen, rate = part["chosen"], part["chosen"]["upload_rate"]
    costs = {row["name"]: row["value"] for row in results["costs"]}
    profile, image = load_profile(results["profile"]), results["image_bytes"][file["config"]["link"]["codec"]]
    energy = payload = latency = 0.0
    if profile.model == "per_operation":
        up, down = _upload_framing(image)
        energy = rate * radio_energy_mj(profile, bytes_up=up, bytes_down=down).value
        latency = rate * 8e-3 * (up / profile["rate_up"].value + down / profile["rate_down"].value)
        payload = rate * radio_energy_mj(profile, bytes_up=image).value
    radio = rate * costs["radio energy per uploaded image"] + energy
    link = results.get("link") or {}
    return {
        "accuracy": chosen["accuracy"],
        "payload_bytes": chosen["payload_bytes"],
        "device_energy_mj": part["edge_only"]["energy_mj"] + radio,
        "radio_energy_mj": radio,
        "payload_energy_mj": payload or None,
        "energy_mj": chosen["energy_mj"] + energy,
        "latency_ms": chosen["latency_ms"] + latency,
        "jpeg_bytes": results["image_bytes"]["jpeg"],
        "wire_bytes_up": link.get("wire_bytes_up"),
        "uncut_energy_mj": part["edge_only"]["energy_mj"],
    }


def _upload_framing(image_bytes: float) -> tuple[float, float]:
    """Bytes around an uploaded image, and around its answer."""
    framing = FRAMING["upload"]
    up = float(bytes_on_air(image_bytes, framing.first_up.value)) - image_bytes
    return up, float(bytes_on_air(0.0, framing.answer_down.value))


# --- the Pareto front ------------------------------------------------------------------------------------------------

GOALS: dict[str, Callable[[Row], float | None]] = {
    "accuracy": lambda row: None if (mean := row.mean("accuracy")) is None else -mean,
    "bytes": lambda row: 0.0 if row.system == "edge_only" else row.mean("payload_bytes"),
    "device energy": lambda row: row.mean("device_energy_mj"),
    "latency": lambda row: row.mean("latency_ms"),
}
"""What a front is made of, each the smaller the better."""


def pareto(found: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Rows that have all of `GOALS`, and whether no other row is at least as good in each and better in one."""
    scored = [(row, [goal(row) for goal in GOALS.values()]) for row in found]
    full = [(row, [float(s) for s in scores if s is not None]) for row, scores in scored if None not in scores]

    def beaten(mine: list[float]) -> bool:
        return any(all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine for _, other in full)

    return [(row, not beaten(scores)) for row, scores in full]
