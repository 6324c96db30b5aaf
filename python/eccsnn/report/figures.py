"""What every figure shares: its frame on the page, colours, axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from eccsnn.report.markup import Html, details, join, tag
from eccsnn.report.tables import Table, badge
from eccsnn.report.values import finite

# Mid tones that stay readable on a light and on a dark ground; text, grid and heatmap colours are set by report.js
# from the page's colour scheme.
MEASURE_STYLES = {
    "entropy": ("#3b76f0", "solid"),
    "max_probability": ("#e2762b", "dash"),
    "margin": ("#1f9d6a", "dot"),
    "random": ("#8b93a1", "dashdot"),
}
EDGE, CLOUD, CHOSEN, BORDER = "#8b5cf6", "#0e9fb3", "#e0366f", "#e2762b"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down", "star")
PALETTE = ("#3b76f0", "#e2762b", "#1f9d6a", "#e0366f", "#8b5cf6", "#0e9fb3", "#b58900", "#8b93a1")
FRACTION = ".4~p"  # as many digits as tell neighbouring ticks apart
NEARLY_EQUAL = 0.001
COLOURBAR = {"tickformat": FRACTION, "thickness": 10, "lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"}


@dataclass(frozen=True)
class Variant:
    """One state of a figure; a figure with several of them gets a selection box."""

    label: str
    plot: go.Figure
    table: Table | None = None


@dataclass(frozen=True)
class Figure:
    """An interactive plot with title, caption, text for screen readers and the numbers behind it.

    Attributes:
        title: Heading above the plot.
        caption: A sentence or two on how to read it.
        variants: The plot in one or several states.
        provenance: Where costs shown in it come from; None where nothing in it is a cost.
        wide: Takes the whole width of the page.
        selected: Index of the variant shown first.
    """

    title: str
    caption: str
    variants: Sequence[Variant]
    provenance: str | None = None
    wide: bool = False
    selected: int = -1

    def render(self, identifier: str) -> Html:
        """The figure as HTML; report.js draws the plots from the JSON blocks inside."""
        shown = self.selected % len(self.variants)
        badges = [badge(self.provenance)] if self.provenance else []
        select: Html | str = ""
        if len(self.variants) > 1:
            options = (
                tag("option", variant.label, value=i, selected=i == shown) for i, variant in enumerate(self.variants)
            )
            select = tag("select", *options, aria_label=f"{self.title}: show")
        elif self.variants[0].label:
            select = tag("span", self.variants[0].label, class_="state")
        specs = [
            Html(f'<script type="application/json" class="plot-data">{_json(variant.plot)}</script>')
            for variant in self.variants
        ]
        height = self.variants[shown].plot.layout.height or 360
        plot = tag(
            "div",
            class_="plot",
            id=identifier,
            role="img",
            aria_label=f"{self.title}. {self.caption}",
            style=f"min-height:{int(height)}px",
        )
        tables = [variant.table for variant in self.variants if variant.table is not None]
        numbers = details("Numbers in this figure", *(table.render() for table in tables)) if tables else ""
        title = tag("div", join([self.title, *badges], " "), class_="figure-title", id=f"{identifier}-title")
        return tag(
            "figure",
            tag("div", title, select, class_="figure-head"),
            plot,
            *specs,
            tag("figcaption", self.caption),
            numbers,
            class_="wide" if self.wide else None,
            aria_labelledby=f"{identifier}-title",
        )


def figure_id(*parts: Any) -> str:
    """An element id from parts of any kind."""
    return "-".join("".join(c if c.isalnum() else "-" for c in str(part).lower()) for part in parts)


def label(value: Any) -> str:
    """A name for use inside a plot: plotly reads markup in texts, so `<` and `&` of names are escaped."""
    return escape(str(value), quote=False)


def plot(x: str = "", y: str = "", *, height: int = 360, **layout: Any) -> go.Figure:
    """An empty plot with titled axes and the legend above it."""
    frame = {
        "template": {},  # plotly's own is large, and report.js sets the colours
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x, "standoff": 8}, "automargin": True},
        "yaxis": {"title": {"text": y, "standoff": 8}, "automargin": True},
    }
    return go.Figure(layout={**frame, **layout})


def accuracy_axis(figure: go.Figure) -> None:
    """Makes the y axis one of accuracies, after all traces are there.

    Where all are (nearly) equal it shows a few points around them: plotly alone would show from one below to one above.
    """
    figure.update_yaxes(tickformat=FRACTION)
    traces = (trace for trace in figure.data if trace.yaxis in (None, "y") and trace.y is not None)
    values = [value for trace in traces for y in trace.y if (value := finite(y)) is not None]
    if values and max(values) - min(values) < NEARLY_EQUAL:
        middle = (max(values) + min(values)) / 2
        least, most = max(-0.01, middle - 0.05), min(1.01, middle + 0.05)
        figure.update_layout(yaxis={"range": [least, most]})


def stacked_plot(x: str, upper: str, lower: str, *, height: int = 460) -> go.Figure:
    """Two plots, one above the other, that share their x axis; the lower one is drawn on `y2`."""
    figure = plot(x, upper, height=height)
    figure.update_layout(
        xaxis={"anchor": "y2"},
        yaxis={"domain": [0.5, 1.0]},
        yaxis2={"domain": [0.0, 0.42], "title": {"text": lower, "standoff": 8}, "automargin": True},
    )
    return figure


def line(
    name: str, x: Sequence[Any], y: Sequence[Any], colour: str, dash: str = "solid", *, axis: str = "y", **style: Any
) -> go.Scatter:
    """A line; None in `y` leaves a gap. A name that is `Html` may have line breaks, any other is escaped."""
    return go.Scatter(
        name=str(name) if isinstance(name, Html) else label(name),
        x=list(x),
        y=list(y),
        mode=style.pop("mode", "lines"),
        line={"color": colour, "dash": dash, "width": style.pop("width", 2)},
        yaxis=axis,
        **style,
    )


def plot_of_rows(x: str, y: str, rows: int, *, least: int = 300) -> go.Figure:
    """An empty plot with a named row for each of many things, the first one on top, and room for every name."""
    comfortable, tight = 120 + 34 * rows, 120 + 13 * rows
    figure = plot(x, y, height=max(least, min(comfortable, 760), tight))
    figure.update_yaxes(type="category", autorange="reversed")
    if tight > 760:
        figure.update_yaxes(tickfont={"size": 10})
    return figure


def _json(plot: go.Figure) -> str:
    # "</script>" or "<!--" inside the data would end the block; inside JSON strings < may be written as an escape.
    return str(plot.to_json()).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
