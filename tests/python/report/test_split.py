"""A report of a cut network says what its run directory says."""

import json
import re
from pathlib import Path

import pytest
from report_fixture import write_run
from report_page import Page
from split_fixture import LINK, NAMES, write_split_run

from eccsnn.report import build_report, load_run
from eccsnn.report.compare import group_runs
from eccsnn.report.load import Run
from eccsnn.report.split import is_split, split_provenance
from eccsnn.report.split_compare import systems_figure, systems_table
from eccsnn.report.split_figures import exit_figures, payload_figures, timestep_figure
from eccsnn.report.split_summary import split_summary
from eccsnn.report.split_tables import (
    ablation_table,
    networks_table,
    payload_table,
    split_costs_table,
    split_table,
    stream_table,
    work_table,
)
from eccsnn.report.tables import Table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write_split_run(tmp_path_factory.mktemp("run") / "run", results={"link": LINK}))


def rows_of(table: Table | None) -> list[list[str]]:
    assert table is not None
    return next(iter(Page(table.render()).tables.values()))


def figures(found: Run) -> dict[str, object]:
    every = [*exit_figures(found), *payload_figures(found), timestep_figure(found)]
    return {figure.title: figure for figure in every if figure is not None}


def test_the_page_has_its_sections_in_order(run: Run, tmp_path: Path) -> None:
    page = Page.read(build_report([run.path], tmp_path))
    links = [attributes["href"] for name, attributes in page.elements if name == "a"]
    titles = "summary accuracy split-point early-exit payload ablation costs measured-link firing-rates training"
    assert links == [f"#run1-{title}" for title in [*titles.split(), "configuration"]]
    assert not re.search(r"\bnan\b", page.text, flags=re.I)


def test_an_ecc_snn_run_keeps_its_page(tmp_path: Path) -> None:
    assert not is_split(load_run(write_run(tmp_path / "run")))
    text = Page.read(build_report([tmp_path / "run"], tmp_path)).text
    assert "Edge and cloud together" in text
    assert "Split point" not in text


@pytest.mark.parametrize("system", NAMES)
def test_every_system_makes_a_page(system: str, tmp_path: Path) -> None:
    path = write_split_run(tmp_path / "run", system)
    found = load_run(path)
    page = Page.read(build_report([path], tmp_path))
    cut = system not in ("edge_only", "cloud_only")
    assert ("Split point" in page.tables) == cut
    assert any("Early exit (" in sentence for sentence in split_summary(found)) == (system in ("neucodex", "edge_only"))
    assert "Ablation" in page.text or system not in ("neucodex", "spikebottlenet")
    rows = page.tables["Networks of this run"][1:]
    keys = ("png", "jpeg") if system == "cloud_only" else ("uncut", "cut") if cut else ("uncut",)
    accuracies = [f"{100 * found.results[key]['all_timesteps']['accuracy']:.2f}%" for key in keys]
    assert set(accuracies) <= {row[1] for row in rows}


def test_the_networks_table_has_the_loss_with_its_interval(run: Run) -> None:
    head, *rows = rows_of(networks_table(run))
    assert [row[0] for row in rows] == [
        "Uncut, on the edge, all timesteps",
        "Uncut, on the edge, early exit",
        "NeuCODEX, all timesteps",
        "NeuCODEX, early exit, exit head",
    ]
    assert head[5:] == ["Payloadmeasured", "Device energymodelled"]
    interval, chosen = run.results["loss"]["chosen"], run.results["cut"]["chosen"]
    low, high = (f"{100 * interval[end]:.2f} pp".replace("-", "−") for end in ("low", "high"))
    assert rows[-1][1:4] == [f"{100 * chosen['accuracy']:.2f}%", f"{100 * interval['mean']:.2f} pp", f"{low} to {high}"]
    assert rows[-1][4:] == [
        f"{chosen['timesteps']:.4g}",
        f"{chosen['payload_bytes']:.4g} B",
        f"{chosen['device_energy_mj']:.4g} mJ",
    ]


def test_the_payload_is_compared_with_every_yardstick(run: Run) -> None:
    _, size, *rows = rows_of(payload_table(run))
    payload = run.results["payload"]
    sizes = [payload["all_timesteps"], *payload["by_mode"].values()]
    assert size[1:] == [f"{each['bytes']:.4g} B" for each in sizes]
    for row, key in zip(rows, ("fp32", "one_bit", "wire_one_bit", "jpeg", "png"), strict=True):
        assert row[1:] == [f"{each['times_smaller_than'][key]:,.1f}×" for each in sizes]


def test_the_split_point_the_ablation_and_the_work(run: Run) -> None:
    rows = dict(row[:2] for row in rows_of(split_table(run)))
    assert rows["Values at the split point"] == "16×8×8"
    assert rows["Uncoded at the split point, fp32"] == f"{4 * 4 * 16 * 64:,} B"
    ablation = rows_of(ablation_table(run))[1:]
    assert [row[0] for row in ablation] == [
        f"Compression {a}, early exit {b}" for a in ("off", "on") for b in ("off", "on")
    ]
    assert [row[1] for row in ablation] == [f"{100 * row['accuracy']:.2f}%" for row in run.results["ablation"]]
    assert rows_of(work_table(run))[1] == ["Uncut, on the edge", "500,000", "55,296", "80,000"]


