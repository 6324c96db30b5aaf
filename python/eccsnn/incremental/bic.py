"""BiC: replay with distillation, and two numbers a task that take the bias towards new classes out of the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from eccsnn.data import Batch, ImageSet
from eccsnn.errors import CheckpointError
from eccsnn.incremental.networks import join, unlabelled
from eccsnn.incremental.replay import ExemplarLearner, distillation
from eccsnn.models import Model
from eccsnn.training import cross_entropy
from eccsnn.training.loop import LossFunction

_HELD_OUT = 0.1
_PULL = 1e-4


class BiasCorrection(ExemplarLearner):
    """Replay with distillation; then alpha and beta of the new head are fitted on a balanced part that was held back.

    The loss is (1 - a) CE over all logits + a KL(before || now) over the old ones at temperature 2, a = old / all
    classes. A tenth of the exemplars, and as many images of every new class, are not trained on. On them,
    alpha * logit + beta of the new classes is fitted by cross-entropy with the network frozen. Corrected logits are
    what the learner predicts by, and what the next task distils from.

    Source: Wu et al., "Large scale incremental learning", CVPR 2019, eqs. 1 to 5. Deviations: the two numbers are
    taken to the minimum of their loss, which is convex, by L-BFGS in place of gradient steps; where a class has one
    exemplar alone, none is held back and nothing is corrected; exemplars are drawn at random, also from what was
    held back.

    Args:
        model: The network so far.
        exemplars: How many images are kept in all.
        arguments: Those of `NetworkLearner`.
    """

    TEMPERATURE = 2.0

    def __init__(self, model: Model, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        self._corrections: list[tuple[float, float]] = [(1.0, 0.0)] * len(self.model.head.tasks)
        self._held: ImageSet | None = None

    @property
    def corrections(self) -> tuple[tuple[float, float], ...]:
        """(alpha, beta) of each task's head."""
        return tuple(self._corrections)

    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        """The corrected logits, `[N, K]`."""
        logits = torch.from_numpy(self._logits(unlabelled(inputs))).double()
        return _corrected(logits, self._heads(), self._corrections).numpy()

    def _heads(self) -> list[int]:
        return [len(task) for task in self.model.head.tasks]

    def _data(self, images: ImageSet) -> ImageSet:
        """Without what is held back; that is remembered until the training has ended."""
        self._held = None
        if self._memory is None:
            return images
        old = _held_out(self._memory)
        if not len(old):
            return join(images, self._memory)
        share = len(old) // len(self._memory.classes)
        new = np.concatenate([np.flatnonzero(images.labels == c)[:share] for c in images.classes])
        self._held = join(images.take(new), self._memory.take(old))
        return join(_without(images, new), _without(self._memory, old))

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        heads = [len(task) for task in before.head.tasks]
        old = sum(heads)
        share = old / (old + len(classes))
        corrections = list(self._corrections)

        def loss_function(model: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logits = _corrected(model(batch.images).float(), [*heads, len(classes)], [*corrections, (1.0, 0.0)])
            terms = {"cross_entropy": cross_entropy(logits, batch.labels, model.head.class_ids)}
            loss = (1 - share) * terms["cross_entropy"]
            if old > 1:  # over one logit it is constant
                with torch.no_grad():
                    target = _corrected(before(batch.images).float(), heads, corrections)
                terms["distillation"] = distillation(logits[:, :old], target, self.TEMPERATURE)
                loss = loss + share * terms["distillation"]
            return loss, terms

        return loss_function

    def _finish(self, before: Model, images: ImageSet) -> None:
        self._count_teacher(self._data(images))
        correction = (1.0, 0.0)
        if self._held is not None:
            logits = torch.from_numpy(self._logits(self._held)).double()
            self.work.forward_samples += len(self._held)
            place = {class_id: k for k, class_id in enumerate(self.classes)}
            targets = torch.tensor([place[c] for c in self._held.labels.tolist()])
            old = _corrected(logits, self._heads(), [*self._corrections, correction])
            correction = fit_correction(old, targets, len(self.model.head.tasks[-1]))
        self._corrections.append(correction)
        self._held = None

    def _memory_state(self) -> dict[str, Tensor]:
        return super()._memory_state() | {"corrections": torch.tensor(self._corrections, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        rest = dict(state)
        corrections = rest.pop("corrections", torch.empty(0))
        heads = sum(name.startswith("model.head.heads.") and name.endswith(".weight") for name in rest)
        if heads and (tuple(corrections.shape) != (heads, 2) or not bool(torch.isfinite(corrections).all())):
            found = corrections.tolist()
            raise CheckpointError(
                f"the state's corrections are {found}, expected finite numbers [{heads}, 2] of {heads} heads; is it "
                "another learner's?"
            )
        super().load_state_dict(rest)
        self._corrections = [(alpha, beta) for alpha, beta in corrections.tolist()]


def fit_correction(logits: Tensor, targets: Tensor, new: int) -> tuple[float, float]:
    """alpha and beta that minimise the cross-entropy of `logits` whose last `new` columns become alpha * x + beta.

    Args:
        logits: float64 `[N, K]`.
        targets: int64 `[N]`, columns.
        new: 1 to K - 1.

    Example:
        >>> logits = torch.tensor([[0.0, 3.0], [0.0, 3.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        >>> alpha, beta = fit_correction(logits, torch.tensor([1, 0, 1, 0]), 1)
        >>> abs(3 * alpha + beta) < 0.1
        True
    """
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    start = parameters.detach().clone()
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    old = logits.shape[1] - new

    def closure() -> Tensor:
        optimizer.zero_grad()
        corrected = torch.cat((logits[:, :old], parameters[0] * logits[:, old:] + parameters[1]), dim=1)
        # a weak pull to (1, 0): samples that can be separated would take the numbers to infinity
        loss = F.cross_entropy(corrected, targets) + _PULL * (parameters - start).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    alpha, beta = parameters.detach().tolist()
    return alpha, beta


def _corrected(logits: Tensor, heads: Sequence[int], corrections: Sequence[tuple[float, float]]) -> Tensor:
    """Logits `[N, K]` with alpha * x + beta in the columns of each head."""
    parts = logits.split(list(heads), dim=1)
    return torch.cat([alpha * part + beta for part, (alpha, beta) in zip(parts, corrections, strict=True)], dim=1)


def _held_out(memory: ImageSet) -> npt.NDArray[np.int64]:
    """Indices of a tenth of the exemplars, equally many of each class and the last of them; none where a class has
    one alone."""
    places = [np.flatnonzero(memory.labels == c) for c in memory.classes]
    least = min(map(len, places))
    if least < 2:
        return np.zeros(0, dtype=np.int64)
    share = max(1, round(_HELD_OUT * least))
    return np.concatenate([found[-share:] for found in places])


def _without(images: ImageSet, rows: npt.NDArray[np.int64]) -> ImageSet:
    kept = np.ones(len(images), dtype=bool)
    kept[rows] = False
    return images.take(np.flatnonzero(kept))
