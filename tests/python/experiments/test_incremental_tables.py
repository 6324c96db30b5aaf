"""The collector of comparisons of learners: run directories in, one file a run, tables and plots out."""

import copy
import json
import sys
from pathlib import Path

import pytest

from eccsnn.experiments import run_config
from eccsnn.experiments.schema import load_config

ROOT = Path(__file__).resolve().parents[3]
NAME = "incremental/digits_debug"
TINY = [
    "data.subset={train: 120, val: 40, test: 40}",
    "cloud.training.epochs=1",
    "trunk.training.epochs=1",
    "trunk.distillation.feature_weight=0.1",
    "training.epochs=2",
    "options={exact_expanded: {expansion: 300}, replay: {exemplars: 120}}",
    "learners=[exact_ridge, exact_expanded, lwf, replay]",
]
ONE_EPOCH = ["training.epochs=1", "learners=[lwf]"]
UNTAUGHT = [f"trunk.distillation.{term}_weight=0" for term in ("logit", "feature")] + ["learners=[exact_ridge]"]
LAYERED = ["trunk.layers=[conv4, conv_last, penultimate]", "learners=[exact_ridge]"]
ROTATED = ["trunk.pretraining=rotation", "trunk.pretraining_training.epochs=1", "learners=[exact_ridge]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    changes = ([], ["seed=1"], ONE_EPOCH, [*ONE_EPOCH, "seed=1"], ROTATED, UNTAUGHT, LAYERED)
    return [run_config(NAME, [*TINY, *more], runs_dir=folder) for more in changes]


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import incremental_results as module

    monkeypatch.setattr(module, "FOLDER", tmp_path)
    for reader in (module, sys.modules["collection"]):
        monkeypatch.setattr(reader, "load_config", lambda name: load_config(name, TINY))
    (tmp_path / "README.md").write_text(f"before\n{module.BEGIN}\nold\n<!-- end -->\nafter\n")
    yield module
    for name in ("collection", "incremental_results", "incremental_tables", "incremental_rows", "incremental_figures"):
        sys.modules.pop(name, None)


def files(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "results").glob("*.json")}


def cells(text, start):
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_and_plots_of_seeds_epochs_and_trunks(script, runs, tmp_path, capsys):
    script.collect(runs)
    kept = files(tmp_path)
    assert set(kept) == {
        "digits_debug-seed0",
        "digits_debug-seed1",
        "digits_debug-lwf-epochs1-seed0",
        "digits_debug-lwf-epochs1-seed1",
        "digits_debug-exact_ridge-rotation-pretraining-epochs1-seed0",
        "digits_debug-exact_ridge-logits0.0-features0.0-seed0",
        "digits_debug-exact_ridge-layers-conv4+conv_last+penultimate-seed0",
    }
    assert kept["digits_debug-seed0"]["config"]["data"]["root"] is None
    assert "definitions" not in kept["digits_debug-seed0"]["results"]
    script.write_tables()
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before")
    assert text.rstrip().endswith("after")
    assert "old" not in text.split()
    results = [kept[f"digits_debug-seed{seed}"]["results"]["learners"]["exact_ridge"] for seed in (0, 1)]
    row = cells(text, "| exact_ridge | features |")
    mean = sum(result["last"] for result in results) / 2
    assert row[2] == "2"
    assert row[4].startswith(f"{100 * mean:.2f} ± ")
    assert row[6] == f"{max(results[0]['memory_bytes']):,}"
    assert cells(text, "| lwf (1 epochs) | images |")[2] == "2"
    assert "LwF, last accuracy by epochs a task: 1 epochs: " in text
    assert "% on validation, " in text
    for changed in (
        "pre-training rotation, pre-training epochs 1",
        "logit weight 0.0, feature weight 0.0",
        "layers conv4+conv_last+penultimate",
    ):
        same = cells(text, f"| B4-Inc3 in fp32 | {changed} | exact_ridge |")
        assert same[-1] == f"{100 * results[0]['last']:.2f}"
    plot = tmp_path / "figures/digits_debug-b4-inc3-fp32.svg"
    assert f"![accuracy](figures/{plot.name})" in text
    before = plot.read_bytes()
    assert b"exact_ridge" in before
    script.write_tables()
    assert plot.read_bytes() == before
    assert (tmp_path / "README.md").read_text() == text
    script.collect(runs[:1])  # the same run again changes nothing
    assert files(tmp_path) == kept


