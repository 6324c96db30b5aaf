"""`eccsnn bench incremental`: learning a batch of features beside ACIL and a per-sample streaming LDA.

Updates and solves are timed apart, so that a solve can be counted equally often for all: after every batch, or once a
task of `TASK` samples. Each peer stands beside ours with the same classifier, ridge or LDA, from the same state. Ours
adds small batches to its state together, and corrects its last solution of ridge by a few samples
(`eccsnn.incremental.exact`); both are timed over `TOGETHER` samples, with everything that falls due in them, and
divided by the batches. LDA has no such correction: a solve a batch adds the batch at once and factorizes anew.
"Updates alone" has each batch added at once. ACIL could let its batches wait, too, and would then cost what it costs at
batch 256; a streaming LDA by its definition cannot.

ACIL's inverse is its update, and its solve is R times the class sums, which is kinder to it than its own code (which
renews the weights with every batch). ACIL computes in fp64, as published; the re-associated form in fp32, too. The
streaming LDA is fp32; `published` does what the authors' code does, a sample at a time in new matrices, `in place` the
same in one matrix; its solve, when it predicts, is a pseudo-inverse, as published. Ours is exact integers and fp64
Cholesky solves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from eccsnn.bench.peers import Absent
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Budget, Candidate, Observer, Timing, ignore, measure, within
from eccsnn.errors import ConfigError
from eccsnn.incremental.analytic import ACIL, StreamingLDA
from eccsnn.incremental.exact import TOGETHER, ExactLearner
from eccsnn.nn._hints import nearest

PEERS = ("acil", "slda")
FEATURES = {"full": 1024, "tiny": 64}
BATCHES = {"full": (1, 16, 256), "tiny": (4,)}
MAX_COUNT = 4
CLASSES = 10
TASK = 5120

_UPDATE, _WAITING = "eccsnn update", "eccsnn small batches together, update"
_RIDGE, _LDA, _CORRECTED = "eccsnn ridge solve", "eccsnn lda solve", "eccsnn update and ridge solve"
_TOGETHER = (_WAITING, _CORRECTED)
PEER_FORMS = (
    "ACIL, published",
    "ACIL, re-associated",
    "ACIL, re-associated fp32",
    "streaming LDA, published",
    "streaming LDA, in place",
)
_BARS = {
    "ACIL, published": {1: 300.0, 16: 300.0, 256: 20.0},
    "ACIL, re-associated": 3.0,
    "streaming LDA, published": 100.0,
}


@dataclass(frozen=True)
class IncrementalSettings:
    """What is measured; see `eccsnn bench incremental --help`."""

    size: str = "full"
    budget_s: float = 20.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.size not in FEATURES:
            raise ConfigError(f"--size: unknown {self.size!r}: {nearest(self.size, list(FEATURES))}")

    @property
    def budget(self) -> Budget:
        """Budget of a row."""
        if self.size == "tiny":
            return Budget(min(self.budget_s, 0.1), minimum_rounds=3, warmup_calls=1)
        return Budget(self.budget_s, warmup_calls=1)


def run(
    settings: IncrementalSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures a row for every batch size."""
    rows, results = [], []
    for batch in BATCHES[settings.size]:
        features = FEATURES[settings.size]
        name = f"batch {batch}, {features} features, {CLASSES} classes"
        candidates = _candidates(features, batch, peers)
        timings = {
            what: timing if what not in _TOGETHER else _each(timing, _batches(batch))
            for what, timing in measure(candidates, settings.budget, observer=within(name, observer)).items()
        }
        rows.append(_row(name, timings, batch, features))
        results += _results(timings, batch, full=settings.size == "full")
    return rows, results, []


