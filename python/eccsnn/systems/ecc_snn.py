"""ECC-SNN: a cloud ANN teaches an edge SNN; the edge answers what it is sure of and learns new classes on the device.

Source: "ECC-SNN: Cost-Effective Edge-Cloud Collaboration for Spiking Neural Networks" (IJCAI 2025, arXiv 2505.20835).
The three stages of the paper are `eccsnn.training.train_classifier` (the cloud) and `train_edge` (setup),
`co_inference` (execution) and `update_edge` (update). What differs from the official code, on purpose: the feature term
trains the student; nothing is selected on test data; costs are counted or measured, not constants; the teacher runs
only where it has a weight.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eccsnn import offload
from eccsnn.data import Batch, Splits, restrict
from eccsnn.incremental import lwf
from eccsnn.models import Model
from eccsnn.training import FeatureDistillation, FitOptions, FitResult, cross_entropy, fit, logit_distillation
from eccsnn.training.classifier import build_seeded, input_shape, validation
from eccsnn.training.loop import LossFunction

MEASURES = ("entropy", "max_probability", "margin", "random")


def train_edge(
    splits: Splits,
    classes: Sequence[int],
    cloud: Model | None,
    *,
    model: Mapping[str, Any],
    training: Mapping[str, Any],
    distillation: Mapping[str, Any],
    seed: int,
    options: FitOptions = FitOptions(),
) -> tuple[Model, FitResult]:
    """Setup, second half: joint training of the edge's SNN on the first task's classes.

    L = CE + logit_weight * T^2 KL(cloud || edge) + feature_weight * MSE(projected spikes, cloud's features)

    Args:
        splits: Data; only samples of `classes` are used.
        classes: Class ids of the first task.
        cloud: Teacher, not changed; None is allowed when both weights are 0.
        model: `name`, `width`, `timesteps`, `neuron` of `eccsnn.models.build_model`.
        training: Keyword arguments of `eccsnn.training.fit`.
        distillation: `logit_weight`, `temperature`, `feature_weight`, `feature_order`, `student_map`, `teacher_map`.
        seed: Of weights, order and augmentation.
        options: Where and how to compute, checkpoints and progress.

    Returns:
        The trained model in evaluation mode, and what the training recorded.
    """
    edge = build_seeded(seed, tasks=[list(classes)], **{**input_shape(splits, model["name"]), **model})
    feature = None
    if cloud is not None:
        cloud = _frozen(cloud, options.device)
        if distillation["feature_weight"] > 0:
            feature = feature_distillation(
                edge,
                cloud,
                splits.image_shape[-1],
                frames=splits.timesteps,
                seed=seed,
                **_pick(distillation, "feature_order", "student_map", "teacher_map"),
            )
    result = fit(
        edge,
        restrict(splits.train, classes),
        joint_loss(cloud, feature, **distillation),
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        options=options,
        extra_modules={} if feature is None else {"feature": feature},
        validate=validation(splits, classes, options),
        **training,
    )
    return edge.eval(), result


def feature_distillation(
    edge: Model,
    cloud: Model,
    image_size: int,
    *,
    feature_order: str,
    student_map: str,
    teacher_map: str,
    frames: int | None = None,
    seed: int = 0,
) -> FeatureDistillation:
    """The feature term for a pair of models; the maps' sizes are found by a forward pass of one empty image, or of so
    many empty event frames.

    Raises:
        ValueError: A map's name is unknown; the known ones are given.
    """
    student = _feature_map(edge, student_map, image_size, frames, "student_map")
    teacher = _feature_map(cloud, teacher_map, image_size, frames, "teacher_map")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FeatureDistillation(
            student.shape[2], teacher.shape[1], student.shape[-1], teacher.shape[-1], feature_order
        )


def joint_loss(
    cloud: Model | None,
    feature: FeatureDistillation | None,
    *,
    logit_weight: float,
    temperature: float,
    feature_weight: float,
    student_map: str = "",
    teacher_map: str = "",
    feature_order: str = "",
) -> LossFunction:
    """Loss function of joint training, for `eccsnn.training.fit`. A term of weight 0 is not computed.

    Raises:
        ValueError: A weight is above 0, but there is no cloud to distil from.
    """
    del feature_order  # it is part of `feature` already
    if cloud is None and (logit_weight > 0 or feature_weight > 0):
        raise ValueError(
            f"logit_weight is {logit_weight} and feature_weight is {feature_weight}, but there is no cloud. "
            f"Set both to 0."
        )

    def loss_function(edge: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        features = edge.forward_features(batch.images)
        logits = edge.head(features.penultimate)
        terms = {"cross_entropy": cross_entropy(logits, batch.labels, edge.head.class_ids, batch.mixed)}
        loss = terms["cross_entropy"]
        if cloud is None or (logit_weight == 0 and feature is None):
            return loss, terms
        with torch.no_grad():
            taught = cloud.forward_features(batch.images)
            teacher_logits = cloud.head(taught.penultimate)
        if logit_weight > 0:
            terms["logit_distillation"] = logit_distillation(
                logits, teacher_logits, edge.head.class_ids, temperature, cloud.head.class_ids
            )
            loss = loss + logit_weight * terms["logit_distillation"]
        if feature is not None and feature_weight > 0:
            terms["feature_distillation"] = feature(features.maps[student_map], taught.maps[teacher_map])
            loss = loss + feature_weight * terms["feature_distillation"]
        return loss, terms

    return loss_function


def update_edge(
    edge: Model,
    cloud: Model | None,
    splits: Splits,
    classes: Sequence[int],
    *,
    training: Mapping[str, Any],
    logit_weight: float,
    temperature: float,
    lwf_weight: float,
    lwf_temperature: float,
    seed: int,
    options: FitOptions = FitOptions(),
) -> tuple[Model, FitResult]:
    """Update: the edge learns one more task from that task's data alone, by LwF with the cloud's help.

    Args:
        edge: The model so far; it is not changed.
        cloud: Teacher, not changed; None when `logit_weight` is 0.
        splits: Data; only training samples of `classes` are used.
        classes: Class ids of the new task.
        training: Keyword arguments of `eccsnn.training.fit`.
        logit_weight, temperature, lwf_weight, lwf_temperature: See `eccsnn.incremental.lwf.lwf_loss`.
        seed: Of the new head, order and augmentation.
        options: Where and how to compute, checkpoints and progress.

    Returns:
        The model with one more head, in evaluation mode, and what the training recorded.
    """
    updated = copy.deepcopy(edge).to(options.device)
    before = lwf.add_task(updated, classes, seed)
    if cloud is not None:
        cloud = _frozen(cloud, options.device)
    loss_function = lwf.lwf_loss(
        before,
        cloud,
        classes,
        logit_weight=logit_weight,
        temperature=temperature,
        lwf_weight=lwf_weight,
        lwf_temperature=lwf_temperature,
    )
    result = fit(
        updated,
        restrict(splits.train, classes),
        loss_function,
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        options=options,
        validate=validation(splits, updated.head.class_ids, options),
        **training,
    )
    return updated.eval(), result


def co_inference(
    edge_logits: np.ndarray,
    cloud_logits: np.ndarray,
    labels: np.ndarray,
    tasks: Sequence[Sequence[int]],
    cloud_ids: Sequence[int],
    *,
    thresholds: int = 101,
    seed: int = 0,
    part: str = "unnamed",
) -> dict[str, Any]:
    """Execution: what comes out when samples above an ambiguity threshold are answered by the cloud.

    Args:
        edge_logits: fp32 `[N, K]`, over the heads of `tasks` in order.
        cloud_logits: fp32 `[N, M]`.
        labels: Class ids `[N]`; they may include classes that the edge has not learnt.
        tasks: Class ids of each of the edge's heads.
        cloud_ids: Class id of each cloud logit.
        thresholds: Points of the sweep over [0, 1].
        seed: Of the random measure.
        part: Which part of the data this is; a threshold is never chosen on `test`.

    Returns:
        `edge_correct`, `cloud_correct` (bool `[N]`), `ambiguity` and `curves` (one of each measure).
    """
    edge_ids = [c for task in tasks for c in task]
    edge_correct = offload.top1_correct(edge_logits, labels, edge_ids)
    cloud_correct = offload.top1_correct(cloud_logits, labels, cloud_ids)
    grid = np.linspace(0.0, 1.0, thresholds)
    ambiguity = {
        measure: offload.ambiguity(edge_logits, [len(task) for task in tasks], measure=measure, seed=seed)
        for measure in MEASURES
    }
    curves = {
        measure: offload.offload_curve(edge_correct, cloud_correct, ambiguity[measure], grid, part=part)
        for measure in MEASURES
    }
    return {"edge_correct": edge_correct, "cloud_correct": cloud_correct, "ambiguity": ambiguity, "curves": curves}


def check_models(
    splits: Splits,
    classes: Sequence[int],
    *,
    cloud: Mapping[str, Any],
    edge: Mapping[str, Any],
    distillation: Mapping[str, Any],
) -> None:
    """Builds what `train_classifier` and `train_edge` would build, so that a mistake shows before anything is trained.

    Args:
        splits: The data, all classes of which the cloud learns.
        classes: Class ids of the first task, for the edge.
        cloud, edge: `model` of `train_classifier` and `train_edge`; pretrained weights are not fetched here.
        distillation: As for `train_edge`.

    Raises:
        ValueError: A model's name or option is unknown, it does not take the images, or a feature map does not exist.
        EccsnnError: A library that a model needs is missing.
    """
    shape = input_shape(splits, cloud["name"])
    cloud_model = build_seeded(0, num_classes=splits.num_classes, **{**shape, **cloud, "pretrained": False})
    edge_model = build_seeded(0, tasks=[list(classes)], **{**input_shape(splits, edge["name"]), **edge})
    if distillation["feature_weight"] > 0:
        maps = _pick(distillation, "feature_order", "student_map", "teacher_map")
        feature_distillation(edge_model, cloud_model, splits.image_shape[-1], frames=splits.timesteps, **maps)


def _frozen(model: Model, device: str) -> Model:
    """A copy in evaluation mode without gradients; the caller's model stays as it is."""
    return copy.deepcopy(model).to(device).eval().requires_grad_(False)


def _feature_map(model: Model, name: str, image_size: int, frames: int | None, key: str) -> Tensor:
    device = next(model.parameters()).device
    was_training = model.training
    shape = (1, 3, image_size, image_size) if frames is None else (frames, 1, 2, image_size, image_size)
    with torch.no_grad():
        maps = model.eval().forward_features(torch.zeros(shape, device=device)).maps
    model.train(was_training)
    if name not in maps:
        raise ValueError(
            f"{key} is {name!r}, but this model has the feature maps {', '.join(maps)}. Choose one of them, "
            f"or set feature_weight to 0."
        )
    return maps[name]


def _pick(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: mapping[key] for key in keys}
