"""Figures of the execution stage: accuracy, upload rate and costs against the threshold and over the tasks."""

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from eccsnn.report.execution import (
    SETS,
    Evaluation,
    Point,
    cloud_only_costs,
    cost_provenance,
    distinct_evaluations,
    evaluations,
    measure_name,
)
from eccsnn.report.figures import (
    CHOSEN,
    CLOUD,
    COLOURBAR,
    EDGE,
    FRACTION,
    MEASURE_STYLES,
    PALETTE,
    Figure,
    Variant,
    accuracy_axis,
    label,
    line,
    plot,
    plot_of_rows,
    stacked_plot,
)
from eccsnn.report.load import Run
from eccsnn.report.tables import Table
from eccsnn.report.values import dig, finite, percent, quantity

MOST_TABLE_ROWS = 26
COST_TITLES = {
    "energy_mj": ("Energy against threshold", "energy / image (mJ)"),
    "latency_ms": ("Latency against threshold", "latency / image (ms)"),
    "payload_bytes": ("Uploaded bytes against threshold", "payload up / image (bytes)"),
}


def execution_figures(run: Run) -> list[Figure]:
    """Every figure of the execution stage that the run has data for."""
    figures: list[Figure | None] = []
    for set_name in SETS:
        figures.append(_accuracy_against_upload(run, set_name))
    for set_name in SETS:
        figures.append(_against_threshold(run, set_name))
    for set_name in SETS:
        figures.append(_over_tasks(run, set_name))
    figures.append(_per_class(run))
    figures.append(_per_class_over_tasks(run))
    return [figure for figure in figures if figure is not None]


def cost_figures(run: Run) -> list[Figure]:
    """Bytes, energy and latency against the threshold, as far as the curves have them."""
    found = (_cost_against_threshold(run, key) for key in COST_TITLES)
    return [figure for figure in found if figure is not None]


def measure_style(measure: str, position: int) -> tuple[str, str]:
    """Colour and dash of a measure; unknown measures take the palette's."""
    return MEASURE_STYLES.get(measure, (PALETTE[position % len(PALETTE)], "solid"))


def column(points: Sequence[Point], key: str) -> list[float | None]:
    """One column of a curve."""
    return [point[key] for point in points]


def _accuracy_against_upload(run: Run, set_name: str) -> Figure | None:
    variants = []
    for evaluation in distinct_evaluations(run, set_name):
        if not evaluation.curves:
            continue
        figure = plot("upload rate", "accuracy")
        for i, (measure, points) in enumerate(evaluation.curves.items()):
            colour, dash = measure_style(measure, i)
            figure.add_trace(
                line(
                    measure_name(measure),
                    column(points, "upload_rate"),
                    column(points, "accuracy"),
                    colour,
                    dash,
                    customdata=column(points, "threshold"),
                    legendgroup=label(measure),
                    hovertemplate="%{y:.2%} at upload rate %{x:.2%}<br>threshold %{customdata:.3f}",
                )
            )
        _mark(figure, "edge only", 0.0, evaluation.value("edge_accuracy"), EDGE, "square")
        _mark(figure, "cloud only", 1.0, evaluation.value("cloud_accuracy"), CLOUD, "diamond")
        for i, (measure, point) in enumerate(evaluation.chosen_by_measure.items()):
            x, y = finite(point.get("upload_rate")), finite(point.get("accuracy"))
            if measure != evaluation.measure:
                # In its line's colour and without a place in the legend, which would take that of the plot.
                name, colour = f"chosen, {measure_name(measure)}", measure_style(measure, i)[0]
                _mark(figure, name, x, y, colour, "star-open", 11, legendgroup=label(measure), showlegend=False)
        _mark_chosen(figure, finite(evaluation.chosen.get("upload_rate")), finite(evaluation.chosen.get("accuracy")))
        figure.update_xaxes(tickformat=FRACTION, range=[-0.03, 1.03])
        accuracy_axis(figure)
        variants.append(Variant(evaluation.stage_label, figure, _curve_table(evaluation, set_name)))
    if not variants:
        return None
    return Figure(
        f"Accuracy against upload rate, {SETS[set_name]}",
        "Each line is one way to decide which share of the images is uploaded; random is the line to beat. "
        "Stars are thresholds chosen on validation data, each for its own line; the filled one is what the run uses.",
        variants,
    )


