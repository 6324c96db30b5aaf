"""The exact analytic learner: integer statistics of spike counts, and classifiers that are solved from them.

From one state (`CountStatistics`) with n_k samples and sums s_k of class k, N samples in all and M = sum of x x^T:

    nearest_mean   score_k(x) = x . m_k - |m_k|^2 / 2                       with m_k = s_k / n_k
    lda            score_k(x) = x . w_k - m_k . w_k / 2, w_k = C^-1 m_k   with C = (M - sum_k s_k s_k^T / n_k) / (N - K)
    ridge          score_k(x) = x . w_k, w_k = (M + ridge I)^-1 s_k         (one-hot targets need the sums alone)

C is shrunk to (1 - shrinkage) C + shrinkage trace(C) / D I. Solves are Cholesky's in fp64. The state does not depend
on the order of samples, so the solution of a state solved afresh does not either; after a few samples, ridge turns
its old factor instead (`incremental_solve`), which agrees up to rounding times the condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.errors import CheckpointError
from eccsnn.incremental.counts import as_counts, check_range
from eccsnn.incremental.expansion import SignExpansion
from eccsnn.incremental.learner import Learner, take_state
from eccsnn.incremental.solve import condition, factor_macs, factorize, update_factor, update_macs
from eccsnn.incremental.statistics import CountStatistics

CLASSIFIERS = ("ridge", "lda", "nearest_mean")


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
        incremental_solve: Turn the factor of `ridge` by a few new samples instead of factorizing anew.
        threads: For the statistics.
        source: What made the features; see `CountStatistics`.

    Raises:
        ValueError: An argument is out of range.

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
        self.statistics = CountStatistics(size, bound, source)
        self._solution: tuple[Tensor, Tensor] | None = None
        self._solved: Tensor | None = None  # factor of the last solution
        self._factor: Tensor | None = None  # of ridge, for all samples but the pending ones
        self._pending: list[Tensor] = []

    @property
    def classes(self) -> tuple[int, ...]:
        return self.statistics.classes

    @property
    def memory_bytes(self) -> int:
        return self.statistics.state_bytes

    def observe(self, inputs: Any, labels: Any) -> None:
        """Adds samples: counts `[N, D]` and class ids; see `CountStatistics.add`."""
        rows = self._rows(inputs)
        self.statistics.add(rows, labels, self.threads)
        size = self.statistics.features
        self.work.macs += len(rows) * (size * (size + 1) // 2 + self._expansion_macs)
        self._solution = None
        waiting = sum(map(len, self._pending)) + len(rows)
        turn = self.incremental_solve and update_macs(size, waiting) < factor_macs(size)
        if self._factor is None or not turn:
            self._forget_factor()
        else:
            self._pending.append(torch.from_numpy(rows).double())

    def unlearn(self, inputs: Any, labels: Any) -> None:
        """Takes samples out again: the state is as if they had never been seen; see `CountStatistics.subtract`."""
        self.statistics.subtract(self._rows(inputs), labels, self.threads)
        self._solution = None
        self._forget_factor()

    def merge(self, other: CountStatistics) -> None:
        """Adds the statistics of another learner of the same features, such as another edge's."""
        self.statistics.merge(other)
        self._solution = None
        self._forget_factor()

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
        """Condition number of the matrix that was solved last (an estimate); None before, and for `nearest_mean`."""
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
        statistics = CountStatistics.from_bytes(data.numpy().tobytes(), self.statistics.source)
        found, expected = ((s.features, s.max_count) for s in (statistics, self.statistics))
        if found != expected:
            raise CheckpointError(
                f"the state holds {found[0]} features in 0..{found[1]}, expected {expected[0]} in 0..{expected[1]}; it "
                "belongs to another trunk or expansion"
            )
        self.statistics = statistics
        self._solution = None
        self._forget_factor()

    # --- solving ------------------------------------------------------------------------------------------------

    def _solve(self) -> tuple[Tensor, Tensor]:
        sums = torch.from_numpy(self.statistics.sums).double()  # [K, D]
        means = sums / torch.from_numpy(self.statistics.samples).double()[:, None]
        if self.classifier == "nearest_mean":
            return means.T.contiguous(), -means.square().sum(1) / 2
        size = sums.shape[1]
        self.work.macs += len(sums) * size * size
        if self.classifier == "ridge":
            weight = torch.cholesky_solve(sums.T.contiguous(), self._ridge_factor())
            return weight, torch.zeros(len(sums), dtype=torch.float64)
        degrees = int(self.statistics.samples.sum()) - len(sums)
        if degrees < 1:
            raise ValueError(
                f"lda has {degrees + len(sums)} samples of {len(sums)} classes, expected more samples than classes"
            )
        moment = torch.from_numpy(self.statistics.second_moment(np.float64))
        covariance = (moment - sums.T @ means) / degrees
        scale = float(covariance.diagonal().mean()) or 1.0
        factor = self._factorize(covariance * (1 - self.shrinkage), self.shrinkage * scale)
        weight = torch.cholesky_solve(means.T.contiguous(), factor)
        return weight, -(means * weight.T).sum(1) / 2

    def _ridge_factor(self) -> Tensor:
        if self._factor is None:
            self._factor = self._factorize(torch.from_numpy(self.statistics.second_moment(np.float64)), self.ridge)
        elif self._pending:
            rows = torch.cat(self._pending)
            self._factor = self._solved = update_factor(self._factor, rows)
            self.work.macs += update_macs(len(self._factor), len(rows))
        self._pending = []
        return self._factor

    def _factorize(self, matrix: Tensor, ridge: float) -> Tensor:
        self._solved = factorize(matrix, ridge)
        self.work.macs += factor_macs(len(matrix))
        return self._solved

    def _forget_factor(self) -> None:
        self._factor = None
        self._pending = []

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
