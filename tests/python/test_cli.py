import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

TINY = [
    "data.subset={train: 120, val: 40, test: 40}",
    "cloud.training.epochs=1",
    "edge.training.epochs=1",
    "update.enabled=false",
    "link.images=6",
]


def call(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "eccsnn.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = call("run", "ecc_snn/digits_debug", *TINY, "--runs-dir", runs)
    (path,) = (runs / "ecc_snn" / "digits_debug").iterdir()
    assert str(path) in done.stdout
    assert "report.html" in done.stdout
    return path


def test_run_writes_a_report_and_measures_the_link(run):
    assert (run / "report.html").stat().st_size > 10_000
    link = json.loads((run / "results.json").read_text())["link"]
    assert link["provenance"] == "measured"
    assert link["requests"] == 6
    assert link["uploaded"] + link["fallbacks"] <= 6
    assert link["fallbacks"] == 0


def test_info():
    assert "torch" in call("info").stdout
    info = json.loads(call("info", "--json").stdout)
    assert info["versions"]["eccsnn"]
    assert info["hardware"]["isa"]


@pytest.mark.parametrize(
    ("what", "expected"),
    [("models", "spiking_vgg9"), ("datasets", "tiny_imagenet"), ("configs", "ecc_snn/digits_small")],
)
def test_list(what, expected):
    assert expected in call("list", what).stdout


def test_list_splits():
    shown = call("list", "splits", "sew_resnet10", "connect=iand", "width=0.125", "image_size=64").stdout
    (row,) = (line for line in shown.splitlines() if "stage3" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")][:4] == ["stage3", "32x16x16", "1", "8192"]
    assert "list splits needs a model" in call("list", "splits", code=1).stderr
    assert "expected key=value" in call("list", "splits", "vgg16", "width", code=1).stderr
    assert "unknown model 'vg16'" in call("list", "splits", "vg16", code=1).stderr
    assert "takes no further arguments" in call("list", "models", "vgg16", code=1).stderr


def test_list_learners():
    shown = call("list", "learners").stdout
    assert "exact_ridge" in shown
    assert "Hayes and Kanan 2020" in shown


def test_list_of_something_else():
    assert "expected models, splits, datasets, learners, configs or keys" in call("list", "cats", code=1).stderr


def test_predict(run, tmp_path):
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(image)
    row = json.loads(call("predict", run, image, "--json").stdout)
    assert row["decision"] in ("edge", "upload")
    assert (row["cloud_label"] is None) == (row["decision"] == "edge")
    broken = tmp_path / "b.png"
    broken.write_bytes(image.read_bytes()[:30])
    assert "b.png cannot be read as an image" in call("predict", run, broken, code=1).stderr


def test_edge_without_a_cloud_answers_itself(run, tmp_path):
    out = tmp_path / "out.jsonl"
    done = call("edge", run, "--cloud", "127.0.0.1:1", "--limit", 3, "--threshold", 0, "--timeout-s", 0.5, "--out", out)
    summary = json.loads(done.stdout)
    assert summary["fallbacks"] == 3
    assert summary["fallback_reasons"]
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == ["edge_fallback"] * 3


def test_edge_and_cloud_as_two_processes(run):
    server = subprocess.Popen(
        [sys.executable, "-m", "eccsnn.cli", "serve", str(run), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = server.stdout.readline()
        port = json.loads(line[line.index("{") :])["port"]
        summary = json.loads(call("edge", run, "--cloud", f"127.0.0.1:{port}", "--limit", 4, "--threshold", 0).stdout)
    finally:
        server.terminate()
        assert server.wait(30) == 0
    assert summary["uploaded"] == 4
    assert summary["payload_bytes_up"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "ecc_snn/digits_debgu"], "Did you mean"),
        (["run", "ecc_snn/digits_debug", "edge.model.timestep=3"], "did you mean edge.model.timesteps?"),
        (["predict", "nowhere", "x.png"], "is not a finished run"),
        (["report", "nowhere"], "nowhere"),
        (["run", "ecc_snn/cifar10_debug"], "root"),
        (["edge", "nowhere", "--codec", "gif"], "codec is 'gif', expected one of png, jpeg, raw"),
        (["edge", "nowhere", "--limit", "0"], "limit is 0"),
        (["edge", "nowhere", "--cloud", "host:99999"], "expected HOST:PORT"),
        (["serve", "nowhere", "--tls-cert", "x.pem"], "give both, or neither"),
    ],
)
def test_errors_are_one_clear_line(arguments, message):
    assert message in call(*arguments, code=1).stderr.replace("\n", " ")


def test_list_keys_names_every_key_with_its_default():
    shown = call("list", "keys").stdout
    assert "edge.model.neuron.v_threshold" in shown
    assert "edge.distillation.feature_weight" in shown


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = call("run", "ecc_snn/digits_debug", "--runs-dir", tmp_path / "file", code=1)
    assert "cannot make the run directory" in done.stderr


def test_a_wrong_value_deep_inside_is_one_line_and_the_log_has_the_rest(tmp_path):
    done = call("run", "ecc_snn/digits_debug", "edge.distillation.student_map=nothing", "--runs-dir", tmp_path, code=1)
    assert "student_map is 'nothing'" in done.stderr.replace("\n", " ")
    (log,) = tmp_path.rglob("run.log")
    assert "Traceback" in log.read_text()


def test_interrupting_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "eccsnn.cli", "run", "ecc_snn/digits_debug", "--runs-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "cloud epoch" in line:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "the same command resumes it" in errors
    (info,) = tmp_path.rglob("run.json")
    assert json.loads(info.read_text())["status"] == "interrupted"


def test_usage_errors():
    assert call("run", code=2).stderr
