"""Published learners on frozen features: nearest class mean, streaming LDA, ACIL and RanPAC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.errors import CheckpointError
from eccsnn.incremental.counts import as_labels
from eccsnn.incremental.expansion import gaussian_expansion
from eccsnn.incremental.learner import Learner, as_float_features, take_state
from eccsnn.incremental.solve import factor_macs, factorize

RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))
"""The grid of RanPAC."""
_FEWEST_TO_CHOOSE = 5


class FeatureLearner(Learner):
    """A learner on float64 features that knows its classes in the order in which they came."""

    takes = "features"

    def __init__(self, features: int) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features is {features}, expected at least 1")
        self.features = features
        self._classes: list[int] = []

    @property
    def classes(self) -> tuple[int, ...]:
        return tuple(self._classes)

    def observe(self, inputs: Any, labels: Any) -> None:
        """Learns from features `[N, D]` and class ids `[N]`."""
        x = as_float_features(inputs, self.features)
        ids = as_labels(labels, len(x))
        for class_id in np.unique(ids).tolist():
            if class_id not in self._classes:
                self._classes.append(class_id)
                self._add_class()
        positions = {class_id: k for k, class_id in enumerate(self._classes)}
        self._learn(x, torch.tensor([positions[c] for c in ids.tolist()], dtype=torch.int64))

    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        self._need_classes()
        return self._scores(as_float_features(inputs, self.features)).numpy()

    @property
    def memory_bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in self._shapes(len(self._classes)))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything learnt, as copies: `observe` changes tensors in place."""
        return {"classes": torch.tensor(self._classes, dtype=torch.int64)} | {
            name: getattr(self, name).clone() for name in self._shapes(len(self._classes))
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state_dict`.

        Raises:
            CheckpointError: An entry is missing or strange, or has another shape or dtype than this learner's, class
                ids are no distinct numbers of at least 0, or values are not finite. Nothing is changed then.
        """
        names = tuple(self._shapes(0))
        classes, *tensors = take_state(state, type(self).__name__, "classes", *names)
        ids = _class_ids(classes)
        for (name, shape), tensor in zip(self._shapes(len(ids)).items(), tensors, strict=True):
            _check_entry(name, tensor, shape, len(ids))
            if name == "random_layer" and not torch.equal(tensor, getattr(self, name)):
                raise CheckpointError(
                    f"the state is of a random layer with features, size and seed {tensor.tolist()}, expected "
                    f"{getattr(self, name).tolist()}; build {type(self).__name__} with those"
                )
        self._classes = ids
        for name, tensor in zip(names, tensors, strict=True):
            setattr(self, name, tensor.detach().cpu().clone())

    def _shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        """The attributes that hold what was learnt, all float64, and their shapes with so many classes."""
        raise NotImplementedError

    def _add_class(self) -> None:
        raise NotImplementedError

    def _learn(self, x: Tensor, positions: Tensor) -> None:
        raise NotImplementedError

    def _scores(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def _class_ids(classes: Tensor) -> list[int]:
    """Class ids of a learner's state, checked."""
    if classes.dtype != torch.int64 or classes.ndim != 1:
        raise CheckpointError(
            f"the state's classes are {classes.dtype} of the shape {list(classes.shape)}, expected int64 [K]"
        )
    ids: list[int] = classes.tolist()
    if len(set(ids)) < len(ids) or min(ids, default=0) < 0:
        raise CheckpointError(f"the state's classes are {ids}, expected distinct ids of at least 0")
    return ids


def _check_entry(name: str, tensor: Tensor, shape: tuple[int, ...], classes: int) -> None:
    """Raises CheckpointError where an entry of a learner's state cannot be one of `classes` classes."""
    if tensor.dtype != torch.float64 or tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"the state's {name} is {tensor.dtype} of the shape {list(tensor.shape)}, expected float64 {list(shape)} "
            f"for {classes} classes; was it made with other features or another expansion?"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"the state's {name} holds NaN or infinite values; it is broken, learn again")
    if name == "samples" and bool((tensor < 1).any()):
        raise CheckpointError(f"the state's samples are {tensor.tolist()}, expected at least 1 of each class")


class NearestMean(FeatureLearner):
    """Nearest class mean in Euclidean distance.

    Source: Mensink et al., "Distance-based image classification", TPAMI 2013.

    Example:
        >>> learner = NearestMean(1)
        >>> learner.observe([[0.0], [2.0], [9.0]], [4, 4, 1])
        >>> learner.predict([[3.0], [8.0]]).tolist()
        [4, 1]
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.sums = torch.zeros(0, features, dtype=torch.float64)
        self.samples = torch.zeros(0, dtype=torch.float64)

    def _shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        return {"sums": (classes, self.features), "samples": (classes,)}

    def _add_class(self) -> None:
        self.sums = torch.cat((self.sums, self.sums.new_zeros(1, self.features)))
        self.samples = torch.cat((self.samples, self.samples.new_zeros(1)))

    def _learn(self, x: Tensor, positions: Tensor) -> None:
        self.sums.index_add_(0, positions, x)
        self.samples.index_add_(0, positions, torch.ones(len(x), dtype=torch.float64))

    def _scores(self, x: Tensor) -> Tensor:
        means = self.sums / self.samples[:, None]
        return x @ means.T - means.square().sum(1) / 2


class StreamingLDA(FeatureLearner):
    """Streaming linear discriminant analysis: one rank-one update of a running covariance for every sample.

    The covariance is around the class mean before the sample; the average weighs all samples alike. The classifier
    inverts (1 - shrinkage) C + shrinkage I.

    Source: Hayes and Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis", CVPR
    Workshops 2020, eqs. 2 to 5; the authors' code, too, inverts when it predicts. Deviation: no base initialisation,
    the stream begins with the first sample; the shrunk covariance is positive definite, so a Cholesky solve takes the
    place of the pseudo-inverse.

    Args:
        features: D.
        shrinkage: Above 0.
        form: `published` makes new matrices in the order of eqs. 3 and 4, as the authors' code does; `in_place` does
            the same in three passes over one matrix.
    """

    def __init__(self, features: int, shrinkage: float = 1e-4, *, form: str = "in_place") -> None:
        super().__init__(features)
        if form not in ("published", "in_place"):
            raise ValueError(f"form is {form!r}, expected published or in_place")
        self.form = form
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected a number above 0, at most 1")
        self.shrinkage = shrinkage
        self.means = torch.zeros(0, features, dtype=torch.float64)
        self.samples = torch.zeros(0, dtype=torch.float64)
        self.covariance = torch.zeros(features, features, dtype=torch.float64)
        self._solution: tuple[Tensor, Tensor] | None = None

    def _shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        return {
            "means": (classes, self.features),
            "samples": (classes,),
            "covariance": (self.features, self.features),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._solution = None

    def _add_class(self) -> None:
        self.means = torch.cat((self.means, self.means.new_zeros(1, self.features)))
        self.samples = torch.cat((self.samples, self.samples.new_zeros(1)))

    def _learn(self, x: Tensor, positions: Tensor) -> None:
        self._solution = None
        seen = float(self.samples.sum())
        for sample, k in zip(x, positions.tolist(), strict=True):
            offset = sample - self.means[k]
            if self.form == "published":
                delta = seen * (offset[:, None] @ offset[None]) / (seen + 1)
                self.covariance = (seen * self.covariance + delta) / (seen + 1)
            else:
                self.covariance.mul_(seen).addr_(offset, offset, alpha=seen / (seen + 1)).div_(seen + 1)
            self.means[k] += offset / (self.samples[k] + 1)
            self.samples[k] += 1
            seen += 1
        self.work.macs += len(x) * self.features**2

    def _scores(self, x: Tensor) -> Tensor:
        if self._solution is None:
            factor = factorize((1 - self.shrinkage) * self.covariance, self.shrinkage)
            weight = torch.cholesky_solve(self.means.T.contiguous(), factor)
            self._solution = weight, -(self.means * weight.T).sum(1) / 2
            self.work.macs += factor_macs(self.features)
        weight, bias = self._solution
        return x @ weight + bias


class ACIL(FeatureLearner):
    """Analytic class-incremental learning: recursive least squares with an inverse R = (X^T X + ridge I)^-1.

    Args:
        features: D.
        ridge: gamma of the source.
        expansion: Size of the random layer with ReLU in front ("feature expansion"); 0: none.
        form: `published` multiplies R X^T K X R from left to right, which costs D^3 a batch; `reassociated` groups
            it as (R X^T) K (X R) in O(D^2 N). The same mathematics.
        batch_size: Samples a step of the recursion.
        seed: Of the random layer.

    Source: Zhuang et al., "ACIL: Analytic class-incremental learning with absolute memorization and privacy
    protection", NeurIPS 2022, theorem 1; the order of multiplication is that of the authors' code. Deviation: the
    random layer is normal of variance 1 / D, where that code draws uniformly from -1 / sqrt(D) to 1 / sqrt(D).
    """

    def __init__(
        self,
        features: int,
        *,
        ridge: float = 100.0,
        expansion: int = 0,
        form: str = "reassociated",
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(features)
        if form not in ("published", "reassociated"):
            raise ValueError(f"form is {form!r}, expected published or reassociated")
        if not ridge > 0 or batch_size < 1:
            raise ValueError(f"ridge is {ridge} and batch_size {batch_size}, expected a number above 0 and at least 1")
        self.form, self.batch_size = form, batch_size
        self._random = gaussian_expansion(features, expansion, seed) / math.sqrt(features) if expansion else None
        self.random_layer = torch.tensor([features, expansion, seed], dtype=torch.float64)  # what a state was made with
        size = expansion or features
        self.inverse = torch.eye(size, dtype=torch.float64) / ridge
        self.weight = torch.zeros(size, 0, dtype=torch.float64)

    def _shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        size = len(self.inverse)
        return {"inverse": (size, size), "weight": (size, classes), "random_layer": (3,)}

    def _add_class(self) -> None:
        self.weight = torch.cat((self.weight, self.weight.new_zeros(len(self.weight), 1)), dim=1)

    def _learn(self, x: Tensor, positions: Tensor) -> None:
        for part, ids in zip(x.split(self.batch_size), positions.split(self.batch_size), strict=True):
            rows = self._expand(part)
            self.update_inverse(rows)
            targets = torch.nn.functional.one_hot(ids, len(self._classes)).double()
            self.weight += self.inverse @ (rows.T @ (targets - rows @ self.weight))

    def update_inverse(self, rows: Tensor) -> None:
        """One step of the recursion of R by the Woodbury identity; rows float64 `[N, D]`."""
        size, count = len(self.inverse), len(rows)
        gain = self.inverse @ rows.T
        inner = torch.linalg.inv(torch.eye(count, dtype=rows.dtype) + rows @ gain)
        if self.form == "published":
            self.inverse -= gain @ inner @ rows @ self.inverse
            self.work.macs += size**3 + 2 * size * size * count
        else:
            self.inverse -= (gain @ inner) @ gain.T
            self.work.macs += 2 * size * size * count
        self.work.macs += 2 * size * count * count + count**3

    def _expand(self, x: Tensor) -> Tensor:
        return x if self._random is None else (x @ self._random).relu_()

    def _scores(self, x: Tensor) -> Tensor:
        return self._expand(x) @ self.weight


class RanPAC(FeatureLearner):
    """Random projection with ReLU, a running Gram matrix and class sums, ridge chosen anew with every `observe`.

    Each `observe` is a task: the ridges of a logarithmic grid are fitted to four fifths of its samples alone and
    compared by the squared error on the others; the best one then solves for all samples so far.

    Source: McDonnell et al., "RanPAC: Random projections and pre-trained models for continual learning", NeurIPS 2023,
    algorithm 1 and the authors' code, without its first phase (the trunk is given here). Deviations: fp64 in place of
    fp32; fewer than five samples choose no ridge, so that a stream of them keeps the last one.

    Args:
        features: D.
        expansion: Size M of the projection (10000 in the source).
        ridges: Grid; the source has 1e-8 to 1e8.
        seed: Of the projection and of what is held out.
    """

    def __init__(
        self,
        features: int,
        *,
        expansion: int = 2000,
        ridges: tuple[float, ...] = RIDGES,
        seed: int = 0,
    ) -> None:
        super().__init__(features)
        if expansion < 1 or not ridges or min(ridges) <= 0:
            raise ValueError(f"expansion is {expansion}, ridges {ridges}; expected at least 1, and numbers above 0")
        self.seed, self.ridges = seed, ridges
        self._random = gaussian_expansion(features, expansion, seed)
        self.random_layer = torch.tensor([features, expansion, seed], dtype=torch.float64)  # what a state was made with
        self.gram = torch.zeros(expansion, expansion, dtype=torch.float64)
        self.sums = torch.zeros(0, expansion, dtype=torch.float64)
        self.weight = torch.zeros(expansion, 0, dtype=torch.float64)
        self.chosen_ridge = torch.tensor(ridges[0], dtype=torch.float64)

    def _shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        size = len(self.gram)
        return {
            "gram": (size, size),
            "sums": (classes, size),
            "weight": (size, classes),
            "chosen_ridge": (),
            "random_layer": (3,),
        }

    @property
    def ridge(self) -> float:
        """The ridge that the last `observe` with five samples or more chose."""
        return float(self.chosen_ridge)

    def _add_class(self) -> None:
        self.sums = torch.cat((self.sums, self.sums.new_zeros(1, self.sums.shape[1])))

    def _learn(self, x: Tensor, positions: Tensor) -> None:
        rows = (x @ self._random).relu_()
        targets = torch.nn.functional.one_hot(positions, len(self._classes)).double()
        self.gram = self.gram + rows.T @ rows
        self.sums = self.sums + targets.T @ rows
        if len(rows) >= _FEWEST_TO_CHOOSE:
            self.chosen_ridge = torch.tensor(self._choose(rows, targets), dtype=torch.float64)
        # LU, as in the source: a small ridge on a singular Gram matrix is not positive definite in floating point
        shifted = self.gram + self.ridge * torch.eye(len(self.gram), dtype=torch.float64)
        self.weight = torch.linalg.solve(shifted, self.sums.T)
        self.work.macs += len(rows) * (self._random.numel() + len(shifted) ** 2) + 2 * factor_macs(len(shifted))

    def _choose(self, rows: Tensor, targets: Tensor) -> float:
        """The ridge with the smallest squared error on a fifth of a task, fitted to the rest of it."""
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))
        fitted, held = order.tensor_split([int(0.8 * len(rows))])
        values, vectors = torch.linalg.eigh(rows[fitted].T @ rows[fitted])  # one decomposition serves all ridges
        turned, goal = rows[held] @ vectors, vectors.T @ (rows[fitted].T @ targets[fitted])
        errors = [
            float((targets[held] - turned @ (goal / (values.clamp(min=0) + ridge)[:, None])).square().mean())
            for ridge in self.ridges
        ]
        self.work.macs += len(fitted) * len(vectors) ** 2 + 9 * len(vectors) ** 3
        return self.ridges[int(np.nanargmin(errors))]

    def _scores(self, x: Tensor) -> Tensor:
        return (x @ self._random).relu_() @ self.weight
