"""The collector of results of cut networks: run directories in, one file a run, the READMEs' tables and figures out."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from eccsnn.costs import FRAMING, load_profile, radio_energy_mj
from eccsnn.experiments import load_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, writing below `tmp_path`, with the fixture that makes up runs."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT / "tests/python/report"))
    module = importlib.import_module("split_results")
    monkeypatch.setattr(module, "CONFIGS", tmp_path)
    for system in module.READMES:
        (tmp_path / system).mkdir()
        (tmp_path / system / "README.md").write_text(f"before\n{module.BEGIN}\nold\n<!-- end -->\nafter\n")
    return module


@pytest.fixture
def write(script):
    return importlib.import_module("split_fixture").write_split_run


@pytest.fixture
def published(script):
    return importlib.import_module("split_published")


def files_of(folder):
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*/results/*.json"))}


def cells(text, label):
    """Cells of the rows that begin so, in the order of the tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(label)]


def test_tables_of_several_systems(script, write, tmp_path):
    systems = ("neucodex", "spikebottlenet", "bottlenet", "edge_only", "cloud_only")
    runs = [write(tmp_path / "runs" / f"{s}{seed}", s, seed=seed) for s in systems for seed in (0, 1)]
    script.collect(runs)
    script.write_tables()
    for system in script.READMES:
        text = (tmp_path / system / "README.md").read_text()
        assert text.startswith("before")
        assert text.rstrip().endswith("after")
        assert "old" not in text.split()
        assert "No results yet: BottleNet++, ECC-SNN." in text
        assert len([line for line in text.splitlines() if line.startswith("| Cloud only, ")]) >= 4
        for path in (line.split("(")[1][:-1] for line in text.splitlines() if line.startswith("![")):
            assert (tmp_path / system / path).is_file()
    text = (tmp_path / "neucodex" / "README.md").read_text()
    results = [json.loads(p.read_text())["results"] for p in sorted((tmp_path / "neucodex/results").glob("*"))]
    row = cells(text, "| NeuCODEX, early exit |")[0]
    accuracy = [100 * r["cut"]["chosen"]["accuracy"] for r in results]
    assert row[1] == "exit head"
    assert row[4] == f"{np.mean(accuracy):.2f} ± {np.std(accuracy, ddof=1):.2f}"
    mean = 100 * np.mean([r["loss"]["chosen"]["mean"] for r in results])
    assert row[6].startswith(f"{mean:.2f} [")
    assert row[10].startswith(
        f"{np.mean([r['payload']['chosen']['times_smaller_than']['fp32'] for r in results]):.4g} ±"
    )
    # against BottleNet and against the uncut network on the edge
    energy = np.mean([r["cut"]["chosen"]["device_energy_mj"] for r in results])
    other = [json.loads(p.read_text())["results"] for p in (tmp_path / "baselines/results").glob("bottlenet_digits*")]
    bottlenet = np.mean([r["cut"]["chosen"]["device_energy_mj"] for r in other])
    costs = cells(text, "| NeuCODEX, early exit |")[1]
    assert costs[6] == f"{bottlenet / energy:.3g}"
    uncut = np.mean([r["uncut"]["all_timesteps"]["device_energy_mj"] for r in results])
    assert costs[5] == f"{energy / uncut:.3g} times as much"
    # nothing exits in these, so that there is one mode, and one answer
    for label, mode in (
        ("SpikeBottleNet", "one answer"),
        ("BottleNet", "one upload"),
        ("Cloud only, PNG", "one upload"),
    ):
        assert {one[1] for one in cells(text, f"| {label} |")[:2]} == {mode}


