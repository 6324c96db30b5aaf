"""Figures hold the numbers of the run directory."""

from pathlib import Path
from typing import Any

import pytest
from report_fixture import CLASS_NAMES, COSTS, write_run
from report_page import Page

from eccsnn.report import load_run
from eccsnn.report.execution_figures import cost_figures, execution_figures
from eccsnn.report.figures import FRACTION, Figure, Variant, accuracy_axis, line, plot, stacked_plot
from eccsnn.report.incremental import learner_figures, learners_table
from eccsnn.report.load import Run
from eccsnn.report.training_figures import firing_rate_figure, training_figures, update_figures


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load_run(write_run(tmp_path / "run"))


def by_title(figures: list[Figure], start: str) -> Figure:
    return next(figure for figure in figures if figure.title.startswith(start))


def trace(figure: Figure, name: str, variant: int = -1) -> Any:
    return next(t for t in figure.variants[variant].plot.data if t.name == name)


def test_accuracy_against_upload_rate_has_every_measure_and_the_chosen_point(run: Run) -> None:
    figure = by_title(execution_figures(run), "Accuracy against upload rate, all")
    record = run.execution[-1]["sets"]["all"]
    for measure, name in (
        ("entropy", "normalised entropy"),
        ("max_probability", "maximum probability"),
        ("margin", "score margin"),
        ("random", "random"),
    ):
        line = trace(figure, name)
        assert list(line.x) == record["curves"][measure]["upload_rate"]
        assert list(line.y) == record["curves"][measure]["accuracy"]
    star = trace(figure, "chosen")
    assert (star.x[0], star.y[0]) == (record["chosen"]["upload_rate"], record["chosen"]["accuracy"])
    other, point = trace(figure, "chosen, score margin"), record["chosen_by_measure"]["margin"]
    assert (other.x[0], other.y[0], other.showlegend) == (point["upload_rate"], point["accuracy"], False)
    assert (trace(figure, "edge only").x[0], trace(figure, "edge only").y[0]) == (0.0, record["edge_accuracy"])
    assert (trace(figure, "cloud only").x[0], trace(figure, "cloud only").y[0]) == (1.0, record["cloud_accuracy"])


def test_there_is_a_variant_for_each_number_of_classes_learnt(run: Run) -> None:
    figure = by_title(execution_figures(run), "Accuracy against upload rate, all")
    assert [v.label for v in figure.variants] == ["after task 1, 5 classes learnt", "after task 2, 10 classes learnt"]
    page = Page(figure.render("f"))
    options = [attributes for name, attributes in page.elements if name == "option"]
    assert [("selected" in option) for option in options] == [False, True]
    assert len(page.plots) == 2


def test_threshold_figure_marks_the_chosen_threshold(run: Run) -> None:
    figure = by_title(execution_figures(run), "Accuracy and upload rate against threshold, all")
    (shape,) = figure.variants[-1].plot.layout.shapes
    assert shape.x0 == shape.x1 == run.execution[-1]["sets"]["all"]["chosen"]["threshold"]
    rates = [t for t in figure.variants[-1].plot.data if t.yaxis == "y2" and t.name == "score margin"]
    assert list(rates[0].y) == run.execution[-1]["sets"]["all"]["curves"]["margin"]["upload_rate"]


def test_over_the_number_of_classes(run: Run) -> None:
    figure = by_title(execution_figures(run), "Over the number of classes learnt, classes learnt")
    edge = trace(figure, "edge only")
    assert list(edge.x) == [5, 10]
    assert list(edge.y) == [entry["sets"]["learned"]["edge_accuracy"] for entry in run.execution]


def test_per_class_upload_rates_tell_learnt_classes_apart(run: Run) -> None:
    figure = by_title(execution_figures(run), "Upload rate of each class")
    variant = next(i for i, v in enumerate(figure.variants) if v.label == "all classes, after task 1, 5 classes learnt")
    rates = run.execution[0]["sets"]["all"]["chosen"]["per_class_upload_rate"]
    learnt, unknown = trace(figure, "learnt by the edge", variant), trace(figure, "not learnt yet", variant)
    assert list(learnt.y) == CLASS_NAMES[:5]
    assert list(unknown.y) == CLASS_NAMES[5:]
    assert [*learnt.x, *unknown.x] == list(rates.values())


def test_rows_of_classes_are_in_the_order_in_which_they_were_learnt(tmp_path: Path) -> None:
    tasks = [[9, 8, 7, 6, 5], [4, 3, 2, 1, 0]]
    figures = execution_figures(load_run(write_run(tmp_path / "run", results={"scenario": {"tasks": tasks}})))
    (heat,) = by_title(figures, "Upload rate of each class over").variants[-1].plot.data
    assert list(heat.y) == CLASS_NAMES[::-1]


def test_cost_figures_carry_their_provenance(run: Run) -> None:
    figures = cost_figures(run)
    assert [figure.provenance for figure in figures] == ["modelled", "modelled", "modelled"]
    curve = run.execution[-1]["sets"]["all"]["curves"]["entropy"]
    assert list(trace(figures[0], "ECC-SNN").y) == curve["energy_mj"]
    assert list(trace(figures[1], "ECC-SNN").y) == curve["latency_ms"]
    assert list(trace(figures[2], "ECC-SNN").y) == curve["payload_bytes"]
    assert list(trace(figures[0], "cloud only").y) == [COSTS.cloud_only_energy.value] * 2
    assert "badge modelled" in figures[0].render("f")