def test_costs_have_units_provenance_and_meaning(run: Run) -> None:
    head, *rows = rows_of(split_costs_table(run))
    assert head[1:] == [
        "Uncut, on the edge, all timesteps",
        "NeuCODEX, all timesteps",
        "Uncut, on the edge, early exit",
        "NeuCODEX, early exit, exit head",
    ]
    assert rows[0][0] == "Device energy modelled" + "edge operations and radio, all framing included"
    assert rows[-1][-1] == f"{run.results['cut']['chosen']['latency_ms']:.4g} ms"


def test_each_mode_of_early_exit_has_a_row_and_figures_of_its_own(tmp_path: Path) -> None:
    path = write_split_run(tmp_path / "run", overrides=["exit.decide=cloud_logits"])
    found = load_run(path)
    modes = found.results["cut"]["by_mode"]
    assert list(modes) == ["lock_step", "speculative"]
    rows = {row[0]: row[1:] for row in rows_of(networks_table(found))}
    named = {"lock_step": "lock-step", "speculative": "speculative"}
    for mode, name in named.items():
        row = rows[f"NeuCODEX, early exit, {name}"]
        assert row[-2:] == [f"{modes[mode]['payload_bytes']:.4g} B", f"{modes[mode]['device_energy_mj']:.4g} mJ"]
    head, *costs = rows_of(split_costs_table(found))
    latencies = dict(zip(head, costs[-1], strict=True))
    sizes = dict(
        zip(
            *[[re.sub("measured$", "", cell) for cell in row] for row in rows_of(payload_table(found))[:2]], strict=True
        )
    )
    together = {row[0]: row for row in rows_of(systems_table(group_runs([found])))}
    for mode, name in named.items():
        assert latencies[f"NeuCODEX, early exit, {name}"] == f"{modes[mode]['latency_ms']:.4g} ms"
        assert sizes[f"Early exit, {name}"] == f"{modes[mode]['payload_bytes']:.4g} B"
        assert any(key.startswith(f"NeuCODEX, {name}") for key in together)
        assert f"{modes[mode]['latency_ms']:.4g} ms ({name})" in " ".join(split_summary(found))


@pytest.mark.parametrize(("text", "origin"), [("measured: x", "measured"), ("guessed: x", "unstated"), (3, "unstated")])
def test_provenance_is_not_made_better(tmp_path: Path, text: object, origin: str) -> None:
    path = write_split_run(tmp_path / "run", results={"provenance": {"energy_mj": text}})
    assert split_provenance(load_run(path), "energy_mj") == origin


def test_figures_hold_the_numbers(run: Run) -> None:
    found = figures(run)
    cut = run.results["cut"]
    curve = found["Accuracy against timesteps used"].variants[-1].plot.data
    assert list(curve[1].y) == cut["exit"]["test"]["accuracy"]
    assert list(curve[0].x) == cut["exit"]["validation"]["timesteps"]
    assert (curve[2].x[0], curve[2].y[0]) == (cut["chosen"]["timesteps"], cut["chosen"]["accuracy"])
    (bars,) = found["Timesteps used"].variants[-1].plot.data
    assert list(bars.y) == [count / sum(cut["stops"]) for count in cut["stops"]]
    (bars,) = found["Payload by timestep"].variants[0].plot.data
    assert list(bars.y) == run.results["payload"]["by_timestep"]
    (bars,) = found["Firing rate on the wire"].variants[0].plot.data
    assert list(bars.y) == run.results["payload"]["wire_firing_rate"]
    lines = found["Accuracy by timestep"].variants[0].plot.data
    assert list(lines[1].y) == cut["accuracy_by_timestep"]


def test_the_summary_says_what_the_numbers_say(run: Run) -> None:
    text, payload = " ".join(split_summary(run)), run.results["payload"]["chosen"]
    assert "NeuCODEX cuts a network (sew_resnet10, width 0.125, T = 4) at stage2" in text
    assert f"{payload['bytes']:.4g} bytes (measured)" in text
    assert f"{payload['times_smaller_than']['jpeg']:.3g} times smaller than a JPEG upload" in text
    energy = run.results["cut"]["chosen"]["device_energy_mj"]
    ratio = energy / run.results["uncut"]["all_timesteps"]["device_energy_mj"]
    assert f"{ratio:.3g} times the uncut network on the edge" in text
    assert "the radio costs more than the computation that the cut saves" in text
    assert "(RTT 20 ms, 10 Mbit/s up, 10 Mbit/s down; measured): lock step 61 ms, speculative 34.5 ms, edge" in text
    assert "RTT 100 ms" not in text  # the table has every link
    assert "never spike" not in text


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"timesteps": 1.0}, "every image stops after the first of 4 timesteps"),
        ({"timesteps": 4.0}, "every image takes all 4 timesteps"),
        ({"timesteps": 2.5}, "uses 2.50 of 4 timesteps on average"),
        ({"device_energy_mj": 1e-9}, "less than the uncut network on the edge"),
    ],
)
def test_the_summary_tells_exits_and_savings(tmp_path: Path, chosen: dict[str, float], words: str) -> None:
    run = load_run(write_split_run(tmp_path / "run", results={"cut": {"chosen": chosen}}))
    assert words in " ".join(split_summary(run))


