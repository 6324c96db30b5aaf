"""From outputs and counts of a cut network to the numbers of results.json.

Accuracy with its interval, early exit, bytes against every yardstick, costs, and the ablation of compression and exit.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn import offload
from eccsnn.costs import load_profile, timestep_costs
from eccsnn.data import Splits
from eccsnn.errors import ConfigError
from eccsnn.experiments.opened import Frames
from eccsnn.experiments.split_load import SplitDeployment
from eccsnn.experiments.split_measures import upload_codecs
from eccsnn.experiments.split_schema import SplitConfig
from eccsnn.systems import neucodex
from eccsnn.transport.answers import brief_answer_bytes

COSTS = {
    "device_energy_mj": ("mJ", "edge operations and radio, all framing included"),
    "radio_energy_mj": ("mJ", "the radio's part of it, both directions"),
    "payload_energy_mj": ("mJ", "the radio's for the payload alone"),
    "energy_mj": ("mJ", "device energy and the cloud's dense multiply-accumulates"),
    "latency_ms": ("ms", "edge, bytes / rate, round trips and the cloud, as the mode has them"),
}
MODES = {
    "edge_only": "nothing is sent",
    "upload": "one message, one answer",
    "all_timesteps": "all timesteps are sent without waiting, one answer",
    "edge_exit_head": "the edge stops by its own head, without waiting",
    "lock_step": "a round trip for every timestep",
    "speculative": "the edge sends on until the cloud's stop reaches it",
}


def check_costs(config: SplitConfig) -> None:
    """Finds out before anything is trained whether the cost model applies.

    Raises:
        ConfigError: There is no such profile, or it says nothing about single timesteps.
    """
    try:
        _costs(config, "edge_only", {"synops": [0.0], "macs": [0.0]})
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def collect(config: SplitConfig, splits: Splits, outputs: Path, counts: Path) -> dict[str, Any]:
    """Everything in results.json, for a cut network and for edge only.

    Args:
        config: The resolved configuration.
        splits: Data; labels and names are used.
        outputs, counts: Folders of these stages.
    """
    counted = _json(counts / "counts.json")
    with np.load(outputs / "outputs.npz") as file:
        arrays = dict(file)
    ids = list(range(splits.num_classes))
    summary = _head(config, splits, counted)
    alone = {"edge_only": dict.fromkeys(("val", "test"), _costs(config, "edge_only", counted["uncut"]))}
    uncut = _Judged(config, splits, ids, arrays, "uncut", alone, alone)
    summary["uncut"] = uncut.summary() | {"work": counted["uncut"]}
    if config.unit is None:
        return summary
    sizes = {part: arrays[f"cut_{part}_bytes"] for part in ("val", "test")}

    def costs(mode: str, exit_head_macs: float = 0.0) -> dict[str, Any]:
        work = (counted["edge"], counted["cloud"])
        return {part: _costs(config, mode, *work, sizes[part], ids, exit_head_macs) for part in sizes}

    head = counted.get("exit_head", {"macs": 0.0})
    whole = "all_timesteps" if config.spiking else "upload"
    exiting = {mode: costs(mode, head["macs"]) for mode in exit_modes(config)}
    cut = _Judged(config, splits, ids, arrays, "cut", {whole: costs(whole)}, exiting)
    summary["split"] = _split(config, counted)
    work = {name: counted[name] for name in ("edge", "cloud", "exit_head") if name in counted}
    summary["cut"] = cut.summary() | {"work": work}
    summary["loss"] = {
        "all_timesteps": asdict(offload.paired_interval(uncut.right, cut.right)),
        "chosen": asdict(offload.paired_interval(uncut.right, cut.right_at_stop)),
        "meaning": "accuracy of the uncut network (all timesteps) less that of the cut one; 95% interval over "
        "test images",
    }
    summary["payload"] = _payload(summary["split"], cut, sizes["test"], counted["image_bytes"])
    if "cut_test_firing_rate" in arrays:
        summary["payload"]["wire_firing_rate"] = arrays["cut_test_firing_rate"].tolist()
    if config.spiking:
        summary["ablation"] = _ablation(config, counted, uncut, cut, ids)
    return summary


def collect_cloud_only(config: SplitConfig, splits: Splits, outputs: Path, counts: Path) -> dict[str, Any]:
    """Everything in results.json for cloud only: the ANN on images as they were uploaded."""
    counted = _json(counts / "counts.json")
    with np.load(outputs / "outputs.npz") as file:
        arrays = dict(file)
    ids = list(range(splits.num_classes))
    summary = _head(config, splits, counted)
    nothing = {"synops": [0.0], "macs": [0.0]}
    for codec in upload_codecs(splits):
        sizes = {part: arrays[f"{codec}_{part}_bytes"] for part in ("val", "test")}
        costs = {part: _costs(config, "upload", nothing, counted["uncut"], sizes[part], ids) for part in sizes}
        summary[codec] = _Judged(config, splits, ids, arrays, codec, {"upload": costs}).summary()
    summary["work"] = {"cloud": counted["uncut"]}
    return summary


def deployment(config: SplitConfig, splits: Splits, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What an edge and a cloud need to know beside their weights (deployment.json)."""
    network = summary.get("cut") or summary.get("uncut") or {}
    chosen = network.get("exit")
    settings = SplitDeployment(
        system=config.system,
        class_names=tuple(splits.class_names),
        image_size=splits.image_shape[-1],
        mean=tuple(splits.mean),
        std=tuple(splits.std),
        point=None if config.unit is None else config.unit.point,
        threshold=None if chosen is None else chosen["threshold"],
        cloud_threshold=None if chosen is None else chosen["cloud_threshold"],
        exit_head=config.exits and config.exit.decide == "edge_head",
        frames=Frames.of(config.data, splits),
    )
    return settings.model_dump(mode="json", by_alias=True)


