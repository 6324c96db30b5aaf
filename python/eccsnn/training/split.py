"""Training of a network that is cut in two: first the bottleneck unit, then the whole network; and, to compare with,
of the same network uncut.

The loss of all stages is

    L = (1 - exit_weight) CE(all timesteps) + exit_weight mean_t CE(timesteps up to t)
        + logit_weight T^2 KL(teacher || network) + rate_weight bits of a wire element

and a separate term trains the edge's exit head, where there is one, on spikes that pass no gradient on.

Source: NeuCODEX (ICMLA 2025, arXiv 2509.19156) says that the whole network needs fine-tuning after a unit was inserted;
the loss is this project's. The mean over t is how early exits are usually trained (a loss at every exit).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eccsnn.data import Batch, MixedLabels, Splits
from eccsnn.models import Model, insert_bottlenecks, split
from eccsnn.training.classifier import validation
from eccsnn.training.loop import FitOptions, FitResult, LossFunction, fit
from eccsnn.training.losses import cross_entropy, logit_distillation

Trains = Literal["unit", "all"]


def timestep_logits(model: Any, images: Tensor, point: str | None) -> tuple[Tensor, Tensor | None]:
    """Logits of every timestep, and the spikes that crossed the wire for them.

    Args:
        model: A `SpikingModel`, or an ANN, which counts as one timestep.
        images: `[N, C, H, W]`.
        point: Split point with a bottleneck unit; None runs the network uncut.

    Returns:
        `[T, N, K]`, and `[T, N, c, h, w]`; None for an ANN or an uncut network.
    """
    if model.kind == "ann":
        return model(images, through=point).unsqueeze(0), None
    if point is None:
        return model.forward_timesteps(images, through=None), None
    edge, cloud = split(model, point)
    wire = edge(images)
    return cloud.forward_timesteps(wire), wire


def running_mean(logits: Tensor) -> Tensor:
    """Mean of logits `[T, N, K]` up to and with each timestep, fp32 `[T, N, K]`.

    >>> running_mean(torch.tensor([[[1.0]], [[0.0]]])).flatten().tolist()
    [1.0, 0.5]
    """
    steps = torch.arange(1, len(logits) + 1, device=logits.device, dtype=torch.float32)
    return logits.float().cumsum(0) / steps[:, None, None]


def timesteps_cross_entropy(
    logits: Tensor, labels: Tensor, class_ids: Sequence[int], exit_weight: float, mixed: MixedLabels | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answer after all timesteps, and the same mixed with the answers after fewer.

    Args:
        logits: `[T, N, K]` of each timestep alone.
        labels: Class ids `[N]`.
        class_ids: Class id of each logit.
        exit_weight: Weight of the mean over t of the cross-entropy of the running mean up to t, in [0, 1].
        mixed: As for `cross_entropy`.

    Returns:
        (1 - exit_weight) CE(T) + exit_weight mean_t CE(t), and CE(T); scalars.
    """
    running = running_mean(logits)
    last = cross_entropy(running[-1], labels, class_ids, mixed)
    if exit_weight == 0:
        return last, last
    count = len(running)
    repeated = None if mixed is None else MixedLabels(mixed.labels.repeat(count), mixed.share.repeat(count))
    each = cross_entropy(running.flatten(0, 1), labels.repeat(count), class_ids, repeated)
    return (1 - exit_weight) * last + exit_weight * each, last


