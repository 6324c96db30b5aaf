"""Trunks that know more than the first task's labels say: a frozen trunk is only as good as what it was trained on.

Besides distillation from the cloud on the first task (`eccsnn.systems.ecc_snn.train_edge`), two pre-trainings without
labels: by rotations of the first task's images, and by the cloud's answers to images of any kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eccsnn.data import Batch, ImageSet
from eccsnn.models import Model
from eccsnn.training import FitOptions, cross_entropy, fit, logit_distillation
from eccsnn.training.classifier import build_seeded

ROTATIONS = 4


def pretrain_by_rotation(
    images: ImageSet,
    *,
    model: Mapping[str, Any],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    training: Mapping[str, Any],
    seed: int,
    options: FitOptions = FitOptions(),
) -> Model:
    """Trains a network to tell by which quarter turn an image was rotated.

    Source: Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018. Deviation:
    a batch holds every image once, in one seeded rotation that changes with its place, not four times.

    Args:
        images: Square images; labels are not looked at.
        model: Arguments of `eccsnn.models.build_model`.
        mean, std: Per channel.
        training: Keyword arguments of `eccsnn.training.fit`.
        seed: Of weights, order, and rotations.
        options: Where and how to compute.

    Returns:
        The network with a head of four rotations, in evaluation mode; see `transfer_trunk`.
    """
    net = build_seeded(seed, tasks=[list(range(ROTATIONS))], image_size=images.shape[-1], **model)

    def loss_function(net: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        # By the place in the batch, which is another one in every epoch.
        turns = torch.arange(len(batch.labels), device=batch.labels.device) % ROTATIONS
        turned = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(batch.images, turns, strict=True)])
        loss = cross_entropy(net(turned), turns, net.head.class_ids)
        return loss, {"cross_entropy": loss}

    fit(net, images, loss_function, mean=mean, std=std, seed=seed, options=options, **training)
    return net.eval()


def pretrain_by_cloud(
    images: ImageSet,
    cloud: Model,
    *,
    model: Mapping[str, Any],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    training: Mapping[str, Any],
    seed: int,
    temperature: float = 3.0,
    options: FitOptions = FitOptions(),
) -> Model:
    """Trains a network on the cloud's answers to unlabelled images.

    The images may be of classes that are learnt later: then the trunk has seen what other learners have not, which has
    to be said wherever it is compared.

    Args:
        images: Labels are not looked at.
        cloud: Teacher.
        model, mean, std, training, seed, options: As for `pretrain_by_rotation`.
        temperature: Of the distillation.

    Returns:
        The network with a head of the cloud's classes, in evaluation mode.
    """
    net = build_seeded(seed, tasks=[list(cloud.head.class_ids)], image_size=images.shape[-1], **model)
    teacher = cloud.to(options.device).eval().requires_grad_(False)

    def loss_function(net: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            target = teacher(batch.images)
        loss = logit_distillation(net(batch.images).float(), target, None, temperature)
        return loss, {"logit_distillation": loss}

    fit(net, images, loss_function, mean=mean, std=std, seed=seed, options=options, **training)
    return net.eval()


def transfer_trunk(source: Model, target: Model) -> None:
    """Copies everything but the head from `source` into `target`, which is changed in place.

    Raises:
        ValueError: The networks differ.
    """
    trunk = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("head.")}
    own = {name: tensor.shape for name, tensor in target.state_dict().items() if not name.startswith("head.")}
    if {name: tensor.shape for name, tensor in trunk.items()} != own:
        raise ValueError("the trunks differ, expected two networks of the same model, width and image size")
    target.load_state_dict(trunk, strict=False)
