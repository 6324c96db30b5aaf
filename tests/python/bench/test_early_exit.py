"""The script that measures early exit runs, and the committed page shows what its committed files say."""

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


def test_framing_follows_from_bytes_on_the_wire(framing) -> None:
    """A first packet has 60 bytes around it, each further one 50, an early end takes 20; an answer is 9 + 55."""

    def row(steps: int) -> dict:
        up = 64 * steps + 60 + 50 * (steps - 1) + (20 if steps < 4 else 0)
        sizes = {"payload_up": 64.0 * steps, "wire_up": float(up), "wire_down": 64.0 * steps}
        return {"mode": "lock_step", "bytes": sizes}

    (found,) = framing.constants([row(steps) for steps in (1, 2, 3, 4)]).values()
    assert found == pytest.approx({"first_up": 60, "further_up": 50, "answer_down": 55, "end_up": 20})


def test_a_quick_measurement_of_framing(framing, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    framing.main(["--quick", "--out", str(tmp_path / "framing.json")])
    record = json.loads((tmp_path / "framing.json").read_text())
    assert "benchmarks/framing.py" in record["command"]
    assert len(record["rows"]) == 9
    for row in record["rows"]:
        if row["mode"] != ExitMode.UPLOAD_IMAGE:
            assert row["timesteps"]["needed"] == row["timesteps"]["sent"] == row["timesteps_set"]
        # HTTP/2 comes on top of the messages
        assert row["bytes"]["payload_up"] < row["bytes"]["message_up"] < row["bytes"]["wire_up"]
        assert row["bytes"]["message_down"] < row["bytes"]["wire_down"]
