"""Runs on event frames: what a configuration may say of them, and a finished run that is given recordings."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import eccsnn
from eccsnn.data import model_input
from eccsnn.data.events import Events, write_events
from eccsnn.errors import ConfigError, DataError
from eccsnn.experiments import run_config
from eccsnn.experiments.schema import load_config
from eccsnn.models import build_model, split
from eccsnn.systems.split_services import edge_split
from eccsnn.transport.packed_spikes import pack_spikes


@pytest.mark.parametrize(
    ("config", "override", "message"),
    [
        ("digits_debug", "data.timesteps=4", "timesteps is for event frames; digits has images"),
        ("digits_debug", "data.binary=true", "binary is for event frames"),
        ("digits_debug", "data.augment=nda", "augment is nda, which is for event frames"),
        ("digits_debug", "data.mix=event_mix", "mix is for event frames; digits has images"),
        ("cifar10_dvs_debug", "data.mix=mixup", "data.mix"),
        ("cifar10_dvs_debug", "data.root=/x", "recordings are either read or made"),
        ("cifar10_dvs_debug", "data.slice_by=pixels", "data.slice_by"),
        ("cifar10_dvs_debug", "data.simulate.image=digits", "simulate.image"),
    ],
)
def test_the_data_section_says_what_is_wrong(config, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(f"neucodex/{config}", [override])


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("neucodex/cifar10_dvs_debug", ["network.model.timesteps=4"], "a recording becomes 3 frames, one a timestep"),
        ("ecc_snn/cifar10_dvs_debug", ["edge.model.timesteps=4"], "edge.model.timesteps is 4"),
        ("ecc_snn/cifar10_dvs_debug", ["link.codec=jpeg"], "event frames are uploaded without loss"),
        (
            "neucodex/cifar10_dvs_debug",
            ["system=bottlenet", "exit.decide=cloud_logits", "finetune.exit_weight=0", "network.model.name=resnet18"],
            "no published form",
        ),
    ],
)
def test_what_cannot_work_is_said_before_any_training(config, overrides, message, caches, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCSNN_CACHE", str(caches))
    with pytest.raises(ConfigError, match=message):
        run_config(config, overrides, runs_dir=tmp_path)
    assert not (tmp_path / "stages").exists()


@pytest.fixture(scope="module")
def finished(caches, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCSNN_CACHE", str(caches))
        overrides = ["link.enabled=false", "network.training.epochs=1"]
        return run_config("neucodex/cifar10_dvs_debug", overrides, runs_dir=tmp_path_factory.mktemp("runs"))


def test_a_run_may_mix_recordings_and_keep_bits(finished, caches, monkeypatch):
    monkeypatch.setenv("ECCSNN_CACHE", str(caches))
    overrides = ["link.enabled=false", "network.training.epochs=1", "data.mix=event_mix", "data.binary=true"]
    mixed = run_config("neucodex/cifar10_dvs_debug", overrides, runs_dir=finished.parents[2])
    losses = [
        [row["cross_entropy"] for row in map(json.loads, text.splitlines()) if "cross_entropy" in row]
        for text in ((run / "metrics.jsonl").read_text() for run in (mixed, finished))
    ]
    assert len(losses[0]) == len(losses[1]) > 0
    assert losses[0] != losses[1]
    assert "MB on disk as packed bits" in (mixed / "run.log").read_text()
    assert (
        json.loads((mixed / "results.json").read_text())["split"]
        == json.loads((finished / "results.json").read_text())["split"]
    )


def test_learners_of_one_label_a_sample_refuse_mixed_ones():
    with pytest.raises(ConfigError, match="learners take one label a sample"):
        load_config("incremental/digits_debug", ["data.name=cifar10_dvs", "data.mix=event_mix"])


def recording(events: int, **size: int) -> Events:
    random = np.random.default_rng(0)
    size = {"width": 128, "height": 128, **size}
    x, y = random.integers(0, size["width"], events), random.integers(0, size["height"], events)
    return Events(np.arange(events), x, y, random.integers(0, 2, events), **size)


def test_a_run_predicts_recordings(finished, tmp_path):
    loaded = eccsnn.load(finished)
    assert loaded.sample_shape == (6, 32, 32)
    write_events(tmp_path / "one.aedat", recording(3000))
    (row,) = loaded.predict_files([tmp_path / "one.aedat"])
    assert row["label"] in loaded.class_names
    assert 1 <= row["timesteps"] <= 3
    assert row["payload_bytes"] > 0
    frames = loaded.read_image(tmp_path / "one.aedat")
    assert frames.sum() == 3000
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(
        DataError, match=r"photo\.png is no recording .* of CIFAR10-DVS .* ending in \.aedat, .* of images"
    ):
        loaded.predict_files([tmp_path / "photo.png"])
    write_events(tmp_path / "short.aedat", recording(2))
    with pytest.raises(DataError, match=r"short\.aedat: 2 events cannot be cut into 3 slices"):
        loaded.predict_files([tmp_path / "short.aedat"])
    write_events(tmp_path / "other.npz", recording(3000, width=200))
    with pytest.raises(DataError, match=r"other\.npz: event 0: x = 170, .* expected 0 to 127"):
        loaded.predict_files([tmp_path / "other.npz"])
    with pytest.raises(ValueError, match="N, 6, 32, 32"):
        loaded.predict(np.zeros((1, 3, 32, 32), np.uint8))


def test_the_live_edge_takes_a_frame_a_timestep():
    torch.manual_seed(0)
    model = build_model(
        "spiking_vgg9", num_classes=10, width=0.125, image_size=16, in_channels=2, timesteps=3, norm_gain=2.0
    ).eval()
    part, _ = split(model, "conv1")
    sample = np.random.default_rng(1).integers(0, 255, (6, 16, 16)).astype(np.uint8)

    def prepare(samples):
        return model_input(torch.from_numpy(samples.reshape(-1, 3, 2, 16, 16)), (0.0, 0.0), (0.3, 0.3))

    step = edge_split(part, prepare).start(sample)
    packets = [step(t).packet for t in range(3)]
    with torch.inference_mode():
        spikes = part(prepare(sample[None])).to(torch.uint8).numpy()
    assert spikes.any()
    assert packets == [pack_spikes(spikes[t, 0]) for t in range(3)]
    assert len(set(packets)) == 3  # three frames, three packets


def test_results_say_that_the_data_are_simulated_and_have_no_jpeg(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["data"]["name"] == "simulated DVS: CIFAR10-DVS of scikit-learn digits"
    assert set(results["image_bytes"]) == {"png", "raw"}
    assert results["image_bytes"]["raw"] == 6 * 32 * 32
    assert results["payload"]["chosen"]["times_smaller_than"]["jpeg"] is None
    assert results["cut"]["work"]["edge"]["macs"][0] > 0  # counts of events are multiplied by the first layer
