"""Learners that change the network: fine-tuning, joint training, LwF, and what replay learners build on."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.data import Batch, ImageSet
from eccsnn.errors import CheckpointError
from eccsnn.incremental import lwf
from eccsnn.incremental.counts import as_labels
from eccsnn.incremental.learner import Learner
from eccsnn.models import Model
from eccsnn.training import FitOptions, cross_entropy, fit, predict_logits
from eccsnn.training.loop import LossFunction

_MODEL = "model."


class NetworkLearner(Learner):
    """A learner that trains a network, one head a task, and predicts by the argmax over all heads' logits.

    The network comes trained on the classes that its heads know. The first `observe` of exactly these classes trains
    nothing: it is there for what a learner keeps besides (exemplars). Every other `observe` is a task of new classes.

    Args:
        model: The network so far; it is copied.
        mean, std: Per channel, of the images.
        training: Keyword arguments of `eccsnn.training.fit` for every task.
        seed: Of new heads, order and augmentation, together with the number of tasks.
        options: Where and how to compute. Checkpoints are not kept: a task is short.

    Raises:
        ValueError: In `observe`, where a class is known already, a label is negative, or there are no images.
    """

    takes = "images"

    def __init__(
        self,
        model: Model,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        training: Mapping[str, Any],
        seed: int = 0,
        options: FitOptions = FitOptions(),
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(options.device).eval()
        self.mean, self.std = tuple(mean), tuple(std)
        self.training, self.seed, self.options = dict(training), seed, options
        self._started = False

    @property
    def classes(self) -> tuple[int, ...]:
        return tuple(self.model.head.class_ids)

    @property
    def memory_bytes(self) -> int:
        return 0

    def observe(self, inputs: Any, labels: Any) -> None:
        """Learns a task from uint8 images `[N, C, H, W]` and class ids `[N]`."""
        images = ImageSet(np.asarray(inputs), as_labels(labels, len(inputs)))
        if not len(images):
            raise ValueError("there are no images to learn from; expected at least one")
        new, known = set(images.classes), set(self.classes)
        if not self._started and new <= known:
            self._started = True
            self._keep(images)
            return
        if new & known:
            raise ValueError(
                f"classes {sorted(new & known)} are learnt already; a task brings new classes. To see old samples "
                "again, use a learner on features, which takes any class at any time."
            )
        self._started = True
        self._learn(images)
        self._keep(images)

    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        return self._logits(unlabelled(inputs)).astype(np.float64)

    def state_dict(self) -> dict[str, Tensor]:
        tasks = [class_id for task in self.model.head.tasks for class_id in (len(task), *task)]
        weights = {f"{_MODEL}{name}": tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return weights | {"tasks": torch.tensor([int(self._started), *tasks]), **self._memory_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state_dict`.

        Raises:
            CheckpointError: The state is of another learner, network, image size or first task, is not complete, or
                holds values that are not finite. Nothing is changed then.
        """
        weights = {name[len(_MODEL) :]: tensor for name, tensor in state.items() if name.startswith(_MODEL)}
        memory = {name: tensor for name, tensor in state.items() if not name.startswith(_MODEL)}
        if "tasks" not in memory:
            raise CheckpointError(f"the state has no entry 'tasks', expected one of {type(self).__name__}")
        started, tasks = _tasks_of_state(memory.pop("tasks"))
        broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
        if broken:
            raise CheckpointError(f"the state's weights {broken[0]} hold NaN or infinite values; it is broken")
        mine = [list(task) for task in self.model.head.tasks]
        if tasks[: len(mine)] != mine:
            raise CheckpointError(f"the state is of the tasks {tasks}, expected them to begin with {mine}")
        model = copy.deepcopy(self.model)
        for task in tasks[len(mine) :]:
            model.head.add_task(task)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"the state does not fit {type(self.model).__name__}: {error}") from error
        self._load_memory(memory)
        self.model, self._started = model, started

    # --- what learners differ in --------------------------------------------------------------------------------

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        """Loss of a task of new `classes`; `before` is the frozen network without their head."""
        raise NotImplementedError

    def _data(self, images: ImageSet) -> ImageSet:
        """What a task trains on, given its own images."""
        return images

    def _finish(self, before: Model, images: ImageSet) -> None:
        """After the training of a task."""

    def _keep(self, images: ImageSet) -> None:
        """Remembers something of a task for later ones."""

    def _memory_state(self) -> dict[str, Tensor]:
        return {}

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        if memory:
            raise CheckpointError(f"the state has the entries {sorted(memory)} that {type(self).__name__} has not")

    # --- common parts -------------------------------------------------------------------------------------------

    def _learn(self, images: ImageSet) -> None:
        model = copy.deepcopy(self.model)  # an error in training leaves the learner as it was
        before = lwf.add_task(model, images.classes, self.seed)
        data = self._data(images)
        fit(
            model,
            data,
            self._loss(before, images.classes),
            mean=self.mean,
            std=self.std,
            seed=self.seed + len(model.head.tasks),
            options=self.options,
            **self.training,
        )
        self.work.trained_samples += len(data) * int(self.training["epochs"])
        self.model = model.eval()
        self._finish(before, images)

    def _logits(self, images: ImageSet) -> npt.NDArray[np.float32]:
        return predict_logits(self.model, images, mean=self.mean, std=self.std, device=self.options.device)

    def _count_teacher(self, data: ImageSet) -> None:
        """A frozen network looks at every sample of a training, too."""
        self.work.forward_samples += len(data) * int(self.training["epochs"])