def test_an_early_exit_has_a_row_for_each_mode_with_figures_of_that_mode_alone(script, write, tmp_path):
    tables, rows = (importlib.import_module(name) for name in ("split_tables", "split_rows"))
    link = importlib.import_module("split_fixture").LINK
    runs = [write(tmp_path / "runs" / "a", results={"link": link}, overrides=["exit.decide=cloud_logits"])]
    script.collect(runs)
    (file,) = script.collected()
    found = rows.rows([file])
    modes = file["results"]["cut"]["by_mode"]
    text = "\n".join([*tables.bytes_table(found), *tables.cost_table(found), *tables.front_table(found)])
    named = {"lock-step": "lock_step", "speculative": "speculative"}
    table, costs, front = (cells(text, "| NeuCODEX, early exit |")[at : at + 2] for at in (0, 2, 4))
    assert [row[1] for row in table] == [row[1] for row in costs] == list(named)
    assert modes["speculative"]["latency_ms"] < modes["lock_step"]["latency_ms"]
    assert modes["speculative"]["payload_bytes"] > modes["lock_step"]["payload_bytes"]
    for row, cost in zip(table, costs, strict=True):
        mine = modes[named[row[1]]]
        payload = file["results"]["payload"]["by_mode"][named[row[1]]]
        assert (row[8], row[9]) == (f"{mine['payload_bytes']:.4g}", "210")
        assert row[10] == f"{payload['times_smaller_than']['fp32']:.4g}"
        assert cost[2:5] == [f"{mine[f'{key}_mj']:.4g}" for key in ("device_energy", "radio_energy", "payload_energy")]
        assert (cost[7], cost[8]) == (f"{mine['energy_mj']:.4g}", f"{mine['latency_ms']:.2f}")
    for row in front:
        mine = modes[named[row[1]]]
        figures = [f"{mine['payload_bytes']:.4g}", f"{mine['device_energy_mj']:.4g}", f"{mine['latency_ms']:.2f}"]
        assert row[4:7] == figures


def test_the_interval_of_the_loss_is_over_all_seeds_together(script, write, tmp_path):
    rows = importlib.import_module("split_rows")
    script.collect([write(tmp_path / "runs" / f"{seed}", seed=seed) for seed in (0, 1, 2)])
    row = rows.rows(script.collected())[-1]
    interval = row.loss()
    assert (interval.seeds, interval.samples) == (3, 100)
    assert interval.low <= interval.mean <= interval.high
    accuracies = [file["results"]["cut"]["chosen"]["accuracy"] for file in row.files]
    uncut = [file["results"]["uncut"]["accuracy"] for file in row.files]
    assert interval.mean == pytest.approx(np.mean(uncut) - np.mean(accuracies))


def test_a_collected_file_is_small_and_names_no_place(script, write, tmp_path):
    script.collect([write(tmp_path / "runs" / "a", overrides=["data.root=/somewhere/else"])])
    (path,) = (tmp_path / "neucodex/results").iterdir()
    assert path.name == "digits_debug-seed0.json"
    text = path.read_text()
    assert "/somewhere" not in text
    assert str(tmp_path) not in text
    found = json.loads(text)["results"]["cut"]["exit"]
    for part in ("validation", "test"):
        assert script.CURVE_POINTS <= len(found[part]["threshold"]) <= script.CURVE_POINTS + 1
        assert found["threshold"] in found[part]["threshold"]
        assert found[part]["threshold"][-1] is None
    at = found["test"]["threshold"].index(found["threshold"])
    assert found["test"]["accuracy"][at] == found["chosen"]["accuracy"]


def test_variants_have_rows_of_their_own(script, write, tmp_path):
    overrides = ["unit.channels=4", "finetune.rate_weight=0.1"]
    script.collect([write(tmp_path / "runs" / "a"), write(tmp_path / "runs" / "b", overrides=overrides)])
    assert set(files_of(tmp_path)) == {"digits_debug-seed0", "digits_debug-c4-rate0.1-seed0"}
    script.write_tables()
    text = (tmp_path / "neucodex/README.md").read_text()
    main, variants = text.split("All settings of NeuCODEX")
    assert "4 channels" not in main
    assert "stage2, 4 channels (c4-rate0.1) | 0.1 |" in variants


def test_precisions_are_not_mixed(script, write, tmp_path):
    script.collect([write(tmp_path / "runs" / "a"), write(tmp_path / "runs" / "b", overrides=["precision=bf16"])])
    assert set(files_of(tmp_path)) == {"digits_debug-seed0", "digits_debug-bf16-seed0"}
    rows = importlib.import_module("split_rows")
    assert {row.variant: len(row.files) for row in rows.rows(script.collected())} == {"": 1, "bf16": 1}


