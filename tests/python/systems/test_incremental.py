"""Learners taught task after task."""

import numpy as np

from eccsnn.incremental.analytic import NearestMean
from eccsnn.systems.incremental import run_learner


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
    run = run_learner(learner, (rows, labels), rows[:40], [(2, 0), (3,), (1,)])
    assert [set(ids.tolist()) for _, ids in learner.seen] == [{0, 2}, {3}, {1}]
    assert [len(ids) for _, ids in learner.seen] == [600, 300, 300]
    for inputs, ids in learner.seen:
        np.testing.assert_array_equal(inputs, rows[np.isin(labels, ids)])
    assert run.predictions.shape == (3, 40)
    np.testing.assert_array_equal(run.predictions[-1], learner.predict(rows[:40]))
    assert set(run.predictions[0].tolist()) <= {0, 2}
    assert len(run.seconds) == len(run.memory_bytes) == len(run.work) == 3