def _tasks_of_state(entry: Tensor) -> tuple[bool, list[list[int]]]:
    """Whether a learner has begun, and the classes of its tasks, from the entry `tasks` of its state."""
    flat: list[int] = entry.tolist() if entry.dtype == torch.int64 and entry.ndim == 1 else []
    started, rest, tasks = flat[:1], flat[1:], []
    while rest and 0 < rest[0] < len(rest):
        tasks.append(rest[1 : 1 + rest[0]])
        rest = rest[1 + rest[0] :]
    ids = [class_id for task in tasks for class_id in task]
    if started not in ([0], [1]) or rest or not tasks or min(ids) < 0 or len(set(ids)) < len(ids):
        raise CheckpointError(
            f"the state's tasks are {entry.dtype} {entry.tolist()}, expected int64: 0 or 1, and for each task the "
            "number of its classes and their ids, each id once"
        )
    return bool(started[0]), tasks


def unlabelled(inputs: Any) -> ImageSet:
    """Images as a set whose labels nobody looks at: an `ImageSet` as it is, or uint8 `[N, C, H, W]`."""
    if isinstance(inputs, ImageSet):
        return inputs
    array = np.asarray(inputs)
    return ImageSet(array, np.zeros(len(array), dtype=np.int64))


def join(*sets: ImageSet) -> ImageSet:
    """The images of several sets, one after the other, in memory of their own."""
    filled = [part for part in sets if len(part)]
    if len(filled) == 1:
        return filled[0]
    return ImageSet(np.concatenate([part.images for part in filled]), np.concatenate([part.labels for part in filled]))


