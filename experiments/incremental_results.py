"""Collects finished comparisons of class-incremental learners into small committed files, and makes tables and plots.

    python experiments/incremental_results.py collect runs/incremental/{cifar10,caltech101}_small/*
    python experiments/incremental_results.py table

`collect` writes configs/incremental/results/*.json; `table` writes configs/incremental/README.md between its markers,
with plots beside it. It takes what there is, and says where nothing is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from incremental_figures import curves
from incremental_rows import Row, rows, setting
from incremental_tables import scenario_section, trunk_table

from eccsnn.errors import ConfigError
from eccsnn.experiments.schema import load_config, validate

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "incremental"
BEGIN, END = "<!-- begin: made by experiments/incremental_results.py -->", "<!-- end -->"
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
    "trunk.layers": "layers-",
    "precision": "",
    "class_order_seed": "order",
}


def collect(runs: list[Path]) -> None:
    """Writes one file a run: its results without what repeats itself, its configuration, and where it comes from."""
    for run in runs:
        info = json.loads((run / "run.json").read_text())
        if info["status"] != "finished":
            sys.exit(f"{run} is {info['status']}, not finished: run it to its end first")
        folder, _, name = info["name"].partition("/")
        if folder != "incremental":
            print(f"left out: {run} is one of {info['name']}, expected incremental/...")
            continue
        try:
            config, variant = compared(yaml.safe_load((run / "config.yaml").read_text()), info["name"])
        except ConfigError as error:
            print(f"left out: {run} {error}")
            continue
        results = thinned(json.loads((run / "results.json").read_text()))
        if any("validation_seen_accuracy" not in result for result in results["learners"].values()):
            print(f"left out: {run} has results of an older version: run it again, which reuses its trainings")
            continue
        config["data"]["root"] = None  # a path of the machine it ran on
        path = FOLDER / "results" / f"{'-'.join(filter(None, (name, variant)))}-seed{info['seed']}.json"
        kept = {key: info[key] for key in ("schema", "name", "seed", "started", "finished", "versions", "git")}
        kept["stages"] = [
            {key: stage[key] for key in ("name", "key", "reused", "seconds")}
            | {key: stage["computed"][key] for key in ("hardware", "git")}
            for stage in info["stages"]
        ]
        content = {"variant": variant, "run": kept, "config": config, "results": results}
        if path.exists() and json.loads(path.read_text())["run"]["started"] != info["started"]:
            print(f"left out: {run} has the settings of another run, whose results are in {path}: remove that first")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(path)


def compared(config: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """A configuration with today's defaults for keys that it lacks, and the variant of the shipped one that it is.

    Raises:
        ConfigError: There is no shipped configuration of this name, this one is not valid any more, or they differ in
            more than makes a variant.
    """
    try:
        resolved = validate(config, "its configuration").model_dump(mode="json")
        shipped, given = flat(load_config(name).model_dump(mode="json")), flat(resolved)
    except ConfigError as error:
        raise ConfigError(f"cannot be compared with {name}: {error}") from error
    changed = {key for key in shipped.keys() | given.keys() if shipped.get(key) != given.get(key)}
    others = sorted(key for key in changed if key not in FREE and key not in VARIANTS)
    if others:
        raise ConfigError(f"differs from {name} in {', '.join(others)}")
    parts = [short + _short(given.get(key)) for key, short in VARIANTS.items() if key in changed]
    return resolved, "-".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 3:
        return f"{len(value)}-of-them"  # learners, or layers
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level of dotted ones."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


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
            file["config"], file["variant"] = compared(file["config"], file["run"]["name"])
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
    if not lines:
        lines = ["No results have been collected yet.", ""]
    readme = FOLDER / "README.md"
    head, rest = readme.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    readme.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{tail}")
    print(readme)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("collect", help="run directories to results/*.json").add_argument("runs", nargs="+", type=Path)
    commands.add_parser("table", help="results/*.json to README.md and figures")
    given = parser.parse_args()
    if given.command == "collect":
        collect(given.runs)
    else:
        write_tables()


if __name__ == "__main__":
    main()
