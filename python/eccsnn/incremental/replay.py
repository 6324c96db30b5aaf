"""Learners that keep exemplars of old classes: experience replay, iCaRL and weight aligning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eccsnn.data import Batch, ImageSet, batches
from eccsnn.incremental.networks import NetworkLearner, all_classes_loss, image_state, images_of_state, join, unlabelled
from eccsnn.models import Model
from eccsnn.training import cross_entropy, logit_distillation
from eccsnn.training.loop import LossFunction
from eccsnn.training.losses import class_positions


def herd(features: npt.NDArray[np.float64], count: int) -> list[int]:
    """Chooses samples one by one so that their mean stays as near as possible to the mean of all.

    Args:
        features: `[N, D]`.
        count: How many to choose; all are chosen where there are fewer.

    Returns:
        Indices in the order of choice, so that a prefix is the best smaller choice.

    Source: Rebuffi et al., iCaRL, CVPR 2017, algorithm 4 (herding of Welling, ICML 2009).

    Example:
        >>> herd(np.array([[0.0], [4.0], [1.9], [1.0]]), 2)
        [2, 3]
    """
    target = features.mean(axis=0)
    total = np.zeros_like(target)
    chosen: list[int] = []
    free = np.ones(len(features), dtype=bool)
    for size in range(1, min(count, len(features)) + 1):
        distance = np.square(target - (total + features) / size).sum(axis=1)
        distance[~free] = np.inf
        best = int(distance.argmin())
        chosen.append(best)
        free[best] = False
        total += features[best]
    return chosen


def distillation(now: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of KL(before || now) of logits `[N, K]` at a temperature.

    Without the T^2 of `eccsnn.training.logit_distillation`: sources of learners with exemplars have none.
    """
    return logit_distillation(now, before, None, temperature) / temperature**2


