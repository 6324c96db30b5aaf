"""Plots of collected results of class-incremental learners: accuracy against classes seen, bytes, and time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from incremental_rows import Row

from eccsnn.incremental.registry import list_learners

# A colour and a mark for each learner, whichever of them were run; dashed lines: the network is trained.
_COLOURS = ("#3b76f0", "#e2762b", "#1f9d6a", "#e0366f", "#8b5cf6", "#0e9fb3", "#b58900", "#6b7280")
_MARKS = ("o", "s")
STYLES = {
    info.name: (_COLOURS[i % len(_COLOURS)], _MARKS[i // len(_COLOURS) % len(_MARKS)])
    for i, info in enumerate(list_learners())
}


def curves(rows: Sequence[Row], tasks: Sequence[Sequence[int]], path: Path) -> None:
    """Three panels: accuracy while classes come, and last accuracy against bytes and against seconds."""
    figure, (over, kept, time) = plt.subplots(1, 3, figsize=(14, 5), layout="constrained", width_ratios=[1.4, 1, 1])
    seen = [sum(map(len, tasks[: t + 1])) for t in range(len(tasks))]
    for row in rows:
        colour, mark = STYLES[row.learner]
        style = {"color": colour, "marker": mark, "markersize": 5}
        line = "-" if row.takes == "features" else "--"
        over.plot(seen, [100 * value for value in row.seen()], linestyle=line, linewidth=1.2, label=row.label, **style)
        last = row.values("last")
        for axis, value in ((kept, row.bytes_kept), (time, row.mean("update_seconds"))):
            axis.errorbar(
                value,
                100 * statistics.mean(last),
                yerr=100 * statistics.stdev(last) if len(last) > 1 else None,
                markerfacecolor=colour if row.takes == "features" else "white",
                capsize=2,
                **style,
            )
    over.set(xlabel="classes seen", ylabel="accuracy on them (%)", title="Accuracy while classes come")
    kept.set(xlabel="bytes beside the network", ylabel="last accuracy (%)", title="Against memory")
    kept.set_xscale("symlog", linthresh=1e4)
    kept.set_xlim(left=-2e3)
    time.set(xlabel="seconds of updates", title="Against time")
    time.set_xscale("log")
    for axis in (over, kept, time):
        axis.grid(alpha=0.25)
    figure.legend(
        *over.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        title="solid lines, filled marks: features of a frozen trunk; dashed, open: the network is trained",
        title_fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # the same results give the same bytes
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)
