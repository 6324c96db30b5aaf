"""The script that measures early exit runs, and the committed page shows what its committed files say."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from eccsnn.costs import FRAMING
from eccsnn.services.early_exit import ExitMode

ROOT = Path(__file__).parents[3]


def load_script(name):
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return load_script("early_exit")


@pytest.fixture
def framing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return load_script("framing")


def test_the_page_shows_the_committed_measurements(script) -> None:
    folder = ROOT / "benchmarks" / "early_exit"
    records = [json.loads((folder / f"{name}-amd-epyc.json").read_text()) for name in ("synthetic", "network")]
    assert script.table(*records) in (ROOT / "docs" / "early_exit.md").read_text(encoding="utf-8")
    both = [json.loads((folder / f"answers-{form}-amd-epyc.json").read_text()) for form in ("logits", "brief")]
    assert script.answers_table(*both) in (ROOT / "docs" / "early_exit.md").read_text(encoding="utf-8")
    large = json.loads((folder / "synthetic-256-bytes-amd-epyc.json").read_text())
    for record in [*records, *both, large]:
        for row in record["rows"]:
            assert row["lost"] == 0
            if row["mode"] in (ExitMode.LOCK_STEP, ExitMode.SPECULATIVE):
                assert row["wasted"]["cloud_timesteps"] == 0


def test_a_quick_run(script, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "rows.json"
    # The cloud's process has to find what this one has found.
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    script.main(["--quick", "--channels", "1", "--out", str(out)])
    record = json.loads(out.read_text())
    rows = {row["mode"]: row for row in record["rows"]}
    assert set(rows) == set(ExitMode)
    for mode in (ExitMode.LOCK_STEP, ExitMode.SPECULATIVE, ExitMode.EDGE_EXIT_HEAD):
        assert rows[mode]["accuracy"] == 1.0
        assert rows[mode]["timesteps"]["needed"] == rows[ExitMode.LOCK_STEP]["timesteps"]["needed"]
    assert "early_exit.py" in record["command"]
    assert "speculative" in capsys.readouterr().out


def test_the_cost_model_has_the_committed_framing(framing) -> None:
    record = json.loads((ROOT / "benchmarks" / "early_exit" / "framing-amd-epyc.json").read_text())
    assert not record["git"]["dirty"]
    found = framing.constants(record["rows"])
    for mode, measured in (("upload", "upload_image"), ("lock_step", "lock_step"), ("speculative", "edge_exit_head")):
        given = {name: quantity.value for name, quantity in vars(FRAMING[mode]).items()}
        assert given == {name: round(size, 1) for name, size in found[measured].items()}
    assert FRAMING["all_timesteps"] == FRAMING["edge_exit_head"] == FRAMING["speculative"]


def test_a_quick_measurement_of_framing(framing, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    framing.main(["--quick"])
    last = capsys.readouterr().out.splitlines()[-3:]
    for line in last:
        mode, _, sizes = line.partition(" ")
        given = FRAMING["upload" if mode == "upload_image" else mode].first_up.value
        assert abs(ast.literal_eval(sizes)["first_up"] - given) < 40, line
