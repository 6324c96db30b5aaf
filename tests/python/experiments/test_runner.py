import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from eccsnn.errors import CheckpointError, ConfigError, EccsnnError
from eccsnn.experiments import load, run_config

TINY = [
    "data.subset={train: 120, val: 40, test: 40}",
    "cloud.training.epochs=1",
    "edge.training.epochs=1",
    "update.training.epochs=1",
    "edge.model.timesteps=2",
    "link.enabled=false",
    "scenario=B6-Inc4",
]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def comparable(records):
    return [{k: v for k, v in r.items() if k not in ("time", "seconds", "samples_per_second")} for r in records]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs):
    return run_config("ecc_snn/digits_debug", TINY, runs_dir=runs)


def test_run_directory_holds_what_is_needed_to_repeat_it(finished):
    info = json.loads((finished / "run.json").read_text())
    assert info["status"] == "finished"
    assert [stage["name"] for stage in info["stages"]] == ["cloud", "edge", "update_1", "logits", "counts"]
    assert {"torch", "eccsnn", "python"} <= info["versions"].keys()
    assert info["hardware"]["isa"]
    assert (finished / "config.yaml").is_file()
    assert {p.name for p in (finished / "models").iterdir()} == {
        f"{m}.safetensors" for m in ("cloud", "edge", "edge_0", "edge_1")
    }
    assert any((finished / "tensorboard").iterdir())
    assert {r["stage"] for r in lines(finished / "metrics.jsonl")} == {"cloud", "edge", "update_1"}


