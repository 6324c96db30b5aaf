"""Figures of training and of the class-incremental update."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from eccsnn.report.figures import (
    BORDER,
    COLOURBAR,
    PALETTE,
    Figure,
    Variant,
    accuracy_axis,
    label,
    line,
    plot,
    plot_of_rows,
)
from eccsnn.report.load import Run
from eccsnn.report.tables import Table
from eccsnn.report.values import MISSING, dig, finite, percent, quantity

NOT_LOSSES = frozenset({"epoch", "epochs", "lr", "seconds", "samples_per_second", "val_accuracy"})
MOST_LABELLED_CELLS = 400
MOST_LABELLED_CLASSES = 15


def update_figures(run: Run) -> list[Figure]:
    """The accuracy matrix and the confusion over tasks, as far as the run has them."""
    return [figure for figure in (_accuracy_matrix(run), _confusion(run)) if figure is not None]


def training_figures(run: Run) -> list[Figure]:
    """Validation accuracy and losses over epochs, stage by stage."""
    return [figure for figure in (_validation_accuracy(run), _losses(run)) if figure is not None]


def firing_rate_figure(run: Run) -> Figure | None:
    """Mean firing rate of each spiking layer, after setup and after the last update."""
    named = (("after setup", "edge"), ("after the last update", "edge_updated"))
    return firing_rates_figure([(name, dig(run.results, key, "firing_rates")) for name, key in named])


def firing_rates_figure(parts: Sequence[tuple[str, Any]]) -> Figure | None:
    """Mean firing rate of each spiking layer of several parts or states; one without rates is left out."""
    variants = []
    for name, rates in parts:
        if not isinstance(rates, Mapping) or not rates:
            continue
        figure = plot_of_rows("spikes / neuron / timestep", "", len(rates))
        figure.add_trace(
            go.Bar(
                x=[finite(rate) for rate in rates.values()],
                y=[label(layer) for layer in rates],
                orientation="h",
                marker={"color": PALETTE[2]},
                hovertemplate="%{y}: %{x:.4f}<extra></extra>",
                texttemplate="%{x:.3f}",
                textposition="outside",
                cliponaxis=False,
            )
        )
        figure.update_layout(bargap=0.35, margin={"r": 48})  # for the numbers beside the bars
        figure.update_xaxes(rangemode="tozero")
        rows = [[layer, quantity(rate)] for layer, rate in rates.items()]
        variants.append(Variant(name, figure, Table(f"Firing rates, {name}", ["Layer", "Rate"], rows)))
    if not variants:
        return None
    caption = (
        "Share of neurons that spike in a timestep, mean over the counted images. Fewer spikes are fewer operations."
    )
    return Figure("Firing rates", caption, variants, selected=0)


def stages_of(epochs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Epoch lines grouped by stage, in the order in which the stages began."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for epoch in epochs:
        stages.setdefault(str(epoch.get("stage")), []).append(epoch)
    return stages


def _accuracy_matrix(run: Run) -> Figure | None:
    matrix = dig(run.results, "update", "accuracy_matrix")
    if not isinstance(matrix, list) or not matrix:
        return None
    size = max(len(row) for row in matrix)
    values = [[finite(row[u]) if u < len(row) else None for u in range(size)] for row in matrix]
    figure = plot_of_rows("accuracy on the classes of", "", len(matrix))
    figure.add_trace(
        go.Heatmap(
            x=[f"task {u + 1}" for u in range(size)],
            y=[f"after task {t + 1}" for t in range(len(matrix))],
            z=values,
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            texttemplate="%{z:.1%}" if size * len(matrix) <= MOST_LABELLED_CELLS else None,
            hovertemplate="%{y}, %{x}: %{z:.2%}<extra></extra>",
            colorbar=COLOURBAR,
        )
    )
    rows = [[f"after task {t + 1}", *(percent(value) for value in row)] for t, row in enumerate(values)]
    table = Table("Accuracy matrix", ["", *(f"Task {u + 1}" for u in range(size))], rows)
    caption = "Down a column: what happens to a task's classes while later ones are learnt (argmax over all heads)."
    return Figure("Accuracy matrix", caption, [Variant("", figure, table)])


def _confusion(run: Run) -> Figure | None:
    confusion = dig(run.results, "update", "confusion")
    if not isinstance(confusion, list) or not confusion:
        return None
    counts = [[finite(value) or 0.0 for value in row] for row in confusion]
    shares = [[value / total if (total := sum(row)) else None for value in row] for row in counts]
    tasks = dig(run.results, "scenario", "tasks")
    tasks = tasks if isinstance(tasks, list) else []
    # Rows and columns stand for the classes in the order in which they were learnt.
    order = run.class_order
    ids = order[: len(counts)] if len(order) >= len(counts) else list(range(len(counts)))
    classes = [run.class_name(index) for index in ids]
    names = [
        label(name if classes.count(name) == 1 else f"{name} ({index})")
        for name, index in zip(classes, ids, strict=True)
    ]
    many = len(counts) > MOST_LABELLED_CLASSES
    figure = plot_of_rows("predicted", "true", len(counts), least=340)
    figure.add_trace(
        go.Heatmap(
            x=names,
            y=names,
            z=shares,
            text=None if many else [[f"{value:,.0f}" if value else "" for value in row] for row in counts],
            customdata=[[int(value) for value in row] for row in counts],
            zmin=0,
            zmax=1,
            hoverongaps=False,
            texttemplate=None if many else "%{text}",
            hovertemplate="true %{y}, predicted %{x}: %{customdata:,} images (%{z:.1%})<extra></extra>",
            colorbar=COLOURBAR,
        )
    )
    for end in list(accumulate(len(task) for task in tasks))[:-1]:
        position = end - 0.5
        for x0, x1, y0, y1 in (
            (position, position, -0.5, len(counts) - 0.5),
            (-0.5, len(counts) - 0.5, position, position),
        ):
            figure.add_shape(type="line", x0=x0, x1=x1, y0=y0, y1=y1, line={"color": BORDER, "width": 2})
    figure.update_xaxes(type="category", constrain="domain", tickfont_size=figure.layout.yaxis.tickfont.size)
    table = _mistakes_table(classes, counts) if many else _confusion_table(classes, counts)
    caption = "Colour: share of the true class; classes in the order learnt, orange lines are task borders."
    return Figure("Confusion after the last task", caption, [Variant("", figure, table)], wide=many)


def _confusion_table(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> Table:
    rows = [[name, *(quantity(value) for value in row)] for name, row in zip(classes, counts, strict=True)]
    return Table("Confusion, images", ["True \\ predicted", *classes], rows)


def _mistakes_table(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> Table:
    """Instead of a table with a column for each of many classes: how each is recognised, and what it is taken for."""
    rows = []
    for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
        wrong = [0.0 if j == i else value for j, value in enumerate(row)]
        most = max(wrong)
        taken_for = classes[wrong.index(most)] if most else MISSING
        total = sum(row)
        rows.append([name, quantity(total), percent(row[i] / total if total else None), taken_for, quantity(most)])
    columns = ["Class", "Images", "Recognised", "Most often taken for", "Images"]
    note = "results.json has the whole matrix."
    return Table("Recognition of each class", columns, rows, text_columns=[3], note=note)


def _validation_accuracy(run: Run) -> Figure | None:
    variants = []
    for stage, epochs in stages_of(run.epochs).items():
        figure = plot("epoch", "validation accuracy")
        figure.add_trace(
            _over_epochs("validation", epochs, "val_accuracy", PALETTE[3], "solid", "%{y:.2%} after epoch %{x}")
        )
        accuracy_axis(figure)
        variants.append(Variant(f"stage {stage}", figure, _epoch_table(stage, epochs)))
    if not variants:
        return None
    caption = "On validation images of the classes that the stage's model knows. Nothing is selected on test data."
    return Figure("Validation accuracy over training", caption, variants, selected=0)


def _losses(run: Run) -> Figure | None:
    variants = []
    for stage, epochs in stages_of(run.epochs).items():
        figure = plot("epoch", "loss")
        for i, key in enumerate(_loss_names(epochs)):
            dash = "solid" if key == "loss" else "dash"
            colour = PALETTE[i % len(PALETTE)]
            figure.add_trace(
                _over_epochs(key.replace("_", " "), epochs, key, colour, dash, "%{y:.4f} after epoch %{x}")
            )
        if figure.data:
            figure.update_layout(showlegend=True)
            variants.append(Variant(f"stage {stage}", figure))
    if not variants:
        return None
    caption = "The total loss and its terms before they are weighted, mean over an epoch."
    return Figure("Losses over training", caption, variants, selected=0)


def _over_epochs(
    name: str, epochs: Sequence[Mapping[str, Any]], key: str, colour: str, dash: str, hover: str
) -> go.Scatter:
    return line(
        name,
        [epoch["epoch"] for epoch in epochs],
        [finite(epoch.get(key)) for epoch in epochs],
        colour,
        dash,
        mode="lines+markers" if len(epochs) <= 30 else "lines",
        hovertemplate=hover,
    )


def _loss_names(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(key for epoch in epochs for key, value in epoch.items() if finite(value) is not None)
    losses = [key for key in names if key not in NOT_LOSSES]
    return ["loss"] if "loss" in losses and len(losses) == 2 else losses  # one term is the loss itself


def _epoch_table(stage: str, epochs: Sequence[Mapping[str, Any]]) -> Table:
    losses = _loss_names(epochs)
    columns = ["Epoch", "Validation accuracy", *(key.replace("_", " ") for key in losses), "Learning rate"]
    rows = [
        [
            quantity(epoch["epoch"]),
            percent(epoch.get("val_accuracy")),
            *(quantity(epoch.get(key)) for key in losses),
            quantity(epoch.get("lr")),
        ]
        for epoch in epochs
    ]
    return Table(f"Stage {stage}", columns, rows)
