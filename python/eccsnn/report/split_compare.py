"""Runs of different systems side by side: every system a row, means over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from eccsnn.report.compare import Group, first_cells, last_evaluation, mean_std, without_empty_columns
from eccsnn.report.execution import cost_provenance
from eccsnn.report.figures import PALETTE, SYMBOLS, Figure, Variant, accuracy_axis, label, plot
from eccsnn.report.load import Run
from eccsnn.report.markup import join, tag
from eccsnn.report.split import Network, answering, is_split, loss, mode_name, split_provenance, times_smaller
from eccsnn.report.tables import Table, badge
from eccsnn.report.values import MISSING, dig, finite

COLUMNS = {
    "accuracy": ("Accuracy", "percent"),
    "loss": ("Loss against uncut (pp)", "number"),
    "timesteps": ("Timesteps", "number"),
    "payload_bytes": ("Payload (B)", "number"),
    "fp32": ("Times smaller than fp32", "number"),
    "one_bit": ("Times smaller than 1 bit", "number"),
    "device_energy_mj": ("Device energy (mJ)", "number"),
    "energy_mj": ("Energy with the cloud (mJ)", "number"),
    "latency_ms": ("Latency (ms)", "number"),
}
Row = tuple[Group, str, list[Run], list[dict[str, float | None]]]


def systems_table(groups: Sequence[Group]) -> Table | None:
    """One row for each system of each group; None where no finished run cuts a network or is a yardstick for one."""
    found = _rows(groups)
    if not any(is_split(run) for _, _, runs, _ in found for run in runs):
        return None
    rows = []
    origins: dict[str, set[str]] = {key: set() for key in COLUMNS if key.endswith(("_mj", "_ms", "_bytes"))}
    for group, name, runs, records in found:
        first, seeds = first_cells(group, runs)
        data = " / ".join(_data(runs))
        cells = [mean_std([record[key] for record in records], kind) for key, (_, kind) in COLUMNS.items()]
        rows.append([join([name, tag("small", first)]), seeds, data, *cells])
        for key, seen in origins.items():
            if any(record[key] is not None for record in records):
                seen.update(split_provenance(run, key) if is_split(run) else cost_provenance(run, key) for run in runs)
    costs = [
        join([head, *(join([tag("br"), badge(origin)]) for origin in sorted(origins.get(key, ())))])
        for key, (head, _) in COLUMNS.items()
    ]
    caption, text_columns = "Comparison of the systems", [1, 2]
    heads: list[Any] = ["System", "Seeds", "Data", *costs]
    named = _data([run for _, _, runs, _ in found for run in runs])
    if len(named) == 1:  # one name for all is said once
        caption, heads, text_columns = f"{caption}, {named[0]}", [*heads[:2], *heads[3:]], [1]
        rows = [[*row[:2], *row[3:]] for row in rows]
    table = without_empty_columns(caption, heads, rows)
    if table is None:
        return None
    note = f"{table.note} Cut networks at their chosen exit threshold. Loss is positive where accuracy is lost."
    if any(not is_split(run) for _, _, runs, _ in found for run in runs):
        note += (
            " ECC-SNN: all classes after the last task, mean over images uploaded or not. It learns its classes one "
            "after the other, so that its accuracy is not that of a network trained on all of them."
        )
    return Table(table.caption, table.columns, table.rows, text_columns=text_columns, note=note)


def systems_figure(groups: Sequence[Group]) -> Figure | None:
    """Accuracy against payload; a mark for each run."""
    figure = plot("payload (bytes, logarithmic)", "accuracy", height=420)
    for position, (group, name, runs, records) in enumerate(_rows(groups)):
        marks = [
            (record["payload_bytes"], record["accuracy"], run.seed)
            for run, record in zip(runs, records, strict=True)
            if record["payload_bytes"] and record["accuracy"] is not None
        ]
        if not marks or not is_split(runs[0]):
            continue
        shown = ", ".join([name, *group.settings])
        figure.add_scatter(
            name=label(shown),
            x=[x for x, _, _ in marks],
            y=[y for _, y, _ in marks],
            customdata=[label(seed) for _, _, seed in marks],
            mode="markers",
            marker={"color": PALETTE[position % len(PALETTE)], "symbol": SYMBOLS[position % len(SYMBOLS)], "size": 11},
            hovertemplate="%{y:.2%} with %{x:,.4~g} bytes, seed %{customdata}",
        )
    if not figure.data:
        return None
    figure.update_xaxes(type="log")
    accuracy_axis(figure)
    figure.update_layout(showlegend=True)
    caption = "Test images, a mark for each run. Edge only sends nothing and is not shown."
    return Figure("Accuracy against payload", caption, [Variant("", figure)])


def _rows(groups: Sequence[Group]) -> list[Row]:
    """Cloud only has two rows a group, PNG and JPEG; a cut network that exits early has one a mode; any other one."""
    rows: list[Row] = []
    for group in groups:
        split = [run for run in group.finished if is_split(run)]
        networks = [(run, found) for run in split for found in answering(run)]
        names = {(found.key, mode): _called(found, mode) for _, found in networks for mode in found.by_mode}
        for (key, mode), name in names.items():
            pairs = [(run, found) for run, found in networks if found.key == key and mode in found.by_mode]
            rows.append((group, name, [run for run, _ in pairs], [_record(run, found, mode) for run, found in pairs]))
        others = [(run, record) for run in group.finished if not is_split(run) and (record := _ecc_snn(run))]
        if others:
            rows.append((group, "ECC-SNN", [run for run, _ in others], [record for _, record in others]))
    return rows


def _data(runs: Sequence[Run]) -> list[str]:
    """Names of the runs' data, without repeats."""
    return list(dict.fromkeys(str(dig(run.results, "data", "name") or MISSING) for run in runs))


def _called(found: Network, mode: str) -> str:
    return f"{found.name}, {mode_name(mode)}" if len(found.by_mode) > 1 else found.name


def _record(run: Run, found: Network, mode: str) -> dict[str, float | None]:
    record: dict[str, float | None] = {key: finite(found.by_mode[mode].get(key)) for key in COLUMNS}
    if found.key == "cut":
        mean = finite(loss(run, "chosen").get("mean"))
        record["loss"] = None if mean is None else 100 * mean
        at = ("by_mode", mode) if mode else ("chosen",)
        record |= {key: times_smaller(run, at, key) for key in ("fp32", "one_bit")}
    return record


def _ecc_snn(run: Run) -> dict[str, float | None]:
    last = last_evaluation(run, "all")
    if last is None:
        return {}
    chosen: Mapping[str, Any] = last.chosen
    record: dict[str, float | None] = dict.fromkeys(COLUMNS)
    return record | {key: finite(chosen.get(key)) for key in ("accuracy", "payload_bytes", "energy_mj")}
