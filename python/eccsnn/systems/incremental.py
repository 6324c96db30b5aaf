"""Class-incremental learning on the device: a trunk from the cloud, and one learner after another on the same tasks."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data import Splits, restrict
from eccsnn.incremental.learner import Learner
from eccsnn.incremental.pretraining import pretrain_by_cloud, pretrain_by_rotation, transfer_trunk
from eccsnn.models import Model
from eccsnn.systems.ecc_snn import feature_distillation, joint_loss, train_edge
from eccsnn.training import FitOptions, fit
from eccsnn.training.classifier import build_seeded, input_shape, validation

PRETRAININGS = ("none", "rotation", "cloud_labels")


def train_trunk(
    splits: Splits,
    classes: Sequence[int],
    cloud: Model | None,
    *,
    pretraining: str,
    pretraining_training: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Mapping[str, Any],
    distillation: Mapping[str, Any],
    seed: int,
    options: FitOptions = FitOptions(),
) -> Model:
    """Trains the network that the device begins with, on the first task's classes.

    Args:
        splits: Data.
        classes: Class ids of the first task.
        cloud: Teacher; None where nothing asks for it.
        pretraining: `none`; `rotation` on the first task's images; `cloud_labels` on all training images without
            labels, also those of classes that are learnt later.
        pretraining_training: Keyword arguments of `eccsnn.training.fit` for it.
        model, training, distillation, seed, options: As for `train_edge`. The training on the first task is the same
            after every pre-training, so that trunks differ in what came before it alone.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: Unknown pre-training, or one that needs a cloud.
    """
    if pretraining not in PRETRAININGS:
        raise ValueError(f"pretraining is {pretraining!r}, expected one of {', '.join(PRETRAININGS)}")
    if pretraining == "none":
        edge, _ = train_edge(
            splits,
            classes,
            cloud,
            model=model,
            training=training,
            distillation=distillation,
            seed=seed,
            options=options,
        )
        return edge
    # A checkpoint holds one training; the second one would take that of the first for its own.
    shared: dict[str, Any] = {"model": model, "mean": splits.mean, "std": splits.std, "seed": seed}
    shared |= {"options": FitOptions(options.augment, options.device, options.precision)}
    task = restrict(splits.train, classes)
    if pretraining == "rotation":
        source = pretrain_by_rotation(task, training=pretraining_training, **shared)
    elif cloud is None:
        raise ValueError("pretraining is 'cloud_labels', but there is no cloud")
    else:
        source = pretrain_by_cloud(splits.train, copy.deepcopy(cloud), training=pretraining_training, **shared)
    edge = build_seeded(seed, tasks=[list(classes)], **{**input_shape(splits, model["name"]), **model})
    transfer_trunk(source, edge)
    teacher = None if cloud is None else copy.deepcopy(cloud).to(options.device).eval().requires_grad_(False)
    feature = None
    if teacher is not None and distillation["feature_weight"] > 0:
        maps = {key: distillation[key] for key in ("feature_order", "student_map", "teacher_map")}
        feature = feature_distillation(
            edge, teacher, splits.image_shape[-1], frames=splits.timesteps, seed=seed, **maps
        )
    fit(
        edge,
        task,
        joint_loss(teacher, feature, **distillation),
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        options=options,
        extra_modules={} if feature is None else {"feature": feature},
        validate=validation(splits, classes, options),
        **training,
    )
    return edge.eval()


@dataclass(frozen=True)
class LearnerRun:
    """What one learner did over the tasks of a scenario.

    Attributes:
        predictions: int64 `[tasks, N]`, class ids of all test samples after each task.
        validation: The same of the validation samples, for whoever has to choose something; None where there are none.
        seconds: Of learning each task, solving included, without those of a cloud's network.
        cloud_seconds: Of a cloud's network while each task was learnt.
        memory_bytes: After each task, besides the network.
        work: After each task, all so far: see `eccsnn.incremental.learner.Work`.
    """

    predictions: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64] | None
    seconds: list[float]
    cloud_seconds: list[float]
    memory_bytes: list[int]
    work: list[dict[str, int]]


def run_learner(
    learner: Learner,
    train: tuple[Any, npt.NDArray[np.int64]],
    test: Any,
    tasks: Sequence[Sequence[int]],
    validation: Any = None,
) -> LearnerRun:
    """Teaches a learner task after task and asks it about all test samples after each.

    Args:
        learner: It sees a task at once, and makes batches of it where its source does: RanPAC chooses its ridge once
            a task.
        train: Features `[N, D]` or an `ImageSet`, and class ids `[N]`.
        test: Features or an `ImageSet`.
        tasks: Class ids of each task.
        validation: Features or an `ImageSet`; None or empty: none.
    """
    inputs, labels = train
    predictions, held_out, seconds, cloud, memory, work = [], [], [], [], [], []
    one = test.take(np.arange(1)) if learner.takes == "images" else test[:1]
    for classes in tasks:
        rows = np.flatnonzero(np.isin(labels, classes))
        begin, elsewhere = time.perf_counter(), learner.cloud_seconds
        if learner.takes == "images":
            learner.observe(inputs.gather(rows), labels[rows])
        else:
            learner.observe(inputs[rows], labels[rows])
        learner.predict(one)  # what is left to be solved belongs to learning
        cloud.append(learner.cloud_seconds - elsewhere)
        seconds.append(time.perf_counter() - begin - cloud[-1])
        predictions.append(learner.predict(test))
        if validation is not None and len(validation):
            held_out.append(learner.predict(validation))
        memory.append(learner.memory_bytes)
        work.append(asdict(learner.work))
    return LearnerRun(np.stack(predictions), np.stack(held_out) if held_out else None, seconds, cloud, memory, work)
