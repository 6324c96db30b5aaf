"""Several runs side by side: means over seeds, overlaid curves."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eccsnn.report.execution import COST_KEYS, SETS, Evaluation, cost_provenance, distinct_evaluations
from eccsnn.report.execution_figures import column
from eccsnn.report.figures import FRACTION, PALETTE, Figure, Variant, accuracy_axis, label, line, plot
from eccsnn.report.load import Run
from eccsnn.report.markup import Html, join, tag
from eccsnn.report.tables import Table, badge
from eccsnn.report.values import MISSING, dig, duration, finite, percent, quantity

EXECUTION_COLUMNS = {
    "edge_accuracy": ("Edge only", "percent"),
    "cloud_accuracy": ("Cloud only", "percent"),
    "accuracy": ("ECC-SNN", "percent"),
    "upload_rate": ("Upload rate", "percent"),
    "acc_i": ("AccI", "ratio"),
    "energy_mj": ("Energy (mJ)", "number"),
    "latency_ms": ("Latency (ms)", "number"),
}
UPDATE_COLUMNS = {
    "average_incremental_accuracy": ("Average incremental accuracy", "percent"),
    "last_accuracy": ("Last accuracy", "percent"),
    "forgetting": ("Forgetting", "percent"),
}
PLUS_MINUS = " ±\u00a0"  # a narrow column breaks before it, not behind
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# Keys that may differ between runs of one experiment: the seed, and where it ran.
NOT_SETTINGS = frozenset({"seed", "device", "checkpoint_seconds", "description", "name"})


@dataclass(frozen=True)
class Group:
    """Runs of one experiment, which differ only in their seed.

    Attributes:
        name: The runs' name.
        settings: Where runs of one name have other settings, what these runs set, as ``key=value``; else empty.
        runs: In the order given.
    """

    name: str
    settings: Sequence[str]
    runs: Sequence[Run]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == "finished"]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs by name and resolved configuration, the seed apart.

    Runs of one name whose settings differ are different experiments: they get their own groups, named by the settings
    in which they differ, so that no mean is taken over unlike things.
    """
    by_name: dict[str, dict[tuple[tuple[str, str], ...], list[Run]]] = {}
    for run in runs:
        settings = tuple(sorted((key, repr(value)) for key, value in _flatten(run.config).items()))
        by_name.setdefault(run.name, {}).setdefault(settings, []).append(run)
    groups = []
    for name, variants in by_name.items():
        common = set.intersection(*(set(settings) for settings in variants))
        for settings, members in variants.items():
            own = [f"{key}={value}" for key, value in settings if (key, value) not in common]
            groups.append(Group(name, own, members))
    return groups


def legend_names(groups: Sequence[Group]) -> list[Html]:
    """A short name for each group: no more than what tells them apart, in lines that fit a narrow screen."""
    one_name = len({group.name for group in groups}) == 1
    names = []
    for group in groups:
        name = [] if one_name and group.settings else [group.name]
        names.append(Html("<br>".join(label(part) for part in [*name, *group.settings])))
    return names


def runs_table(runs: Sequence[Run]) -> Table:
    """One row for each run that went into the page."""
    rows = [
        [
            run.name,
            str(run.seed),
            tag("span", run.status, class_=f"chip {run.status}"),
            dig(run.results, "data", "name") or MISSING,
            duration(run.info.get("seconds")),
            tag("code", run.path.name),
        ]
        for run in runs
    ]
    return Table("Runs", ["Name", "Seed", "Status", "Data", "Time", "Folder"], rows, text_columns=[2, 3, 5])


