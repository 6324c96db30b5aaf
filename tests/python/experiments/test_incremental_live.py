"""A run of learners opened, served, and learning on edges that merge."""

import contextlib
import json

import numpy as np
import pytest

import eccsnn
from eccsnn.errors import CheckpointError, ConfigError
from eccsnn.experiments import LoadedIncremental, run_config
from eccsnn.experiments.incremental_live import open_merged, serve_arguments
from eccsnn.experiments.incremental_load import HELD_OUT
from eccsnn.experiments.live import (
    cloud_arguments,
    edge_run,
    load_splits,
    run_configuration,
    sample_test_images,
    serve_run,
)
from eccsnn.incremental.memory import DeviceMemory
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.services.cloud import background_cloud

TINY = [
    "data.subset={train: 160, val: 30, test: 60}",
    "trunk.training.epochs=1",
    "cloud.training.epochs=1",
    "learners=[ncm]",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_config("incremental/digits_debug", TINY, runs_dir=tmp_path_factory.mktemp("runs"))


def test_an_opened_run_begins_with_the_first_task(run):
    loaded = eccsnn.load(run)
    assert isinstance(loaded, LoadedIncremental)
    tasks = json.loads((run / "results.json").read_text())["scenario"]["tasks"]
    assert loaded.learner.classes == tuple(sorted(tasks[0]))
    counts, labels = loaded.held_out
    assert counts.shape == (30, loaded.learner.features)
    assert set(labels.tolist()) - set(tasks[0])  # of classes that come later, too
    validation = load_splits(run_configuration(run)).val
    assert np.array_equal(counts, loaded.counts(validation.gather(np.arange(30))))
    assert np.array_equal(labels, validation.labels)
    images, _, _ = sample_test_images(run_configuration(run), 8)
    pixels = np.stack(images)
    assert np.array_equal(loaded.predict(pixels), loaded.learner.predict(loaded.counts(pixels)))
    assert loaded.cloud_logits(pixels).shape == (8, 10)
    with pytest.raises(ValueError, match="uint8"):
        loaded.predict(pixels.astype(np.float32))
    with pytest.raises(ValueError, match="Leave precision out"):
        eccsnn.load(run, precision="bf16")


def test_two_edges_of_a_run_merge_what_they_have_learnt(run, tmp_path):
    np.savez(run / "models" / HELD_OUT, counts=np.zeros((0, 1), np.uint8), labels=np.zeros(0, np.int64))  # no check
    loaded = eccsnn.load(run)
    images, labels, _ = sample_test_images(run_configuration(run), 20)
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}

    def oracle(batch):
        logits = np.zeros((len(batch), 10), np.float32)
        logits[np.arange(len(batch)), [label_of[image.tobytes()] for image in batch]] = 5.0
        return logits

    with contextlib.ExitStack() as stack:
        merged = stack.enter_context(contextlib.closing(open_merged(loaded, tmp_path / "merged.db")))
        served = serve_arguments(loaded) | {"predict": oracle}
        bound = stack.enter_context(background_cloud(**served, merged=merged))
        cloud = f"{bound.host}:{bound.port}"
        done = {
            name: edge_run(
                run,
                [],
                cloud=cloud,
                limit=20,
                threshold=-1.0,
                timeout_s=30.0,
                update=tmp_path / f"{name}.db",
                edge_id=name,
                out=tmp_path / f"{name}.jsonl",
            )
            for name in ("a", "b")
        }
        total = merged.total()
    for name, others in (("a", 0), ("b", 20)):
        summary = done[name]
        assert summary["answers"] == {"cloud": 20}
        assert summary["accuracy"] == 1.0
        assert (summary["updates"]["learnt"], summary["updates"]["failures"]) == (20, 0)
        assert summary["samples"] == int(loaded.learner.statistics.samples.sum()) + 20 + others
        assert len((tmp_path / f"{name}.jsonl").read_text().splitlines()) == 20
    once = CountStatistics(total.features, total.max_count, total.source)
    once.add(loaded.counts(np.stack(images)), labels)
    with DeviceMemory(tmp_path / "a.db", total.features, total.max_count, total.source) as memory:
        assert memory.statistics == once
    both = once.copy()
    both.merge(once)
    assert total.to_bytes() == both.to_bytes()


def test_options_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="is there and no regular file"):
        edge_run(run, [], cloud="127.0.0.1:1", update=tmp_path / "memory.db", out=tmp_path)
    with pytest.raises(ConfigError, match="is a run of incremental, and --update is missing"):
        edge_run(run, [], cloud="127.0.0.1:1")
    with pytest.raises(ConfigError, match="expected one of ecc_snn"):
        cloud_arguments(str(run))
    cloud = run / "models" / "cloud.safetensors"
    kept = cloud.read_bytes()
    cloud.unlink()
    try:
        with pytest.raises(ConfigError, match="no cloud model"):
            serve_run(run, host="127.0.0.1", port=0, merge=tmp_path / "merged.db")
        with pytest.raises(CheckpointError, match="no cloud model"):
            eccsnn.load(run).cloud_logits(np.zeros((1, 3, 32, 32), np.uint8))
    finally:
        cloud.write_bytes(kept)
    (run / "models" / HELD_OUT).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="held_out"):
        eccsnn.load(run)
