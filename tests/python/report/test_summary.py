"""The sentences say what the numbers say, also when the numbers are bad."""

from pathlib import Path

import pytest
from report_fixture import COSTS, write_run

from eccsnn.report import load_run
from eccsnn.report.summary import summary


def one_point(edge: float, cloud: float, together: float) -> list[dict[str, object]]:
    chosen = {"measure": "entropy", "threshold": 0.4, "accuracy": together, "upload_rate": 0.2}
    record = {"samples": 100, "edge_accuracy": edge, "cloud_accuracy": cloud, "chosen": chosen}
    return [{"tasks_learned": 1, "classes_learned": [0, 1], "sets": {"all": record}}]


@pytest.mark.parametrize(
    ("together", "words", "pays"),
    [
        (0.93, "3.00 pp more than the edge alone and 2.00 pp less than the cloud alone", True),
        (0.96, "6.00 pp more than the edge alone and 1.00 pp more than the cloud alone", True),
        (0.90, "the same as the edge alone and 5.00 pp less than the cloud alone", True),
        (0.88, "2.00 pp less than the edge alone and 7.00 pp less than the cloud alone", False),
    ],
)
def test_accuracy_is_compared_with_both_sides(tmp_path: Path, together: float, words: str, pays: bool) -> None:
    run = load_run(write_run(tmp_path / "run", results={"execution": one_point(0.90, 0.95, together)}))
    text = " ".join(summary(run))
    assert words in text
    assert "20.00% of the images are uploaded (normalised entropy, threshold 0.4)" in text
    assert ("Uploading does not pay here" in text) == (not pays)


def test_costs_are_compared_with_the_cloud_and_carry_their_provenance(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run"))
    text = " ".join(summary(run))
    energy = run.execution[-1]["sets"]["all"]["chosen"]["energy_mj"]
    less = 1 - energy / COSTS.cloud_only_energy.value
    assert f"energy {energy:.4g} mJ (modelled), {less:.1%} less than cloud-only" in text
    assert f"upload {run.execution[-1]['sets']['all']['chosen']['payload_bytes']:.4g} bytes (modelled)" in text


def test_answers_that_fell_back_to_the_edge_are_told(tmp_path: Path) -> None:
    assert "was not reached" not in " ".join(summary(load_run(write_run(tmp_path / "a"))))
    run = load_run(write_run(tmp_path / "b", results={"link": {"fallbacks": 5}}))
    assert "For 5 images the cloud was not reached and the edge's own answer counted." in " ".join(summary(run))


def test_a_run_without_results_has_nothing_to_say(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", run={"status": "running"}, epochs=0)
    (path / "results.json").unlink()
    assert summary(load_run(path)) == []


@pytest.mark.parametrize(("rate", "words"), [(1.0, "Every image is uploaded"), (0.0, "Nothing is uploaded"), (0.5, "")])
def test_a_threshold_that_decides_nothing_is_told(tmp_path: Path, rate: float, words: str) -> None:
    execution = one_point(0.9, 0.95, 0.95)
    execution[0]["sets"]["all"]["chosen"]["upload_rate"] = rate  # type: ignore[index]
    text = " ".join(summary(load_run(write_run(tmp_path / "run", results={"execution": execution}))))
    assert words in text
    assert ("so this is" in text) == bool(words)


def test_layers_that_never_spike_are_told(tmp_path: Path) -> None:
    silent = {"convs.conv_last.lif": 0.0, "hidden.0.lif": 0.0}
    text = " ".join(summary(load_run(write_run(tmp_path / "run", results={"edge": {"firing_rates": silent}}))))
    assert f"2 of the edge's 8 spiking layers never spike on the counted images ({', '.join(silent)})" in text
    assert "never spike" not in " ".join(summary(load_run(write_run(tmp_path / "other"))))


def test_a_link_without_uploads_has_no_bytes(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", results={"link": {"uploaded": 0, "wire_bytes_up": None}}))
    assert "measured), 0 of 200 images were uploaded. The median" in " ".join(summary(run))


def test_a_link_without_answers_by_the_edge_leaves_them_out(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", results={"link": {"latency_ms": {"edge_median": None}}}))
    assert "The median latency was 11.7 ms for the cloud's answers." in " ".join(summary(run))
