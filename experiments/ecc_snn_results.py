"""Collects finished ECC-SNN runs into small committed files, and makes the tables of configs/ecc_snn/README.md from them.

    python experiments/ecc_snn_results.py collect runs/ecc_snn/cifar10_small/*      # run directories -> results/*.json
    python experiments/ecc_snn_results.py table                                     # results/*.json -> README.md

The README is written between its markers only; the prose around them is kept.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from collection import command_line, configuration, differences, finished, write, write_between_markers

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "ecc_snn"
BEGIN = "<!-- begin: made by experiments/ecc_snn_results.py -->"
UPLOAD_RATES = (0.1, 0.2, 0.3, 0.5)
# Keys in which a collected run may differ from the shipped configuration of its name; tables say what they were.
FREE = (
    "seed", "precision", "device", "checkpoint_seconds", "data.root", "data.display_name", "link.", "update.enabled",
    "edge.distillation.",
)  # fmt: skip


def variant(config: dict[str, Any]) -> str:
    """Name of what is distilled."""
    distillation = config["edge"]["distillation"]
    terms = []
    if distillation["logit_weight"] > 0:
        terms.append("logits")
    if distillation["feature_weight"] > 0:
        order = " (per timestep)" if distillation["feature_order"] == "per_timestep" else ""
        terms.append(f"features{order}")
    return " + ".join(terms) or "none"


def collect(runs: list[Path]) -> None:
    """Writes one file a run: everything of results.json but the long curves, and where it comes from."""
    for run, info in finished(runs):
        results = json.loads((run / "results.json").read_text())
        config = configuration(run)
        others = sorted(key for key in differences(config, info["name"]) if not key.startswith(FREE))
        if others:
            print(f"left out: {run} differs from {info['name']} in {', '.join(others)}")
            continue
        config["data"]["root"] = None  # a path of the machine it ran on
        epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for step in results["execution"]:
            thresholds = points(step["sets"]["all"])
            for part in step["sets"].values():
                curve = part["curves"][part["chosen"]["measure"]]
                part["points"] = [
                    {"limit": limit, **{key: values[at] for key, values in curve.items()}} for limit, at in thresholds
                ]
                del part["curves"]
        kept = {
            key: info[key]
            for key in ("schema", "name", "seed", "started", "finished", "versions", "hardware", "git", "stages")
        }
        name = f"{info['name'].split('/')[-1]}-{variant(config)}-seed{info['seed']}".replace(" ", "").replace("+", "-")
        path = FOLDER / "results" / f"{name}.json"
        write(
            path,
            {"variant": variant(config), "run": kept, "config": config, "epochs": epochs, "results": results},
        )


def points(part: dict[str, Any]) -> list[tuple[float, int]]:
    """For each of `UPLOAD_RATES` the place on the curve with the largest upload rate that does not exceed it."""
    rates = part["curves"][part["chosen"]["measure"]]["upload_rate"]
    below = {limit: [i for i, rate in enumerate(rates) if rate <= limit] for limit in UPLOAD_RATES}
    return [(limit, max(found, key=lambda i: rates[i])) for limit, found in below.items()]


def spread(values: list[float], scale: float = 100, digits: int = 2) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


def table(name: str, files: list[dict[str, Any]]) -> list[str]:
    """Tables of one configuration, over its seeds and variants."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        variants.setdefault(file["variant"], []).append(file["results"])
    main = variants.get("logits + features") or next(iter(variants.values()))
    first = main[0]
    lines = [f"## {name}: {first['data']['name']}, {first['scenario']['name']}", "", describe(files, first), ""]
    lines += [
        "Before any update (the edge has learnt the first task), mean ± standard deviation over seeds:",
        "",
        "| system | seeds | accuracy, classes learnt % | accuracy, all classes % | upload rate, all % | energy mJ | latency ms | bytes up |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    costs = {row["name"]: row["value"] for row in first["costs"]}
    for label, found in variants.items():
        sets = [r["execution"][0]["sets"] for r in found]
        alone = [s["all"]["edge_only"] for s in sets]  # of this variant: it has firing rates of its own
        lines.append(
            f"| edge only, distilled: {label} | {len(found)} | {spread([s['learned']['edge_accuracy'] for s in sets])} "
            f"| {spread([s['all']['edge_accuracy'] for s in sets])} | 0 | {spread([e['energy_mj'] for e in alone], 1, 4)} "
            f"| {spread([e['latency_ms'] for e in alone], 1, 2)} | 0 |"
        )
    sets = [r["execution"][0]["sets"] for r in main]
    bytes_up = first["image_bytes"][first_codec(files)]
    energy, latency = costs["cloud-only energy per image"], costs["cloud-only latency per image"]
    lines.append(
        f"| cloud only | 1 | {spread([s['learned']['cloud_accuracy'] for s in sets[:1]])} | {spread([s['all']['cloud_accuracy'] for s in sets[:1]])} "
        f"| 100 | {energy:.4f} | {latency:.2f} | {bytes_up:.0f} |"
    )
    for index, limit in enumerate(UPLOAD_RATES):
        at_limit = [(s["learned"]["points"][index], s["all"]["points"][index]) for s in sets]
        lines.append(row(f"ECC-SNN, at most {100 * limit:.0f}% uploaded", at_limit))
    lines.append(
        row("**ECC-SNN, threshold chosen on validation**", [(s["learned"]["chosen"], s["all"]["chosen"]) for s in sets])
    )
    lines += ["", "At the chosen threshold, " + "; ".join(headline(s, energy, latency) for s in by_set(sets)) + ".", ""]
    lines += updates(variants)
    for link in [r["link"] for r in main if "link" in r][:1]:
        lines += [
            f"Measured over a real link ({link['transport']}, {link['shape']}, {link['image_codec']}; {link['requests']} images, edge after all updates): "
            f"{link['uploaded']} uploaded, {link['wire_bytes_up'] or 0:.0f} bytes up and {link['wire_bytes_down'] or 0:.0f} down on the wire an upload, "
            f"median latency {link['latency_ms']['edge_median'] or float('nan'):.1f} ms answered by the edge, "
            f"{link['latency_ms']['cloud_median'] or float('nan'):.1f} ms by the cloud.",
            "",
        ]
    return lines


def describe(files: list[dict[str, Any]], first: dict[str, Any]) -> str:
    """What the tables of one configuration rest on."""
    runs, config = [file["run"] for file in files], files[0]["config"]
    stages = {stage["key"]: stage for run in runs for stage in run["stages"]}
    trained = [stage for stage in stages.values() if stage["name"] != "link"]
    threads = sorted({str(stage["computed"]["hardware"]["threads"]) for stage in trained})
    commits = sorted({str(stage["computed"]["git"]["sha"])[:10] for stage in trained})
    hardware = trained[0]["computed"]["hardware"]
    hours = sum(stage["seconds"] for stage in trained) / 3600
    precisions = sorted({file["config"]["precision"] for file in files})
    epochs = f"{config['cloud']['training']['epochs']} for the cloud, {config['edge']['training']['epochs']} for every edge, {config['update']['training']['epochs']} an update"
    codec = first_codec(files) + (f" quality {config['link']['jpeg_quality']}" if first_codec(files) == "jpeg" else "")
    return (
        f"{first['data']['train']:,} training, {first['data']['val']:,} validation, {first['data']['test']:,} test images. "
        f"Cloud {first['cloud']['model']} x{first['cloud']['width']:g}, edge {first['edge']['model']} x{first['edge']['width']:g}, "
        f"T = {first['edge']['timesteps']}. Epochs: {epochs}. Trained in {', '.join(precisions)}, evaluated in fp32. "
        f"Hardware: {hardware['cpu']}, {hardware['isa']}; {hours:.1f} h with {' or '.join(threads)} thread(s) a run, two runs at a time. Code: {', '.join(commits)}. "
        f"The cloud sees images as uploaded ({codec}): {100 * first['cloud']['test_accuracy_uploaded']:.2f}% right, and {100 * first['cloud']['test_accuracy']:.2f}% on the originals. "
        f"Costs are modelled under the profile `{first['profile']}`; accuracy is measured on test data; the threshold was chosen on validation data of all classes. "
        "The rows with an upload limit are points of the test curve over all classes, shown to compare; nothing was chosen by them."
    )


def by_set(sets: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The same runs on the classes learnt and on all classes."""
    return [("on the classes learnt", [s["learned"] for s in sets]), ("on all classes", [s["all"] for s in sets])]


def headline(part: tuple[str, list[dict[str, Any]]], energy: float, latency: float) -> str:
    """The published headlines' figures: accuracy against edge-only, energy and latency against cloud-only."""
    name, found = part
    gain = spread([s["chosen"]["accuracy"] - s["edge_accuracy"] for s in found])
    saved = [spread([s["chosen"][key] / alone - 1 for s in found], digits=1) for key, alone in (("energy_mj", energy), ("latency_ms", latency))]  # fmt: skip
    uploads = spread([s["chosen"]["upload_rate"] for s in found], digits=1)
    return f"{name}: {gain} pp against edge only, energy {saved[0]}% and latency {saved[1]}% against cloud only, {uploads}% uploaded"


def updates(variants: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The table of updates, where a run has any."""
    lines = []
    for label, found in variants.items():
        after = [r for r in found if "update" in r]
        if after:
            last = [r["execution"][-1]["sets"]["all"] for r in after]
            metrics = [r["update"] for r in after]
            lines.append(
                f"| {label} | {len(after)} | {spread([u['average_incremental_accuracy'] for u in metrics])} | {spread([u['last_accuracy'] for u in metrics])} "
                f"| {spread([u['forgetting'] for u in metrics])} | {spread([s['chosen']['accuracy'] for s in last])} at {spread([s['chosen']['upload_rate'] for s in last], digits=1)} |"
            )
    if not lines:
        return []
    return [
        "Updates on the device (LwF), accuracy without being told the task:", "",
        "| edge distilled by | seeds | average incremental % | last % | forgetting pp | ECC-SNN with all classes learnt: accuracy % at upload rate % |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines, "",
    ]  # fmt: skip


def first_codec(files: list[dict[str, Any]]) -> str:
    """Codec of the uploads."""
    return str(files[0]["config"]["link"]["codec"])


def row(label: str, found: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """One row of operating points over seeds."""
    every = [p for _, p in found]
    return (
        f"| {label} | {len(found)} | {spread([p['accuracy'] for p, _ in found])} | {spread([p['accuracy'] for p in every])} "
        f"| {spread([p['upload_rate'] for p in every], digits=1)} | {spread([p['energy_mj'] for p in every], 1, 3)} "
        f"| {spread([p['latency_ms'] for p in every], 1, 2)} | {spread([p['payload_bytes'] for p in every], 1, 0)} |"
    )


def write_tables() -> None:
    """Puts the tables between the README's markers."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((FOLDER / "results").glob("*.json")):
        file = json.loads(path.read_text())
        groups.setdefault(file["run"]["name"], []).append(file)
    write_between_markers(
        FOLDER / "README.md", BEGIN, [line for name, files in groups.items() for line in table(name, files)]
    )


if __name__ == "__main__":
    command_line(__doc__, collect, write_tables)
