"""Published learners on features: what their sources prove or show, on small cases."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from eccsnn.errors import CheckpointError
from eccsnn.incremental.analytic import ACIL, NearestMean, RanPAC, StreamingLDA
from eccsnn.incremental.expansion import gaussian_expansion


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    test = np.arange(len(data.target)) % 4 == 0
    return data.data[~test], data.target[~test], data.data[test], data.target[test]


def taught(learner, digits):
    for first in (6, 0, 2, 8, 4):
        chosen = (digits[1] == first) | (digits[1] == first + 1)
        learner.observe(digits[0][chosen], digits[1][chosen])
    return learner


@pytest.mark.parametrize("form", ["published", "reassociated"])
@pytest.mark.parametrize("expansion", [0, 80])
def test_acil_recursion_equals_training_on_everything_at_once(digits, form, expansion):
    """Theorem 1 of ACIL (absolute memorization)."""
    learner = taught(ACIL(64, ridge=5.0, expansion=expansion, form=form, batch_size=100, seed=3), digits)
    x = torch.from_numpy(digits[0])
    if expansion:
        x = (x @ gaussian_expansion(64, expansion, 3) / 8).relu()
    targets = torch.from_numpy(np.eye(10)[digits[1]][:, list(learner.classes)])
    gram = x.T @ x + 5 * torch.eye(x.shape[1], dtype=torch.float64)
    assert torch.allclose(learner.weight, torch.linalg.solve(gram, x.T @ targets), atol=1e-7)
    assert torch.allclose(learner.inverse @ gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-5)
    assert learner.classes == (6, 7, 0, 1, 2, 3, 8, 9, 4, 5)


@pytest.mark.parametrize("form", ["published", "in_place"])
def test_streaming_lda_updates_its_covariance_as_the_paper_says(form):
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    learner = StreamingLDA(4, form=form)
    learner.observe(rows[:10], labels[:10])
    learner.observe(rows[10:], labels[10:])
    covariance, means, counts = np.zeros((4, 4)), np.zeros((3, 4)), np.zeros(3)
    for t, (x, y) in enumerate(zip(rows, labels, strict=True)):  # eqs. 2 to 4
        delta = t * np.outer(x - means[y], x - means[y]) / (t + 1)
        covariance = (t * covariance + delta) / (t + 1)
        means[y] = (counts[y] * means[y] + x) / (counts[y] + 1)
        counts[y] += 1
    np.testing.assert_allclose(learner.covariance.numpy(), covariance, atol=1e-12)
    order = list(learner.classes)
    np.testing.assert_allclose(learner.means.numpy(), means[order], atol=1e-12)
    inverse = np.linalg.pinv((1 - 1e-4) * covariance + 1e-4 * np.eye(4))  # eq. 5
    expected = rows @ inverse @ means.T - (means @ inverse * means).sum(1) / 2
    np.testing.assert_allclose(learner.scores(rows), expected[:, order], rtol=1e-6, atol=1e-6)


def test_streaming_lda_separates_what_nearest_mean_does_not():
    """Two long parallel clouds: the covariance matters."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    rows = np.stack([rng.normal(0, 30, 400) + 10 * labels, rng.normal(0, 1, 400) + 6 * labels], axis=1)
    accuracies = []
    for learner in (StreamingLDA(2), NearestMean(2)):
        learner.observe(rows[:300], labels[:300])
        accuracies.append((learner.predict(rows[300:]) == labels[300:]).mean())
    assert accuracies[0] > 0.97
    assert accuracies[1] < 0.8


def test_ranpac_is_ridge_on_its_projection_and_beats_none(digits):
    learner = taught(RanPAC(64, expansion=400, seed=1), digits)
    rows = (torch.from_numpy(digits[0]) @ gaussian_expansion(64, 400, 1)).relu()
    targets = torch.from_numpy(np.eye(10)[digits[1]][:, list(learner.classes)])
    gram = rows.T @ rows + learner.ridge * torch.eye(400, dtype=torch.float64)
    assert torch.allclose(learner.weight, torch.linalg.solve(gram, rows.T @ targets), atol=1e-6)
    assert learner.ridge in learner.ridges
    accuracy = (learner.predict(digits[2]) == digits[3]).mean()
    plain = (taught(ACIL(64), digits).predict(digits[2]) == digits[3]).mean()
    assert accuracy > plain + 0.02  # the paper's claim: random projections help a linear classifier


def test_ranpac_chooses_its_ridge_on_the_task_alone(digits):
    """The authors' code: a Gram matrix of four fifths of the task, without what was learnt before, judges the ridges;
    the weights of the projection have variance 1."""
    learner = RanPAC(64, expansion=40, seed=1)
    projection = gaussian_expansion(64, 40, 1)
    assert projection.std().item() == pytest.approx(1, abs=0.05)
    chosen = []
    for task in ((0, 1), (2, 3), (4, 5, 6), (7, 8, 9)):
        own = np.isin(digits[1], task)
        learner.observe(digits[0][own], digits[1][own])
        rows = np.maximum(digits[0][own] @ projection.numpy(), 0)
        targets = np.eye(10)[digits[1][own]][:, list(learner.classes)]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).numpy()
        fitted, held = np.split(order, [int(0.8 * len(rows))])
        errors = []
        for ridge in learner.ridges:
            gram = rows[fitted].T @ rows[fitted] + ridge * np.eye(40)
            weight = np.linalg.solve(gram, rows[fitted].T @ targets[fitted])
            errors.append(np.square(targets[held] - rows[held] @ weight).mean())
        assert learner.ridge == learner.ridges[int(np.argmin(errors))]
        chosen.append(learner.ridge)
    assert len(set(chosen)) > 1