def test_another_run_is_not_written_over_unless_it_lacks_a_link(script, write, tmp_path, capsys):
    link = importlib.import_module("split_fixture").LINK
    first = write(tmp_path / "runs" / "a")
    other = write(tmp_path / "runs" / "b", run={"started": "2026-03-01T00:00:00+00:00"})
    measured = write(tmp_path / "runs" / "c", run={"started": "2026-04-01T00:00:00+00:00"}, results={"link": link})

    def started():
        return files_of(tmp_path)["digits_debug-seed0"]["run"]["started"][:7]

    script.collect([first, first, other])
    assert started() == "2026-02"
    assert f"left out: {other} has the settings of another run" in capsys.readouterr().out
    script.collect([measured])
    assert started() == "2026-04"
    script.collect([first])
    assert started() == "2026-04"


def test_a_run_that_lacks_newer_keys_is_compared_by_their_defaults(script, write, tmp_path):
    run = write(tmp_path / "runs" / "a")
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["network"]["model"]["depthwise_neurons"], config["upload"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    script.collect([run])
    (file,) = script.collected()
    assert file["variant"] == ""
    assert file["config"]["upload"] == {"jpeg_quality": 90}


def test_results_of_an_older_configuration_are_named_and_left_out(script, write, tmp_path, capsys):
    script.collect([write(tmp_path / "runs" / "a"), write(tmp_path / "runs" / "b", seed=1)])
    path = tmp_path / "neucodex/results/digits_debug-seed0.json"
    file = json.loads(path.read_text())
    file["config"]["network"]["training"]["lr"] = 0.123  # what the shipped file said then
    path.write_text(json.dumps(file))
    assert [one["run"]["seed"] for one in script.collected()] == [1]
    said = capsys.readouterr().out
    assert f"left out: {path} differs from neucodex/digits_debug in network.training.lr" in said


def test_results_of_an_older_version_have_to_be_made_again(script, write, tmp_path, capsys):
    script.collect([write(tmp_path / "runs" / "a", results={"modes": None})])
    assert "has results of an older version: run it again" in capsys.readouterr().out
    assert not files_of(tmp_path)


@pytest.mark.parametrize("change", ["network.training.epochs=9", "data.split_seed=7"])
def test_a_run_with_other_settings_than_the_shipped_ones_is_left_out(script, write, tmp_path, capsys, change):
    script.collect([write(tmp_path / "runs" / "a", overrides=[change])])
    assert f"differs from neucodex/digits_debug in {change.split('=')[0]}" in capsys.readouterr().out
    assert not files_of(tmp_path)


def test_an_unfinished_run_is_left_out_and_the_others_are_collected(script, write, tmp_path, capsys):
    unfinished = write(tmp_path / "runs" / "a", run={"status": "interrupted"})
    script.collect([unfinished, write(tmp_path / "runs" / "b", "spikebottlenet")])
    assert "a is interrupted, not finished" in capsys.readouterr().out
    assert [file["results"]["system"] for file in files_of(tmp_path).values()] == ["spikebottlenet"]


def test_without_results_the_readmes_say_so(script, tmp_path):
    script.write_tables()
    assert "No results have been collected yet." in (tmp_path / "spikebottlenet/README.md").read_text()


def test_ecc_snn_joins_on_the_same_data(script, write, tmp_path):
    script.collect([write(tmp_path / "runs" / "a")])
    fingerprint = next(iter(files_of(tmp_path).values()))["results"]["data"]["fingerprint"]
    source = ROOT / "configs/ecc_snn/results/cifar10_small-logits-features-seed0.json"
    file = json.loads(source.read_text())
    file["results"]["data"]["fingerprint"] = fingerprint
    (tmp_path / "ecc_snn/results").mkdir(parents=True)
    (tmp_path / "ecc_snn/results/x.json").write_text(json.dumps(file))
    script.write_tables()
    text = (tmp_path / "neucodex/README.md").read_text()
    part = file["results"]["execution"][-1]["sets"]["all"]
    radio = {row["name"]: row["value"] for row in file["results"]["costs"]}["radio energy per uploaded image"]
    assert cells(text, "| ECC-SNN |")[0][4] == f"{100 * part['chosen']['accuracy']:.2f}"
    profile, framing, image = load_profile("edge_45nm_wifi"), FRAMING["upload"], file["results"]["image_bytes"]["jpeg"]
    headers = 40 * np.ceil((image + framing.first_up.value) / 1460)
    around = {"bytes_up": framing.first_up.value + headers, "bytes_down": framing.answer_down.value + 40}
    radio += radio_energy_mj(profile, **around).value
    device = part["edge_only"]["energy_mj"] + part["chosen"]["upload_rate"] * radio
    assert cells(text, "| ECC-SNN |")[1][1:3] == ["some uploads", f"{device:.4g}"]
    assert "ECC-SNN's row differs" in text


@pytest.mark.parametrize(
    ("system", "decide", "wire"),
    [
        ("neucodex", "edge_head", ["-", "70"]),
        ("neucodex", "cloud_logits", ["-", "90", "210"]),
        ("spikebottlenet", "cloud_logits", ["210"]),
    ],
)
def test_wire_bytes_are_those_of_the_mode_of_their_row(script, write, tmp_path, system, decide, wire):
    link = [dict(row) for row in importlib.import_module("split_fixture").LINK]
    link[0]["bytes"] = link[0]["bytes"] | {"wire_up": 90.0}
    results = {"results": {"link": link}, "overrides": [f"exit.decide={decide}"]}
    script.collect([write(tmp_path / "runs" / "a", system, **results)])
    files = script.collected()
    tables, rows = (importlib.import_module(name) for name in ("split_tables", "split_rows"))
    assert [row[9] for row in cells("\n".join(tables.bytes_table(rows.rows(files))), "| ")[2:]] == wire


def test_hours_leave_out_measured_links(script, write, tmp_path):
    tables = importlib.import_module("split_tables")
    script.collect([write(tmp_path / "runs" / "a")])
    (file,) = script.collected()
    stage = file["run"]["stages"][0]
    file["run"]["stages"] = [
        stage | {"name": name, "key": name, "seconds": seconds}
        for name, seconds in (("network", 7200.0), ("stream", 9e4))
    ]
    assert "; 2.0 h with 2 thread(s)" in tables.describe([file])


def test_the_page_says_how_recipes_were_searched(script, write, tmp_path):
    script.collect([write(tmp_path / "runs" / system, system) for system in ("neucodex", "bottlenet")])
    script.write_tables()
    text = (tmp_path / "neucodex/README.md").read_text()
    spiking, artificial = (
        f"{load_config(name).network.training.lr:g}"
        for name in ("neucodex/digits_debug", "baselines/bottlenet_digits_debug")
    )
    assert f"Learning rates (spiking {spiking}, artificial {artificial}) were tried in the same few short runs" in text


def test_figures_are_the_same_bytes_for_the_same_results(script, write, tmp_path):
    script.collect([write(tmp_path / "runs" / "a")])
    pictures = []
    for _ in range(2):
        script.write_tables()
        pictures.append({path.name: path.read_bytes() for path in (tmp_path / "neucodex/figures").iterdir()})
    assert len(pictures[0]) == 2
    assert pictures[0] == pictures[1]


def test_the_pareto_front(script):
    rows = importlib.import_module("split_rows")

    def row(label, *figures):
        keys = ("accuracy", "payload_bytes", "device_energy_mj", "latency_ms")
        return rows.Row(
            "neucodex", label, "", [], "cut", "chosen", "lock_step", [dict(zip(keys, figures, strict=True))]
        )

    found = rows.pareto(
        [row("a", 0.9, 10, 1, 1), row("b", 0.8, 10, 1, 1), row("c", 0.8, 9, 1, 1), row("d", 0.9, 10, 1, 1)]
    )
    assert [(one.label, front) for one, front in found] == [("a", True), ("b", False), ("c", True), ("d", True)]
    assert rows.pareto([row("e", 0.9, None, 1, 1)]) == []


def test_the_firing_rate_that_a_ratio_needs(published):
    # 144 = MACs x 4.6 / (T x rate x MACs x 0.9)
    rate = published.same_network_rate("edge_45nm_wifi", 4)
    assert 1e6 * 4.6 / (4 * rate * 1e6 * 0.9) == pytest.approx(144)
    ours, other = published.Energy(0.1, 2.0, 0.5, 0.2), published.Energy(100.0, 0.0, 30.0, 0.0)
    needed = published.rate_for(ours, other, 144, radio=False)
    assert 100.0 / (0.1 + 2.0 * needed / 0.2) == pytest.approx(144)
    needed = published.rate_for(ours, other, 144, radio=True)
    assert 130.0 / (0.6 + 2.0 * needed / 0.2) == pytest.approx(144)
    assert published.rate_for(published.Energy(1.0, 2.0, 0.0, 0.2), other, 144, radio=False) is None


def test_the_price_of_a_multiply_accumulate_that_a_ratio_needs(published):
    ours, other = published.Energy(0.1, 2.0, 0.5, 0.2), published.Energy(100.0, 0.0, 30.0, 0.0)
    price, declared = published.mac_over_ac_for(ours, other, 144, "edge_45nm_wifi"), 4.6 / 0.9
    assert 100.0 / declared * price / (0.1 / declared * price + 2.0) == pytest.approx(144)
    assert published.mac_over_ac_for(published.Energy(1.0, 2.0, 0.0, 0.2), other, 144, "edge_45nm_wifi") is None


def test_where_the_energy_goes_adds_up(script, write, published, tmp_path):
    script.collect([write(tmp_path / "runs" / "a")])
    (file,) = files_of(tmp_path).values()
    results = file["results"]
    ours = published.energy([file])
    assert ours.total == pytest.approx(results["cut"]["all_timesteps"]["device_energy_mj"])
    assert ours.analog == pytest.approx(55296 * 4.6e-9)
    assert ours.spikes == pytest.approx(3.5e5 * 0.9e-9)
    assert published.energy([file], "uncut").radio == pytest.approx(0, abs=1e-12)
    stops = results["cut"]["stops"]
    head = results["cut"]["work"]["exit_head"]["macs"]
    assert head > 0
    at_stop = sum(
        n * ((55296 + head * t) * 4.6e-9 + 3.5e5 * t / 4 * 0.9e-9) for t, n in enumerate(stops, start=1)
    ) / sum(stops)
    assert published.computing_at_stop([file]) == pytest.approx(at_stop)


def test_the_factors_of_less_data_multiply(script, write, published, tmp_path):
    rows = importlib.import_module("split_rows")
    script.collect([write(tmp_path / "runs" / "a")])
    row = rows.rows(script.collected())[-1]
    factors = published._factors(row.files[0], "chosen", row.mode)
    assert factors[0] == 32
    assert np.prod(factors) == pytest.approx(row.mean("times_fp32"))


def test_a_budget_that_the_published_saving_leaves(script, write, published, tmp_path):
    """A network whose edge part is a hundredth of the whole: what the radio may take is 10% less that part."""
    rows = importlib.import_module("split_rows")
    whole = {"synops": [2.5e8, 5e8, 7.5e8, 1e9], "macs": [0.0] * 4}
    part = {"synops": [2.5e6, 5e6, 7.5e6, 1e7], "macs": [0.0] * 4}
    uncut = {"work": whole, "all_timesteps": {"device_energy_mj": 0.9}}
    cut = {"work": {"edge": part}, "stops": [0, 0, 0, 100]}
    script.collect([write(tmp_path / "runs" / "a", results={"uncut": uncut, "cut": cut})])
    text = "\n".join(published.neucodex_lines(rows.rows(script.collected())[-1], "exit head"))
    assert "Before the cut lie 1% of the uncut network's arithmetic energy" in text
    left = 0.09 - 0.009
    assert f"That leaves {left:.3g} mJ for the radio, {left / 2.3217e-3:.3g} bytes" in text
