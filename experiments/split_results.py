"""Collects finished runs of cut networks and their baselines into small committed files, and makes tables and figures.

    python experiments/split_results.py collect runs/{neucodex,spikebottlenet,baselines}/cifar10_small*/*
    python experiments/split_results.py table

`collect` writes configs/SYSTEM/results/*.json, and over another run's only where that measured no link and the new one did;
`table` writes the README.md of configs/neucodex and configs/spikebottlenet between their markers, with figures beside them.
It takes what there is, and says which systems have no results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from split_figures import front, rate_accuracy
from split_rows import by_data, main_rows, rows
from split_tables import section

from eccsnn.errors import ConfigError
from eccsnn.experiments.schema import load_config, validate

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FOLDERS = ("neucodex", "spikebottlenet", "baselines")
READMES = ("neucodex", "spikebottlenet")
BEGIN, END = "<!-- begin: made by experiments/split_results.py -->", "<!-- end -->"
CURVE_POINTS = 20
# Keys in which a collected run may differ from the shipped configuration of its name; tables say what they were.
FREE = ("seed", "device", "checkpoint_seconds", "data.root", "data.display_name", "link.")
# Keys that make a variant, and how its name says so.
VARIANTS = {
    "precision": "",
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
    for run in runs:
        info = json.loads((run / "run.json").read_text())
        if info["status"] != "finished":
            print(f"left out: {run} is {info['status']}, not finished: run it to its end first")
            continue
        folder, _, name = info["name"].partition("/")
        if folder not in FOLDERS:
            print(f"left out: {run} is one of {info['name']}, expected {', '.join(FOLDERS)}")
            continue
        try:
            config, variant = compared(yaml.safe_load((run / "config.yaml").read_text()), info["name"])
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
        kept = {key: info[key] for key in ("schema", "name", "seed", "started", "finished", "versions", "git")}
        kept["stages"] = [
            {key: stage[key] for key in ("name", "key", "reused", "seconds")}
            | {key: stage["computed"][key] for key in ("hardware", "git")}
            for stage in info["stages"]
        ]
        content = {"variant": variant, "run": kept, "config": config, "results": results}
        if path.exists() and not replaces(content, json.loads(path.read_text())):
            print(f"left out: {run} has the settings of another run, whose results are in {path}: remove that first")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(path)


def replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether a file may be written over: by the same run, or by one that measured a link where the old one did not."""
    same = new["run"]["started"] == old["run"]["started"]
    return same or (bool(new["results"].get("link")) and not old["results"].get("link"))


def compared(config: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """A configuration with today's defaults for keys that it lacks, and the variant of the shipped one that it is.

    Raises:
        ConfigError: There is no shipped configuration of this name, this one is not valid any more, or they differ in
            more than makes a variant.
    """
    try:
        resolved = validate(config, "its configuration").model_dump(mode="json")
        changed = differences(resolved, name)
    except ConfigError as error:
        raise ConfigError(f"cannot be compared with {name}: {error}") from error
    others = sorted(key for key in changed if not key.startswith(FREE) and key not in VARIANTS)
    if others:
        raise ConfigError(f"differs from {name} in {', '.join(others)}")
    return resolved, "-".join(f"{short}{changed[key]}" for key, short in VARIANTS.items() if key in changed)


def differences(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Values of a resolved configuration that differ from the shipped one of its name, by dotted key."""
    shipped, given = flat(load_config(name).model_dump(mode="json")), flat(config)
    return {key: given.get(key) for key in shipped.keys() | given.keys() if shipped.get(key) != given.get(key)}


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level of dotted ones."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


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
            file["config"], file["variant"] = compared(file["config"], file["run"]["name"])
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
        if not lines:
            lines = ["No results have been collected yet.", ""]
        text = readme.read_text()
        head, rest = text.split(BEGIN)
        tail = rest.split(END)[1]
        readme.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{tail}")
        print(readme)


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
