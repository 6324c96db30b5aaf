"""Collects finished runs of cut networks and their baselines into small committed files, and makes tables and figures.

    python experiments/split_results.py collect runs/{neucodex,spikebottlenet,baselines}/cifar10_small*/*
    python experiments/split_results.py table

`collect` writes configs/SYSTEM/results/*.json, and over another run's only where that measured no link and the new one did;
`table` writes the README.md of configs/neucodex and configs/spikebottlenet between their markers, with figures beside them.
It takes what there is, and says which systems have no results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from collection import command_line, compared, configuration, finished, provenance, write, write_between_markers
from split_figures import front, rate_accuracy
from split_rows import by_data, main_rows, rows
from split_tables import section

from eccsnn.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FOLDERS = ("neucodex", "spikebottlenet", "baselines")
READMES = ("neucodex", "spikebottlenet")
BEGIN = "<!-- begin: made by experiments/split_results.py -->"
CURVE_POINTS = 20
# Keys in which a collected run may differ from the shipped configuration of its name; tables say what they were.
FREE = ("seed", "device", "checkpoint_seconds", "data.root", "data.display_name", "link.")
# Keys that make a variant, and how its name says so.
VARIANTS = {
    "precision": "",
    "network.model.connect": "",
    "unit.point": "",
    "unit.channels": "c",
    "unit.stride": "s",
    "unit.kernel_size": "k",
    "unit.training.epochs": "unit-epochs",
    "finetune.training.epochs": "epochs",
    "finetune.rate_weight": "rate",
    "finetune.logit_weight": "logits",
    "finetune.exit_weight": "exit",
    "finetune.teacher": "teacher-",
    "exit.decide": "",
    "exit.tolerance": "tolerance",
    "wire.tables": "tables-",
}


def collect(runs: list[Path]) -> None:
    """Writes one file a run: results.json with thinned exit curves, its configuration, and where it comes from."""
    for run, info in finished(runs):
        folder, _, name = info["name"].partition("/")
        if folder not in FOLDERS:
            print(f"left out: {run} is one of {info['name']}, expected {', '.join(FOLDERS)}")
            continue
        try:
            config, variant = compared(configuration(run), info["name"], free=FREE, variants=VARIANTS)
        except ConfigError as error:
            print(f"left out: {run} {error}")
            continue
        results = json.loads((run / "results.json").read_text())
        if "modes" not in results:
            print(f"left out: {run} has results of an older version: run it again, which reuses its trainings")
            continue
        results = thinned(results)
        config["data"]["root"] = None  # a path of the machine it ran on
        path = CONFIGS / folder / "results" / f"{'-'.join(filter(None, (name, variant)))}-seed{info['seed']}.json"
        content = {"variant": variant, "run": provenance(info), "config": config, "results": results}
        if path.exists() and not replaces(content, json.loads(path.read_text())):
            print(f"left out: {run} has the settings of another run, whose results are in {path}: remove that first")
            continue
        write(path, content)


def replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether a file may be written over: by the same run, or by one that measured a link where the old one did not."""
    same = new["run"]["started"] == old["run"]["started"]
    return same or (bool(new["results"].get("link")) and not old["results"].get("link"))


def thinned(results: dict[str, Any]) -> dict[str, Any]:
    """Results whose exit curves have about `CURVE_POINTS` points, the chosen threshold and both ends among them."""
    for key in ("uncut", "cut"):
        found = results.get(key, {}).get("exit")
        if not found:
            continue
        thresholds = found["test"]["threshold"]
        spaced = np.linspace(0, len(thresholds) - 1, min(CURVE_POINTS, len(thresholds))).round().astype(int).tolist()
        at = sorted({*spaced, thresholds.index(found["threshold"])})
        for part in ("validation", "test"):
            found[part] = {name: [values[i] for i in at] for name, values in found[part].items()}
    return results


def collected() -> list[dict[str, Any]]:
    """All committed results, those of ECC-SNN among them, each with the variant of today's shipped configuration that it
    is; what is none, such as results of an older configuration, is named and left out."""
    files = []
    for path in (path for folder in FOLDERS for path in sorted((CONFIGS / folder / "results").glob("*.json"))):
        file = json.loads(path.read_text())
        try:
            file["config"], file["variant"] = compared(
                file["config"], file["run"]["name"], free=FREE, variants=VARIANTS
            )
        except ConfigError as error:
            print(f"left out: {path} {error}")
            continue
        files.append(file)
    return files + [json.loads(path.read_text()) for path in sorted((CONFIGS / "ecc_snn" / "results").glob("*.json"))]


def write_tables() -> None:
    """Puts tables and figures into the READMEs, a section for each data set on which a cut network was run."""
    groups = {data: rows(files) for data, files in by_data(collected()).items()}
    for system in READMES:
        readme = CONFIGS / system / "README.md"
        for old in (readme.parent / "figures").glob("*.svg"):
            old.unlink()
        lines: list[str] = []
        for found in groups.values():
            if all(row.system == "ecc_snn" for row in found):
                continue
            lines += section(found, system, figures(found, system, readme.parent / "figures"))
        write_between_markers(readme, BEGIN, lines)


def figures(found: list[Any], system: str, folder: Path) -> list[str]:
    """Draws a data set's figures; their paths relative to the README."""
    data = found[0].files[0]["results"]["data"]
    name = f"{data['name']}_{data['image_size']}_{data['fingerprint'][:6]}".lower()
    name = "".join(letter if letter.isalnum() else "_" for letter in name)
    candidates = [*main_rows(found), *(row for row in found if row.system == system and row.variant)]
    drawn = (
        rate_accuracy(found, system, folder / f"{name}-rate_accuracy.svg"),
        front(candidates, folder / f"{name}-pareto_front.svg"),
    )
    return [f"figures/{path.name}" for path in drawn if path is not None]


if __name__ == "__main__":
    command_line(__doc__, collect, write_tables)
