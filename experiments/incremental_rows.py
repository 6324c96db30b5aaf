"""Collected results of class-incremental learners as rows: one learner with one set of options over its seeds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

File = dict[str, Any]
Setting = tuple[str, ...]

# Keys beside the learner's own that make another experiment, and what to call them where they are not the usual ones.
SETTING = {
    "trunk.pretraining": "pre-training",
    "trunk.training.epochs": "trunk epochs",
    "trunk.pretraining_training.epochs": "pre-training epochs",
    "trunk.distillation.logit_weight": "logit weight",
    "trunk.distillation.feature_weight": "feature weight",
    "trunk.layers": "layers",
    "class_order_seed": "class order",
}


@dataclass
class Row:
    """One learner with one set of options, over its seeds.

    Attributes:
        learner: Its name.
        takes: features or images.
        epochs: A task, of learners on images; else None.
        label: For tables and plots.
        results: By seed, the learner's part of results.json.
        validation_images: Of each seed's run.
        stages: By seed, the key of the learner's stage.
    """

    learner: str
    takes: str
    epochs: int | None
    label: str
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    validation_images: int = 0
    stages: dict[int, str] = field(default_factory=dict)

    def values(self, *keys: str) -> list[float]:
        """A number of each seed."""
        found: list[float] = []
        for _, result in sorted(self.results.items()):
            value: Any = result
            for key in keys:
                value = None if value is None else value[key]
            if value is not None:
                found.append(float(value))
        return found

    def mean(self, *keys: str) -> float:
        """Its mean over seeds."""
        return statistics.mean(self.values(*keys))

    @property
    def bytes_kept(self) -> float:
        """The most that is kept between tasks beside the network, mean over seeds."""
        return statistics.mean(max(result["memory_bytes"]) for result in self.results.values())

    def seen(self) -> list[float]:
        """Accuracy on the classes seen after each task, mean over seeds."""
        curves = [result["seen_accuracy"] for result in self.results.values()]
        return [statistics.mean(values) for values in zip(*curves, strict=True)]

    def validation(self, seeds: Iterable[int]) -> float | None:
        """Accuracy on validation images of all classes after the last task, mean over seeds."""
        found = [(self.results[seed].get("validation_seen_accuracy") or [None])[-1] for seed in seeds]
        return None if not found or None in found else statistics.mean(found)


def setting(config: dict[str, Any], shipped: dict[str, Any]) -> Setting:
    """What beside learners and scenario differs from the shipped configuration; () for the shipped one."""
    return tuple(
        f"{title} {_value(config, key)}"
        for key, title in SETTING.items()
        if _value(config, key) != _value(shipped, key)
    )


def _value(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else value


def rows(files: list[File]) -> list[Row]:
    """Rows of one scenario and setting, by last accuracy.

    Ends the program where files with the same seed do not share their trunk, or give a learner with the same options
    two results: they were made with other code or settings, and a mean over them would say nothing.
    """
    trunks: dict[int, tuple[str, str]] = {}
    found: dict[tuple[Any, ...], Row] = {}
    for file in files:
        seed, keys = file["run"]["seed"], {stage["name"]: stage["key"] for stage in file["run"]["stages"]}
        trunk, other = trunks.setdefault(seed, (keys["trunk"], file["path"]))
        if trunk != keys["trunk"]:
            sys.exit(f"{file['path']} and {other} have other trunks for seed {seed}: run them again with the same code")
        for learner, result in file["results"]["learners"].items():
            row = _row(file, learner, result)
            row = found.setdefault((learner, row.epochs, row.label), row)
            stage = keys[f"learner_{learner}"]
            if row.stages.setdefault(seed, stage) != stage:
                sys.exit(f"{file['path']} has another {row.label} of seed {seed} than a file before it: remove one")
            row.results[seed] = result
    return sorted(found.values(), key=lambda row: -row.mean("last"))


def _row(file: File, learner: str, result: dict[str, Any]) -> Row:
    config = file["config"]
    options = config["options"].get(learner, {})
    said = [
        f"{value} {key}" if key in ("exemplars", "expansion") else f"{key} {value}" for key, value in options.items()
    ]
    epochs = config["training"]["epochs"] if result["takes"] == "images" else None
    if epochs is not None:
        said.append(f"{epochs} epochs")
    label = f"{learner} ({', '.join(said)})" if said else learner
    return Row(learner, result["takes"], epochs, label, validation_images=file["results"]["data"]["val"])


def fewest_epochs(found: list[Row]) -> tuple[Row | None, list[Row]]:
    """LwF with the fewest epochs a task that reach its own best accuracy, and everything that was tried.

    Judged on validation images of all classes after the last task, over the seeds that all trials share; as good is
    what is within one standard error of the best (the one-standard-error rule of Breiman et al. 1984), which here is
    that of a proportion. No test image has a say.
    """
    tried = sorted((row for row in found if row.learner == "lwf"), key=lambda row: row.epochs or 0)
    shared = set.intersection(*(set(row.results) for row in tried)) if tried else set()
    judged = {row.label: row.validation(shared) for row in tried}
    known = {label: value for label, value in judged.items() if value is not None}
    if not known:
        return (tried[-1] if tried else None), tried
    best = max(known.values())
    error = (best * (1 - best) / tried[0].validation_images) ** 0.5
    return next(row for row in tried if known.get(row.label, -1.0) >= best - error), tried