def _batches(batch: int) -> int:
    """Batches that a candidate of `_TOGETHER` takes in a call."""
    return max(1, TOGETHER // batch)


def _each(timing: Timing, calls: int) -> Timing:
    return replace(
        timing,
        median_s=timing.median_s / calls,
        iqr_s=timing.iqr_s / calls,
        samples_s=tuple(value / calls for value in timing.samples_s),
    )


def _candidates(features: int, batch: int, peers: Sequence[str]) -> list[Candidate]:
    rng = np.random.default_rng(0)
    rows = rng.binomial(MAX_COUNT, 0.2, (batch, features)).astype(np.uint8)
    labels = rng.integers(0, CLASSES, batch)
    before = rng.binomial(MAX_COUNT, 0.2, (2 * features, features)).astype(np.uint8)
    before_labels = rng.integers(0, CLASSES, len(before))
    x, positions = torch.from_numpy(rows).double(), torch.from_numpy(labels)

    added, waited, solved, ridge = (ExactLearner(features, MAX_COUNT) for _ in range(4))
    lda = ExactLearner(features, MAX_COUNT, classifier="lda")
    for each in (added, waited, solved, ridge, lda):
        each.observe(before, before_labels)
    sums = torch.from_numpy(ridge.statistics.sums.T.copy()).double()
    inverse = torch.from_numpy(ridge.statistics.second_moment(np.float64))  # any matrix of this size will do

    def solve(learner: ExactLearner) -> None:
        learner._solution = learner._base = None
        learner.solution()

    def update_together() -> None:
        for _ in range(_batches(batch)):
            waited.observe(rows, labels)
        assert waited.statistics is not None  # adds what waits

    def update_and_solve() -> None:
        for _ in range(_batches(batch)):
            solved.observe(rows, labels)
            solved.solution()

    candidates = [
        Candidate(_UPDATE, lambda: added.statistics.add(rows, labels)),
        Candidate(_WAITING, update_together),
        Candidate(_RIDGE, lambda: solve(ridge)),
        Candidate(_CORRECTED, update_and_solve),
    ]
    if "acil" in peers:
        for label, form, dtype in (
            ("ACIL, published", "published", torch.float64),
            ("ACIL, re-associated", "reassociated", torch.float64),
            ("ACIL, re-associated fp32", "reassociated", torch.float32),
        ):
            candidates.append(Candidate(f"{label} update", _acil(features, form, before, x.to(dtype))))
        candidates.append(Candidate("ACIL solve", lambda: inverse @ sums))
    if "slda" in peers:
        candidates.append(Candidate(_LDA, lambda: solve(lda)))
        for label, form in (("streaming LDA, published", "published"), ("streaming LDA, in place", "in_place")):
            candidates.append(Candidate(f"{label} update", _slda(features, form, before, x.float(), positions)))
        shrunk = torch.from_numpy(np.cov(before.T.astype(np.float64))).float() + 1e-4 * torch.eye(features)
        means = sums.T.float()
        candidates.append(Candidate("streaming LDA solve", lambda: means @ torch.linalg.pinv(shrunk)))
    return candidates


def _slda(
    features: int, form: str, before: np.ndarray, rows: torch.Tensor, positions: torch.Tensor
) -> Callable[[], object]:
    peer = StreamingLDA(features, form=form)
    peer.observe(before[:CLASSES], np.arange(CLASSES))
    peer.covariance, peer.means = peer.covariance.float(), peer.means.float()
    return lambda: peer._learn(rows, positions)


def _acil(features: int, form: str, before: np.ndarray, rows: torch.Tensor) -> Callable[[], object]:
    peer = ACIL(features, form=form)
    peer.update_inverse(torch.from_numpy(before).double())
    peer.inverse = peer.inverse.to(rows.dtype)
    # It runs on from call to call: a copy of where it began would cost up to as much as the update itself.
    return lambda: peer.update_inverse(rows)


def _row(name: str, timings: dict[str, Timing], batch: int, features: int) -> Row:
    measurements = [
        Measurement(
            name=what,
            owner="eccsnn" if what.startswith("eccsnn") else "acil" if what.startswith("ACIL") else "slda",
            value=timing.median_s * 1e3,
            spread=timing.iqr_s * 1e3,
            unit="ms a batch" if "update" in what else "ms",
            rounds=timing.rounds,
        )
        for what, timing in timings.items()
    ]
    ours = timings[_UPDATE].median_s
    ratios = {
        what: timing.median_s / ours
        for what, timing in timings.items()
        if what.endswith("update") and not what.startswith("eccsnn")
    }
    macs = batch * features * (features + 1) // 2
    facts = {
        "fastest update ms": min(timings[_UPDATE].samples_s) * 1e3,
        "integer macs per ns": macs / ours / 1e9,
    }
    return Row(name=name, measurements=measurements, ratios=ratios, facts=facts)


def _results(timings: dict[str, Timing], batch: int, full: bool) -> list[Result]:
    """Ratios where a solve is counted once a task, and after every batch, for both sides alike."""

    def seconds(update: str, solve: str | None, batches: int) -> float:
        return timings[update].median_s + (timings[solve].median_s / batches if solve else 0.0)

    task = TASK // batch
    results = []
    for peer in PEER_FORMS:
        if f"{peer} update" not in timings:
            continue
        bar = _BARS.get(peer)
        if peer.startswith("ACIL"):
            classifier, their_solve = "ridge", "ACIL solve"
            ours_of = {task: seconds(_WAITING, _RIDGE, task), 1: seconds(_CORRECTED, None, 1)}
        else:
            classifier, their_solve = "lda", "streaming LDA solve"
            ours_of = {task: seconds(_WAITING, _LDA, task), 1: seconds(_UPDATE, _LDA, 1)}
        for often, batches in (("a solve a task", task), ("a solve a batch", 1)):
            value = seconds(f"{peer} update", their_solve, batches) / ours_of[batches]
            wanted = (bar[batch] if isinstance(bar, dict) else bar) if full and batches > 1 else None
            name = f"{peer} over eccsnn {classifier}, batch {batch}, {often}"
            results.append(Result(name=name, value=value, bar=wanted))
        value = timings[f"{peer} update"].median_s / timings[_UPDATE].median_s
        results.append(Result(name=f"{peer} over eccsnn, batch {batch}, updates alone", value=value))
    return results
