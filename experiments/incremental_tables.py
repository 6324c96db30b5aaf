"""Tables of collected results of class-incremental learners, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from incremental_rows import File, Row, Setting, fewest_epochs

_HEAD = [
    "| learner | learns from | seeds | average incremental % | last % | forgetting pp | bytes on the device "
    "| seconds of updates | MACs of updates | energy of updates mJ |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]
EQUAL_BYTES = (0.8, 1.02)
"""Exemplars count as being of equal bytes with statistics within these factors."""


def spread(values: Sequence[float], scale: float = 100, digits: int = 2) -> str:
    """Mean and standard deviation over seeds; - where there are none."""
    if not values:
        return "-"
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


def scenario_section(name: str, scenario: str, files: list[File], rows: list[Row], plot: str) -> list[str]:
    """Everything about one scenario of one configuration."""
    lines = [f"## {name}, {scenario}: {files[0]['results']['data']['name']}", "", _describe(files), ""]
    return [*lines, *_HEAD, *map(_line, rows), "", *_beside_lwf(rows), *_equal_bytes(rows), f"![accuracy]({plot})", ""]


def _line(row: Row) -> str:
    return (
        f"| {row.label} | {row.takes} | {len(row.results)} | {spread(row.values('average_incremental'))} "
        f"| {spread(row.values('last'))} | {spread(row.values('forgetting', 'max_past'))} | {row.bytes_kept:,.0f} "
        f"| {spread(row.values('update_seconds'), 1, 1)} | {row.mean('update_macs'):.2e} "
        f"| {row.mean('update_energy_mj', 'value'):.3g} |"
    )


def _beside_lwf(rows: list[Row]) -> list[str]:
    """Every row beside LwF at the fewest epochs that reach its own best accuracy."""
    lwf, tried = fewest_epochs(rows)
    if lwf is None:
        return ["LwF was not run.", ""]
    seen = "; ".join(
        f"{row.epochs} epochs: {spread(_validation(row))}% on validation, {spread(row.values('last'))}% on test images"
        for row in tried
    )
    lines = [
        f"LwF, last accuracy by epochs a task: {seen}. "
        + (
            "Only one number of epochs was run, so the comparison below is kinder to the others than the fewest would be."
            if len(tried) == 1
            else f"The fewest that reach its best on validation images are {lwf.epochs}; beside it, over the seeds of both:"
        ),
        "",
        "| learner | last accuracy pp | seconds | MACs | energy | bytes on the device |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        shared = sorted(set(row.results) & set(lwf.results))
        if row is lwf or row.learner == "lwf" or not shared:
            continue
        gains = [row.results[seed]["last"] - lwf.results[seed]["last"] for seed in shared]
        parts = [
            _ratio(row, lwf, shared, *keys)
            for keys in (("update_seconds",), ("update_macs",), ("update_energy_mj", "value"))
        ]
        lines.append(f"| {row.label} | {spread(gains)} | {' | '.join(parts)} | {row.bytes_kept:,.0f} |")
    return [*lines, ""]


def _validation(row: Row) -> list[float]:
    found = [row.validation([seed]) for seed in sorted(row.results)]
    return [value for value in found if value is not None]


def _ratio(row: Row, lwf: Row, seeds: list[int], *keys: str) -> str:
    """LwF's cost as a multiple of the row's."""
    mine, theirs = (
        statistics.mean(Row("", "", None, "", {seed: which.results[seed]}).mean(*keys) for seed in seeds)
        for which in (row, lwf)
    )
    return "-" if mine <= 0 else f"{theirs / mine:.3g}x less" if theirs >= mine else f"{mine / theirs:.3g}x more"


def _equal_bytes(rows: list[Row]) -> list[str]:
    """Learners with statistics beside learners with exemplars of as many bytes."""
    lines = []
    for exact in (row for row in rows if row.learner.startswith("exact_")):
        equal = [
            row
            for row in rows
            if row.takes == "images"
            and row.learner not in ("joint", "lwf", "fine_tune")
            and EQUAL_BYTES[0] <= row.bytes_kept / exact.bytes_kept <= EQUAL_BYTES[1]
        ]
        lines += [
            f"| {exact.label} | {exact.bytes_kept:,.0f} | {spread(exact.values('last'))} | {row.label} "
            f"| {row.bytes_kept:,.0f} | {spread(row.values('last'))} |"
            for row in equal
        ]
    if not lines:
        return ["No learner with exemplars was run with as many bytes as statistics take.", ""]
    head = [
        "At equal bytes:",
        "",
        "| statistics | bytes | last % | exemplars | bytes | last % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return [*head, *lines, ""]


def trunk_table(name: str, made: dict[tuple[str, Setting], list[Row]]) -> list[str]:
    """What each way to train the trunk gives to learners on features; [] where only the usual one was run."""
    others = {key: rows for key, rows in made.items() if key[1]}
    if not others:
        return []
    lines = [
        f"## {name}: other trunks",
        "",
        "| scenario | trunk | learner | seeds | last % | average incremental % | usual trunk, same seeds: last % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (scenario, changed), rows in others.items():
        usual = {row.label: row for row in made.get((scenario, ()), [])}
        for row in rows:
            same = usual.get(row.label)
            beside = [] if same is None else [same.results[s]["last"] for s in sorted(row.results) if s in same.results]
            lines.append(
                f"| {scenario} | {', '.join(changed)} | {row.label} | {len(row.results)} | {spread(row.values('last'))} "
                f"| {spread(row.values('average_incremental'))} | {spread(beside)} |"
            )
    return [*lines, ""]


def _describe(files: list[File]) -> str:
    """What the tables of one scenario rest on."""
    first, config = files[0]["results"], files[0]["config"]
    stages = {stage["key"]: stage for file in files for stage in file["run"]["stages"]}.values()
    data, trunk = first["data"], first["trunk"]
    hardware = sorted({f"{stage['hardware']['cpu']}, {stage['hardware']['isa']}" for stage in stages})
    threads = sorted({str(stage["hardware"]["threads"]) for stage in stages})
    commits = sorted({str(stage["git"]["sha"])[:10] for stage in stages})
    hours = sum(stage["seconds"] for stage in stages) / 3600
    epochs = (
        f"{config['cloud']['training']['epochs']} for the cloud, {config['trunk']['training']['epochs']} for the trunk"
    )
    return (
        f"{data['train']:,} training, {data['val']:,} validation, {data['test']:,} test images of {data['image_size']} px. "
        f"Trunk {trunk['model']} x{trunk['width']:g}, T = {trunk['timesteps']}, {4 * trunk['parameters']:,} bytes of weights in "
        f"fp32, features {', '.join(trunk['layers'])}. Epochs: {epochs}; those of a task are in the table. Trained in "
        f"{', '.join(sorted({file['config']['precision'] for file in files}))}. Mean ± standard deviation over seeds. Energy is "
        f"modelled under the profile `{first['profile']}`. Hardware: {'; '.join(hardware)}; {hours:.1f} h of stages with "
        f"{' or '.join(threads)} thread(s). Code: {', '.join(commits)}."
    )
