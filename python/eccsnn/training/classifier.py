"""Training of a classifier on all classes: the cloud's ANN of every system, and baselines without a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eccsnn.data import Batch, Splits, restrict
from eccsnn.models import Model, build_model, list_models
from eccsnn.training.evaluate import accuracy, predict_logits
from eccsnn.training.loop import FitOptions, FitResult, fit
from eccsnn.training.losses import cross_entropy


def build_seeded(seed: int, **spec: Any) -> Model:
    """A model of `eccsnn.models.build_model` whose initial weights follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(**spec)


def input_shape(splits: Splits, model: str) -> dict[str, int]:
    """What `eccsnn.models.build_model` has to know of the data: the shape of what a network takes.

    Args:
        splits: Images, or event frames of T timesteps.
        model: A name of `eccsnn.models.list_models`, or of a library's ANN.

    Returns:
        `image_size` and, where it is not 3, `in_channels`: T * C for an ANN on event frames. For an SNN on event frames
        also `timesteps`.
    """
    channels, _, image_size = splits.image_shape
    shape = {"image_size": image_size}
    kinds = {info.name: info.kind for info in list_models()}
    if splits.timesteps is not None and kinds.get(model) == "snn":
        shape["timesteps"] = splits.timesteps
    elif splits.timesteps is not None:
        channels *= splits.timesteps
    return shape if channels == 3 else shape | {"in_channels": channels}


def train_classifier(
    splits: Splits,
    *,
    model: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    options: FitOptions = FitOptions(),
) -> tuple[Model, FitResult]:
    """Trains a model on all classes with cross-entropy.

    Args:
        splits: Images or event frames; the training part is learnt from, the validation part watched. Event frames say
            the number of timesteps: an SNN has as many, an ANN takes them as channels.
        model: `name`, `width`, `pretrained`, `freeze_trunk` of `eccsnn.models.build_model`.
        training: Keyword arguments of `eccsnn.training.fit`.
        seed: Of weights, order and augmentation.
        options: Where and how to compute, checkpoints and progress.

    Returns:
        The trained model in evaluation mode, and what the training recorded.
    """
    shape = input_shape(splits, model["name"])
    # A pretrained trunk expects its own normalisation of the images.
    statistics = {"input_mean": splits.mean, "input_std": splits.std} if model.get("pretrained") else {}
    net = build_seeded(seed, num_classes=len(splits.class_names), **{**shape, **model}, **statistics)

    def loss_function(net: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = cross_entropy(net(batch.images), batch.labels, net.head.class_ids, batch.mixed)
        return loss, {"cross_entropy": loss}

    result = fit(
        net,
        splits.train,
        loss_function,
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        options=options,
        validate=validation(splits, range(len(splits.class_names)), options),
        **training,
    )
    return net.eval(), result


def validation(
    splits: Splits, classes: Sequence[int], options: FitOptions
) -> Callable[[Model], dict[str, float]] | None:
    """What `fit` calls after every epoch: `val_accuracy` on the validation images of `classes`; None without any."""
    if not np.isin(splits.val.labels, list(classes)).any():
        return None
    part = restrict(splits.val, classes)

    def validate(model: Model) -> dict[str, float]:
        logits = predict_logits(
            model, part, mean=splits.mean, std=splits.std, device=options.device, precision=options.precision
        )
        return {"val_accuracy": accuracy(logits, part.labels, model.head.class_ids)}

    return validate
