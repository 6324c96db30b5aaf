"""The exact learner against the textbook formulas on the samples themselves."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from eccsnn.errors import CheckpointError
from eccsnn.incremental import statistics
from eccsnn.incremental.exact import CLASSIFIERS, ExactLearner
from eccsnn.incremental.expansion import SignExpansion
from eccsnn.incremental.solve import FewRows, condition, factorize


@pytest.fixture(scope="module")
def digits():
    """Grey levels 0..16 of the handwritten digits are integer features, too."""
    data = load_digits()
    counts, labels = data.data.astype(np.uint8), data.target
    test = np.arange(len(labels)) % 4 == 0
    return counts[~test], labels[~test], counts[test], labels[test]


def taught(digits, **options):
    learner = ExactLearner(64, 16, **options)
    for first in range(0, 10, 2):
        chosen = (digits[1] == first) | (digits[1] == first + 1)
        learner.observe(digits[0][chosen], digits[1][chosen])
    return learner


def test_ridge_is_the_solution_on_all_samples(digits):
    learner = taught(digits, ridge=10.0)
    x, targets = digits[0].astype(float), np.eye(10)[digits[1]]
    expected = np.linalg.solve(x.T @ x + 10 * np.eye(64), x.T @ targets)
    weight, bias = learner.solution()
    np.testing.assert_allclose(weight.numpy(), expected, atol=1e-12)
    assert not bias.any()
    assert learner.condition == pytest.approx(np.linalg.cond(x.T @ x + 10 * np.eye(64)), rel=0.05)


def test_lda_is_that_of_scikit_learn(digits):
    """With equal priors, and its estimate of the covariance (which divides by N, not N - K) shrunk by nothing."""
    learner = taught(digits, classifier="lda", shrinkage=1e-9)
    theirs = LinearDiscriminantAnalysis(solver="svd", priors=np.full(10, 0.1)).fit(digits[0], digits[1])
    agreement = (learner.predict(digits[2]) == theirs.predict(digits[2])).mean()
    assert agreement > 0.99
    assert (learner.predict(digits[2]) == digits[3]).mean() > 0.94


def test_lda_normalises_by_the_degrees_of_freedom():
    rng = np.random.default_rng(0)
    rows, labels = rng.integers(0, 9, (50, 3)), rng.integers(0, 2, 50)
    learner = ExactLearner(3, 8, classifier="lda", shrinkage=0.0 + 1e-12)
    learner.observe(rows, labels)
    means = np.stack([rows[labels == k].mean(0) for k in (0, 1)])
    centred = rows - means[labels]
    expected = np.linalg.solve(centred.T @ centred / 48, means.T)
    weight, bias = learner.solution()
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(bias.numpy(), -(means * expected.T).sum(1) / 2, rtol=1e-9)


def test_nearest_mean_is_nearest(digits):
    learner = taught(digits, classifier="nearest_mean")
    means = np.stack([digits[0][digits[1] == k].mean(0) for k in range(10)])
    distances = ((digits[2][:, None].astype(float) - means) ** 2).sum(2)
    assert (learner.predict(digits[2]) == distances.argmin(1)).all()
    assert learner.condition is None


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_order_of_samples_changes_no_bit_of_the_solution(digits, classifier):
    first = taught(digits, classifier=classifier, incremental_solve=False)
    second = ExactLearner(64, 16, classifier=classifier, incremental_solve=False)
    order = np.random.default_rng(0).permutation(len(digits[1]))
    for chosen in np.array_split(order, 7):
        second.observe(digits[0][chosen], digits[1][chosen])
        second.predict(digits[2][:3])  # solving in between leaves no trace
    for a, b in zip(first.solution(), second.solution(), strict=True):
        assert torch.equal(a, b)


def test_correcting_a_solution_agrees_with_a_new_one(digits):
    learners = [ExactLearner(64, 16, expansion=300, incremental_solve=turn) for turn in (True, False)]
    for learner in learners:
        learner.observe(digits[0][:600], digits[1][:600])
        learner.solution()
        for begin in range(600, 612, 2):  # new samples, old classes or new
            learner.observe(digits[0][begin : begin + 2], digits[1][begin : begin + 2] + 10 * (begin % 4 // 2))
            learner.solution()
    assert torch.allclose(learners[0].solution()[0], learners[1].solution()[0], atol=1e-12)
    assert learners[0].work.macs < learners[1].work.macs


def test_a_solution_is_corrected_only_while_few_samples_came(digits):
    """Whatever the sizes of batches, solutions agree with those of all samples at once."""
    learner = ExactLearner(64, 16, expansion=300)
    begin = 0
    for size in (500, 1, 1, 10, 60, 3, 2, 200, 1, 20, 20, 20, 20, 1):
        learner.observe(digits[0][begin : begin + size], digits[1][begin : begin + size])
        begin += size
        afresh = ExactLearner(64, 16, expansion=300, incremental_solve=False)
        afresh.observe(digits[0][:begin], digits[1][:begin])
        assert torch.allclose(learner.solution()[0], afresh.solution()[0], atol=1e-11)


@pytest.mark.parametrize("ridge", [100.0, 1e-2, 1e-6, 1e-9])
def test_a_correction_that_would_be_inexact_is_not_made(ridge):
    """Features that have never fired before leave the old matrix as ill-conditioned as the ridge is small."""
    rng = np.random.default_rng(0)
    rows, labels = rng.binomial(4, 0.2, (200, 96)).astype(np.uint8), rng.integers(0, 5, 200)
    rows[:180, :30] = 0
    corrected, afresh = (ExactLearner(96, 4, ridge=ridge, incremental_solve=turn) for turn in (True, False))
    corrected.observe(rows[:180], labels[:180])
    corrected.solution()
    for i in range(180, 200):
        corrected.observe(rows[i : i + 1], labels[i : i + 1])
        corrected.solution()
    afresh.observe(rows, labels)
    found, expected = corrected.solution()[0], afresh.solution()[0]
    assert float((found - expected).norm() / expected.norm()) < 1e-9
    assert (corrected.condition == pytest.approx(afresh.condition, rel=0.1)) == (ridge < 1e-3)  # it was solved afresh


def test_a_solution_is_let_go_of_where_a_new_one_costs_less(digits):
    """At 300 features a row costs 2 * 300^2 and a factor 300^3 / 6: 25 rows at once; a quarter of 300 rows in all."""

    def waiting(begin, end):
        learner.observe(digits[0][begin:end], digits[1][begin:end])
        return learner._base is not None

    learner = ExactLearner(64, 16, expansion=300)
    waiting(0, 500)
    learner.solution()
    assert not waiting(500, 525)
    learner.solution()
    for begin in (525, 549, 573):
        assert waiting(begin, begin + 24)
        learner.solution()
    assert waiting(597, 600)
    assert not waiting(600, 601)


def test_small_batches_wait_and_nobody_sees_it(digits):
    one = ExactLearner(64, 16)
    mine = digits[0][:300].copy()
    for i in range(300):
        one.observe(mine[i : i + 1], digits[1][i : i + 1])
        mine[i] = 0  # the caller's array is the caller's
        if i == 20:
            one.unlearn(digits[0][:5], digits[1][:5])
            one.observe(digits[0][:5], digits[1][:5])
        if i == 40:
            with pytest.raises(ValueError, match=r"expected counts in 0\.\.16"):
                one.observe(np.full((1, 64), 17, np.uint8), [0])
            with pytest.raises(ValueError, match="labels have shape"):
                one.observe(digits[0][:1], [0, 1])
            with pytest.raises(ValueError, match="labels contain -1"):
                one.observe(digits[0][:1], [-1])
    every = ExactLearner(64, 16)
    every.observe(digits[0][:300], digits[1][:300])
    assert one.classes == every.classes
    assert one._waiting
    assert one.memory_bytes == every.memory_bytes
    assert torch.equal(one.state_dict()["statistics"], every.state_dict()["statistics"])
    assert not one._waiting
    assert one.statistics == every.statistics


def test_large_batches_on_a_gpu_are_summed_there(digits, monkeypatch):
    """On a tensor that says so: the op has a kernel for the CPU, too."""

    class OnDevice(torch.Tensor):
        is_cuda = True

    calls = []
    summed = statistics._sum_on_device
    monkeypatch.setattr(statistics, "_sum_on_device", lambda *args: (calls.append(len(args[0])), summed(*args))[1])
    rows, labels = torch.from_numpy(digits[0]), torch.from_numpy(digits[1])
    learner = ExactLearner(64, 16)
    learner.observe(rows[:300].as_subclass(OnDevice), labels[:300])
    learner.solution()
    learner.observe(rows[300:700].as_subclass(OnDevice), labels[300:700].as_subclass(OnDevice))
    learner.observe(rows[700:710].as_subclass(OnDevice), labels[700:710])  # a few wait on the CPU
    learner.observe(rows[710:].double().as_subclass(OnDevice), labels[710:])
    assert calls == [300, 400]
    assert learner.statistics == taught(digits).statistics
    assert torch.equal(learner.solution()[0], taught(digits).solution()[0])
    before = learner.statistics.to_bytes()
    for bad in (torch.full((300, 64), 17, dtype=torch.uint8), torch.zeros((300, 63), dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected"):
            learner.observe(bad.as_subclass(OnDevice), [0] * 300)
    expanded, expected = (ExactLearner(64, 16, expansion=100) for _ in range(2))
    expanded.observe(rows.as_subclass(OnDevice), labels)
    expected.observe(rows, labels)
    assert calls == [300, 400, 300, 300]  # the bad ones, too, but none for the expansion
    assert expanded.statistics == expected.statistics
    assert learner.statistics.to_bytes() == before


def test_unlearning_and_merging(digits):
    whole = taught(digits)
    before = whole.solution()[0].clone()
    whole.observe(digits[2], digits[3])
    whole.unlearn(digits[2], digits[3])
    assert torch.equal(whole.solution()[0], before)
    odd, even = ExactLearner(64, 16), ExactLearner(64, 16)
    odd.observe(digits[0][1::2], digits[1][1::2])
    even.observe(digits[0][::2], digits[1][::2])
    odd.merge(even.statistics)
    assert torch.equal(odd.solution()[0], before)


def test_the_expansion_is_exact_and_helps(digits):
    learner = taught(digits, expansion=500)
    assert (learner.predict(digits[2]) == digits[3]).mean() > 0.97
    assert learner.statistics.features == 500
    expand = SignExpansion(64, 500, max_count=16, out_count=15)
    signs = expand.signs.numpy().astype(np.int64)
    assert set(np.unique(signs)) == {-1, 1}
    expected = np.minimum(np.maximum(digits[2].astype(np.int64) @ signs, 0) // expand.divisor, 15)
    assert (expand(digits[2]) == expected).all()
    assert 0.02 < (expected == 15).mean() < 0.3  # neither clipped away nor empty
    for bad in ({"size": 0}, {"out_count": 0}, {"divisor": 0}):
        with pytest.raises(ValueError, match="expected"):
            SignExpansion(**{"features": 4, "size": 4, "max_count": 4, **bad})


def test_an_expansion_to_as_many_features_as_there_were_predicts(digits):
    learner = ExactLearner(64, 4, expansion=64)  # its counts go up to 15, those that it is given to 4
    counts = digits[0] // 4
    learner.observe(counts, digits[1])
    weight, _ = learner.solution()
    np.testing.assert_allclose(learner.scores(counts[:9]), learner.expand(counts[:9]) @ weight.numpy())


def test_states_go_on_and_others_are_refused(digits):
    learner = taught(digits)
    other = ExactLearner(64, 16)
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other.solution()[0], learner.solution()[0])
    with pytest.raises(CheckpointError, match="another trunk, layer or expansion"):
        ExactLearner(64, 16, expansion=32).load_state_dict(learner.state_dict())
    with pytest.raises(CheckpointError, match="expected"):
        other.load_state_dict({"weights": torch.zeros(1)})
    for features, max_count in ((63, 16), (64, 4)):
        with pytest.raises(CheckpointError, match=rf"{features} features in 0\.\.{max_count}, expected 64 in 0\.\.16"):
            other.load_state_dict(ExactLearner(features, max_count).state_dict())
    assert other.classes == tuple(range(10))


def test_bad_input(digits):
    learner = ExactLearner(64, 16)
    with pytest.raises(ValueError, match="has learnt no class yet"):
        learner.predict(digits[2])
    learner.observe(digits[0], digits[1])
    before = learner.state_dict()["statistics"]
    with pytest.raises(ValueError, match="is 99"):
        learner.observe(np.full((1, 64), 99), [0])
    with pytest.raises(ValueError, match=r"expected counts in 0\.\.16"):
        learner.predict(np.full((1, 64), 99, np.uint8))
    expanded = ExactLearner(64, 16, expansion=8)
    with pytest.raises(ValueError, match=r"expected counts in 0\.\.16"):
        expanded.observe(np.full((1, 64), 99, np.uint8), [0])
    with pytest.raises(ValueError, match="labels contain 9223372036854775813, expected class ids of at most"):
        learner.observe(digits[0][:2], np.array([2**63 + 5, 1], np.uint64))
    assert torch.equal(learner.state_dict()["statistics"], before)
    few = ExactLearner(64, 16, classifier="lda")
    few.observe(digits[0][:1], digits[1][:1])
    with pytest.raises(ValueError, match="expected more samples than classes"):
        few.solution()
    flat = ExactLearner(64, 16, classifier="lda", shrinkage=0.0)
    flat.observe(digits[0][:20], digits[1][:20])
    with pytest.raises(ValueError, match=r"with 0 added to its diagonal .*raise the shrinkage"):
        flat.solution()
    for options, message in (
        ({"classifier": "svm"}, "classifier is 'svm'"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"shrinkage": 2.0}, "shrinkage is 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            ExactLearner(64, 16, **options)
    with pytest.raises(TypeError, match=r"max_count is 4\.5, expected an integer"):
        ExactLearner(16, 4.5)
    with pytest.raises(TypeError, match=r"features is 16\.0, expected an integer"):
        ExactLearner(16.0, 4, expansion=8)
    with pytest.raises(ValueError, match="threads is 0, expected at least 1"):
        ExactLearner(16, 4, threads=0)


def test_solving():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.standard_normal((200, 75)))
    extra = torch.from_numpy(rng.standard_normal((9, 75)))
    factor = factorize(rows.T @ rows, 1.0)
    sums, targets = torch.from_numpy(rng.standard_normal((75, 4))), torch.from_numpy(rng.standard_normal((9, 4)))
    few = FewRows(factor)
    for part in extra.split(4):
        few.add(part)
    expected = torch.linalg.solve(factor @ factor.T + extra.T @ extra, sums + extra.T @ targets)
    assert torch.allclose(few.solve(torch.cholesky_solve(sums, factor), targets), expected, atol=1e-12)
    assert len(few) == 9
    assert condition(factor) == pytest.approx(float(torch.linalg.cond(factor @ factor.T)), rel=0.1)
    with pytest.raises(ValueError, match=r"not positive definite .*raise the ridge"):
        factorize(-torch.eye(3, dtype=torch.float64), 0.5)


def test_the_documentation_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs/incremental.md"
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 9
    assert result.failed == 0