def test_results_are_consistent(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["scenario"]["tasks"] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert [len(row) for row in results["update"]["accuracy_matrix"]] == [1, 2]
    for step in results["execution"]:
        for part in step["sets"].values():
            for curve in part["curves"].values():
                rates = curve["upload_rate"]
                assert rates == sorted(rates, reverse=True)
                assert curve["accuracy"][-1] == pytest.approx(part["edge_accuracy"])
            chosen = part["chosen"]
            assert chosen["chosen_on"] == "validation"
            at = part["curves"]["entropy"]["threshold"].index(chosen["threshold"])
            assert part["curves"]["entropy"]["accuracy"][at] == chosen["accuracy"]
    # an edge that has learnt six of ten classes cannot be right on the others
    first = results["execution"][0]["sets"]["all"]
    assert first["edge_accuracy"] <= 0.7
    assert np.sum(results["update"]["confusion"]) == results["data"]["test"]
    assert {row["provenance"] for row in results["costs"]} <= {
        "measured",
        "modelled",
        "published",
        "modelled + published",
    }


def test_every_measure_has_a_threshold_of_its_own_chosen_on_validation(finished):
    results = json.loads((finished / "results.json").read_text())
    for part in (part for step in results["execution"] for part in step["sets"].values()):
        assert part["chosen_by_measure"].keys() == part["curves"].keys()
        for measure, point in part["chosen_by_measure"].items():
            assert point["chosen_on"] == "validation"
            at = part["curves"][measure]["threshold"].index(point["threshold"])
            assert part["curves"][measure]["accuracy"][at] == point["accuracy"]
        assert part["chosen_by_measure"]["entropy"]["threshold"] == part["chosen"]["threshold"]


def stage_folder(run, name):
    stages = {s["name"]: s["key"] for s in json.loads((run / "run.json").read_text())["stages"]}
    return run.parents[2] / "stages" / name / stages[name][:16]


def test_the_cloud_is_judged_on_what_the_link_delivers_and_everything_in_fp32(finished, runs):
    from eccsnn.experiments.live import load_splits, run_configuration
    from eccsnn.training import predict_logits
    from eccsnn.transport.images import decode_image, encode_image

    overrides = [*TINY, "precision=bf16", "link.codec=jpeg", "link.jpeg_quality=20"]
    run = run_config("ecc_snn/digits_debug", overrides, runs_dir=runs)
    splits, loaded = load_splits(run_configuration(run)), load(run)
    with np.load(stage_folder(run, "logits") / "logits.npz") as arrays:
        logits = dict(arrays)
    pixels = splits.test.gather(np.arange(len(splits.test)))
    sent = np.stack([decode_image(encode_image(image, "jpeg", quality=20), "jpeg") for image in pixels])
    np.testing.assert_allclose(logits["cloud_test"], loaded.cloud_logits(sent), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits["cloud_original_test"], loaded.cloud_logits(pixels), rtol=1e-5, atol=1e-5)
    fp32 = predict_logits(loaded.model, splits.test, mean=splits.mean, std=splits.std)
    np.testing.assert_allclose(logits["edge_1_test"], fp32, rtol=1e-5, atol=1e-5)
    assert not np.allclose(logits["cloud_test"], logits["cloud_original_test"])
    with np.load(stage_folder(finished, "logits") / "logits.npz") as arrays:  # PNG delivers what was sent
        assert (arrays["cloud_test"] == arrays["cloud_original_test"]).all()


def test_a_link_that_fails_costs_no_results_and_is_not_kept(runs, monkeypatch):
    from eccsnn.experiments import ecc_snn

    overrides = [*TINY, "link.enabled=true", "link.images=4", "seed=3"]
    measured = {"fallbacks": 2, "uploaded": 1}

    def broken(*_, **__):
        raise EccsnnError("the cloud process did not start")

    monkeypatch.setattr(ecc_snn, "measure_link", broken)
    with pytest.raises(EccsnnError, match="did not start"):
        run_config("ecc_snn/digits_debug", overrides, runs_dir=runs)
    (results,) = (runs / "ecc_snn" / "digits_debug").glob("seed3-*/results.json")
    assert json.loads(results.read_text())["execution"]
    monkeypatch.setattr(ecc_snn, "measure_link", lambda *_, **__: measured)
    run = run_config("ecc_snn/digits_debug", overrides, runs_dir=runs)
    assert json.loads((run / "results.json").read_text())["link"] == measured
    assert "2 of 3 uploads got no answer" in (run / "run.log").read_text()
    monkeypatch.setattr(ecc_snn, "measure_link", lambda *_, **__: {"fallbacks": 0, "uploaded": 3})
    run = run_config("ecc_snn/digits_debug", overrides, runs_dir=runs)  # measured anew
    assert json.loads((run / "results.json").read_text())["link"]["uploaded"] == 3


def test_every_state_of_the_edge_has_its_own_costs(finished):
    results = json.loads((finished / "results.json").read_text())
    first, last = (step["sets"]["all"] for step in results["execution"])
    assert first["edge_only"]["energy_mj"] != last["edge_only"]["energy_mj"]  # the update changed the firing rates
    for part in (first, last):
        assert part["curves"]["entropy"]["energy_mj"][-1] == pytest.approx(part["edge_only"]["energy_mj"])
    rows = {row["name"]: row["value"] for row in results["costs"]}
    assert rows["edge energy per image"] == pytest.approx(last["edge_only"]["energy_mj"])


def test_an_update_that_the_cloud_teaches_does_not_save_its_uploads(finished, runs):
    taught = json.loads((finished / "results.json").read_text())["update"]["upload_saved"]
    assert taught["images_not_uploaded"] == taught["bytes_up_not_sent"] == taught["requests_not_sent"] == 0
    assert "distils from the cloud" in taught["definition"]
    alone = run_config("ecc_snn/digits_debug", [*TINY, "update.logit_weight=0"], runs_dir=runs)
    saved = json.loads((alone / "results.json").read_text())["update"]["upload_saved"]
    assert 0 < saved["images_not_uploaded"] == saved["requests_not_sent"] < 120
    assert saved["bytes_down_not_sent"] > taught["bytes_down_not_sent"]


def test_update_metrics_come_with_their_definitions(finished):
    update = json.loads((finished / "results.json").read_text())["update"]
    named = {"average_incremental_accuracy", "last_accuracy", "forgetting", *update["other"]}
    assert named == update["definitions"].keys()
    assert update["other"]["forgetting_max_past_or_now"] >= max(0, update["forgetting"])


def test_running_again_reuses_every_stage_and_gives_the_same_results(finished, runs):
    before = json.loads((finished / "results.json").read_text())
    records = lines(finished / "metrics.jsonl")
    again = run_config("ecc_snn/digits_debug", TINY, runs_dir=runs)
    assert again == finished
    assert all(stage["reused"] for stage in json.loads((again / "run.json").read_text())["stages"])
    assert json.loads((again / "results.json").read_text()) == before
    assert comparable(lines(again / "metrics.jsonl")) == comparable(records)


def test_running_again_keeps_the_history(finished, runs):
    before = json.loads((finished / "run.json").read_text())
    after = json.loads((run_config("ecc_snn/digits_debug", TINY, runs_dir=runs) / "run.json").read_text())
    assert after["started"] == before["started"]
    assert after["seconds"] == pytest.approx(sum(stage["seconds"] for stage in after["stages"]), abs=0.01)
    assert not [path for path in (finished / "models").iterdir() if path.name.startswith(".")]


def test_another_seed_reuses_the_teacher_only(finished, runs):
    other = run_config("ecc_snn/digits_debug", [*TINY, "seed=1"], runs_dir=runs)
    stages = {s["name"]: s["reused"] for s in json.loads((other / "run.json").read_text())["stages"]}
    assert stages == {"cloud": True, "edge": False, "update_1": False, "logits": False, "counts": False}


def test_the_same_seed_in_another_place_gives_the_same_numbers(finished, tmp_path):
    other = run_config("ecc_snn/digits_debug", TINY, runs_dir=tmp_path)
    assert json.loads((other / "results.json").read_text()) == json.loads((finished / "results.json").read_text())


def test_a_teacher_without_weight_is_not_part_of_an_edge(runs):
    plain = [*TINY, "edge.distillation={logit_weight: 0, feature_weight: 0}", "update.enabled=false"]
    run_config("ecc_snn/digits_debug", plain, runs_dir=runs)
    other = run_config("ecc_snn/digits_debug", [*plain, "cloud.seed=5"], runs_dir=runs)
    stages = {s["name"]: s["reused"] for s in json.loads((other / "run.json").read_text())["stages"]}
    assert stages["cloud"] is False
    assert stages["edge"] is True


def test_loaded_run_predicts_and_steps(finished):
    import torch

    run = load(finished)
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 32, 32)).astype(np.uint8)
    prediction = run.predict(images)
    assert prediction.labels.shape == (5,)
    assert ((prediction.ambiguity >= 0) & (prediction.ambiguity <= 1)).all()
    assert (prediction.upload == (prediction.ambiguity > run.threshold)).all()
    state = run.init_state(1)
    x = torch.zeros(1, 3, 32, 32)
    total = 0
    for _ in range(run.model.timesteps):
        logits, state = run.step(x, state)
        total = total + logits
    torch.testing.assert_close(total / run.model.timesteps, run(x), rtol=1e-4, atol=1e-5)