def test_costs_without_provenance_are_marked(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", results={"costs": None, "image_bytes": None}))
    assert {figure.provenance for figure in cost_figures(run)} == {"unstated"}


def test_accuracy_matrix_and_confusion(run: Run) -> None:
    matrix, confusion = update_figures(run)
    values = run.results["update"]["accuracy_matrix"]
    (heat,) = matrix.variants[0].plot.data
    assert [list(row) for row in heat.z] == [[values[0][0], None], values[1]]
    (heat,) = confusion.variants[0].plot.data
    counts = run.results["update"]["confusion"]
    assert heat.z[0][0] == pytest.approx(counts[0][0] / sum(counts[0]))
    assert list(heat.text[0][:3]) == ["34", "1", ""]
    borders = {(shape.x0, shape.x1, shape.y0, shape.y1) for shape in confusion.variants[0].plot.layout.shapes}
    assert borders == {(4.5, 4.5, -0.5, 9.5), (-0.5, 9.5, 4.5, 4.5)}


def test_confusion_names_classes_in_the_order_in_which_they_were_learnt(tmp_path: Path) -> None:
    tasks = [[9, 8, 7, 6, 5], [4, 3, 2, 1, 0]]
    run = load_run(write_run(tmp_path / "run", results={"scenario": {"tasks": tasks}}))
    (heat,) = update_figures(run)[1].variants[0].plot.data
    assert list(heat.y) == CLASS_NAMES[::-1]


def test_many_classes_get_a_row_each_but_no_table_of_all_pairs(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(101)]
    confusion = [[0] * 101 for _ in names]
    confusion[0][0], confusion[0][7], confusion[0][9] = 5, 1, 2
    confusion[1][1] = 4
    update = {"confusion": confusion}
    results = {"data": {"class_names": names}, "scenario": {"tasks": [list(range(101))]}, "update": update}
    figure = update_figures(load_run(write_run(tmp_path / "run", results=results)))[1]
    layout, table = figure.variants[0].plot.layout, figure.variants[0].table
    assert layout.height / 101 > 1.2 * layout.yaxis.tickfont.size  # plotly leaves out labels that are closer
    assert figure.wide
    assert table is not None
    assert table.rows[:3] == [
        ["class 0", "8", "62.50%", "class 9", "2"],
        ["class 1", "4", "100.00%", "–", "0"],
        ["class 2", "0", "–", "–", "0"],
    ]


def test_confusion_of_a_part_of_the_tasks(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", results={"update": {"confusion": [[3, 1], [0, 0]]}}))
    (heat,) = update_figures(run)[1].variants[0].plot.data
    assert list(heat.x) == CLASS_NAMES[:2]
    assert [list(row) for row in heat.z] == [[0.75, 0.25], [None, None]]


def test_firing_rates(run: Run) -> None:
    figure = firing_rate_figure(run)
    assert figure is not None
    (bars,) = figure.variants[0].plot.data
    assert dict(zip(bars.y, bars.x, strict=True)) == run.results["edge"]["firing_rates"]


def test_training_curves_have_every_named_loss(run: Run) -> None:
    accuracy, losses = training_figures(run)
    assert [v.label for v in losses.variants] == ["stage cloud", "stage edge", "stage update_1"]
    names = {t.name for t in losses.variants[1].plot.data}
    assert names == {"loss", "cross entropy", "logit distillation", "feature distillation"}
    epochs = [epoch for epoch in run.epochs if epoch["stage"] == "edge"]
    (validation,) = accuracy.variants[1].plot.data
    assert list(validation.x) == list(range(1, 9))
    assert list(validation.y) == [epoch["val_accuracy"] for epoch in epochs]


def test_a_plot_cannot_break_out_of_its_data_block() -> None:
    figure = plot()
    figure.add_bar(x=["</script><!--<script>"], y=[1])
    page = Page(Figure("t", "c", [Variant("", figure)]).render("f"))
    assert page.plots[0]["data"][0]["x"] == ["</script><!--<script>"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5, 0.5], (0.45, 0.55)), ([1.0], (0.95, 1.01)), ([0.0, None], (-0.01, 0.05)), ([0.2, 0.7], None), ([], None)],
)
def test_accuracies_that_are_equal_are_shown_from_near(values: list[float | None], expected: Any) -> None:
    figure = stacked_plot("x", "accuracy", "other")
    figure.add_trace(line("a", list(range(len(values))), values, "#000"))
    figure.add_trace(line("b", [0, 1], [7.0, 9.0], "#000", axis="y2"))
    accuracy_axis(figure)
    assert figure.layout.yaxis.tickformat == FRACTION
    assert figure.layout.yaxis.range == (None if expected is None else pytest.approx(expected))
    assert figure.layout.yaxis2.range is None


def test_many_learners_are_told_apart_without_labels_that_overlap(tmp_path: Path) -> None:
    learner = {
        "takes": "features",
        "seen_accuracy": [0.9, 0.8],
        "last": 0.8,
        "memory_bytes": [1000, 2000],
        "update_seconds": 0.004,
    }
    results = {"system": "incremental", "scenario": {"tasks": [[0], [1]]}}
    results["learners"] = {f"learner{i}": learner for i in range(15)}
    run = load_run(write_run(tmp_path / "incremental", results=results))
    for figure in learner_figures(run)[1:]:
        plotted = figure.variants[0].plot
        assert plotted.layout.showlegend
        assert {trace.mode for trace in plotted.data} == {"markers"}
        assert len({(trace.marker.color, trace.marker.symbol) for trace in plotted.data}) == 15
        assert plotted.layout.yaxis.range == pytest.approx((0.75, 0.85))
    table = learners_table(run)
    assert table is not None
    assert table.rows[0][table.columns.index("Time of updates")] == "4 ms"
