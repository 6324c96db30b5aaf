"""Tables show the numbers of the run directory, with their provenance."""

from pathlib import Path

import pytest
from report_fixture import COSTS, IMAGE_BYTES, write_run
from report_page import Page

from eccsnn.incremental.metrics import DEFINITIONS
from eccsnn.report import load_run
from eccsnn.report.execution import evaluations, first_and_last
from eccsnn.report.load import Run
from eccsnn.report.markup import Html
from eccsnn.report.tables import (
    Table,
    badge,
    costs_table,
    execution_table,
    image_bytes_table,
    link_table,
    models_table,
    saved_table,
    tasks_table,
    update_table,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load_run(write_run(tmp_path / "run"))


def rows_of(table: Table | None) -> list[list[str]]:
    assert table is not None
    return next(iter(Page(table.render()).tables.values()))


def test_the_execution_table_has_edge_cloud_and_several_upload_rates(run: Run) -> None:
    evaluation = evaluations(run, "all")[-1]
    record, chosen = evaluation.record, evaluation.chosen
    head, *rows = rows_of(execution_table(run, evaluation))
    assert head[5:] == ["Energy / imagemodelled", "Latency / imagemodelled", "Upload / imagemodelled"]
    assert rows[0][:4] == ["Edge only", "–", "0.00%", f"{100 * record['edge_accuracy']:.2f}%"]
    assert rows[-1][2:4] == ["100.00%", f"{100 * record['cloud_accuracy']:.2f}%"]
    cloud_only = f"{COSTS.cloud_only_energy.value:.4g} mJ", f"{COSTS.cloud_only_latency.value:.4g} ms"
    assert rows[-1][5:] == [*cloud_only, f"{IMAGE_BYTES['png']} B"]
    picked = next(row for row in rows if "chosen" in row[0])
    assert picked[1:5] == [
        f"{chosen['threshold']:.3f}",
        f"{100 * chosen['upload_rate']:.2f}%",
        f"{100 * chosen['accuracy']:.2f}%",
        f"{chosen['acc_i']:.4g}",
    ]
    rates = [float(row[2].rstrip("%")) for row in rows]
    assert rates == sorted(rates)
    for target in (10, 25, 50, 75):
        assert min(abs(rate - target) for rate in rates) < 5
    curve = record["curves"]["entropy"]
    points = {
        (f"{100 * r:.2f}%", f"{100 * a:.2f}%") for r, a in zip(curve["upload_rate"], curve["accuracy"], strict=True)
    }
    assert all((row[2], row[3]) in points for row in rows[1:-1])


def test_an_upload_rate_that_the_sweep_does_not_reach_gets_no_row(tmp_path: Path) -> None:
    curve = {"threshold": [0.0, 0.9, 1.0], "upload_rate": [1.0, 0.12, 0.0], "accuracy": [0.9, 0.8, 0.7]}
    sets = {"all": {"samples": 9, "edge_accuracy": 0.7, "cloud_accuracy": 0.9, "curves": {"margin": curve}}}
    execution = [{"tasks_learned": 1, "classes_learned": [0], "sets": sets}]
    run = load_run(write_run(tmp_path / "run", results={"execution": execution, "costs": None}))
    _, *rows = rows_of(execution_table(run, evaluations(run, "all")[0]))
    assert [row[0] for row in rows] == ["Edge only", "ECC-SNN", "Cloud only"]
    assert rows[1][1:4] == ["0.900", "12.00%", "80.00%"]


def test_costs_of_edge_and_cloud_alone_and_where_they_come_from(tmp_path: Path) -> None:
    def row(name: str, value: float, unit: str, origin: str) -> dict[str, object]:
        return {"name": name, "value": value, "unit": unit, "provenance": origin, "source": "test"}

    costs = [
        row("cloud-only energy per image", 7.5, "mJ", "modelled"),
        row("cloud-only latency per image", 31.0, "ms", "published"),
        row("energy per image at upload rate 0.3", 3.0, "mJ", "modelled"),
        row("latency per image at upload rate 0.3", 3.0, "ms", "modelled + published"),
        row("energy against cloud-only at upload rate 0.3", -0.6, "1", "modelled"),
    ]
    sizes = {"png": 300.0, "jpeg": None}
    run = load_run(write_run(tmp_path / "run", results={"costs": costs, "image_bytes": sizes}))
    head, *rows = rows_of(execution_table(run, evaluations(run, "all")[0]))
    assert head[5:] == ["Energy / imagemodelled", "Latency / imagemodelled + published", "Upload / imagemodelled"]
    assert rows[0][5:] == [f"{COSTS.edge_energy.value:.4g} mJ", f"{COSTS.edge_latency.value:.4g} ms", "0 B"]
    assert rows[-1][5:] == ["7.5 mJ", "31 ms", "300 B"]
    assert rows_of(costs_table(run))[-1][:3] == ["energy against cloud-only at upload rate 0.3", "−60.0%", "modelled"]
    assert rows_of(image_bytes_table(run))[1:] == [
        ["PNG, uploaded here", "300 B", "measured"],
        ["RAW", "3,072 B", "measured"],
    ]


def test_learned_and_all_classes_are_shown_once_where_they_are_the_same(run: Run) -> None:
    assert [(e.tasks, e.set_name) for e in first_and_last(run)] == [(1, "learned"), (1, "all"), (2, "all")]


def test_the_tasks_table_has_a_row_a_task(run: Run) -> None:
    _, *rows = rows_of(tasks_table(run, "learned"))
    assert [row[:2] for row in rows] == [["after task 1", "5"], ["after task 2", "10"]]
    sets = [entry["sets"]["learned"] for entry in run.execution]
    assert [row[2] for row in rows] == [f"{100 * s['edge_accuracy']:.2f}%" for s in sets]
    assert [row[4] for row in rows] == [f"{100 * s['chosen']['accuracy']:.2f}%" for s in sets]


def test_the_update_table_names_definitions(run: Run) -> None:
    rows = {row[0]: row[1:] for row in rows_of(update_table(run.results["update"]))}
    assert rows["Forgetting"] == ["9.45%", DEFINITIONS["forgetting"]]


def test_what_an_update_saves_has_its_provenance_and_its_definition(run: Run) -> None:
    table = saved_table(run.results["update"])
    assert ["requests not sent", "630", "modelled"] in rows_of(table)
    assert table is not None
    assert run.results["update"]["upload_saved"]["definition"] in table.note


def test_every_cost_has_its_provenance(run: Run) -> None:
    table = costs_table(run)
    assert table is not None
    assert "edge_45nm_wifi" in table.caption
    _, *rows = rows_of(table)
    given = run.results["costs"]
    assert [[row[0], *row[2:]] for row in rows] == [[c["name"], c["provenance"], c["source"]] for c in given]
    values = [row[1] for row in rows if "against cloud-only" not in row[0]]
    assert values == [f"{c['value']:.4g} {c['unit']}" for c in given if c["unit"] != "1"]


@pytest.mark.parametrize("given", ["guessed", None, 3, "measured + guessed", ""])
def test_an_unknown_provenance_is_not_made_better(given: object) -> None:
    assert badge(given) == '<span class="badge unstated">unstated</span>'


def test_the_link_table_shows_what_was_measured(run: Run) -> None:
    table = link_table(run.results["link"])
    assert table.caption == "Link: gRPC over TCP, loopback, through a counting proxy, not shaped, images as PNG"
    rows = {row[0]: row[1:] for row in rows_of(table)}
    assert rows["Uploaded"] == ["37", "measured"]
    assert rows["On the wire up, mean, all framing"] == ["611.3 B", "measured"]
    assert rows["Latency, answered by the cloud, 95th percentile"] == ["15.2 ms", "measured"]


def test_what_a_link_could_not_measure_has_no_row(tmp_path: Path) -> None:
    nothing = {"latency_ms": {"cloud_median": None, "cloud_p95": None}, "payload_bytes_up": None}
    run = load_run(write_run(tmp_path / "run", results={"link": nothing}))
    names = {row[0] for row in rows_of(link_table(run.results["link"]))}
    assert "Latency, answered by the edge, median" in names
    assert not names & {"Latency, answered by the cloud, median", "Image payload up, mean"}


def test_the_models_table_has_parameters_and_operations(run: Run) -> None:
    head, edge, cloud = rows_of(models_table(run))
    assert edge[1:7] == ["spiking_vgg9", "0.125", "4", "345,678", "442,368", "1,234,568"]
    assert cloud[1:] == ["vgg16", "0.125", "–", "2,101,234", "19,876,543", "–", "98.61%"]
    assert len(head) == len(edge)


def test_cells_are_escaped_unless_they_are_html() -> None:
    table = Table("a < b", ["<i>"], [["<b>"], [Html("<em>kept</em>")]], note="1 & 2")
    html = table.render()
    assert "a &lt; b" in html
    assert "<i>" not in html
    assert "<b>" not in html
    assert "<em>kept</em>" in html
    assert "1 &amp; 2" in html