def exit_modes(config: SplitConfig) -> tuple[str, ...]:
    """The ways in which a cut network may stop early, the published one first; each has costs of its own."""
    if not config.exits:
        return ()
    return ("edge_exit_head",) if config.exit.decide == "edge_head" else ("lock_step", "speculative")


class _Judged:
    """One network on test data: at all timesteps, and with early exit where that is on.

    Args:
        costs: Of all timesteps, by the one mode in which they travel; of `val` and of `test` images.
        exit_costs: Of early exit, by mode, likewise; the first one's are those of its curves.
    """

    def __init__(
        self,
        config: SplitConfig,
        splits: Splits,
        ids: list[int],
        arrays: Mapping[str, np.ndarray],
        name: str,
        costs: Mapping[str, Any],
        exit_costs: Mapping[str, Any] | None = None,
    ) -> None:
        ((self.mode, all_costs),) = costs.items()
        logits = {part: arrays[f"{name}_{part}_logits"] for part in ("val", "test")}
        running = offload.running_mean(logits["test"])
        labels = splits.test.labels
        self.right_by_timestep = np.asarray(ids)[running.argmax(axis=2)] == labels
        self.right = self.right_by_timestep[-1]
        self.timesteps = len(running)
        deciding = {part: arrays.get(f"{name}_{part}_exit") for part in logits}

        def part(name: str, images: Any, by_part: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "logits": logits[name],
                "labels": images.labels,
                "deciding": deciding[name],
                "costs": by_part[name],
            }

        everything = offload.exit_curve(
            class_ids=ids, thresholds=[offload.NEVER], part="test", **part("test", splits.test, all_costs)
        )
        self.all_timesteps = _figures(everything)
        self.exit: dict[str, Any] | None = None
        self.by_mode = {self.mode: self.all_timesteps}
        stops = np.full(len(labels), self.timesteps)
        if config.exits and exit_costs:
            by_mode = {mode: part("test", splits.test, one) for mode, one in exit_costs.items()}
            self.mode = next(iter(by_mode))
            validation = part("val", splits.val, exit_costs[self.mode])
            self.exit = neucodex.early_exit(validation, by_mode[self.mode], ids, tolerance=config.exit.tolerance)
            stops = self.exit.pop("stops")
            threshold = offload.NEVER if self.exit["threshold"] is None else self.exit["threshold"]
            self.by_mode = {
                mode: _figures(offload.exit_curve(class_ids=ids, thresholds=[threshold], part="test", **one))
                for mode, one in by_mode.items()
            }
            self.exit["all_timesteps"] = self.all_timesteps
            self.exit["cloud_threshold"] = self.exit["threshold"]
            if validation["deciding"] is not None:
                self.exit["cloud_threshold"] = _chosen(validation | {"deciding": None}, ids, config.exit.tolerance)
        self.stops = stops
        self.right_at_stop = self.right_by_timestep[stops - 1, np.arange(len(stops))]
        self.chosen = self.by_mode[self.mode]

    def summary(self) -> dict[str, Any]:
        return {
            "accuracy": float(self.right.mean()),
            "accuracy_by_timestep": self.right_by_timestep.mean(axis=1).tolist(),
            "all_timesteps": self.all_timesteps,
            "chosen": self.chosen,
            "mode": self.mode,
            "by_mode": self.by_mode,
            "exit": self.exit,
            "stops": np.bincount(self.stops, minlength=self.timesteps + 1)[1:].tolist(),
            "right": _bits(self.right),
            "right_at_stop": _bits(self.right_at_stop),
        }


