"""A run of a cut network as two live ends: the same answers as in one piece, in every mode, and honest errors."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from eccsnn.errors import ConfigError
from eccsnn.experiments import live, load, load_config, run_config, split_load
from eccsnn.experiments.live import cloud_arguments as ecc_snn_arguments
from eccsnn.experiments.live import edge_run, sample_test_images
from eccsnn.experiments.split_live import cloud_arguments, measure
from eccsnn.services.cloud import background_cloud
from eccsnn.transport.images import encode_image

TINY = [
    "data.subset={train: 120, val: 40, test: 30}",
    "network.training.epochs=1",
    "unit.training.epochs=1",
    "finetune.training.epochs=1",
    "link.images=3",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The same run without a link comes first."""
    runs = tmp_path_factory.mktemp("runs")
    run_config("neucodex/digits_debug", [*TINY, "link.enabled=false"], runs_dir=runs)
    return run_config("neucodex/digits_debug", TINY, runs_dir=runs)


@pytest.fixture(scope="module")
def served(run):
    with background_cloud(**cloud_arguments(str(run))) as bound:
        yield f"{bound.host}:{bound.port}"


def test_the_run_measured_its_link(run):
    rows = json.loads((run / "results.json").read_text())["link"]
    assert [row["mode"] for row in rows] == [
        "edge_exit_head",
        "lock_step",
        "speculative",
        "edge_only",
        "upload_image",
    ]
    assert {row["answers"] for row in rows} == {"brief"}
    assert all(row["images"] == 3 and row["lost"] == 0 and row["rtt_ms"] == 20 for row in rows)
    by_mode = {row["mode"]: row for row in rows}
    assert by_mode["speculative"]["accuracy"] == by_mode["lock_step"]["accuracy"]
    assert by_mode["lock_step"]["bytes"]["wire_up"] > by_mode["lock_step"]["bytes"]["payload_up"] > 0
    assert by_mode["edge_only"]["timesteps"]["needed"] == by_mode["edge_only"]["timesteps"]["edge"] == 4
    assert by_mode["edge_only"]["wasted"]["edge_timesteps"] == 0
    assert by_mode["upload_image"]["bytes"]["payload_up"] == uploaded(90)


def uploaded(quality):
    """Mean bytes of the images that a link is measured with."""
    images, _, _ = sample_test_images(load_config("neucodex/digits_debug", TINY), 3)
    return np.mean([len(encode_image(image, "jpeg", quality=quality)) for image in images])


def test_another_jpeg_quality_is_measured_anew_and_sent(run):
    path = run_config("neucodex/digits_debug", [*TINY, "upload.jpeg_quality=20"], runs_dir=run.parents[2])
    rows = {row["mode"]: row for row in json.loads((path / "results.json").read_text())["link"]}
    assert rows["upload_image"]["bytes"]["payload_up"] == uploaded(20) < uploaded(90)


def test_a_link_is_added_to_what_was_computed_without_one(run):
    stages = {stage["name"]: stage["reused"] for stage in json.loads((run / "run.json").read_text())["stages"]}
    assert stages.pop("stream") is False
    assert set(stages) == {"network", "uncut", "unit", "finetune", "tables", "outputs", "counts"}
    assert all(stages.values())


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_both_ends_answer_as_the_loaded_run_does(run, served, tmp_path, threshold):
    out = tmp_path / "rows.jsonl"
    loaded = load(run)
    loaded.exit_head, loaded.threshold = None, threshold  # as in these modes, the cloud's logits decide
    images, _, _ = sample_test_images(load_config("neucodex/digits_debug", TINY), 6)
    expected = loaded.predict(np.stack(images))
    for mode in ("lock_step", "speculative"):
        summary = edge_run(run, [], cloud=served, limit=6, mode=mode, threshold=threshold, out=out, timeout_s=60)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert summary["lost"] == 0
        assert [row["label"] for row in rows] == [loaded.class_names[c] for c in expected.labels]
        assert [row["timesteps"] for row in rows] == expected.timesteps.tolist()
        if mode == "lock_step":
            assert [row["payload_bytes_up"] for row in rows] == expected.payload_bytes.tolist()


def test_each_mode_stops_at_the_threshold_of_whoever_decides(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    settings = json.loads((copy / "deployment.json").read_text())
    assert settings["exit_head"]
    settings |= {"threshold": 0.25, "cloud_threshold": 0.75}
    (copy / "deployment.json").write_text(json.dumps(settings))
    images, labels, _ = sample_test_images(load_config("neucodex/digits_debug", TINY), 1)
    rows = measure(copy, images, labels, rtt_ms=[0.0], rate_mbit=[100.0], timeout_s=60, jpeg_quality=90)
    found = {row["mode"]: row["threshold"] for row in rows}
    assert found["edge_exit_head"] == 0.25
    assert found["lock_step"] == found["speculative"] == 0.75

    arguments = cloud_arguments(str(copy))
    assert arguments["splits"][0].exit_threshold == 0.75
    with background_cloud(**arguments) as bound:

        def one(mode, **options):
            cloud = f"{bound.host}:{bound.port}"
            return edge_run(copy, [], cloud=cloud, limit=1, mode=mode, timeout_s=60, **options)["threshold"]

        assert (one("edge_exit_head"), one("speculative"), one("lock_step")) == (0.25, 0.75, 0.75)
        assert one("edge_exit_head", threshold=0.5) == one("lock_step", threshold=0.5) == 0.5


def test_serve_and_edge_open_a_run_once(run, served, monkeypatch):
    opened = []
    real = split_load.load_model
    monkeypatch.setattr(split_load, "load_model", lambda path: opened.append(path.name) or real(path))
    monkeypatch.setattr(live, "run_cloud", lambda **arguments: arguments["splits"][0].split_point)
    live.serve_run(run, host="127.0.0.1", port=0)
    assert opened == ["uncut.safetensors", "cut.safetensors"]
    edge_run(run, [], cloud=served, limit=1, timeout_s=60)
    assert opened == ["uncut.safetensors", "cut.safetensors"] * 2


def test_a_cloud_that_is_gone_leaves_the_edge_to_itself(run):
    summary = edge_run(run, [], cloud="127.0.0.1:1", limit=2, mode="speculative", timeout_s=5)
    assert summary["lost"] == 2
    assert set(summary["sources"]) == {"edge_fallback"}
    assert summary["accuracy"] is not None


def test_modes_and_runs_that_do_not_fit_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="knows edge_exit_head, edge_only, lock_step, speculative, upload_image"):
        edge_run(run, [], cloud="127.0.0.1:1", mode="speculation")
    with pytest.raises(ConfigError, match="a run of neucodex, expected one of ecc_snn"):
        ecc_snn_arguments(str(run))
    options = ["data.subset={train: 60, val: 20, test: 20}", "cloud.training.epochs=0"]
    cloud_only = run_config("baselines/cloud_only_digits_debug", options, runs_dir=tmp_path)
    with pytest.raises(ConfigError, match="no run of a cut spiking network"):
        measure(cloud_only, [], [], rtt_ms=[1], rate_mbit=[1], timeout_s=1, jpeg_quality=90)
    with pytest.raises(ConfigError, match=r"cloud_only\) knows none"):
        edge_run(cloud_only, [], cloud="127.0.0.1:1", limit=1)
