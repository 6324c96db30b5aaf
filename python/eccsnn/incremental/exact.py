"""The exact analytic learner: integer statistics of spike counts, and classifiers that are solved from them.

From one state (`CountStatistics`) with n_k samples and sums s_k of class k, N samples in all and M = sum of x x^T:

    nearest_mean   score_k(x) = x . m_k - |m_k|^2 / 2                       with m_k = s_k / n_k
    lda            score_k(x) = x . w_k - m_k . w_k / 2, w_k = C^-1 m_k   with C = (M - sum_k s_k s_k^T / n_k) / (N - K)
    ridge          score_k(x) = x . w_k, w_k = (M + ridge I)^-1 s_k         (one-hot targets need the sums alone)

C is shrunk to (1 - shrinkage) C + shrinkage trace(C) / D I. Solves are Cholesky's in fp64. The state does not depend
on the order of samples, so the solution of a state solved afresh does not either; after a few samples, ridge corrects
its last solution instead (`incremental_solve`), which agrees up to rounding times the condition of the matrix that was
solved afresh. Where that could be above `CORRECTION_ERROR`, each solution is solved afresh.

Small batches wait and are added to the state together, since adding one sample walks through the whole second moment as
adding `TOGETHER` of them does. Nobody sees that: whatever reads the state adds them first, and integers do not mind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.errors import CheckpointError
from eccsnn.incremental.counts import Labels, as_counts, as_labels, check_integers, check_range, check_threads
from eccsnn.incremental.expansion import SignExpansion
from eccsnn.incremental.learner import Learner, take_state
from eccsnn.incremental.solve import FewRows, condition, factor_macs, factorize, rows_macs
from eccsnn.incremental.statistics import CountStatistics

CLASSIFIERS = ("ridge", "lda", "nearest_mean")
TOGETHER = 256
"""Samples that are added to the second moment at a time where they come in smaller batches."""
CORRECTION_ERROR = 1e-6
"""Largest relative error that correcting a solution may have, estimated as the unit of fp64 times the condition."""
MAX_SAMPLES = 2**32
"""Of a state; see `CountStatistics`."""


class ExactLearner(Learner):
    """Learns classes from spike counts by adding integers; see the module for the mathematics.

    Args:
        features: Number of features D.
        max_count: Largest count.
        classifier: `ridge`, `lda` or `nearest_mean`.
        ridge: Added to the diagonal of the second moment, in squared counts.
        shrinkage: Of `lda`, 0 to 1.
        expansion: Size of the integer random expansion; 0: none.
        expansion_count, expansion_seed: `out_count` and `seed` of `SignExpansion`.
        incremental_solve: Correct the solution of `ridge` by a few new samples instead of factorizing anew.
        threads: For the statistics.
        source: What made the features; see `CountStatistics`.

    Raises:
        TypeError, ValueError: An argument is no integer where one is expected, or out of range.

    Source: ours. Nearest class mean: Mensink et al. 2013; LDA: Hastie et al., The Elements of Statistical Learning,
    section 4.3; ridge on one-hot targets as in ACIL (Zhuang et al., NeurIPS 2022).

    Example:
        >>> learner = ExactLearner(2, 4, classifier="nearest_mean")
        >>> learner.observe([[4, 0], [3, 1], [0, 4]], [5, 5, 2])
        >>> learner.predict([[4, 1], [1, 4]]).tolist()
        [5, 2]
    """

    takes = "features"

    def __init__(
        self,
        features: int,
        max_count: int,
        *,
        classifier: str = "ridge",
        ridge: float = 100.0,
        shrinkage: float = 1e-2,
        expansion: int = 0,
        expansion_count: int = 15,
        expansion_seed: int = 0,
        incremental_solve: bool = True,
        threads: int = 1,
        source: str = "",
    ) -> None:
        super().__init__()
        check_integers(features=features, max_count=max_count)
        check_threads(threads)
        if classifier not in CLASSIFIERS:
            raise ValueError(f"classifier is {classifier!r}, expected one of {', '.join(CLASSIFIERS)}")
        if not ridge > 0:
            raise ValueError(f"ridge is {ridge}, expected a number above 0")
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected 0 to 1")
        self.classifier, self.ridge, self.shrinkage = classifier, ridge, shrinkage
        self.incremental_solve, self.threads = incremental_solve, threads
        self.features, self.max_count = features, max_count
        self.expand: SignExpansion | None = None
        size, bound = features, max_count
        if expansion:
            self.expand = SignExpansion(
                features, expansion, max_count=max_count, out_count=expansion_count, seed=expansion_seed
            )
            size, bound, source = expansion, expansion_count, f"{source} | {self.expand.source}"
        self._statistics = CountStatistics(size, bound, source)
        self._waiting: list[tuple[npt.NDArray[Any], Labels]] = []  # observed, but not in the statistics yet
        self._waiting_count = 0
        self._added: int | None = None  # samples in the statistics; None: to be counted
        self._solution: tuple[Tensor, Tensor] | None = None
        self._solved: Tensor | None = None  # factor of the last solution
        self._base: _Base | None = None  # of ridge

    @property
    def statistics(self) -> CountStatistics:
        """The state, with every sample observed."""
        self._add_waiting()
        self._added = None  # whoever gets it may change it
        return self._statistics

    def _add_waiting(self) -> None:
        if self._waiting:
            rows, labels = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._statistics.add(rows, labels, self.threads)
            self._waiting, self._waiting_count, self._added = [], 0, None

    @property
    def classes(self) -> tuple[int, ...]:
        waiting = {class_id for _, labels in self._waiting for class_id in labels.tolist()}
        return tuple(sorted(waiting.union(self._statistics.classes)))

    @property
    def memory_bytes(self) -> int:
        return self.statistics.state_bytes

    def observe(self, inputs: Any, labels: Any) -> None:
        """Adds samples: counts `[N, D]` and class ids; see `CountStatistics.add`.

        A CUDA tensor of uint8 or int16 with `TOGETHER` rows or more is summed on its device, where there is no
        expansion; all else on the CPU.
        """
        summed_there = (
            isinstance(inputs, Tensor)
            and inputs.is_cuda
            and inputs.dtype in (torch.uint8, torch.int16)
            and inputs.ndim == 2
            and len(inputs) >= TOGETHER
            and self.expand is None
        )
        rows = inputs if summed_there else self._rows(inputs)
        labels = as_labels(labels, len(rows))
        waiting = self._waiting_count + len(rows)
        if self._added is None:
            self._added = int(self._statistics.samples.sum())
        if len(rows) < TOGETHER and self._added + waiting <= MAX_SAMPLES:
            check_range(rows, self._statistics.max_count)
            self._waiting.append((rows.copy(), labels.copy()))
            self._waiting_count = waiting
            if waiting >= TOGETHER:
                self._add_waiting()
        else:
            self.statistics.add(rows, labels, self.threads)
        size = self._statistics.features
        self.work.macs += len(rows) * (size * (size + 1) // 2 + self._expansion_macs)
        self._solution = None
        few = self.incremental_solve and not summed_there
        if self._base is not None and not (few and self._base.take(rows, labels)):
            self._base = None

    def unlearn(self, inputs: Any, labels: Any) -> None:
        """Takes samples out again: the state is as if they had never been seen; see `CountStatistics.subtract`."""
        self.statistics.subtract(self._rows(inputs), labels, self.threads)
        self._solution = None
        self._base = None

    def merge(self, other: CountStatistics) -> None:
        """Adds the statistics of another learner of the same features, such as another edge's."""
        self.statistics.merge(other)
        self._solution = None
        self._base = None

    def solution(self) -> tuple[Tensor, Tensor]:
        """Weights float64 `[D, K]` and biases `[K]` of the classes, solved when the state has changed.

        Raises:
            ValueError: Nothing was learnt, `lda` has no more samples than classes, or the matrix is not positive
                definite.
        """
        self._need_classes()
        if self._solution is None:
            self._solution = self._solve()
        return self._solution

    @property
    def condition(self) -> float | None:
        """Condition number of the matrix factorized last (an estimate); None before, and for `nearest_mean`.

        Where `ridge` has corrected its solution since, that is the matrix without the samples of the corrections.
        """
        return None if self._solved is None else condition(self._solved)

    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        weight, bias = self.solution()
        rows = self._rows(inputs)
        if self.expand is None:
            check_range(rows, self.max_count)
        return (torch.from_numpy(rows).double() @ weight + bias).numpy()

    def state_dict(self) -> dict[str, Tensor]:
        return {"statistics": torch.frombuffer(bytearray(self.statistics.to_bytes()), dtype=torch.uint8)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        (data,) = take_state(state, "ExactLearner", "statistics")
        statistics = CountStatistics.from_bytes(data.numpy().tobytes(), self._statistics.source)
        found, expected = ((s.features, s.max_count) for s in (statistics, self._statistics))
        if found != expected:
            raise CheckpointError(
                f"the state holds {found[0]} features in 0..{found[1]}, expected {expected[0]} in 0..{expected[1]}; it "
                "belongs to another trunk or expansion"
            )
        self._statistics, self._waiting, self._waiting_count, self._added = statistics, [], 0, None
        self._solution = None
        self._base = None

    # --- solving ------------------------------------------------------------------------------------------------

    def _solve(self) -> tuple[Tensor, Tensor]:
        if self._base is not None:
            weight, macs = self._base.solve(self.classes)
            self.work.macs += macs
            return weight, torch.zeros(weight.shape[1], dtype=torch.float64)
        sums = torch.from_numpy(self.statistics.sums).double()  # [K, D]
        means = sums / torch.from_numpy(self.statistics.samples).double()[:, None]
        if self.classifier == "nearest_mean":
            return means.T.contiguous(), -means.square().sum(1) / 2
        size = sums.shape[1]
        self.work.macs += len(sums) * size * size
        if self.classifier == "ridge":
            moment = torch.from_numpy(self.statistics.second_moment(np.float64))
            factor = self._factorize(moment, self.ridge, "ridge")
            weight = torch.cholesky_solve(sums.T.contiguous(), factor)
            # The largest row sum is at least the largest eigenvalue, the ridge at most the smallest.
            bound = 1 + float(moment.sum(1).max()) / self.ridge
            if self.incremental_solve and bound * torch.finfo(moment.dtype).eps <= CORRECTION_ERROR:
                self._base = _Base(factor, weight, self.classes)
            return weight, torch.zeros(len(sums), dtype=torch.float64)
        degrees = int(self.statistics.samples.sum()) - len(sums)
        if degrees < 1:
            raise ValueError(
                f"lda has {degrees + len(sums)} samples of {len(sums)} classes, expected more samples than classes"
            )
        moment = torch.from_numpy(self.statistics.second_moment(np.float64))
        covariance = (moment - sums.T @ means) / degrees
        scale = float(covariance.diagonal().mean()) or 1.0
        factor = self._factorize(covariance * (1 - self.shrinkage), self.shrinkage * scale, "shrinkage")
        weight = torch.cholesky_solve(means.T.contiguous(), factor)
        return weight, -(means * weight.T).sum(1) / 2

    def _factorize(self, matrix: Tensor, ridge: float, option: str) -> Tensor:
        self._solved = factorize(matrix, ridge, option)
        self.work.macs += factor_macs(len(matrix))
        return self._solved

    # --- input --------------------------------------------------------------------------------------------------

    @property
    def _expansion_macs(self) -> int:
        return 0 if self.expand is None else self.expand.signs.numel()

    def _rows(self, inputs: Any) -> npt.NDArray[Any]:
        """Counts as the statistics take them, which check their range when they are added."""
        rows = as_counts(inputs, self.max_count, self.features)
        if self.expand is None:
            return rows
        check_range(rows, self.max_count)
        return self.expand(rows)


class _Base:
    """A solution of ridge, and the few samples that came after it.

    Args:
        factor: Of M + ridge I.
        weight: Its solution `[D, K]`.
        classes: Of its columns.
    """

    def __init__(self, factor: Tensor, weight: Tensor, classes: tuple[int, ...]) -> None:
        self._few = FewRows(factor)
        self._weight, self._classes = weight, classes
        self._labels: list[int] = []
        self._pending: list[Tensor] = []
        self._size = len(factor)

    def take(self, rows: npt.NDArray[Any], labels: Labels) -> bool:
        """Takes samples in; False where so many are better solved afresh, or there are too many already."""
        waiting = sum(map(len, self._pending)) + len(rows)
        if rows_macs(self._size, waiting) >= factor_macs(self._size) or len(self._few) + waiting > self._size // 4:
            return False
        self._pending.append(torch.from_numpy(rows).double())
        self._labels += labels.tolist()
        return True

    def solve(self, classes: tuple[int, ...]) -> tuple[Tensor, int]:
        """Weights `[D, K]` of all samples, and the multiply-accumulates that they took."""
        rows = torch.cat(self._pending) if self._pending else self._weight.new_zeros(0, self._size)
        self._pending = []
        self._few.add(rows)
        place = {class_id: k for k, class_id in enumerate(classes)}
        weight = self._weight.new_zeros(self._size, len(classes))
        weight[:, [place[class_id] for class_id in self._classes]] = self._weight
        targets = weight.new_zeros(len(self._labels), len(classes))
        targets[range(len(self._labels)), [place[class_id] for class_id in self._labels]] = 1.0
        count = len(self._few)
        macs = rows_macs(self._size, len(rows)) + count * self._size * (len(rows) + 3 * len(classes))
        return self._few.solve(weight, targets), macs
