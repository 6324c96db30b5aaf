"""Several runs: which belong together, and their means."""

import statistics
from pathlib import Path

import pytest
from report_fixture import write_run
from report_page import Page

from eccsnn.report import load_run
from eccsnn.report.compare import (
    comparison_figures,
    comparison_table,
    group_runs,
    legend_names,
    mean_std,
    updates_table,
)


def test_runs_that_differ_in_their_seed_are_averaged(tmp_path: Path) -> None:
    runs = [load_run(write_run(tmp_path / f"{seed}", seed=seed)) for seed in range(3)]
    (group,) = group_runs(runs)
    assert (group.name, group.settings) == ("ecc_snn/digits_small", [])
    table = comparison_table([group], "all")
    assert table is not None
    head, row = next(iter(Page(table.render()).tables.values()))
    cells = dict(zip(head, row, strict=True))
    edge = [run.execution[-1]["sets"]["all"]["edge_accuracy"] for run in runs]
    assert cells["Edge only"] == f"{100 * statistics.mean(edge):.2f} ±\u00a0{100 * statistics.stdev(edge):.2f}%"
    assert cells["Seeds"] == "0, 1, 2"
    assert cells["Classes learnt"] == "10"
    assert "Energy (mJ)modelled" in head


def test_runs_with_other_settings_are_never_averaged(tmp_path: Path) -> None:
    plain = load_run(write_run(tmp_path / "a"))
    without = load_run(write_run(tmp_path / "b", config={"edge": {"distillation": {"feature_weight": 0.0}}}))
    groups = group_runs([plain, without])
    assert [group.settings for group in groups] == [
        ["edge.distillation.feature_weight=0.2"],
        ["edge.distillation.feature_weight=0.0"],
    ]
    table = updates_table(groups)
    assert table is not None
    _, first, second = next(iter(Page(table.render()).tables.values()))
    assert "±" not in first[2]
    assert first[0] != second[0]


def test_legends_show_what_tells_the_experiments_apart(tmp_path: Path) -> None:
    plain = load_run(write_run(tmp_path / "a", config={"edge": {"model": {"width": 1.0}}}))
    other = load_run(write_run(tmp_path / "b", config={"edge": {"model": {"width": 1.0, "name": "<b>, &"}}}))
    assert legend_names(group_runs([plain, other])) == [
        "edge.model.name='spiking_vgg9'",
        "edge.model.name='&lt;b&gt;, &amp;'",
    ]
    renamed = load_run(write_run(tmp_path / "c", run={"name": "mine"}))
    assert legend_names(group_runs([plain, renamed])) == ["ecc_snn/digits_small", "mine"]


def test_a_setting_that_is_a_list_stays_in_one_piece(tmp_path: Path) -> None:
    def training(milestones: list[float], gamma: float) -> dict[str, object]:
        return {"edge": {"training": {"milestones": milestones, "gamma": gamma}}}

    plain = load_run(write_run(tmp_path / "a", config=training([0.3, 0.6, 0.8], 0.2)))
    other = load_run(write_run(tmp_path / "b", config=training([0.5], 0.1)))
    groups = group_runs([plain, other])
    assert legend_names(groups) == [
        "edge.training.gamma=0.2<br>edge.training.milestones=[0.3, 0.6, 0.8]",
        "edge.training.gamma=0.1<br>edge.training.milestones=[0.5]",
    ]
    table = updates_table(groups)
    assert table is not None
    _, row, _ = next(iter(Page(table.render()).tables.values()))
    assert row[0] == "ecc_snn/digits_smalledge.training.gamma=0.2, edge.training.milestones=[0.3, 0.6, 0.8]"


def test_unfinished_runs_are_counted_but_not_averaged(tmp_path: Path) -> None:
    runs = [load_run(write_run(tmp_path / "a")), load_run(write_run(tmp_path / "b", seed=1, run={"status": "failed"}))]
    table = comparison_table(group_runs(runs), "all")
    assert table is not None
    _, row = next(iter(Page(table.render()).tables.values()))
    assert row[0] == "ecc_snn/digits_small1 more without a finished result"
    assert row[1] == "0"
    assert "±" not in "".join(row)


def test_nothing_finished_is_no_table(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "a", run={"status": "interrupted"}))
    assert comparison_table(group_runs([run]), "all") is None
    assert updates_table(group_runs([run])) is None


def test_curves_of_all_runs_lie_over_each_other(tmp_path: Path) -> None:
    runs = [load_run(write_run(tmp_path / f"{seed}", seed=seed)) for seed in range(2)]
    figures = {figure.title: figure for figure in comparison_figures(group_runs(runs))}
    traces = figures["Accuracy against upload rate, all classes"].variants[0].plot.data
    lines = [trace for trace in traces if trace.mode == "lines"]
    assert [list(line.y) for line in lines] == [
        run.execution[-1]["sets"]["all"]["curves"]["entropy"]["accuracy"] for run in runs
    ]
    assert [line.showlegend for line in lines] == [True, False]
    assert figures["Validation accuracy over training"].variants[0].label == "stage cloud"


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ([0.5, None], "percent", "50.00%"),
        ([0.25, 0.75, None], "percent", "50.00 ±\u00a035.36% (n = 2)"),
        ([1.0, 3.0], "number", "2 ±\u00a01.4"),
        ([0.9, 1.1], "ratio", "1.000 ±\u00a00.141"),
        ([], "percent", "–"),
    ],
)
def test_means(values: list[float | None], kind: str, text: str) -> None:
    assert mean_std(values, kind) == text