def test_ranpac_goes_on_where_no_ridge_makes_its_matrix_positive_definite(digits):
    learner = RanPAC(64, expansion=300, ridges=(1e-8,))
    learner.observe(digits[0][:20], digits[1][:20])  # rank 20 of 300
    assert np.isfinite(learner.scores(digits[2])).all()


@pytest.mark.parametrize("build", [NearestMean, StreamingLDA, ACIL, lambda d: RanPAC(d, expansion=50)])
def test_states_go_on(digits, build):
    learner = taught(build(64), digits)
    other = build(64)
    other.load_state_dict(learner.state_dict())
    assert other.classes == learner.classes
    assert (other.predict(digits[2]) == learner.predict(digits[2])).all()
    before = learner.scores(digits[2][:5]).copy()
    state = learner.state_dict()
    other.load_state_dict(state)
    other.observe(digits[2], digits[3])  # on tensors of its own
    np.testing.assert_array_equal(learner.scores(digits[2][:5]), before)
    learner.observe(digits[2], digits[3])  # a state is a copy
    assert not np.array_equal(learner.scores(digits[2][:5]), before)
    learner.load_state_dict(state)
    np.testing.assert_array_equal(learner.scores(digits[2][:5]), before)
    assert learner.memory_bytes == sum(tensor.nbytes for name, tensor in state.items() if name != "classes")
    with pytest.raises(CheckpointError, match="is it another learner's"):
        other.load_state_dict({"classes": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"expected \[N, 64\]"):
        other.observe(np.zeros((2, 3)), [0, 1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        other.observe(np.full((1, 64), np.nan), [0])
    with pytest.raises(ValueError, match="learnt no class"):
        build(64).predict(digits[2])


def _changed(state, **entries):
    return {**state, **entries}


@pytest.mark.parametrize("build", [NearestMean, StreamingLDA, ACIL, lambda d: RanPAC(d, expansion=50)])
def test_a_broken_state_is_refused_and_changes_nothing(digits, build):
    learner = taught(build(64), digits)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    scores = learner.scores(digits[2][:5])
    name = next(name for name, tensor in before.items() if name != "classes" and tensor.ndim == 2)
    nan = before[name].clone()
    nan[0, 0] = float("nan")
    for state, message in (
        ({key: value for key, value in before.items() if key != name}, "is it another learner's"),
        (_changed(before, strange=torch.zeros(1)), "is it another learner's"),
        (_changed(before, classes=before["classes"].float()), r"float32 of the shape \[10\], expected int64"),
        (_changed(before, classes=before["classes"][None]), r"the shape \[1, 10\], expected int64 \[K\]"),
        (_changed(before, classes=before["classes"] - 1), "expected distinct ids of at least 0"),
        (_changed(before, classes=torch.zeros(10, dtype=torch.int64)), "expected distinct ids"),
        (_changed(before, classes=before["classes"][:9]), "for 9 classes"),
        (_changed(before, **{name: before[name].float()}), f"{name} is torch.float32"),
        (_changed(before, **{name: before[name][:, 1:]}), f"the state's {name} is .* expected float64"),
        (_changed(before, **{name: nan}), f"{name} holds NaN or infinite"),
    ):
        with pytest.raises(CheckpointError, match=message):
            learner.load_state_dict(state)
        assert all(torch.equal(tensor, before[key]) for key, tensor in learner.state_dict().items())
        np.testing.assert_array_equal(learner.scores(digits[2][:5]), scores)
    with pytest.raises(CheckpointError):
        taught(build(32), (digits[0][:, :32], *digits[1:])).load_state_dict(before)


def test_a_state_without_samples_of_a_class_is_refused(digits):
    state = taught(NearestMean(64), digits).state_dict()
    state["samples"] = torch.cat((torch.zeros(1, dtype=torch.float64), state["samples"][1:]))
    with pytest.raises(CheckpointError, match="expected at least 1 of each class"):
        NearestMean(64).load_state_dict(state)


def test_states_of_one_learner_are_not_another_ones(digits):
    built = [NearestMean(64), StreamingLDA(64), ACIL(64), RanPAC(64, expansion=64)]
    for mine in built:
        taught(mine, digits)
    for mine in built:
        for other in built:
            if other is not mine:
                with pytest.raises(CheckpointError, match="is it another learner's"):
                    mine.load_state_dict(other.state_dict())


def test_the_chosen_ridge_is_part_of_a_state(digits):
    """A few samples hold nothing out, so they go on with the ridge that was chosen before."""
    learner, other = taught(RanPAC(64, expansion=50), digits), RanPAC(64, expansion=50)
    assert learner.ridge != learner.ridges[0]
    other.load_state_dict(learner.state_dict())
    for each in (learner, other):
        each.observe(digits[2][:3], digits[3][:3])
    np.testing.assert_array_equal(other.scores(digits[2]), learner.scores(digits[2]))


def test_arguments_out_of_range():
    for build, message in (
        (lambda: ACIL(4, form="fast"), "form is 'fast'"),
        (lambda: ACIL(4, ridge=0), "ridge is 0"),
        (lambda: StreamingLDA(4, shrinkage=0), "shrinkage is 0"),
        (lambda: StreamingLDA(4, form="fast"), "form is 'fast'"),
        (lambda: RanPAC(4, expansion=0), "expansion is 0"),
        (lambda: NearestMean(0), "features is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_features_that_are_no_numbers_are_refused():
    learner = NearestMean(2)
    for rows in ([["1", "2"]], [[1j, 2]], [[None, 2]]):
        with pytest.raises(TypeError, match=r"features have dtype .*, expected integers or floats"):
            learner.observe(rows, [0])
    assert learner.classes == ()