def _figures(curve: offload.ExitCurve) -> dict[str, float]:
    """Figures of a curve with one threshold."""
    return {key: value for key, value in curve.point(0).items() if key != "threshold"}


def _chosen(validation: Mapping[str, Any], ids: list[int], tolerance: float) -> float | None:
    """The threshold that validation data choose, by the rule of `neucodex.early_exit`; None: never reached."""
    curve = offload.exit_curve(class_ids=ids, part="validation", **validation)
    threshold = float(curve.threshold[offload.choose_exit(curve, tolerance)])
    return threshold if np.isfinite(threshold) else None


def _bits(right: np.ndarray) -> str:
    """Whether each test answer is right, as base64 of packed bits: intervals over several seeds are made from these."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def right_answers(text: str, count: int) -> np.ndarray:
    """Undoes the packing of `right`: bool `[count]`.

    >>> right_answers(_bits(np.array([True, False, True])), 3).tolist()
    [True, False, True]
    """
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=count).astype(bool)


def _costs(
    config: SplitConfig,
    mode: str,
    edge: Mapping[str, Any],
    cloud: Mapping[str, Any] | None = None,
    sizes: np.ndarray | None = None,
    class_ids: list[int] | None = None,
    exit_head_macs: float = 0.0,
) -> dict[str, Any]:
    return dict(
        timestep_costs(
            load_profile(config.costs.profile),
            mode=mode,
            edge=edge,
            cloud=cloud,
            payload_bytes=sizes,
            # Brief: whoever stops needs a class and a confidence, and no system here learns from logits.
            answer_bytes=brief_answer_bytes(class_ids) if class_ids else 0.0,
            exit_head_macs=exit_head_macs,
            precision=config.costs.precision,
            memory=config.costs.memory,
        )
    )


def _head(config: SplitConfig, splits: Splits, counted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": "eccsnn.results/1",
        "system": config.system,
        "data": {
            "name": splits.name,
            "class_names": list(splits.class_names),
            "image_size": splits.image_shape[-1],
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "fingerprint": splits.fingerprint,
        },
        "network": config.cloud.model.model_dump(exclude_none=True)
        if config.system == "cloud_only"
        else config.network_arguments(),
        "image_bytes": counted["image_bytes"],
        "profile": config.costs.profile,
        "provenance": {
            "accuracy": "measured on test data; thresholds chosen on validation data",
            "payload_bytes": "measured: lengths of the codec's packets, stream header included, of the timesteps that "
            "the mode sends",
            **{name: f"modelled under profile {config.costs.profile}: {text}" for name, (_, text) in COSTS.items()},
        },
        "modes": MODES,
        "units": {name: unit for name, (unit, _) in COSTS.items()} | {"payload_bytes": "B"},
    }


def _split(config: SplitConfig, counted: Mapping[str, Any]) -> dict[str, Any]:
    """The named split point and the sizes of its uncoded spikes over all timesteps."""
    timesteps = config.network.model.timesteps if config.spiking else 1
    values, on_wire = (timesteps * math.prod(counted[name]["shape"]) for name in ("point", "wire"))
    return {
        "point": counted["point"]["name"],
        "point_shape": counted["point"]["shape"],
        "wire_shape": counted["wire"]["shape"],
        "timesteps": timesteps,
        "fp32_bytes": 4 * values,
        "one_bit_bytes": math.ceil(values / 8) if config.spiking else None,
        "wire_one_bit_bytes": math.ceil(on_wire / 8) if config.spiking else None,
        "parameters": counted["edge"].get("parameters"),
    }


def _payload(
    cut_at: Mapping[str, Any], cut: _Judged, sizes: np.ndarray, image_bytes: Mapping[str, float]
) -> dict[str, Any]:
    """Bytes an image, and how many times fewer they are than each yardstick's."""

    def against(payload: float) -> dict[str, float | None]:
        yardsticks = {
            "fp32": cut_at["fp32_bytes"],
            "one_bit": cut_at["one_bit_bytes"],
            "wire_one_bit": cut_at["wire_one_bit_bytes"],
            "jpeg": image_bytes.get("jpeg"),
            "png": image_bytes["png"],
        }
        return {name: None if size is None else size / payload for name, size in yardsticks.items()}

    def entry(figures: Mapping[str, float]) -> dict[str, Any]:
        return {"bytes": figures["payload_bytes"], "times_smaller_than": against(figures["payload_bytes"])}

    return {
        "by_timestep": sizes.mean(axis=1).tolist(),
        "all_timesteps": entry(cut.all_timesteps),
        "chosen": entry(cut.chosen),
        "by_mode": {mode: entry(figures) for mode, figures in cut.by_mode.items()},
    }