def all_classes_loss(model: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy over the logits of all heads."""
    loss = cross_entropy(model(batch.images), batch.labels, model.head.class_ids)
    return loss, {"cross_entropy": loss}


class FineTune(NetworkLearner):
    """Trains on each task's data alone with cross-entropy over all logits: the lower bound, which forgets."""

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        return all_classes_loss


class Joint(NetworkLearner):
    """Keeps all images and trains on all of them with every task: the upper bound, which no device can afford.

    A task goes on from the network before it rather than from scratch.
    """

    def __init__(self, model: Model, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        self._seen: ImageSet | None = None

    @property
    def memory_bytes(self) -> int:
        return 0 if self._seen is None else len(self._seen) * int(np.prod(self._seen.shape))

    def _data(self, images: ImageSet) -> ImageSet:
        return images if self._seen is None else join(self._seen, images)

    def _keep(self, images: ImageSet) -> None:
        self._seen = self._data(images)

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        return all_classes_loss

    def _memory_state(self) -> dict[str, Tensor]:
        return image_state(self._seen)

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._seen = images_of_state(memory)


class LwF(NetworkLearner):
    """Learning without forgetting with the cloud's distillation, as ECC-SNN publishes it.

    Source: Li and Hoiem 2016; ECC-SNN (arXiv 2505.20835); see `eccsnn.incremental.lwf`.

    Args:
        model: The network so far.
        cloud: Teacher with a logit for every class; None with `logit_weight` 0.
        logit_weight, temperature, lwf_weight, lwf_temperature: See `lwf_loss`.
        arguments: Those of `NetworkLearner`.
    """

    def __init__(
        self,
        model: Model,
        *,
        cloud: Model | None = None,
        logit_weight: float = 0.5,
        temperature: float = 3.0,
        lwf_weight: float = 0.5,
        lwf_temperature: float = 2.0,
        **arguments: Any,
    ) -> None:
        super().__init__(model, **arguments)
        if logit_weight > 0 and cloud is None:
            raise ValueError(f"logit_weight is {logit_weight}, but there is no cloud; set it to 0 or pass a cloud")
        self.cloud = (
            None if cloud is None else copy.deepcopy(cloud).to(self.options.device).eval().requires_grad_(False)
        )
        if self.cloud is not None:
            self.cloud.register_forward_pre_hook(self._before_cloud)
            self.cloud.register_forward_hook(self._after_cloud)
        self._asked = 0.0
        self._weights = {
            "logit_weight": logit_weight,
            "temperature": temperature,
            "lwf_weight": lwf_weight,
            "lwf_temperature": lwf_temperature,
        }

    def _loss(self, before: Model, classes: Sequence[int]) -> LossFunction:
        return lwf.lwf_loss(before, self.cloud, classes, **self._weights)

    def _finish(self, before: Model, images: ImageSet) -> None:
        if self._weights["lwf_weight"] > 0:
            self._count_teacher(images)

    def _before_cloud(self, *_: Any) -> None:
        self._asked = self._now()

    def _after_cloud(self, *_: Any) -> None:
        self.cloud_seconds += self._now() - self._asked

    def _now(self) -> float:
        if torch.device(self.options.device).type == "cuda":
            torch.cuda.synchronize(self.options.device)  # what is still in its queue is not the cloud's, or is
        return time.perf_counter()


def image_state(images: ImageSet | None) -> dict[str, Tensor]:
    """Kept images as tensors of a state."""
    if images is None:
        return {}
    return {"images": torch.from_numpy(np.array(images.images)), "labels": torch.from_numpy(images.labels.copy())}


def images_of_state(memory: Mapping[str, Tensor]) -> ImageSet | None:
    """The inverse of `image_state`.

    Raises:
        CheckpointError: Other entries are there.
    """
    if not memory:
        return None
    if set(memory) != {"images", "labels"}:
        raise CheckpointError(f"the state has the entries {sorted(memory)}, expected images and labels")
    images, labels = memory["images"], memory["labels"]
    if (
        images.dtype != torch.uint8
        or images.ndim not in (4, 5)
        or labels.dtype != torch.int64
        or labels.shape != images.shape[:1]
    ):
        raise CheckpointError(
            f"the state's images are {images.dtype} {list(images.shape)}, labels {labels.dtype} {list(labels.shape)}, "
            "expected uint8 [N, C, H, W] or [N, T, C, H, W] and int64 [N]"
        )
    return ImageSet(memory["images"].numpy(), memory["labels"].numpy())
