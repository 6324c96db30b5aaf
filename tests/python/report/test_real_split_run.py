"""The made-up runs of cut networks have the format of a real one, and a real one makes a report."""

import json
from pathlib import Path

import pytest
from report_page import Page
from split_fixture import NAMES, write_split_run
from test_real_run import files, stages

from eccsnn.experiments import run_config
from eccsnn.report import build_report

TINY = [
    "data.subset={train: 64, val: 24, test: 24}",
    "network.model.timesteps=2",
    "network.training.epochs=1",
    "finetune.training.epochs=1",
    "link.enabled=false",
]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_config(NAMES["neucodex"], TINY, runs_dir=tmp_path_factory.mktemp("runs"))


def test_made_up_runs_have_the_format_of_a_real_one(real: Path, tmp_path: Path) -> None:
    made_up = write_split_run(tmp_path / "run")
    assert files(made_up)["results.json"] == files(real)["results.json"]
    assert files(made_up)["run.json"] == files(real)["run.json"]
    assert stages(made_up) == stages(real)


def test_a_real_run_makes_a_report(real: Path, tmp_path: Path) -> None:
    page = Page.read(build_report([real], tmp_path))
    results = json.loads((real / "results.json").read_text())
    table = page.tables["Networks of this run"]
    assert table[1][1] == f"{100 * results['uncut']['accuracy']:.2f}%"
    assert table[-1][1] == f"{100 * results['cut']['chosen']['accuracy']:.2f}%"
    made_up = Page.read(build_report([write_split_run(tmp_path / "run")], tmp_path / "made_up.html"))
    assert len(page.plots) == len(made_up.plots)