def _ablation(
    config: SplitConfig,
    counted: Mapping[str, Any],
    uncut: _Judged,
    cut: _Judged,
    class_ids: list[int],
) -> list[dict[str, Any]]:
    """Compression x early exit. Without compression the uncut network is cut at the same point, and its spikes cross
    packed at one bit, sums of spikes in bit planes. Bytes and energy are those of the published mode."""
    packet = math.ceil(counted["point"]["bits"] / 8)
    sizes = np.full((uncut.timesteps, len(uncut.stops)), packet)
    free = {"dense": [0.0] * uncut.timesteps}  # the device's energy alone is asked for
    costed = ("payload_bytes", "device_energy_mj")

    def plain(mode: str, stops: np.ndarray) -> dict[str, float]:
        each = np.arange(len(stops))
        costs = _costs(config, mode, counted["plain_edge"], free, sizes, class_ids)
        return {
            "accuracy": float(uncut.right_by_timestep[stops - 1, each].mean()),
            "timesteps": float(stops.mean()),
            **{key: float(costs[key].cumsum(axis=0)[stops - 1, each].mean()) for key in costed},
        }

    def compressed(figures: Mapping[str, float]) -> dict[str, float]:
        return {key: figures[key] for key in ("accuracy", "timesteps", *costed)}

    whole = plain("all_timesteps", np.full(len(uncut.stops), uncut.timesteps))
    rows = {(False, False): whole, (True, False): compressed(cut.all_timesteps)}  # (compression, early exit)
    if config.exits:
        rows |= {(False, True): plain(exit_modes(config)[0], uncut.stops), (True, True): compressed(cut.chosen)}
    return [{"compression": coded, "early_exit": exits, **rows[coded, exits]} for coded, exits in sorted(rows)]


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