class ExemplarLearner(NetworkLearner):
    """Keeps a fixed number of exemplars in all, equally many of each class.

    Args:
        model: The network so far.
        exemplars: How many images are kept in all.
        arguments: Those of `NetworkLearner`.

    Raises:
        ValueError: `exemplars` is below 1.
    """

    def __init__(self, model: Model, *, exemplars: int = 200, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        if exemplars < 1:
            raise ValueError(f"exemplars is {exemplars}, expected at least 1")
        self.exemplars = exemplars
        self._memory: ImageSet | None = None  # of each class the best first

    @property
    def memory_bytes(self) -> int:
        return 0 if self._memory is None else len(self._memory) * int(np.prod(self._memory.shape))

    def _data(self, images: ImageSet) -> ImageSet:
        return images if self._memory is None else join(images, self._memory)

    def _keep(self, images: ImageSet) -> None:
        seen = images.classes if self._memory is None else (*self._memory.classes, *images.classes)
        share = max(1, self.exemplars // len(seen))
        parts = []
        if self._memory is not None:
            kept = [np.flatnonzero(self._memory.labels == c)[:share] for c in self._memory.classes]
            parts.append(self._memory.take(np.concatenate(kept)))
        for class_id in images.classes:
            own = np.flatnonzero(images.labels == class_id)
            parts.append(images.take(own[self._choose(images.take(own), share)]))
        kept_images = join(*parts)
        self._memory = ImageSet(np.array(kept_images.images), kept_images.labels)  # lets go of the task's array

    def _choose(self, images: ImageSet, count: int) -> list[int]:
        """Indices of the exemplars of one class, the best first."""
        key = np.random.SeedSequence([self.seed, int(images.labels[0])])
        return np.random.Generator(np.random.PCG64(key)).permutation(len(images))[:count].tolist()

    def _features(self, images: ImageSet) -> npt.NDArray[np.float64]:
        """What the head sees, scaled to length 1, `[N, D]`."""
        parts = []
        with torch.inference_mode():
            for batch in batches(images, 128, mean=self.mean, std=self.std, device=self.options.device):
                parts.append(F.normalize(self.model.forward_features(batch.images).penultimate.double(), dim=1).cpu())
        return torch.cat(parts).numpy()

    def _memory_state(self) -> dict[str, Tensor]:
        return image_state(self._memory)

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._memory = images_of_state(memory)


class ExperienceReplay(ExemplarLearner):
    """Cross-entropy over all logits, with as many samples of the memory as new ones (repeated where it is smaller).

    Source: Chaudhry et al., "On tiny episodic memories in continual learning", 2019, with a class-balanced memory of
    random samples.
    """

    def _data(self, images: ImageSet) -> ImageSet:
        if self._memory is None:
            return images
        repeated = np.arange(max(len(images), len(self._memory))) % len(self._memory)
        return join(images, self._memory.take(repeated))

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        return all_classes_loss


class ICaRL(ExemplarLearner):
    """iCaRL: herded exemplars, sigmoids with distillation, and the nearest mean of exemplars as the classifier.

    Source: Rebuffi et al., "iCaRL: Incremental classifier and representation learning", CVPR 2017. Deviations: class
    means come from the exemplars alone, as in its algorithm 1, without mirrored images; the first head comes trained
    through a softmax with the cloud's distillation, as all learners are given it, and is distilled through sigmoids.
    """

    def __init__(self, model: Model, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        self._means: npt.NDArray[np.float64] | None = None

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        old = len(before.head.class_ids)

        def loss_function(model: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logits = model(batch.images).float()
            places = class_positions(model.head.class_ids).to(batch.labels.device)[batch.labels]
            targets = F.one_hot(places, logits.shape[1]).float()
            with torch.no_grad():
                targets[:, :old] = torch.sigmoid(before(batch.images).float())
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()
            return loss, {"binary_cross_entropy": loss}

        return loss_function

    def _finish(self, before: Model, images: ImageSet) -> None:
        self._count_teacher(self._data(images))

    def _choose(self, images: ImageSet, count: int) -> list[int]:
        self.work.forward_samples += len(images)
        return herd(self._features(images), count)

    def _keep(self, images: ImageSet) -> None:
        super()._keep(images)
        self._means = None

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        super()._load_memory(memory)
        self._means = None

    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        """Minus half the squared distance to the mean of each class's exemplars, `[N, K]`."""
        if self._memory is None:
            raise ValueError("ICaRL has no exemplars yet; observe the first task's images, also of a trained network")
        if self._means is None:
            features = self._features(self._memory)
            self.work.forward_samples += len(self._memory)
            means = np.stack([features[self._memory.labels == c].mean(axis=0) for c in self.classes])
            self._means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return self._features(unlabelled(inputs)) @ self._means.T - 1.0


class WeightAligning(ExemplarLearner):
    """Replay with distillation, then the new head is scaled to the old heads' mean weight norm (bias correction).

    The loss is (1 - a) CE over all logits + a KL(before || now) over the old ones at temperature 2, a = old / all
    classes.

    Source: Zhao et al., "Maintaining discrimination and fairness in class incremental learning", CVPR 2020. Deviation:
    weights are not restricted to be positive; random exemplars are herded ones here.
    """

    TEMPERATURE = 2.0

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        old = len(before.head.class_ids)
        share = old / (old + len(classes))

        def loss_function(model: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logits = model(batch.images).float()
            with torch.no_grad():
                target = before(batch.images).float()
            terms = {"cross_entropy": cross_entropy(logits, batch.labels, model.head.class_ids)}
            if old > 1:  # over one logit it is constant
                terms["distillation"] = distillation(logits[:, :old], target, self.TEMPERATURE)
            loss = (1 - share) * terms["cross_entropy"] + share * terms.get("distillation", logits.new_zeros(()))
            return loss, terms

        return loss_function

    def _finish(self, before: Model, images: ImageSet) -> None:
        self._count_teacher(self._data(images))
        *old, new = cast(list[nn.Linear], list(self.model.head.heads))
        with torch.no_grad():
            known = torch.cat([head.weight for head in old]).norm(dim=1).mean()
            new.weight *= known / new.weight.norm(dim=1).mean().clamp(min=1e-12)

    def _choose(self, images: ImageSet, count: int) -> list[int]:
        self.work.forward_samples += len(images)
        return herd(self._features(images), count)
