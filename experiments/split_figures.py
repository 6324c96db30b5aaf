"""Plots of collected results of cut networks: rate and accuracy for each split point, and the Pareto front."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from split_rows import SYSTEMS, Row, pareto
from split_tables import MODES

# Mid tones that can be told apart without colour vision, with a mark each (the palette of the report).
STYLES = dict(
    zip(
        SYSTEMS,
        (
            ("#8b5cf6", "s"), ("#0e9fb3", "D"), ("#e2762b", "^"), ("#b58900", "v"), ("#1f9d6a", "P"), ("#3b76f0", "o"),
            ("#e0366f", "X"),
        ),
        strict=True,
    )
)  # fmt: skip
MARKS = ("o", "s", "D", "^", "v", "P", "X")
GREY = "#6b7280"


def rate_accuracy(found: Sequence[Row], system: str, path: Path) -> Path | None:
    """Accuracy against payload of one system, a panel for each split point; None where it has no rows."""
    points: dict[str, list[Row]] = {}
    for row in found:
        if row.system == system:
            points.setdefault(row.files[0]["results"]["split"]["point"], []).append(row)
    if not points:
        return None
    figure, panels = plt.subplots(
        1, len(points), figsize=(1.2 + 3.6 * len(points), 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (point, rows) in zip(panels[0], points.items(), strict=True):
        _panel(panel, point, rows)
    panels[0][0].set_ylabel("accuracy (%)")
    return _save(figure, path)


def _panel(panel: plt.Axes, point: str, rows: Sequence[Row]) -> None:
    channels = sorted({row.files[0]["config"]["unit"]["channels"] for row in rows})
    labelled: set[str] = set()
    for row in rows:
        config = row.files[0]["config"]
        mark = MARKS[channels.index(config["unit"]["channels"]) % len(MARKS)]
        accuracy, payload = row.values("accuracy"), row.values("payload_bytes")
        exits = row.at == "chosen"
        label = f"{config['unit']['channels']} channels" + (f", early exit, {MODES[row.mode]}" if exits else "")
        panel.errorbar(
            statistics.mean(payload),
            100 * statistics.mean(accuracy),
            yerr=100 * statistics.stdev(accuracy) if len(accuracy) > 1 else None,
            xerr=statistics.stdev(payload) if len(payload) > 1 else None,
            color=STYLES[row.system][0],
            marker=mark,
            markerfacecolor="white" if exits else STYLES[row.system][0],
            linestyle="none",
            capsize=2,
            label=None if label in labelled else label,
        )
        labelled.add(label)
        note = f"rate weight {config['finetune']['rate_weight']:g}"
        here = (statistics.mean(payload), 100 * statistics.mean(accuracy))
        panel.annotate(note, here, xytext=(5, 5), textcoords="offset points", fontsize=6, color=GREY)
    uncut = [value for row in rows for value in row.values("uncut_accuracy")]
    panel.axhline(100 * statistics.mean(uncut), color=GREY, linestyle="--", linewidth=1, label="uncut")
    sizes = [statistics.mean(row.values("payload_bytes")) for row in rows]
    if max(sizes) > 8 * min(sizes):  # below, the ticks of a logarithmic axis cannot be read
        panel.set_xscale("log")
    panel.margins(x=0.25, y=0.15)
    panel.set_title(f"cut at {point}", fontsize=10)
    panel.set_xlabel("payload an image (bytes)")
    panel.grid(alpha=0.25)
    panel.legend(fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def front(found: Sequence[Row], path: Path) -> Path | None:
    """Accuracy against payload, device energy and latency; filled marks are on the front of all four."""
    judged = pareto(found)
    if not judged:
        return None
    figure, panels = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True, layout="constrained")
    axes = (
        ("payload_bytes", "payload an image (bytes)"),
        ("device_energy_mj", "device energy an image (mJ)"),
        ("latency_ms", "latency an image (ms)"),
    )
    for panel, (key, title) in zip(panels, axes, strict=True):
        labelled: set[str] = set()
        for row, on_front in judged:
            colour, mark = STYLES[row.system]
            panel.plot(
                0.0 if key == "payload_bytes" and row.system == "edge_only" else row.mean(key),
                100 * (row.mean("accuracy") or 0.0),
                mark,
                color=colour,
                markerfacecolor=colour if on_front else "none",
                label=None if row.system in labelled else SYSTEMS[row.system],
            )
            labelled.add(row.system)
        panel.set_xscale("symlog" if key == "payload_bytes" else "log")
        panel.set_xlabel(title)
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        fontsize=8,
        title="filled: on the front of all four",
        title_fontsize=8,
    )
    return _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    # the same results give the same bytes
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    return path
