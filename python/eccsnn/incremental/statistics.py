"""Exact statistics of spike counts: the whole memory of the exact learner, in integers.

For each class the number of its samples and the sum of their features, for all classes together the sum of x x^T.
The same samples give the same state, bit for bit, in any order, in any batches, on any number of threads and after any
tree of merges; what was added can be subtracted. Arithmetic: `csrc/core/count_statistics.cpp`, readable truth:
`eccsnn.incremental.reference_counts`, file format: docs/incremental.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eccsnn import _core
from eccsnn.errors import CheckpointError
from eccsnn.incremental.count_moments import count_moments
from eccsnn.incremental.counts import as_counts, as_labels, check_integers, check_threads
from eccsnn.training.checkpoint import write_atomically

_AGAIN = "Delete it and learn again, or take a copy."


class CountStatistics:
    """Counts, sums and second moment of integer features in 0..max_count.

    A class cannot be taken out of the second moment by its sums alone. Its own second moment is not kept (that would
    be a second moment a class): to un-learn a class, its features are given again (`subtract`), or the statistics of
    that class, kept elsewhere, such as in a state file of its own (`subtract_statistics`). What is subtracted is
    checked as far as counts, sums and square sums show; other samples with the same sums cannot be told apart.

    Args:
        features: Number of features D, 1 to 32768.
        max_count: Largest feature, 1 to 32767.
        source: What made the features, such as the key of the trunk's stage; states and files of another source are
            refused.

    Raises:
        TypeError, ValueError: D or max_count is no integer or out of range.

    Example:
        >>> statistics = CountStatistics(features=2, max_count=4)
        >>> statistics.add([[1, 4], [0, 2]], [7, 3])
        >>> statistics.classes, statistics.samples.tolist(), statistics.sums.tolist()
        ((3, 7), [1, 1], [[0, 2], [1, 4]])
        >>> statistics.second_moment().tolist()
        [[1, 4], [4, 20]]
    """

    def __init__(self, features: int, max_count: int, source: str = "") -> None:
        check_integers(features=features, max_count=max_count)
        self._core = _core.CountStatistics(features, max_count)
        self.source = source

    # --- changing the state -------------------------------------------------------------------------------------

    def add(self, features: Any, labels: Any, threads: int = 1) -> None:
        """Adds samples.

        Args:
            features: `[N, D]` counts (see `as_counts`); a CUDA tensor is summed on its device.
            labels: int `[N]` class ids of at least 0; a new one is a new class.
            threads: Of the CPU.

        Raises:
            TypeError, ValueError: A value, label or shape is not as it should be, or a counter would not fit. The
                state is then unchanged.
        """
        check_threads(threads)
        if isinstance(features, Tensor) and features.is_cuda:
            self._core.merge(_sum_on_device(features, labels, self.max_count, self.features))
            return
        rows = as_counts(features, self.max_count, self.features)
        self._core.add(rows, as_labels(labels, len(rows)), threads)

    def subtract(self, features: Any, labels: Any, threads: int = 1) -> None:
        """Takes samples out again, as if they had never been added.

        Raises:
            TypeError, ValueError: As for `add`, or more would be subtracted than was added. The state is unchanged.
        """
        check_threads(threads)
        rows = as_counts(features, self.max_count, self.features)
        self._core.subtract(rows, as_labels(labels, len(rows)), threads)

    def merge(self, other: CountStatistics) -> None:
        """Adds the samples of another state, such as that of another edge.

        Raises:
            ValueError: It is of other features, or a counter would not fit. This state is then unchanged.
        """
        self._check_source(other)
        self._core.merge(other._core)

    def subtract_statistics(self, other: CountStatistics) -> None:
        """Takes the samples of another state out again; see `subtract`."""
        self._check_source(other)
        self._core.subtract_state(other._core)

    def copy(self) -> Self:
        """A state of its own with the same samples."""
        return self._with(_core.CountStatistics(self._core), self.source)

    # --- reading it ---------------------------------------------------------------------------------------------

    @property
    def features(self) -> int:
        """Number of features D."""
        return self._core.features

    @property
    def max_count(self) -> int:
        """Largest feature."""
        return self._core.max_count

    @property
    def classes(self) -> tuple[int, ...]:
        """Class ids, ascending."""
        return tuple(self._core.ids.tolist())

    @property
    def samples(self) -> npt.NDArray[np.int64]:
        """Samples of each class, `[K]`."""
        return self._core.samples

    @property
    def sums(self) -> npt.NDArray[np.int64]:
        """Sum of the features of each class, `[K, D]`."""
        return self._core.sums

    @property
    def state_bytes(self) -> int:
        """Bytes that the state takes in memory."""
        return self._core.state_bytes

    def second_moment(self, dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
        """Sum of x x^T over all samples, `[D, D]`, int64 or float64."""
        return self._core.moment_float64() if np.dtype(dtype) == np.float64 else self._core.moment()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CountStatistics):
            return NotImplemented
        return self.source == other.source and bool(self._core == other._core)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return (
            f"CountStatistics(features={self.features}, max_count={self.max_count}, samples={self._core.total}, "
            f"classes={len(self.classes)})"
        )

    # --- files --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The bytes of a state file; equal states give equal bytes."""
        return self._core.serialize(_digest(self.source))

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "") -> Self:
        """The state of a file's bytes.

        Args:
            data: What `to_bytes` returned.
            source: As it was given to the state that was written.

        Raises:
            CheckpointError: The bytes are cut short, changed, of another version, or of another source.
        """
        try:
            core, digest = _core.CountStatistics.parse(bytes(data))
        except _core.CountStatisticsError as error:
            raise CheckpointError(f"{error}{'' if str(error).endswith('?') else '.'} {_AGAIN}") from None
        if digest != _digest(source):
            raise CheckpointError(
                f"the state was made of other features than those of {source!r}: another trunk, layer or expansion. "
                "Load it with the source that it was made with."
            )
        return cls._with(core, source)

    def save(self, path: str | Path) -> None:
        """Writes a state file; a crash leaves the old file or the new one, never a part."""
        write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path, source: str = "") -> Self:
        """Reads a state file.

        Raises:
            CheckpointError: It is missing, or see `from_bytes`.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read the state file {path}: {error.strerror}.") from error
        try:
            return cls.from_bytes(data, source)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    @classmethod
    def _with(cls, core: _core.CountStatistics, source: str) -> Self:
        made = cls.__new__(cls)
        made._core = core
        made.source = source
        return made

    def _check_source(self, other: CountStatistics) -> None:
        if self.source != other.source:
            raise ValueError(
                f"the other state is of the source {other.source!r}, this one of {self.source!r}; only statistics of "
                "the same features can be combined"
            )


def _digest(source: str) -> bytes:
    return hashlib.sha256(source.encode()).digest()


def _sum_on_device(features: Tensor, labels: Any, max_count: int, columns: int) -> _core.CountStatistics:
    """Statistics of samples that lie on a GPU, summed there."""
    if features.ndim != 2 or features.shape[1] != columns:
        raise ValueError(f"features have shape {list(features.shape)}, expected [N, {columns}]")
    ids = as_labels(labels, len(features))
    classes, positions = np.unique(ids, return_inverse=True)
    moment, sums = count_moments(features, positions, len(classes), max_count)
    return _core.CountStatistics.from_parts(
        max_count,
        classes,
        np.bincount(positions, minlength=len(classes)).astype(np.int64),
        sums.numpy(),
        moment.numpy(),
    )