def test_lwf_is_taken_at_the_fewest_epochs_that_reach_its_best_validation_accuracy(script):
    from incremental_rows import Row, fewest_epochs

    def lwf(epochs, validation, test):
        results = {
            seed: {"validation_seen_accuracy": [0.9, value], "last": test} for seed, value in enumerate(validation)
        }
        return Row("lwf", "images", epochs, f"lwf ({epochs} epochs)", results, validation_images=400)

    # one standard error of 0.5 over 400 images is 0.025
    tried = [lwf(8, [0.5, 0.5], 0.1), lwf(1, [0.4, 0.5], 0.9), lwf(2, [0.47, 0.49], 0.0), lwf(4, [0.48, 0.48], 1.0)]
    chosen, ordered = fewest_epochs(tried)
    assert chosen.epochs == 2
    assert [row.epochs for row in ordered] == [1, 2, 4, 8]
    assert fewest_epochs([]) == (None, [])
    del tried[0].results[1]  # only what all trials share is compared
    assert fewest_epochs(tried)[0].epochs == 4
    assert fewest_epochs([lwf(3, [0.4], 0.4)])[0].epochs == 3


def test_statistics_stand_beside_exemplars_of_equal_bytes(script):
    from incremental_rows import Row
    from incremental_tables import _equal_bytes

    def row(learner, takes, kept):
        return Row(learner, takes, None, learner, {0: {"memory_bytes": [1, kept], "last": 0.5}})

    found = [row("exact_ridge", "features", 1000), row("ncm", "features", 1000), row("joint", "images", 1000)]
    assert _equal_bytes(found)[0].startswith("No learner with exemplars")
    lines = _equal_bytes([*found, row("replay", "images", 950), row("wa", "images", 1100), row("bic", "images", 700)])
    assert [line for line in lines if line.startswith("| exact")] == [
        "| exact_ridge | 1,000 | 50.00 | replay | 950 | 50.00 |"
    ]


def test_precisions_are_kept_apart(script, runs, tmp_path):
    script.collect(runs[:2])
    path = tmp_path / "results/digits_debug-seed1.json"
    other = json.loads(path.read_text())
    other["config"]["precision"] = "bf16"
    path.write_text(json.dumps(other))
    script.write_tables()
    text = (tmp_path / "README.md").read_text()
    for precision in ("fp32", "bf16"):
        assert f"## incremental/digits_debug, B4-Inc3 in {precision}: " in text
    assert text.count("| exact_ridge | features | 1 |") == 2
    assert "other trunks" not in text


def test_no_results_are_said_to_be_none(script, tmp_path):
    script.write_tables()
    assert "No results have been collected yet." in (tmp_path / "README.md").read_text()
    assert not list((tmp_path / "figures").glob("*"))


def test_other_recipes_are_left_out_and_mixed_ones_refused(script, runs, tmp_path, capsys, monkeypatch):
    script.collect(runs[:2])
    kept = files(tmp_path)["digits_debug-seed0"]
    other = copy.deepcopy(kept)
    other["config"]["trunk"]["distillation"]["temperature"] = 7.0
    (tmp_path / "results/other.json").write_text(json.dumps(other))
    script.write_tables()
    assert "other.json differs from incremental/digits_debug in trunk.distillation.temperature" in (
        capsys.readouterr().out
    )
    for stage, message in (("trunk", "have other trunks for seed 0"), ("learner_lwf", r"has another lwf .* of seed 0")):
        mixed = copy.deepcopy(kept)
        next(part for part in mixed["run"]["stages"] if part["name"] == stage)["key"] = "another"
        (tmp_path / "results/other.json").write_text(json.dumps(mixed))
        with pytest.raises(SystemExit, match=message):
            script.write_tables()
    mixed = copy.deepcopy(kept)
    mixed["results"]["data"]["fingerprint"] = "another"
    (tmp_path / "results/other.json").write_text(json.dumps(mixed))
    with pytest.raises(SystemExit, match="of several data sets or splits"):
        script.write_tables()


def test_runs_that_cannot_be_collected(script, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"status": "interrupted", "name": NAME}))
    script.collect([run])
    assert "is interrupted, not finished" in capsys.readouterr().out
    (run / "run.json").write_text(json.dumps({"status": "finished", "name": "ecc_snn/digits_debug"}))
    script.collect([run])
    assert "expected incremental/..." in capsys.readouterr().out
    assert not files(tmp_path)