def _against_threshold(run: Run, set_name: str) -> Figure | None:
    variants = []
    for evaluation in distinct_evaluations(run, set_name):
        if not evaluation.curves:
            continue
        figure = stacked_plot("threshold", "accuracy", "upload rate")
        for i, (measure, points) in enumerate(evaluation.curves.items()):
            colour, dash = measure_style(measure, i)
            for key, axis in (("accuracy", "y"), ("upload_rate", "y2")):
                figure.add_trace(
                    line(
                        measure_name(measure),
                        column(points, "threshold"),
                        column(points, key),
                        colour,
                        dash,
                        axis=axis,
                        legendgroup=label(measure),
                        showlegend=axis == "y",
                        hovertemplate="%{y:.2%} at threshold %{x:.3f}",
                    )
                )
        thresholds = [t for points in evaluation.curves.values() for t in column(points, "threshold") if t is not None]
        ends = [min(thresholds, default=0.0), max(thresholds, default=1.0)]
        for name, key, colour in (("edge only", "edge_accuracy", EDGE), ("cloud only", "cloud_accuracy", CLOUD)):
            value = evaluation.value(key)
            if value is not None:
                figure.add_trace(line(name, ends, [value] * 2, colour, "longdash", width=1.2, hovertemplate="%{y:.2%}"))
        _mark_threshold(figure, finite(evaluation.chosen.get("threshold")))
        accuracy_axis(figure)
        figure.update_layout(yaxis2={"range": [-0.03, 1.03]})
        variants.append(Variant(evaluation.stage_label, figure))
    if not variants:
        return None
    return Figure(
        f"Accuracy and upload rate against threshold, {SETS[set_name]}",
        "An image is uploaded when its ambiguity is above the threshold. The vertical line is the chosen threshold.",
        variants,
    )


def _over_tasks(run: Run, set_name: str) -> Figure | None:
    found = evaluations(run, set_name)
    if len(found) < 2:
        return None
    classes = [len(e.classes) for e in found]
    figure = stacked_plot("number of classes learnt", "accuracy", "upload rate")
    series = (
        ("edge only", [e.value("edge_accuracy") for e in found], EDGE, "dash", "y"),
        ("cloud only", [e.value("cloud_accuracy") for e in found], CLOUD, "dot", "y"),
        ("ECC-SNN, chosen threshold", [finite(e.chosen.get("accuracy")) for e in found], CHOSEN, "solid", "y"),
        ("ECC-SNN, chosen threshold", [finite(e.chosen.get("upload_rate")) for e in found], CHOSEN, "solid", "y2"),
    )
    for name, values, colour, dash, axis in series:
        figure.add_trace(
            line(
                name,
                classes,
                values,
                colour,
                dash,
                axis=axis,
                mode="lines+markers",
                legendgroup=name,
                showlegend=axis == "y",
                hovertemplate="%{y:.2%} with %{x} classes learnt",
            )
        )
    accuracy_axis(figure)
    figure.update_layout(yaxis2={"range": [0, 1.03]})
    figure.update_xaxes(tickvals=classes if len(classes) <= 12 else None)
    return Figure(
        f"Over the number of classes learnt, {SETS[set_name]}",
        "Each point uses the threshold chosen on validation data at that time.",
        [Variant("", figure)],
    )


def _per_class(run: Run) -> Figure | None:
    variants = []
    for set_name, set_label in SETS.items():
        for evaluation in distinct_evaluations(run, set_name):
            rates = dig(evaluation.chosen, "per_class_upload_rate")
            if not isinstance(rates, dict) or not rates:
                continue
            learnt = {str(index) for index in evaluation.classes}
            figure = plot_of_rows("upload rate", "", len(rates))
            for name, colour, keep in (("learnt by the edge", PALETTE[0], True), ("not learnt yet", PALETTE[1], False)):
                part = {key: rates[key] for key in _in_order_learnt(run, rates) if (key in learnt) == keep}
                if part:
                    figure.add_trace(
                        go.Bar(
                            name=name,
                            x=[finite(rate) for rate in part.values()],
                            y=[label(run.class_name(key)) for key in part],
                            orientation="h",
                            marker={"color": colour},
                            hovertemplate="%{y}: %{x:.2%}",
                        )
                    )
            figure.update_layout(bargap=0.25)
            figure.update_xaxes(tickformat=FRACTION, range=[0, 1.03])
            rows = [[run.class_name(key), percent(rate)] for key, rate in rates.items()]
            table = Table(f"{set_label}, {evaluation.stage_label}", ["Class", "Upload rate"], rows)
            variants.append(Variant(f"{set_label}, {evaluation.stage_label}", figure, table))
    if not variants:
        return None
    return Figure(
        "Upload rate of each class",
        "At the chosen threshold. Images of classes that the edge has not learnt can only be right when they are "
        "uploaded.",
        variants,
    )