def comparison_table(groups: Sequence[Group], set_name: str) -> Table | None:
    """Mean and standard deviation over the seeds of each group; None when no finished run has the set of classes."""
    rows = []
    origins: dict[str, set[str]] = {key: set() for key in COST_KEYS if key in EXECUTION_COLUMNS}
    for group in groups:
        last = {id(run): e for run in group.finished if (e := last_evaluation(run, set_name)) is not None}
        if not last:
            continue
        runs = [run for run in group.finished if id(run) in last]
        records = [_execution_record(last[id(run)]) for run in runs]
        learnt = " / ".join(dict.fromkeys(str(len(e.classes)) for e in last.values()))
        rows.append([*first_cells(group, runs), learnt, *_cells(records, EXECUTION_COLUMNS)])
        for key, found in origins.items():
            if any(record[key] is not None for record in records):
                found.update(cost_provenance(run, key) for run in runs)
    heads = [
        join([head, *(join([tag("br"), badge(origin)]) for origin in sorted(origins.get(key, ())))])
        for key, (head, _) in EXECUTION_COLUMNS.items()
    ]
    caption = f"Comparison, {SETS[set_name]}, at the chosen threshold"
    return without_empty_columns(caption, ["Experiment", "Seeds", "Classes learnt", *heads], rows)


def updates_table(groups: Sequence[Group]) -> Table | None:
    """Metrics of the updates over the seeds of each group; None when no finished run has updates."""
    rows = []
    for group in groups:
        runs = [run for run in group.finished if isinstance(run.results.get("update"), Mapping)]
        if runs:
            records = [{key: finite(dig(run.results, "update", key)) for key in UPDATE_COLUMNS} for run in runs]
            rows.append([*first_cells(group, runs), *_cells(records, UPDATE_COLUMNS)])
    heads = [head for head, _ in UPDATE_COLUMNS.values()]
    return without_empty_columns("Comparison, updates on the device", ["Experiment", "Seeds", *heads], rows)


def mean_std(values: Sequence[float | None], kind: str) -> str:
    r"""Mean ± sample standard deviation of the values that are there.

    >>> mean_std([0.90, 0.92], "percent"), mean_std([0.9], "percent"), mean_std([None], "number")
    ('91.00 ±\xa01.41%', '90.00%', '–')
    """
    present = [value for value in values if value is not None]
    if not present:
        return MISSING
    mean = statistics.fmean(present)
    if len(present) == 1:
        return percent(mean) if kind == "percent" else quantity(mean)
    deviation = statistics.stdev(present)
    missing = f" (n = {len(present)})" if len(present) < len(values) else ""
    if kind == "percent":
        return f"{100 * mean:.2f}{PLUS_MINUS}{100 * deviation:.2f}%{missing}"
    if kind == "ratio":
        return f"{mean:.3f}{PLUS_MINUS}{deviation:.3f}{missing}"
    return f"{quantity(mean)}{PLUS_MINUS}{deviation:.2g}{missing}"


def comparison_figures(groups: Sequence[Group]) -> list[Figure]:
    """Accuracy against upload rate of every run, and validation accuracy over training."""
    figures = [_overlay(groups, set_name) for set_name in SETS]
    figures.append(_training_overlay(groups))
    return [figure for figure in figures if figure is not None]


def last_evaluation(run: Run, set_name: str) -> Evaluation | None:
    """The evaluation after the last task; None where the run has none."""
    found = distinct_evaluations(run, set_name)
    return found[-1] if found else None


def _execution_record(last: Evaluation) -> dict[str, float | None]:
    record = {key: finite(last.chosen.get(key)) for key in EXECUTION_COLUMNS}
    record["edge_accuracy"] = last.value("edge_accuracy")
    record["cloud_accuracy"] = last.value("cloud_accuracy")
    return record


def first_cells(group: Group, runs: Sequence[Run]) -> list[Any]:
    """Name and seeds of a group's row; `runs` are those that its means are taken over."""
    left_out = len(group.runs) - len(runs)
    name = [group.name, tag("small", ", ".join(group.settings)) if group.settings else ""]
    name.append(tag("small", f"{left_out} more without a finished result") if left_out else "")
    return [join(name), ", ".join(str(run.seed) for run in runs)]


