"""The notebook is what its script says, and runs from its first cell to its last."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the extra 'notebooks' is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")

FOLDER = Path(__file__).resolve().parents[3] / "experiments"
SCRIPT, NOTEBOOK = FOLDER / "walkthrough.py", FOLDER / "walkthrough.ipynb"


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_the_committed_notebook_is_the_one_made_from_the_script() -> None:
    assert cells(NOTEBOOK) == cells(SCRIPT), "run `make notebook` and commit experiments/walkthrough.ipynb"


def test_the_committed_notebook_has_no_outputs() -> None:
    code = [cell for cell in jupytext.read(NOTEBOOK).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_cell_runs_at_debug_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECCSNN_WALKTHROUGH_CONFIG", "ecc_snn/digits_debug")
    monkeypatch.setenv("ECCSNN_WALKTHROUGH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = jupytext.read(SCRIPT)
    client = nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5
    assert not any(output.get("name") == "stderr" for output in outputs), outputs
    (report,) = (tmp_path / "runs").glob("ecc_snn/digits_debug/*/report.html")
    assert "ecc_snn/digits_debug" in report.read_text(encoding="utf-8")
