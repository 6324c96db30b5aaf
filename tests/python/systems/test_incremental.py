"""Learners taught task after task."""

import numpy as np
import pytest
import torch

from eccsnn.data import load_dataset
from eccsnn.incremental.analytic import NearestMean
from eccsnn.systems.incremental import run_learner, train_trunk
from eccsnn.training.classifier import build_seeded


class Recorder(NearestMean):
    def __init__(self, features):
        super().__init__(features)
        self.seen = []

    def observe(self, inputs, labels):
        self.seen.append((inputs, labels))
        super().observe(inputs, labels)


def test_learners_on_features_see_a_task_at_once():
    """What a source does once a task, such as RanPAC's choice of a ridge, must not happen once a batch."""
    rng = np.random.default_rng(0)
    labels = np.arange(1200) % 4
    rows = rng.integers(0, 3, (1200, 4)).astype(np.uint8)
    rows[np.arange(1200), labels] += 4
    learner = Recorder(4)
    run = run_learner(learner, (rows, labels), rows[:40], [(2, 0), (3,), (1,)], rows[40:60])
    assert [set(ids.tolist()) for _, ids in learner.seen] == [{0, 2}, {3}, {1}]
    assert [len(ids) for _, ids in learner.seen] == [600, 300, 300]
    for inputs, ids in learner.seen:
        np.testing.assert_array_equal(inputs, rows[np.isin(labels, ids)])
    assert run.predictions.shape == (3, 40)
    np.testing.assert_array_equal(run.predictions[-1], learner.predict(rows[:40]))
    assert set(run.predictions[0].tolist()) <= {0, 2}
    np.testing.assert_array_equal(run.validation[-1], learner.predict(rows[40:60]))
    assert run.validation.shape == (3, 20)
    assert run_learner(NearestMean(4), (rows, labels), rows[:40], [(0,)], rows[:0]).validation is None
    assert len(run.seconds) == len(run.memory_bytes) == len(run.work) == 3
    assert run.cloud_seconds == [0.0] * 3


def test_the_time_of_the_cloud_is_not_the_devices(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("eccsnn.systems.incremental.time.perf_counter", lambda: now[0])

    class Asking(NearestMean):
        def observe(self, inputs, labels):
            super().observe(inputs, labels)
            now[0] += 5.0
            self.cloud_seconds += 3.0

    labels = np.arange(12) % 2
    rows = labels[:, None].astype(np.uint8)
    run = run_learner(Asking(1), (rows, labels), rows, [(0,), (1,)])
    assert run.seconds == [2.0, 2.0]
    assert run.cloud_seconds == [3.0, 3.0]


@pytest.mark.parametrize("pretraining", ["rotation", "cloud_labels"])
def test_the_features_teach_after_a_pretraining_too(pretraining):
    """Trunks of several pre-trainings can be compared only if the training on the first task is the same."""
    splits = load_dataset("digits", image_size=32, val_fraction=0.1, subset={"train": 60, "test": 20}, seed=0)
    cloud = build_seeded(0, name="vgg16", num_classes=10, image_size=32, width=0.0625)
    model = {"name": "spiking_vgg9", "width": 0.125, "timesteps": 2, "norm_gain": 2.0}
    training = {"epochs": 1, "batch_size": 32, "lr": 1e-3}
    maps = {"feature_order": "time_first", "student_map": "conv_last", "teacher_map": "pool3"}

    def trained(feature_weight):
        distillation = {"logit_weight": 0.5, "temperature": 3.0, "feature_weight": feature_weight, **maps}
        trunk = train_trunk(
            splits,
            (0, 1, 2, 3),
            cloud,
            pretraining=pretraining,
            pretraining_training=training,
            model=model,
            training=training,
            distillation=distillation,
            seed=0,
        )
        return trunk.state_dict()

    without, again, taught = trained(0.0), trained(0.0), trained(5.0)
    assert all(torch.equal(again[name], tensor) for name, tensor in without.items())
    assert not all(torch.equal(taught[name], tensor) for name, tensor in without.items())
