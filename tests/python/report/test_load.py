"""Reading run directories: what is accepted, and what is said about broken ones."""

from pathlib import Path

import pytest
from report_fixture import write_run

from eccsnn.errors import DataError
from eccsnn.report import load_run


def test_a_complete_run_is_read(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", seed=3, epochs=4))
    assert (run.name, run.seed, run.status) == ("ecc_snn/digits_small", 3, "finished")
    assert len(run.epochs) == 3 * 4
    assert run.config["scenario"] == "B5-Inc5"
    assert run.class_name(7) == "digit 7"
    assert run.class_name("99") == "class 99"
    assert run.problems == []


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "results.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path / "run")
    (path / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        load_run(path)


@pytest.mark.parametrize("name", ["run.json", "results.json"])
def test_broken_json_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path / "run")
    (path / name).write_text((path / name).read_text()[:40])
    with pytest.raises(DataError, match=f"{name} is not valid JSON"):
        load_run(path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", results={"schema": "eccsnn.results/9"})
    with pytest.raises(DataError, match=r"eccsnn\.results/9.*expected 'eccsnn\.results/1'"):
        load_run(path)


def test_an_unknown_status_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="status is 'paused', expected one of running"):
        load_run(write_run(tmp_path / "run", run={"status": "paused"}))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a run directory"):
        load_run(tmp_path / "nowhere")


def test_invalid_yaml_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    (path / "config.yaml").write_text("a: [1, 2")
    with pytest.raises(DataError, match=r"config\.yaml is not valid YAML"):
        load_run(path)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_needs_no_results_and_may_end_in_a_torn_line(tmp_path: Path, status: str) -> None:
    path = write_run(tmp_path / "run", run={"status": status}, epochs=4)
    (path / "results.json").unlink()
    metrics = path / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-30])
    run = load_run(path)
    assert run.results == {}
    assert len(run.epochs) == 3 * 4 - 1
    assert "cut off" in run.problems[0]


def test_a_torn_line_of_a_finished_run_is_an_error(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", epochs=4)
    metrics = path / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-30])
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 12 is not valid JSON"):
        load_run(path)


def test_missing_metrics_are_said(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    (path / "metrics.jsonl").unlink()
    run = load_run(path)
    assert run.epochs == []
    assert "no training curves" in run.problems[0]
