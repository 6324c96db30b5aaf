"""Every shipped configuration is valid; every debug one runs from end to end, on data made here in the original
layouts."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import eccsnn
from eccsnn.data import build_scenario
from eccsnn.experiments import run_config
from eccsnn.experiments.schema import load_config, shipped_configs
from eccsnn.experiments.split_builds import unit_options
from eccsnn.incremental.registry import list_learners
from eccsnn.models import build_model, split

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "caltech101": 101, "tiny_imagenet": 200}
CLASSES |= {"cifar10_dvs": 10, "n_caltech101": 101}


@pytest.mark.parametrize("name", [name for name in shipped_configs() if name.startswith(("ecc_snn/", "incremental/"))])
def test_scenario_fits_the_data(name):
    config = load_config(name)
    assert build_scenario(config.scenario, CLASSES[config.data.name]).tasks


def test_each_experiment_comes_in_three_sizes():
    names = {name.rsplit("_", 1)[0] for name in shipped_configs()}
    three = {
        f"{system}/{data}"
        for system in ("ecc_snn", "neucodex", "spikebottlenet")
        for data in ("cifar10_dvs", "n_caltech101")
    }
    for name in names & {"ecc_snn/cifar10", "ecc_snn/caltech101"} | three:
        assert {f"{name}_{size}" for size in ("debug", "small", "full")} <= shipped_configs().keys()


@pytest.mark.parametrize("name", [name for name in shipped_configs() if hasattr(load_config(name), "network")])
def test_network_can_be_cut_as_configured(name):
    config = load_config(name)
    arguments, size = config.network_arguments(), config.data.image_size
    frames = config.data.name in ("cifar10_dvs", "n_caltech101")
    arguments |= {"num_classes": CLASSES[config.data.name], **({"image_size": size} if size else {})}
    if frames:
        arguments |= {"in_channels": 2 if config.spiking else 2 * config.data.timesteps}
        assert config.network.model.timesteps == config.data.timesteps or not config.spiking
    if config.unit is not None:
        arguments["bottlenecks"] = {config.unit.point: unit_options(config)}
    with torch.device("meta"):
        model = build_model(**arguments)
    if config.unit is not None:
        split(model, config.unit.point)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    rng = np.random.default_rng(0)
    cifar = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py"
    cifar.mkdir()
    for name, count in [*((f"data_batch_{i}", 120) for i in range(1, 6)), ("test_batch", 80)]:
        batch = {
            "data": rng.integers(0, 255, (count, 3072)).astype(np.uint8),
            "labels": [i % 10 for i in range(count)],
        }
        (cifar / name).write_bytes(pickle.dumps(batch))
    (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR10}))
    caltech = tmp_path_factory.mktemp("caltech")
    for c in range(101):
        folder = caltech / "caltech101" / "101_ObjectCategories" / f"class_{c:03d}"
        folder.mkdir(parents=True)
        for i in range(1, 9):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)).save(folder / f"image_{i:04d}.jpg")
    return {"cifar10": cifar.parent, "caltech101": caltech, "digits": None}


@pytest.fixture(scope="module")
def frames_cache(tmp_path_factory):
    """Simulated recordings, which all debug configurations of event frames share."""
    return tmp_path_factory.mktemp("frames")


@pytest.mark.parametrize("name", [name for name in shipped_configs() if name.endswith("_debug")])
def test_debug_config_runs(name, roots, frames_cache, tmp_path, monkeypatch):
    simulated = load_config(name).data.simulate is not None
    monkeypatch.setenv("ECCSNN_CACHE", str(frames_cache if simulated else tmp_path / "cache"))
    root = None if simulated else roots[load_config(name).data.name]
    overrides = [] if root is None else [f"data.root={root}"]
    run = run_config(name, overrides, runs_dir=tmp_path / "runs")
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    results = json.loads((run / "results.json").read_text())
    assert results["data"]["name"].startswith("simulated DVS") == simulated
    if results["system"] == "incremental":
        names = [info.name for info in list_learners()]
        assert list(results["learners"]) == names
        assert all(len(r["accuracy_matrix"]) == len(results["scenario"]["tasks"]) for r in results["learners"].values())
        return
    loaded = eccsnn.load(run)
    if results["system"] == "ecc_snn":
        assert results["link"]["fallbacks"] == 0
        if simulated:
            assert results["link"]["uploaded"] > 0
        assert len(results["execution"]) == len(results["scenario"]["tasks"])
        return
    assert loaded.system == results["system"]
    found = loaded.predict(np.zeros((2, *loaded.sample_shape), dtype=np.uint8))
    assert (found.payload_bytes > 0).all() == ("split" in results)
