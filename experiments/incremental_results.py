"""Collects finished comparisons of class-incremental learners into small committed files, and makes tables and plots.

    python experiments/incremental_results.py collect runs/incremental/{cifar10,caltech101}_small/*
    python experiments/incremental_results.py table

`collect` writes configs/incremental/results/*.json; `table` writes configs/incremental/README.md between its markers,
with plots beside it. It takes what there is, and says where nothing is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from collection import command_line, compared, configuration, finished, provenance, write, write_between_markers
from incremental_figures import curves
from incremental_rows import Row, rows, setting
from incremental_tables import scenario_section, trunk_table

from eccsnn.errors import ConfigError
from eccsnn.experiments.schema import load_config

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "incremental"
BEGIN = "<!-- begin: made by experiments/incremental_results.py -->"
# Keys in which a collected run may differ from the shipped configuration of its name without a word in its file's name.
FREE = ("seed", "device", "checkpoint_seconds", "data.root", "data.display_name")
# Keys that make a variant, and how its name says so.
VARIANTS = {
    "scenario": "",
    "learners": "",
    "training.epochs": "epochs",
    "options.exact_expanded.expansion": "expanded",
    "options.ranpac.expansion": "ranpac",
    **{f"options.{name}.exemplars": name for name in ("replay", "icarl", "wa", "bic")},
    "trunk.pretraining": "",
    "trunk.training.epochs": "trunk-epochs",
    "trunk.pretraining_training.epochs": "pretraining-epochs",
    "trunk.distillation.logit_weight": "logits",
    "trunk.distillation.feature_weight": "features",
    "trunk.layers": "layers-",
    "precision": "",
    "class_order_seed": "order",
}


def collect(runs: list[Path]) -> None:
    """Writes one file a run: its results without what repeats itself, its configuration, and where it comes from."""
    for run, info in finished(runs):
        folder, _, name = info["name"].partition("/")
        if folder != "incremental":
            print(f"left out: {run} is one of {info['name']}, expected incremental/...")
            continue
        try:
            config, variant = compared(configuration(run), info["name"], free=FREE, variants=VARIANTS)
        except ConfigError as error:
            print(f"left out: {run} {error}")
            continue
        results = thinned(json.loads((run / "results.json").read_text()))
        if any("validation_seen_accuracy" not in result for result in results["learners"].values()):
            print(f"left out: {run} has results of an older version: run it again, which reuses its trainings")
            continue
        config["data"]["root"] = None  # a path of the machine it ran on
        path = FOLDER / "results" / f"{'-'.join(filter(None, (name, variant)))}-seed{info['seed']}.json"
        content = {"variant": variant, "run": provenance(info), "config": config, "results": results}
        if path.exists() and json.loads(path.read_text())["run"]["started"] != info["started"]:
            print(f"left out: {run} has the settings of another run, whose results are in {path}: remove that first")
            continue
        write(path, content)


def thinned(results: dict[str, Any]) -> dict[str, Any]:
    """Results without definitions (docs and every results.json have them), names of classes, and work task by task."""
    kept = {key: value for key, value in results.items() if key != "definitions"}
    kept["data"] = {key: value for key, value in results["data"].items() if key != "class_names"}
    kept["learners"] = {name: result | {"macs": result["macs"][-1:]} for name, result in results["learners"].items()}
    return kept


def collected() -> list[dict[str, Any]]:
    """All committed results that are variants of today's shipped configurations; others are named and left out."""
    files = []
    for path in sorted((FOLDER / "results").glob("*.json")):
        file = json.loads(path.read_text())
        try:
            file["config"], file["variant"] = compared(
                file["config"], file["run"]["name"], free=FREE, variants=VARIANTS
            )
        except ConfigError as error:
            print(f"left out: {path} {error}")
            continue
        files.append(file | {"path": path.name})
    return files


def write_tables() -> None:
    """Puts a section for each configuration and scenario, and a table of trunks, into the README, with plots."""
    for old in (FOLDER / "figures").glob("*.svg"):
        old.unlink()
    files = collected()
    lines: list[str] = []
    for name in sorted({file["run"]["name"] for file in files}):
        mine = [file for file in files if file["run"]["name"] == name]
        if len({file["results"]["data"]["fingerprint"] for file in mine}) > 1:
            sys.exit(f"results of {name} are of several data sets or splits: collect runs on one data set alone")
        shipped = load_config(name).model_dump(mode="json")
        groups: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
        for file in mine:
            # Means over seeds of one precision only.
            scenario = f"{file['results']['scenario']['name']} in {file['config']['precision']}"
            groups.setdefault((scenario, setting(file["config"], shipped)), []).append(file)
        made: dict[tuple[str, tuple[str, ...]], list[Row]] = {key: rows(found) for key, found in groups.items()}
        for (scenario, changed), found in groups.items():
            if changed:
                continue
            plot = FOLDER / "figures" / f"{name.split('/')[-1]}-{scenario.replace(' in ', '-')}.svg".lower()
            curves(made[scenario, changed], found[0]["results"]["scenario"]["tasks"], plot)
            lines += scenario_section(name, scenario, found, made[scenario, changed], f"figures/{plot.name}")
        lines += trunk_table(name, made)
    write_between_markers(FOLDER / "README.md", BEGIN, lines)


if __name__ == "__main__":
    command_line(__doc__, collect, write_tables)