def split_loss(
    point: str | None,
    *,
    trains: Trains,
    teacher: Model | None = None,
    rate: Callable[[Tensor], Tensor] | None = None,
    exit_head: nn.Module | None = None,
    exit_weight: float = 0.0,
    logit_weight: float = 0.0,
    temperature: float = 3.0,
    rate_weight: float = 0.0,
) -> LossFunction:
    """Loss function for `eccsnn.training.fit` of a network with a unit at `point`.

    Args:
        point: Split point; None for an uncut network.
        trains: `unit` keeps everything but the unit as it is, batch norm statistics included.
        teacher: Gives logits for distillation, not changed; needed for a `logit_weight` above 0.
        rate: Spikes on the wire `[T, N, c, h, w]` to bits a sample `[N]`, differentiable; needed for a `rate_weight`
            above 0, and recorded where given.
        exit_head: Maps the wire's spikes `[T, N, c, h, w]` to logits `[T, N, K]` by which the edge decides.
        exit_weight, logit_weight, temperature, rate_weight: See the module.

    Raises:
        ValueError: A weight has nothing to weigh, or is out of range.
    """
    if logit_weight > 0 and teacher is None:
        raise ValueError(f"logit_weight is {logit_weight}, but there is no teacher. Set it to 0, or give a teacher.")
    if rate_weight > 0 and rate is None:
        raise ValueError(f"rate_weight is {rate_weight}, but there is no rate model. Set it to 0, or give one.")
    if not 0 <= exit_weight <= 1:
        raise ValueError(f"exit_weight is {exit_weight}, expected a fraction in [0, 1]")

    def loss_function(model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if trains == "unit" and point is not None:  # `fit` puts the whole model into training mode before every epoch
            model.eval()
            model.bottleneck(point).train()
        logits, wire = timestep_logits(model, batch.images, point)
        loss, last = timesteps_cross_entropy(logits, batch.labels, model.head.class_ids, exit_weight, batch.mixed)
        terms = {"cross_entropy": last}
        if teacher is not None and logit_weight > 0:
            with torch.no_grad():
                taught = teacher(batch.images)
            terms["logit_distillation"] = logit_distillation(
                running_mean(logits)[-1], taught, model.head.class_ids, temperature, teacher.head.class_ids
            )
            loss = loss + logit_weight * terms["logit_distillation"]
        if wire is None:
            return loss, terms
        terms["wire_firing_rate"] = wire.detach().float().mean()
        if rate is not None:
            bits = rate(wire).mean()
            terms["wire_bits"] = bits
            loss = loss + rate_weight * bits / (wire.numel() / wire.shape[1])
        if exit_head is not None:
            guesses = exit_head(wire.detach())
            own, _ = timesteps_cross_entropy(guesses, batch.labels, model.head.class_ids, 1.0, batch.mixed)
            terms["exit_head"] = own
            loss = loss + own
        return loss, terms

    return loss_function


def train_cut(
    model: Model,
    splits: Splits,
    *,
    point: str | None,
    trains: Trains,
    training: Mapping[str, Any],
    seed: int,
    teacher: Model | None = None,
    unit: Mapping[str, Any] | None = None,
    extra_modules: Mapping[str, nn.Module] | None = None,
    options: FitOptions = FitOptions(),
    **loss: Any,
) -> tuple[Model, FitResult]:
    """One stage of the training of a cut network, or of an uncut one.

    Args:
        model: Network so far, not changed.
        splits: Data; only its training part is learnt from, its validation part is watched.
        point: Split point; None leaves the network uncut, and then `trains` is `all`.
        trains: `unit` or `all`.
        training: Keyword arguments of `eccsnn.training.fit`.
        seed: Of a new unit's weights, of order and augmentation.
        teacher: For distillation, not changed.
        unit: Arguments of a unit that is inserted at `point` first; None: the model has one.
        extra_modules: `rate` and `exit_head` of `split_loss`, trained with the network.
        options: Where and how to compute, checkpoints and progress.
        loss: Weights of `split_loss`.

    Returns:
        The trained network in evaluation mode, and what the training recorded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cut = copy.deepcopy(model) if unit is None or point is None else insert_bottlenecks(model, {point: dict(unit)})
    cut.requires_grad_(trains == "all")
    if trains == "unit":
        if point is None:
            raise ValueError("trains is 'unit', but point is None: an uncut network has no unit. Use trains='all'.")
        cut.bottleneck(point).requires_grad_(True)
    if teacher is not None:
        teacher = copy.deepcopy(teacher).to(options.device).eval().requires_grad_(False)
    modules = dict(extra_modules or {})
    result = fit(
        cut,
        splits.train,
        split_loss(
            point, trains=trains, teacher=teacher, rate=modules.get("rate"), exit_head=modules.get("exit_head"), **loss
        ),
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        options=options,
        extra_modules=modules,
        validate=validation(splits, cut.head.class_ids, options),
        **training,
    )
    return cut.eval().requires_grad_(True), result
