"""The collector of committed results: run directories in, one file a run and the README's tables out."""

import importlib
import json
from pathlib import Path

import pytest

from eccsnn.experiments import run_config
from eccsnn.experiments.schema import load_config

FOLDER = Path(__file__).resolve().parents[3] / "experiments"
TINY = [
    "data.subset={train: 120, val: 40, test: 40}",
    "cloud.training.epochs=1",
    "edge.training.epochs=1",
    "update.training.epochs=1",
    "edge.model.timesteps=2",
    "link.enabled=false",
    "scenario=B6-Inc4",
]
PLAIN = "edge.distillation={logit_weight: 0, feature_weight: 0}"


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("ecc_snn_results")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(importlib.import_module("collection"), "load_config", lambda name: load_config(name, TINY))
    (tmp_path / "README.md").write_text(f"before\n{module.BEGIN}\nold\n<!-- end -->\nafter\n")
    return module


def test_tables_of_two_variants(script, tmp_path):
    runs = [run_config("ecc_snn/digits_debug", [*TINY, *more], runs_dir=tmp_path / "runs") for more in ([], [PLAIN])]
    script.collect(runs)
    kept = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "results").iterdir()}
    assert set(kept) == {"digits_debug-logits-features-seed0", "digits_debug-none-seed0"}
    script.write_tables()
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before")
    assert text.rstrip().endswith("after")
    assert "old" not in text.split()
    assert "Trained in fp32, evaluated in fp32" in text
    assert "Epochs: 1 for the cloud, 1 for every edge, 1 an update" in text
    for name, variant in (("logits-features", "logits + features"), ("none", "none")):
        # every variant is priced by its own firing rates, before any update
        first = kept[f"digits_debug-{name}-seed0"]["results"]["execution"][0]["sets"]["all"]
        (row,) = (line for line in text.splitlines() if line.startswith(f"| edge only, distilled: {variant} |"))
        assert f"| {first['edge_only']['energy_mj']:.4f} |" in row


def test_rows_at_an_upload_limit_are_one_threshold_for_both_sets(script, tmp_path):
    script.collect([run_config("ecc_snn/digits_debug", TINY, runs_dir=tmp_path / "runs")])
    (path,) = (tmp_path / "results").iterdir()
    for step in json.loads(path.read_text())["results"]["execution"]:
        learned, every = (step["sets"][name]["points"] for name in ("learned", "all"))
        assert [point["limit"] for point in every] == list(script.UPLOAD_RATES)
        assert [point["threshold"] for point in learned] == [point["threshold"] for point in every]
        assert all(point["upload_rate"] <= point["limit"] for point in every)


def test_a_run_with_other_settings_than_the_shipped_ones_is_left_out(script, tmp_path, capsys):
    run = run_config("ecc_snn/digits_debug", [*TINY, "update.lwf_weight=0"], runs_dir=tmp_path / "runs")
    script.collect([run])
    assert "differs from ecc_snn/digits_debug in update.lwf_weight" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_an_unfinished_run_is_not_collected(script, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"status": "interrupted"}))
    script.collect([run])
    assert "is interrupted, not finished" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
