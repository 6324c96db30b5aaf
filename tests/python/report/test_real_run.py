"""The made-up runs of the tests have the format of a real one, and a real one makes a report."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_fixture import write_run
from report_page import Page

from eccsnn.experiments import run_config
from eccsnn.report import build_report

TINY = [
    "data.subset={train: 120, val: 40, test: 40}",
    "cloud.training.epochs=1",
    "edge.training.epochs=1",
    "update.training.epochs=1",
    "edge.model.timesteps=2",
    "link.images=4",
    "scenario=B6-Inc4",
]
# Mappings whose keys are names of something, and of what.
NAMES = {
    "versions": "library",
    "firing_rates": "layer",
    "per_class_upload_rate": "class",
    "fallback_reasons": "reason",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_config("ecc_snn/digits_debug", TINY, runs_dir=tmp_path_factory.mktemp("runs"))


def structure(value: Any, key: str = "") -> Any:
    """The keys of a value at every level; a list is taken to be like its first element."""
    if isinstance(value, dict):
        return {NAMES.get(key, name): structure(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [structure(inner) for inner in value[:1]]
    return "a value"


def files(run: Path) -> dict[str, Any]:
    """The structure of what a run writes; its config.yaml comes from the schema in either case."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "run.json": structure(json.loads((run / "run.json").read_text())),
        "results.json": structure(json.loads((run / "results.json").read_text())),
        "metrics.jsonl": {line["stage"]: structure(line) for line in lines},
    }


def stages(run: Path) -> list[str]:
    return [stage["name"] for stage in json.loads((run / "run.json").read_text())["stages"]]


def test_made_up_runs_have_the_format_of_a_real_one(real: Path, tmp_path: Path) -> None:
    made_up = write_run(tmp_path / "run")
    assert files(made_up) == files(real)
    assert stages(made_up) == stages(real)


def test_a_real_run_makes_a_report(real: Path, tmp_path: Path) -> None:
    page = Page.read(build_report([real], tmp_path))
    results = json.loads((real / "results.json").read_text())
    together = results["execution"][-1]["sets"]["all"]
    table = next(rows for caption, rows in page.tables.items() if caption.startswith("All classes, after task 2"))
    assert table[1][3] == f"{100 * together['edge_accuracy']:.2f}%"
    assert table[-1][3] == f"{100 * together['cloud_accuracy']:.2f}%"
    assert any(f"{100 * together['chosen']['accuracy']:.2f}%" in row for row in table if "chosen" in row[0])
    made_up = Page.read(build_report([write_run(tmp_path / "run")], tmp_path / "made_up.html"))
    assert len(page.plots) == len(made_up.plots)