def test_image_files_are_cut_and_scaled_as_the_training_images(finished, tmp_path):
    from PIL import Image

    from eccsnn.data.decode import decode_image

    pixels = np.random.default_rng(0).integers(0, 255, (40, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (load(finished).read_image(tmp_path / "wide.png") == decode_image(tmp_path / "wide.png", 32)).all()


def test_random_offloading_draws_anew_for_every_image(finished, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    settings = json.loads((copy / "deployment.json").read_text()) | {"measure": "random"}
    (copy / "deployment.json").write_text(json.dumps(settings))
    run = load(copy)
    logits = np.zeros((1, 10), np.float32)
    draws = np.array([run.ambiguity(logits)[0] for _ in range(200)])
    assert 0.4 < (draws > 0.5).mean() < 0.6


def test_a_loaded_run_computes_in_fp32_unless_told_otherwise(finished):
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 32, 32)).astype(np.uint8)
    fp32, bf16 = load(finished), load(finished, precision="bf16")
    assert (fp32.precision, bf16.precision, fp32.device) == ("fp32", "bf16", "cpu")
    assert not (bf16.edge_logits(images) == fp32.edge_logits(images)).all()


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:99", r"device is 'cuda:99', but torch \S+ sees"), ("gpu", "device is 'gpu', expected cpu, cuda or cuda:N")],
)
def test_a_device_that_is_not_there_is_a_clear_error(finished, device, message):
    with pytest.raises(ConfigError, match=message):
        load(finished, device=device)
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        load(finished, precision="fp8")


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (5, 1, 32, 32), (3, 32, 32)])
def test_loaded_run_rejects_other_shapes(finished, shape):
    with pytest.raises(ValueError, match=r"expected uint8 \[N, 3, 32, 32\]"):
        load(finished).predict(np.zeros(shape, np.uint8))


def test_unfinished_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="is not a finished run"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema": "eccsnn.deployment/1", ', r"deployment\.json is not what a run writes: file: Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b'{"schema": "other"}', "schema: Input should be 'eccsnn.deployment/1'"),
        (b'{"schema": "eccsnn.deployment/1"}', "class_names: Field required"),
        (b'{"threshold": "abc"}', "threshold: Input should be a valid number"),
    ],
)
def test_a_broken_deployment_is_a_clear_error(finished, tmp_path, content, message):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "deployment.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load(copy)


