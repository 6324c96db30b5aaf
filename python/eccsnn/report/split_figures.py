"""Figures of a cut network: early exit, payload, accuracy by timestep."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from eccsnn.report.figures import CHOSEN, FRACTION, PALETTE, Figure, Variant, accuracy_axis, line, plot
from eccsnn.report.load import Run
from eccsnn.report.split import Network, networks, split_provenance
from eccsnn.report.tables import Table
from eccsnn.report.values import dig, finite, percent, quantity

PARTS = {"validation": (PALETTE[1], "dash"), "test": (PALETTE[0], "solid")}
STYLES = {"uncut": (PALETTE[7], "dash"), "cut": (PALETTE[0], "solid")}
MOST_TABLE_ROWS = 26


def exit_figures(run: Run) -> list[Figure]:
    """Accuracy against mean timesteps, and how many images used how many."""
    return [figure for figure in (_exit_curve(run), _stops(run)) if figure is not None]


def timestep_figure(run: Run) -> Figure | None:
    """Accuracy after each timestep."""
    figure, rows = plot("timesteps", "accuracy"), []
    for found in networks(run):
        values = _floats(found.record.get("accuracy_by_timestep"))
        if len(values) > 1:
            colour, dash = STYLES.get(found.key, (PALETTE[2], "dot"))
            figure.add_trace(_by_timestep(found.name, values, colour, dash, "%{y:.2%} after timestep %{x}"))
            rows.append([found.name, *(percent(value) for value in values)])
    if not rows:
        return None
    accuracy_axis(figure)
    figure.update_xaxes(dtick=_tick(rows))
    figure.update_layout(showlegend=True)
    table = Table("Accuracy by timestep", ["", *_counted(len(rows[0]) - 1)], rows)
    caption = "Test images, every one stopped after the same timestep; the answer is the mean of the logits so far."
    return Figure("Accuracy by timestep", caption, [Variant("", figure, table)])


def payload_figures(run: Run) -> list[Figure]:
    """Bytes and firing rate of each timestep on the wire."""
    figures = []
    sizes = _floats(dig(run.results, "payload", "by_timestep"))
    if sizes:
        figure = plot("timestep", "payload (bytes)", height=320)
        figure.add_trace(_bars(sizes, PALETTE[0], "timestep %{x}: %{y:,.4~g} bytes"))
        figure.update_xaxes(dtick=_tick([sizes]))
        table = Table("Payload by timestep, bytes", ["", *_counted(len(sizes))], [["Mean", *map(quantity, sizes)]])
        figures.append(
            Figure(
                "Payload by timestep",
                "Mean over the test images; the first timestep carries the stream's header.",
                [Variant("", figure, table)],
                provenance=split_provenance(run, "payload_bytes"),
            )
        )
    rates = _floats(dig(run.results, "payload", "wire_firing_rate"))
    if rates:
        figure = plot("timestep", "spikes / value", height=320)
        figure.add_trace(_bars(rates, PALETTE[2], "timestep %{x}: %{y:.2%}"))
        figure.update_xaxes(dtick=_tick([rates]))
        figure.update_yaxes(tickformat=FRACTION, rangemode="tozero")
        caption = "Share of the values on the wire that are spikes, mean over the test images. Fewer take fewer bits."
        figures.append(Figure("Firing rate on the wire", caption, [Variant("", figure)]))
    return figures


def _exit_curve(run: Run) -> Figure | None:
    variants = []
    for found in networks(run):
        figure = plot("mean timesteps", "accuracy")
        for part, (colour, dash) in PARTS.items():
            curve = _curve(found, part)
            if not curve:
                continue
            figure.add_trace(
                line(
                    part,
                    curve["timesteps"],
                    curve["accuracy"],
                    colour,
                    dash,
                    mode="lines+markers",
                    marker={"size": 5},
                    customdata=["never" if t is None else f"{t:.4g}" for t in curve["threshold"]],
                    hovertemplate="%{y:.2%} with %{x:.2f} timesteps<br>threshold %{customdata}",
                )
            )
        if not figure.data:
            continue
        x, y = finite(found.chosen.get("timesteps")), finite(found.chosen.get("accuracy"))
        if x is not None and y is not None:
            hover = "%{y:.2%} with %{x:.2f} timesteps<extra>chosen</extra>"
            marker = {"color": CHOSEN, "symbol": "star", "size": 15}
            figure.add_scatter(name="chosen", x=[x], y=[y], mode="markers", marker=marker, hovertemplate=hover)
        accuracy_axis(figure)
        figure.update_layout(showlegend=True)
        variants.append(Variant(found.name, figure, _exit_table(found)))
    if not variants:
        return None
    rule = next((found.exit.get("rule") for found in networks(run) if found.exit.get("rule")), None)
    caption = "Each point is a confidence threshold; the star is the one chosen on validation images, on test images."
    return Figure("Accuracy against timesteps used", f"{caption} Rule: {rule}." if rule else caption, variants)


def _exit_table(found: Network) -> Table:
    curves = {part: _curve(found, part) for part in PARTS}
    curves = {part: curve for part, curve in curves.items() if curve}
    length = min(len(curve["threshold"]) for curve in curves.values())
    thresholds = next(iter(curves.values()))["threshold"]
    step = max(1, -(-length // MOST_TABLE_ROWS))
    rows = []
    for i in sorted({*range(0, length, step), length - 1}):
        row = ["never" if thresholds[i] is None else f"{thresholds[i]:.6g}"]
        for curve in curves.values():
            row += [quantity(curve["timesteps"][i]), percent(curve["accuracy"][i])]
        rows.append(row)
    columns = ["Threshold", *(f"{part}: {what}" for part in curves for what in ("timesteps", "accuracy"))]
    note = "" if step == 1 else f"Every {step}. threshold and the last; results.json has all of them."
    return Table(f"Early exit, {found.name}", columns, rows, note=note)


def _stops(run: Run) -> Figure | None:
    variants = []
    for found in networks(run):
        counts = _floats(found.record.get("stops"))
        if not found.exit or not counts or not sum(counts):
            continue
        shares = [count / sum(counts) for count in counts]
        figure = plot("timesteps used", "share of the test images")
        figure.add_trace(_bars(shares, PALETTE[4], "%{x} timesteps: %{y:.2%} of the images"))
        figure.update_xaxes(dtick=_tick([shares]))
        figure.update_yaxes(tickformat=FRACTION, range=[0, 1.03])
        table = Table(f"Images by timesteps used, {found.name}", _counted(len(counts)), [[quantity(c) for c in counts]])
        variants.append(Variant(found.name, figure, table))
    if not variants:
        return None
    return Figure("Timesteps used", "At the chosen threshold.", variants)


def _curve(found: Network, part: str) -> dict[str, list[float | None]]:
    """Columns of an exit curve, cut to equal lengths; empty where the run has none."""
    curve = found.exit.get(part)
    keys = ("threshold", "timesteps", "accuracy")
    if not isinstance(curve, Mapping) or not all(isinstance(curve.get(key), list) for key in keys):
        return {}
    length = min(len(curve[key]) for key in keys)
    return {key: [finite(value) for value in curve[key][:length]] for key in keys} if length else {}


def _by_timestep(name: str, values: Sequence[float], colour: str, dash: str, hover: str) -> go.Scatter:
    steps = list(range(1, len(values) + 1))
    return line(name, steps, values, colour, dash, mode="lines+markers", hovertemplate=hover)


def _bars(values: Sequence[float], colour: str, hover: str) -> go.Bar:
    steps = list(range(1, len(values) + 1))
    return go.Bar(x=steps, y=list(values), marker={"color": colour}, hovertemplate=f"{hover}<extra></extra>")


def _tick(rows: Sequence[Sequence[Any]]) -> int:
    """Every timestep gets a tick where there are few."""
    return 1 if max(len(row) for row in rows) <= 17 else 5


def _counted(count: int) -> list[str]:
    return [str(step) for step in range(1, count + 1)]


def _floats(values: Any) -> list[float]:
    return [number for value in values if (number := finite(value)) is not None] if isinstance(values, list) else []
