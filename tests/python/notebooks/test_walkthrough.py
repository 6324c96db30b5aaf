"""The notebooks are what their scripts say, and run from the first cell to the last."""

import base64
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the extra 'notebooks' is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")

FOLDER = Path(__file__).resolve().parents[3] / "experiments"
NAMES = ("walkthrough", "split_walkthrough", "events_walkthrough", "incremental_walkthrough")


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_notebook_is_the_one_made_from_the_script(name: str) -> None:
    made, script = FOLDER / f"{name}.ipynb", FOLDER / f"{name}.py"
    assert cells(made) == cells(script), f"run `make notebook` and commit experiments/{name}.ipynb"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_notebook_has_no_outputs(name: str) -> None:
    code = [cell for cell in jupytext.read(FOLDER / f"{name}.ipynb").cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("name", "config", "pictures"),
    [
        ("walkthrough", "ecc_snn/digits_debug", 5),
        ("split_walkthrough", "neucodex/digits_debug", 4),
        ("events_walkthrough", "", 5),
        ("incremental_walkthrough", "incremental/digits_debug", 4),
    ],
)
def test_every_cell_runs_at_debug_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, config: str, pictures: int
) -> None:
    monkeypatch.setenv("ECCSNN_WALKTHROUGH_CONFIG", config)
    monkeypatch.setenv("ECCSNN_WALKTHROUGH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ECCSNN_WALKTHROUGH_RECORDINGS", "100")
    monkeypatch.setenv("ECCSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = jupytext.read(FOLDER / f"{name}.py")
    client = nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    found = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(found) == pictures
    assert not any(output.get("name") == "stderr" for output in outputs), outputs
    said = "".join(output.get("text", "") for output in outputs)
    if name == "walkthrough":
        (report,) = (tmp_path / "runs").glob(f"{config}/*/report.html")
        assert config in report.read_text(encoding="utf-8")
    elif name == "events_walkthrough":
        (film,) = [output["data"]["image/gif"] for output in outputs if "image/gif" in output.get("data", {})]
        assert base64.b64decode(film).startswith(b"GIF89a")
        (table,) = [output["data"]["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
        assert table.count("| yes |") == 2
    elif name == "incremental_walkthrough":
        assert "bytes each, equal: True" in said
        assert "the same answers: True" in said
        assert "un-learnt equals never seen: True" in said
        assert "merged equals all seen at once: True" in said
    else:
        assert "the same logits: True" in said
        assert "lossless: True" in said