def test_an_interval_that_holds_zero_and_silent_layers_are_told(tmp_path: Path) -> None:
    silent = {"work": {"edge": {"firing_rates": {"part.stem.lif": 0.0}}}}
    loss = {"chosen": {"mean": 0.01, "low": -0.01, "high": 0.03}}
    run = load_run(write_split_run(tmp_path / "run", results={"cut": silent, "loss": loss}))
    text = " ".join(split_summary(run))
    assert "a loss of 1.00 pp (95% interval −1.00 pp to 3.00 pp" in text
    assert "The interval holds zero" in text
    assert "1 of 3 spiking layers (cut, edge's part) never spike: stem." in text


def test_the_link_has_a_row_for_each_mode(run: Run) -> None:
    _, *rows = rows_of(stream_table(run))
    assert [row[0] for row in rows] == ["lock step", "speculative", "edge exit head", "speculative"]
    assert rows[1][2:] == ["94.00%", "34.5 ms", "37.5 ms", "1.08", "2", "31 B", "210 B", "250 B", "0.5", "0"]


def test_systems_and_seeds_are_compared(tmp_path: Path) -> None:
    paths = [write_split_run(tmp_path / f"n{seed}", seed=seed) for seed in range(2)]
    paths += [write_split_run(tmp_path / system, system) for system in ("bottlenet", "edge_only", "cloud_only")]
    paths.append(write_run(tmp_path / "ecc"))
    runs = [load_run(path) for path in paths]
    table = systems_table(group_runs(runs))
    assert table is not None
    assert table.caption == "Comparison of the systems, scikit-learn digits"
    rows = {row[0]: row[1:] for row in rows_of(table)[1:]}
    assert [re.sub("(baselines|neucodex|ecc_snn)/.*", "", name) for name in rows] == [
        "NeuCODEX",
        "BottleNet",
        "Edge only",
        "Cloud only, PNG upload",
        "Cloud only, JPEG upload",
        "ECC-SNN",
    ]
    seeds, accuracy, *_ = rows["NeuCODEXneucodex/digits_debug"]
    values = [100 * run.results["cut"]["chosen"]["accuracy"] for run in runs[:2]]
    assert seeds == "0, 1"
    assert accuracy.startswith(f"{sum(values) / 2:.2f} ±")
    figure = systems_figure(group_runs(runs))
    assert figure is not None
    assert len(figure.variants[0].plot.data[0].x) == 2
    page = Page.read(build_report(paths, tmp_path))
    assert "6 runs compared" in page.text
    assert "Comparison, updates on the device" in page.tables


def test_ecc_snn_runs_alone_have_no_table_of_systems(tmp_path: Path) -> None:
    groups = group_runs([load_run(write_run(tmp_path / "run"))])
    assert systems_table(groups) is None
    assert systems_figure(groups) is None


@pytest.mark.parametrize("part", ["uncut", "cut", "split", "loss", "payload", "ablation", "provenance", "image_bytes"])
def test_any_part_may_be_absent(tmp_path: Path, part: str) -> None:
    path = write_split_run(tmp_path / "run", results={part: None})
    assert "Configuration" in Page.read(build_report([path], tmp_path)).text


def test_an_unfinished_run_makes_a_page(tmp_path: Path) -> None:
    path = write_split_run(tmp_path / "run", run={"status": "interrupted"})
    (path / "results.json").unlink()
    text = Page.read(build_report([path, write_split_run(tmp_path / "other")], tmp_path)).text
    assert "was interrupted" in text
    assert "Last recorded: stage finetune, epoch 3 of 3" in text


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    hostile = {
        "network": {"name": HOSTILE},
        "split": {"point": HOSTILE},
        "profile": HOSTILE,
        "provenance": {"payload_bytes": HOSTILE, "energy_mj": HOSTILE},
        "link": [{"mode": HOSTILE, "shape": HOSTILE, "latency_ms": {"median": 1.0}}],
        "cut": {"work": {"edge": {"firing_rates": {HOSTILE: 0.5}}}},
    }
    path = write_split_run(tmp_path / "run", results=hostile)
    page = Page.read(build_report([path, write_split_run(tmp_path / "other", seed=1)], tmp_path))
    assert len(page.scripts) == 2
    assert not any(name == "img" or "onerror" in attributes for name, attributes in page.elements)
    assert HOSTILE in page.text
    assert "<img" not in json.dumps([trace.get("y") for trace in page.traces()])