def _cells(records: Sequence[Mapping[str, float | None]], columns: Mapping[str, tuple[str, str]]) -> list[str]:
    return [mean_std([record[key] for record in records], kind) for key, (_, kind) in columns.items()]


def without_empty_columns(caption: str, heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Table | None:
    """A table of means over seeds; columns in which no row has anything are left out."""
    if not rows:
        return None
    keep = [i for i in range(len(heads)) if i < 2 or any(row[i] != MISSING for row in rows)]
    return Table(
        caption,
        [heads[i] for i in keep],
        [[row[i] for i in keep] for row in rows],
        text_columns=[1],
        note="Mean ± standard deviation (n − 1) over the seeds; a single run has no ±.",
    )


def _overlay(groups: Sequence[Group], set_name: str) -> Figure | None:
    figure = plot("upload rate", "accuracy", height=420)
    for position, (group, name) in enumerate(zip(groups, legend_names(groups), strict=True)):
        colour = PALETTE[position % len(PALETTE)]
        found = [(run, last) for run in group.runs if (last := last_evaluation(run, set_name)) is not None]
        for number, (run, last) in enumerate(found):
            points = last.curves.get(last.measure, [])
            hover = f"seed {label(run.seed)}: %{{y:.2%}} at upload rate %{{x:.2%}}"
            figure.add_trace(
                line(
                    name,
                    column(points, "upload_rate"),
                    column(points, "accuracy"),
                    colour,
                    DASHES[number % len(DASHES)],
                    legendgroup=name,
                    showlegend=number == 0,
                    hovertemplate=hover,
                )
            )
            x, y = finite(last.chosen.get("upload_rate")), finite(last.chosen.get("accuracy"))
            if x is not None and y is not None:
                figure.add_scatter(
                    name=name,
                    x=[x],
                    y=[y],
                    mode="markers",
                    marker={"color": colour, "symbol": "star", "size": 13},
                    legendgroup=name,
                    showlegend=False,
                    hovertemplate=hover,
                )
    if not figure.data:
        return None
    figure.update_xaxes(tickformat=FRACTION, range=[-0.03, 1.03])
    accuracy_axis(figure)
    figure.update_layout(showlegend=True)
    return Figure(
        f"Accuracy against upload rate, {SETS[set_name]}",
        "One colour for each experiment, one dash for each seed; stars are the thresholds chosen on validation data.",
        [Variant("", figure)],
    )


def _training_overlay(groups: Sequence[Group]) -> Figure | None:
    stages = dict.fromkeys(str(epoch.get("stage")) for group in groups for run in group.runs for epoch in run.epochs)
    variants = []
    for stage in stages:
        figure = plot("epoch", "validation accuracy", height=420)
        for position, (group, name) in enumerate(zip(groups, legend_names(groups), strict=True)):
            shown = False
            for number, run in enumerate(group.runs):
                epochs = [
                    e for e in run.epochs if str(e.get("stage")) == stage and finite(e.get("val_accuracy")) is not None
                ]
                if not epochs:
                    continue
                figure.add_trace(
                    line(
                        name,
                        [epoch["epoch"] for epoch in epochs],
                        [finite(epoch.get("val_accuracy")) for epoch in epochs],
                        PALETTE[position % len(PALETTE)],
                        DASHES[number % len(DASHES)],
                        legendgroup=name,
                        showlegend=not shown,
                        mode="lines+markers",
                        hovertemplate=f"seed {label(run.seed)}: %{{y:.2%}} after epoch %{{x}}",
                    )
                )
                shown = True
        if figure.data:
            accuracy_axis(figure)
            figure.update_layout(showlegend=True)
            variants.append(Variant(f"stage {stage}", figure))
    if not variants:
        return None
    caption = (
        "One colour for each experiment, one dash for each seed. A stage that was trained once and reused has the same "
        "curve in every run that uses it."
    )
    return Figure("Validation accuracy over training", caption, variants, selected=0)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in NOT_SETTINGS:
            continue
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
