"""Experiments with cut networks: what a run keeps, and that its numbers follow from its models."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from eccsnn import offload
from eccsnn.costs import FRAMING, cloud_energy_mj, edge_energy_mj, load_profile, radio_energy_mj
from eccsnn.errors import CheckpointError, ConfigError
from eccsnn.experiments import load, load_config, run_config
from eccsnn.experiments import split as split_stages
from eccsnn.experiments.live import load_splits
from eccsnn.experiments.split_results import _Judged, right_answers
from eccsnn.training.evaluate import predict_timesteps
from eccsnn.transport.answers import brief_answer_bytes

TINY = ["data.subset={train: 120, val: 40, test: 60}", "network.training.epochs=1", "link.enabled=false"]
CUT = [*TINY, "unit.training.epochs=1", "finetune.training.epochs=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs):
    return run_config("neucodex/digits_debug", CUT, runs_dir=runs)


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text())


@pytest.fixture(scope="module")
def splits():
    return load_splits(load_config("neucodex/digits_debug", CUT))


def stage_names(path):
    return {stage["name"]: stage["reused"] for stage in json.loads((path / "run.json").read_text())["stages"]}


def test_every_stage_is_kept_and_shared_with_edge_only(finished, runs):
    assert list(stage_names(finished)) == ["network", "uncut", "unit", "finetune", "tables", "outputs", "counts"]
    kept = {path.name for path in (finished / "models").iterdir()}
    assert kept == {"cut.safetensors", "uncut.safetensors", "tables.bin", "exit_head.safetensors"}
    # 1 + 1 epochs of unit and whole network: what edge only gets after the backbone
    edge_only = run_config("baselines/edge_only_digits_debug", [*TINY, "finetune.training.epochs=2"], runs_dir=runs)
    reused = stage_names(edge_only)
    assert reused["network"]
    assert reused["uncut"]
    ours = json.loads((edge_only / "results.json").read_text())["uncut"]
    theirs = json.loads((finished / "results.json").read_text())["uncut"]
    assert ours["right"] == theirs["right"]


def test_another_codec_is_measured_anew_and_trained_never(finished, runs, monkeypatch):
    monkeypatch.setattr(split_stages, "CODEC", {"codec": "another"})
    again = stage_names(run_config("neucodex/digits_debug", CUT, runs_dir=runs))
    assert [name for name, reused in again.items() if not reused] == ["tables", "outputs"]


def test_results_follow_from_the_models(finished, results, splits):
    loaded = load(finished)
    statistics = {"mean": splits.mean, "std": splits.std}
    out = predict_timesteps(loaded.model, splits.test, point=loaded.point, exit_head=loaded.exit_head, **statistics)
    answers = offload.running_mean(out.logits).argmax(2) == splits.test.labels
    assert results["cut"]["accuracy_by_timestep"] == pytest.approx(answers.mean(1).tolist())
    np.testing.assert_array_equal(right_answers(results["cut"]["right"], 60), answers[-1])

    found = loaded.predict(splits.test.gather(np.arange(60)))
    assert results["payload"]["chosen"]["bytes"] == pytest.approx(found.payload_bytes.mean())
    assert results["cut"]["chosen"]["timesteps"] == pytest.approx(found.timesteps.mean())
    assert results["cut"]["chosen"]["accuracy"] == pytest.approx((found.labels == splits.test.labels).mean())
    np.testing.assert_array_equal(
        right_answers(results["cut"]["right_at_stop"], 60), found.labels == splits.test.labels
    )
    assert results["cut"]["stops"] == np.bincount(found.timesteps, minlength=5)[1:].tolist()
    rate = np.unpackbits(out.wire, axis=-1).sum((1, 2, 3, 4)) / (60 * 2 * 8 * 8)
    assert results["payload"]["wire_firing_rate"] == pytest.approx(rate.tolist())


def test_sizes_are_compared_at_the_named_point(results):
    cut = results["split"]
    assert (cut["point"], cut["point_shape"], cut["wire_shape"]) == ("stage2", [16, 8, 8], [2, 8, 8])
    assert (cut["fp32_bytes"], cut["one_bit_bytes"], cut["wire_one_bit_bytes"]) == (16384, 512, 64)
    for row in (results["payload"]["all_timesteps"], results["payload"]["chosen"]):
        times = row["times_smaller_than"]
        assert times["fp32"] == pytest.approx(16384 / row["bytes"])
        assert times["one_bit"] == pytest.approx(512 / row["bytes"])
        assert times["jpeg"] == pytest.approx(results["image_bytes"]["jpeg"] / row["bytes"])
    assert sum(results["payload"]["by_timestep"]) == pytest.approx(results["payload"]["all_timesteps"]["bytes"])


def test_the_threshold_comes_from_validation_data_and_the_loss_has_an_interval(finished, results, splits):
    loaded = load(finished)
    out = predict_timesteps(
        loaded.model, splits.val, point=loaded.point, exit_head=loaded.exit_head, mean=splits.mean, std=splits.std
    )
    curve = offload.exit_curve(out.logits, splits.val.labels, range(10), deciding=out.exit_logits, part="validation")
    assert loaded.threshold == pytest.approx(curve.threshold[offload.choose_exit(curve, 0.02)])
    loss = results["loss"]["all_timesteps"]
    assert loss["mean"] == pytest.approx(results["uncut"]["accuracy"] - results["cut"]["accuracy"])
    assert loss["low"] <= loss["mean"] <= loss["high"]


def test_head_and_cloud_have_thresholds_of_their_own():
    rng, ids, count = np.random.default_rng(0), list(range(10)), 400
    labels = rng.integers(0, 10, count)
    sets = SimpleNamespace(val=SimpleNamespace(labels=labels), test=SimpleNamespace(labels=labels))
    cloud = 3.0 * np.eye(10)[labels] + rng.standard_normal((4, count, 10))
    head = 0.3 * cloud + 0.3 * rng.standard_normal((4, count, 10))  # less sure
    arrays = {f"cut_{part}_{name}": x for part in ("val", "test") for name, x in (("logits", cloud), ("exit", head))}
    config = load_config("neucodex/digits_debug")
    free: tuple = tuple({mode: {"val": {}, "test": {}}} for mode in ("all_timesteps", "edge_exit_head"))
    by_head = _Judged(config, sets, ids, arrays, "cut", *free).exit
    without = {name: x for name, x in arrays.items() if not name.endswith("_exit")}
    by_cloud = _Judged(config, sets, ids, without, "cut", *free).exit
    assert by_cloud["cloud_threshold"] == by_cloud["threshold"]
    assert by_head["cloud_threshold"] == by_cloud["threshold"]
    assert by_head["threshold"] != by_head["cloud_threshold"]


def test_a_device_pays_for_its_exit_head_where_it_runs_and_for_brief_answers(finished, results, splits):
    macs = results["cut"]["work"]["exit_head"]["macs"]
    assert macs == 2 * 10  # channels x classes, each timestep
    profile = load_profile(results["profile"])
    cut, steps = results["cut"], np.arange(1, 5)
    assert cut["mode"] == "edge_exit_head"
    work, framing = cut["work"]["edge"], FRAMING["edge_exit_head"]
    head = np.array([edge_energy_mj(profile, synops=0, macs=macs * t).value for t in steps])
    edge = np.array(
        [edge_energy_mj(profile, synops=s, macs=m).value for s, m in zip(work["synops"], work["macs"], strict=True)]
    )
    up = np.cumsum(results["payload"]["by_timestep"]) + framing.first_up.value + (steps - 1) * framing.further_up.value
    up += 40 * steps
    answer = brief_answer_bytes(range(10)) + framing.answer_down.value + 40
    one, every = (radio_energy_mj(profile, bytes_up=up[-1], bytes_down=n * answer).value for n in (1, 4))
    assert cut["all_timesteps"]["device_energy_mj"] == pytest.approx(edge[-1] + one)
    assert cut["exit"]["test"]["device_energy_mj"][-1] == pytest.approx(edge[-1] + head[-1] + every)
    stops = np.repeat(steps, cut["stops"])
    chosen = radio_energy_mj(
        profile,
        bytes_up=cut["chosen"]["payload_bytes"] + (up - np.cumsum(results["payload"]["by_timestep"]))[stops - 1].mean(),
        bytes_down=stops.mean() * answer,
    ).value
    assert cut["chosen"]["radio_energy_mj"] == pytest.approx(chosen)
    assert cut["chosen"]["device_energy_mj"] == pytest.approx((edge + head)[stops - 1].mean() + chosen)
    dense = np.asarray(cut["work"]["cloud"]["dense"])
    np.testing.assert_allclose(dense, dense[0] * steps, rtol=0.002)  # the head sees the mean of them once
    served = cloud_energy_mj(profile, macs=dense[stops - 1].mean()).value
    assert cut["chosen"]["energy_mj"] == pytest.approx(cut["chosen"]["device_energy_mj"] + served)


def test_each_mode_has_bytes_energy_and_latency_of_its_own(runs):
    path = run_config("neucodex/digits_debug", [*CUT, "exit.decide=cloud_logits", "exit.tolerance=0.01"], runs_dir=runs)
    results = json.loads((path / "results.json").read_text())
    cut, payload = results["cut"], results["payload"]
    assert list(cut["by_mode"]) == ["lock_step", "speculative"]
    assert cut["mode"] == "lock_step"
    waits, speculates = cut["by_mode"].values()
    assert waits == pytest.approx(cut["chosen"])
    assert (waits["accuracy"], waits["timesteps"]) == (speculates["accuracy"], speculates["timesteps"])
    assert waits["timesteps"] < 4
    # this edge is through long before a round trip is over
    assert speculates["payload_bytes"] == pytest.approx(cut["all_timesteps"]["payload_bytes"])
    assert speculates["device_energy_mj"] > waits["device_energy_mj"]
    for mode in cut["by_mode"]:
        sizes = payload["by_mode"][mode]
        assert sizes["bytes"] == pytest.approx(cut["by_mode"][mode]["payload_bytes"])
        assert sizes["times_smaller_than"]["fp32"] == pytest.approx(16384 / sizes["bytes"])


def test_the_ablation_crosses_compression_and_early_exit(results):
    rows = {(row["compression"], row["early_exit"]): row for row in results["ablation"]}
    assert len(rows) == 4
    assert rows[False, False]["payload_bytes"] == 512
    assert rows[False, False]["accuracy"] == pytest.approx(results["uncut"]["accuracy"])
    assert rows[True, True]["payload_bytes"] == pytest.approx(results["payload"]["chosen"]["bytes"])
    for compression in (False, True):
        # not the energy: to exit early takes an answer a timestep, and one in all otherwise
        assert rows[compression, True]["payload_bytes"] <= rows[compression, False]["payload_bytes"]
    energy = rows[True, True]["device_energy_mj"]
    assert energy == pytest.approx(results["cut"]["chosen"]["device_energy_mj"])


def test_sums_of_spikes_cross_in_bit_planes_where_no_unit_stands(runs, results):
    path = run_config("neucodex/digits_debug", [*CUT, "network.model.connect=add"], runs_dir=runs)
    sums = json.loads((path / "results.json").read_text())
    assert sums["split"] == results["split"]
    found = {(row["compression"], row["early_exit"]): row["payload_bytes"] for row in sums["ablation"]}
    assert found[False, False] == 2 * 512  # 0 to 2 spikes an element
    assert found[True, False] == pytest.approx(sums["payload"]["all_timesteps"]["bytes"])


def test_spikebottlenet_takes_all_timesteps(runs):
    path = run_config("spikebottlenet/digits_debug", CUT, runs_dir=runs)
    results = json.loads((path / "results.json").read_text())
    assert results["cut"]["exit"] is None
    assert results["cut"]["stops"] == [0, 0, 0, 60]
    assert list(results["cut"]["by_mode"]) == ["all_timesteps"]
    assert [row["early_exit"] for row in results["ablation"]] == [False, False]
    assert load(path).threshold == offload.NEVER


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("neucodex", "unit.point=stage9", "unknown split point 'stage9'"),
        (
            "neucodex",
            "network.model.name=resnet18",
            "resnet18, an ann, but neucodex takes an snn, like spiking_vgg9",
        ),
        ("neucodex", "costs.profile=ecc_snn_published", "single timesteps"),
        ("neucodex", "unit=null", "neucodex cuts its network; add a unit"),
        ("neucodex", "unit.chanels=3", "did you mean unit.channels"),
        ("neucodex", "finetune.exit_weight=2", "less than or equal to 1"),
        ("spikebottlenet", "finetune.exit_weight=0.5", "spikebottlenet is trained without the loss at every timestep"),
        ("baselines/bottlenet", "finetune.exit_weight=0.5", "for neucodex and edge_only; bottlenet is trained"),
        ("spikebottlenet", "exit.decide=edge_head", "neucodex alone trains and stops by; spikebottlenet takes"),
        ("baselines/edge_only", "exit.decide=edge_head", "edge_only takes cloud_logits"),
        ("spikebottlenet", "system=spikebotlenet", "Did you mean spikebottlenet"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(runs, name, override, message):
    with pytest.raises(ConfigError, match=message):
        run_config(
            f"{name}_digits_debug" if "/" in name else f"{name}/digits_debug", overrides(name, override), runs_dir=runs
        )


def overrides(name, override):
    return [*(TINY if name == "baselines/edge_only" else CUT), override]


def test_thresholds_need_validation_images(runs):
    with pytest.raises(ConfigError, match="leaves no validation images"):
        run_config("neucodex/digits_debug", ["data.subset=null", "data.val_fraction=0"], runs_dir=runs)


def test_another_precision_is_refused_and_not_ignored(finished):
    assert load(finished, precision="fp32").threshold == load(finished).threshold
    with pytest.raises(ValueError, match="a run of neucodex, which computes in fp32"):
        load(finished, precision="bf16")


def test_a_broken_run_says_so(finished, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "deployment.json").write_bytes((finished / "deployment.json").read_bytes())
    for model in (finished / "models").iterdir():
        (tmp_path / "models" / model.name).write_bytes(model.read_bytes())
    load(tmp_path)
    tables = tmp_path / "models" / "tables.bin"
    tables.write_bytes(tables.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="holds no tables of the spike codec"):
        load(tmp_path)
    settings = json.loads((finished / "deployment.json").read_text())
    (tmp_path / "deployment.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "cloud_threshold"}))
    with pytest.raises(CheckpointError, match="cloud_threshold is missing"):
        load(tmp_path)
    (tmp_path / "deployment.json").write_text('{"schema": "eccsnn.split_deployment/1"}')
    with pytest.raises(CheckpointError, match="class_names"):
        load(tmp_path)
