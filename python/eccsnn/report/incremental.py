"""A run that compares class-incremental learners: one table, and accuracy against classes, bytes and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eccsnn.report.figures import PALETTE, SYMBOLS, Figure, Variant, accuracy_axis, label, line, plot
from eccsnn.report.load import Run
from eccsnn.report.tables import Table
from eccsnn.report.values import dig, duration, finite, percent, quantity

_DASHES = {"features": "solid", "images": "dash"}


def is_incremental(run: Run) -> bool:
    """Whether a run compares class-incremental learners."""
    return run.results.get("system") == "incremental" or run.config.get("system") == "incremental"


def learners_table(run: Run) -> Table | None:
    """What every learner came to, the best last accuracy marked; None without learners."""
    learners = _learners(run)
    if not learners:
        return None
    rows = [
        [
            name,
            str(dig(result, "takes")),
            percent(result.get("last")),
            percent(result.get("average_incremental")),
            percent(dig(result, "forgetting", "max_past")),
            duration(result.get("update_seconds")),
            quantity(result["memory_bytes"][-1]),
            quantity(result.get("update_macs")),
            quantity(dig(result, "update_energy_mj", "value")),
        ]
        for name, result in learners.items()
    ]
    best = max(range(len(rows)), key=lambda i: finite(list(learners.values())[i].get("last")) or 0.0)
    columns = [
        "Learner",
        "Learns from",
        "Last accuracy",
        "Average incremental",
        "Forgetting",
        "Time of updates",
        "Bytes kept",
        "MACs of updates",
        "Energy of updates (mJ)",
    ]
    note = "Updates are the tasks after the first. Times are measured, MACs counted, energy is modelled from them."
    return Table("Class-incremental learners", columns, rows, marked=[best], text_columns=[1], note=note)


def learner_figures(run: Run) -> list[Figure]:
    """Accuracy on the classes seen after each task, and last accuracy against bytes and against time."""
    learners = _learners(run)
    tasks = dig(run.results, "scenario", "tasks")
    if not learners or not isinstance(tasks, list):
        return []
    seen = [sum(len(task) for task in tasks[: t + 1]) for t in range(len(tasks))]
    over = plot("classes seen", "accuracy on them", height=440)
    bytes_kept = plot("bytes kept", "last accuracy", height=440)
    seconds = plot("seconds of updates (logarithmic)", "last accuracy", height=440)
    for i, (name, result) in enumerate(learners.items()):
        colour, dash = PALETTE[i % len(PALETTE)], _DASHES.get(result.get("takes", ""), "dot")
        accuracies = [finite(value) for value in result["seen_accuracy"]]
        over.add_trace(line(name, seen, accuracies, colour, dash, mode="lines+markers"))
        last = [finite(result.get("last"))]
        mark = {"color": colour, "size": 11}
        for figure, value in ((bytes_kept, result["memory_bytes"][-1]), (seconds, result.get("update_seconds"))):
            symbol = SYMBOLS[(i + i // len(PALETTE)) % len(SYMBOLS)]  # no two learners look the same
            figure.add_scatter(
                name=label(name), x=[finite(value)], y=last, mode="markers", marker=mark | {"symbol": symbol}
            )
    for figure in (over, bytes_kept, seconds):
        accuracy_axis(figure)
    seconds.update_xaxes(type="log")
    for figure in (bytes_kept, seconds):
        figure.update_layout(showlegend=True)
    caption = "What a learner keeps beside the network: statistics or exemplars."
    return [
        Figure(
            "Accuracy while classes come",
            "Solid: on frozen features; dashed: training.",
            [Variant("", over)],
            wide=True,
        ),
        Figure("Accuracy against memory", caption, [Variant("", bytes_kept)], wide=True),
        Figure(
            "Accuracy against time",
            "Learning all tasks after the first, as measured.",
            [Variant("", seconds)],
            wide=True,
        ),
    ]


def trunk_table(run: Run) -> Table | None:
    """The network that all learners begin with."""
    trunk = dig(run.results, "trunk")
    if not isinstance(trunk, Mapping):
        return None
    rows: list[list[Any]] = [
        ["Model", f"{trunk.get('model')}, width {trunk.get('width')}, T = {trunk.get('timesteps')}"],
        ["Features", ", ".join(map(str, trunk.get("layers") or []))],
        ["Pre-training", str(trunk.get("pretraining"))],
        ["Dense MACs / image", quantity(trunk.get("dense_macs_per_image"))],
        ["Synaptic operations / image", quantity(trunk.get("synops_per_image"))],
        ["Parameters", quantity(trunk.get("parameters"))],
    ]
    return Table("Trunk", ["", ""], rows, text_columns=[1])


def incremental_summary(run: Run) -> list[str]:
    """The best learner and its distance to LwF, in sentences."""
    learners = _learners(run)
    if not learners:
        return []
    best = max(learners, key=lambda name: finite(learners[name].get("last")) or 0.0)
    sentences = [
        f"Of {len(learners)} learners, {best} ends highest: {percent(learners[best].get('last'))} on all classes."
    ]
    if "lwf" in learners and best != "lwf":
        sentences.append(f"LwF ends at {percent(learners['lwf'].get('last'))}.")
    return sentences


def _learners(run: Run) -> dict[str, Mapping[str, Any]]:
    learners = run.results.get("learners")
    return dict(learners) if isinstance(learners, Mapping) else {}