def _per_class_over_tasks(run: Run) -> Figure | None:
    variants = []
    for set_name, set_label in SETS.items():
        found = [e for e in evaluations(run, set_name) if isinstance(dig(e.chosen, "per_class_upload_rate"), dict)]
        if len(found) < 2:
            continue
        keys = _in_order_learnt(run, dict.fromkeys(key for e in found for key in e.chosen["per_class_upload_rate"]))
        values = [[finite(e.chosen["per_class_upload_rate"].get(key)) for e in found] for key in keys]
        figure = plot_of_rows("number of classes learnt", "", len(keys))
        figure.add_trace(
            go.Heatmap(
                x=[str(len(e.classes)) for e in found],
                y=[label(run.class_name(key)) for key in keys],
                z=values,
                zmin=0,
                zmax=1,
                hoverongaps=False,
                xgap=1,
                ygap=1,
                hovertemplate="%{y}, %{x} classes learnt: %{z:.2%}<extra></extra>",
                texttemplate="%{z:.0%}" if len(keys) * len(found) <= 200 else None,
                colorbar=COLOURBAR,
            )
        )
        figure.update_xaxes(type="category")
        variants.append(Variant(set_label, figure))
    if not variants:
        return None
    return Figure(
        "Upload rate of each class over the number of classes learnt",
        "At the threshold chosen at that time; classes in the order learnt.",
        variants,
    )


def _in_order_learnt(run: Run, keys: Iterable[str]) -> list[str]:
    """Class indices, as JSON has them for keys, in the order in which the classes are learnt."""
    position = {str(index): place for place, index in enumerate(run.class_order)}
    return sorted(keys, key=lambda key: position.get(key, len(position)))


def _cost_against_threshold(run: Run, key: str) -> Figure | None:
    title, axis = COST_TITLES[key]
    variants = []
    for set_name, set_label in SETS.items():
        for evaluation in distinct_evaluations(run, set_name):
            points = evaluation.curves.get(evaluation.measure, [])
            if all(point[key] is None for point in points):
                continue
            figure = plot("threshold", axis)
            thresholds = column(points, "threshold")
            colour, _ = measure_style(evaluation.measure, 0)
            hover = "%{y:,.4~g} at threshold %{x:.3f}"
            figure.add_trace(line("ECC-SNN", thresholds, column(points, key), colour, hovertemplate=hover))
            if key == "energy_mj" and any(point["device_energy_mj"] is not None for point in points):
                device = column(points, "device_energy_mj")
                figure.add_trace(line("of it on the device", thresholds, device, EDGE, "dash", hovertemplate=hover))
            cloud_only = cloud_only_costs(run)[key]
            if cloud_only is not None and thresholds:
                ends = [thresholds[0], thresholds[-1]]
                figure.add_trace(line("cloud only", ends, [cloud_only] * 2, CLOUD, "dot", hovertemplate="%{y:,.4~g}"))
            _mark_chosen(figure, finite(evaluation.chosen.get("threshold")), finite(evaluation.chosen.get(key)))
            figure.update_layout(showlegend=True)
            figure.update_yaxes(rangemode="tozero")
            variants.append(Variant(f"{set_label}, {evaluation.stage_label}", figure))
    if not variants:
        return None
    caption = f"Mean over the test images, offloading by {measure_name(evaluation.measure)}."
    if key == "energy_mj":
        caption += " The device pays for the edge network and the radio."
    return Figure(title, caption, variants, provenance=cost_provenance(run, key))


def _curve_table(evaluation: Evaluation, set_name: str) -> Table:
    curves = evaluation.curves
    columns: list[Any] = ["Threshold"]
    columns += [
        f"{measure_name(measure)}: {what}" for measure in curves for what in ("upload rate", "accuracy", "AccI")
    ]
    base = next(iter(curves.values()))
    step = max(1, -(-len(base) // MOST_TABLE_ROWS))
    rows = []
    for i in range(0, len(base), step):
        row = [quantity(base[i]["threshold"])]
        for points in curves.values():
            point: Point = points[i] if i < len(points) else {}
            row += [percent(point.get("upload_rate")), percent(point.get("accuracy")), quantity(point.get("acc_i"))]
        rows.append(row)
    note = "" if step == 1 else f"Every {step}th threshold; results.json has all of them."
    return Table(f"{SETS[set_name]}, {evaluation.stage_label}", columns, rows, note=note)


def _mark(
    figure: go.Figure,
    name: str,
    x: float | None,
    y: float | None,
    colour: str,
    symbol: str,
    size: int = 10,
    **style: Any,
) -> None:
    if x is None or y is None:
        return
    figure.add_trace(
        go.Scatter(
            name=name,
            x=[x],
            y=[y],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": size},
            hovertemplate="%{y:,.4~g}" if y > 1 else "%{y:.2%}",
            **style,
        )
    )


def _mark_chosen(figure: go.Figure, x: float | None, y: float | None) -> None:
    _mark(figure, "chosen", x, y, CHOSEN, "star", 15)


def _mark_threshold(figure: go.Figure, threshold: float | None) -> None:
    if threshold is not None:
        figure.add_shape(
            type="line", x0=threshold, x1=threshold, y0=0, y1=1, yref="paper", line={"color": CHOSEN, "width": 1.5}
        )