def test_a_broken_configuration_of_a_run_is_a_clear_error(finished, tmp_path):
    from eccsnn.experiments.live import run_configuration

    (tmp_path / "config.yaml").write_text("data: {name: [")
    with pytest.raises(ConfigError, match=r"config\.yaml is not valid YAML"):
        run_configuration(tmp_path)


def test_truncated_model_is_a_clear_error(finished, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    model = copy / "models" / "edge.safetensors"
    data = model.read_bytes()
    model.unlink()
    model.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load(copy)


def test_cuda_without_gpu_is_a_clear_error(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"torch \S+ sees no GPU here"):
        run_config("ecc_snn/digits_debug", ["device=cuda"], runs_dir=tmp_path)


def test_unknown_feature_map_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"teacher_map is 'pool9'.*pool3"):
        run_config("ecc_snn/digits_debug", [*TINY, "edge.distillation.teacher_map=pool9"], runs_dir=tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.subset=null", "data.val_fraction=0"], "leaves no validation images"),
        (["scenario=B1-Inc3"], "first task has one class"),
        (["data.subset={train: 120, val: 40, test: 3}"], "has 0 test images"),
        (["costs.profile=edge_45nm_wify"], "did you mean 'edge_45nm_wifi'"),
        (["costs.profile=ecc_snn_published", "costs.memory=true"], "holds whole figures for an image"),
        (["update.training.select=best_validation"], "no images of the earlier classes to validate on"),
        (["cloud.model.name=vgg17"], "unknown model 'vgg17'.*vgg16"),
        (["edge.model.name=vgg16"], "ANN without spiking neurons"),
        (["cloud.model.freeze_trunk=true"], "unknown option 'freeze_trunk'"),
        (["data.image_size=20"], "image_size is 20"),
    ],
)
def test_what_would_fail_at_the_end_fails_before_anything_is_trained(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config("ecc_snn/digits_debug", [*TINY, *overrides], runs_dir=tmp_path)
    assert not (tmp_path / "stages").exists()


def test_failure_is_recorded_in_the_run(tmp_path):
    with pytest.raises(ConfigError, match="student_map"):
        run_config("ecc_snn/digits_debug", [*TINY, "edge.distillation.student_map=none"], runs_dir=tmp_path)
    (info,) = tmp_path.glob("ecc_snn/digits_debug/*/run.json")
    recorded = json.loads(info.read_text())
    assert recorded["status"] == "failed"
    assert "student_map" in recorded["error"]


def test_a_run_that_another_process_writes_is_left_alone(finished, runs):
    before = (finished / "metrics.jsonl").read_bytes()
    with open(finished / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EccsnnError, match="being written by another process"):
            run_config("ecc_snn/digits_debug", TINY, runs_dir=runs)
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_terminated_run_says_that_it_was_interrupted(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "eccsnn.cli", "run", "ecc_snn/digits_debug", *TINY, "--runs-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(tmp_path.glob("stages/*/*.partial")):
        time.sleep(0.01)  # polls for progress of another process; no assertion depends on time
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    (info,) = tmp_path.glob("ecc_snn/digits_debug/*/run.json")
    assert json.loads(info.read_text())["status"] == "interrupted"


def test_killed_at_some_moments_the_run_resumes_to_the_same_numbers(finished, tmp_path):
    """kill -9 whenever the run has written a little more; in the end the results are those of an uninterrupted run."""
    command = [
        sys.executable,
        "-m",
        "eccsnn.cli",
        "run",
        "ecc_snn/digits_debug",
        *TINY,
        "checkpoint_seconds=0.01",
        "--no-report",
        "--runs-dir",
        str(tmp_path),
    ]

    def written():
        return sum(1 for _ in tmp_path.rglob("checkpoint.safetensors")), len(
            list(tmp_path.glob("stages/*/*/stage.json"))
        )

    kills = 0
    while kills < 4:
        before = written()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and written() == before:
            time.sleep(0.01)  # polls for progress of another process; no assertion depends on time
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (results,) = tmp_path.glob("ecc_snn/digits_debug/*/results.json")
    assert json.loads(results.read_text()) == json.loads((finished / "results.json").read_text())
