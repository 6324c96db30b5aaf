"""The training loop: one function, resumable at any step, with the same numbers as an uninterrupted run.

Everything random (order, augmentation, dropout) derives from (seed, epoch, step), the learning rate is a function of
the step, and a checkpoint holds the rest, so that a run that is killed and started again repeats itself bit for bit on
the same machine (on a GPU as far as its libraries are deterministic).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from eccsnn.data import Batch, ImageSet, batches
from eccsnn.models import check_finite
from eccsnn.training.checkpoint import load_checkpoint, load_weights, pack_optimizer, save_checkpoint, unpack_optimizer
from eccsnn.training.evaluate import autocast

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("cosine", "steps", "constant")
SELECTIONS = ("last", "best_validation")

LossFunction = Callable[[Any, Batch], tuple[Tensor, dict[str, Tensor]]]


class Progress(Protocol):
    """What the loop tells about itself while it runs."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """After a step."""

    def epoch(self, record: dict[str, Any]) -> None:
        """After an epoch, with everything that was measured in it."""


@dataclass(frozen=True)
class FitOptions:
    """How a training runs, as opposed to what it learns: the same for every training of an experiment.

    Attributes:
        augment: Name of an augmentation of `eccsnn.data`, or None.
        device: Where to compute, such as `cpu` or `cuda:0`.
        precision: `fp32`, or `bf16` for autocast.
        checkpoint: File to resume from and to save to; None keeps nothing.
        checkpoint_seconds: A checkpoint is written at most this often, and at every end of an epoch that is due.
        progress: Told about steps and epochs.
        mix: Name of a way to mix event frames (`eccsnn.data.MIXES`), or None. Losses then see soft labels
            (`Batch.mixed`).
    """

    augment: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    checkpoint: Path | None = None
    checkpoint_seconds: float = 120.0
    progress: Progress | None = None
    mix: str | None = None


@dataclass
class FitResult:
    """What a training has come to.

    Attributes:
        records: One dict an epoch: epoch, loss, named loss terms, val_accuracy, lr, seconds, samples_per_second.
        selected_epoch: The epoch (from 1) whose weights the model now has.
        seconds: Training time over all resumed parts.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    selected_epoch: int = 0
    seconds: float = 0.0


def learning_rate(
    base: float, schedule: str, progress: float, milestones: Sequence[float] = (), gamma: float = 0.1
) -> float:
    """Learning rate when the fraction `progress` in [0, 1) of the training is done.

    Args:
        base: Learning rate at the start.
        schedule: `cosine` (to 0), `steps` (times `gamma` at each milestone) or `constant`.
        progress: Done steps / all steps.
        milestones: Fractions of the training, for `steps`.
        gamma: Factor, for `steps`.

    >>> learning_rate(0.1, "steps", 0.5, milestones=(0.3, 0.6), gamma=0.2)
    0.020000000000000004
    """
    if schedule == "cosine":
        return 0.5 * base * (1 + math.cos(math.pi * progress))
    if schedule == "steps":
        return base * gamma ** sum(progress >= milestone for milestone in milestones)
    if schedule == "constant":
        return base
    raise ValueError(f"schedule is {schedule!r}, expected one of {', '.join(SCHEDULES)}.")


def make_optimizer(
    parameters: Sequence[nn.Parameter], name: str, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Adam or SGD (with momentum) over `parameters`.

    Raises:
        ValueError: Unknown name.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum)
    raise ValueError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}.")


def fit(
    model: nn.Module,
    images: ImageSet,
    loss_function: LossFunction,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    epochs: int,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    schedule: str = "cosine",
    milestones: Sequence[float] = (0.3, 0.6, 0.8),
    gamma: float = 0.2,
    select: str = "last",
    validate: Callable[[Any], Mapping[str, float]] | None = None,
    extra_modules: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    options: FitOptions = FitOptions(),
) -> FitResult:
    """Trains `model` on `images` and leaves it with the selected weights.

    Args:
        model: Trained in place; only parameters with `requires_grad` are.
        images: Training part.
        loss_function: `(model, batch) -> (loss, named terms)`; the terms are averaged over an epoch and recorded.
        mean, std: Per channel, for normalisation.
        epochs: Passes over `images`.
        batch_size: Images a step. The last batch of an epoch may be smaller; a last batch of one image is dropped,
            since batch normalisation has no statistics of one value.
        optimizer, lr, weight_decay, momentum: See `make_optimizer`.
        schedule, milestones, gamma: See `learning_rate`.
        select: `last`, or `best_validation` for the epoch with the best `val_accuracy` (never test data).
        validate: Called after every epoch; what it returns is recorded. `best_validation` needs its `val_accuracy`.
        extra_modules: Modules outside the model that are trained with it (a projection of the distillation).
        seed: Of order, augmentation and dropout.
        options: Where and how to compute, checkpoints and progress.

    Returns:
        The records; the model has the selected epoch's weights.

    Raises:
        ValueError: A setting is unknown or out of range, there are no images, or the loss or a weight becomes NaN or
            infinite.
        CheckpointError: `options.checkpoint` is broken or belongs to another model.
    """
    if select not in SELECTIONS:
        raise ValueError(f"select is {select!r}, expected one of {', '.join(SELECTIONS)}.")
    if select == "best_validation" and validate is None:
        raise ValueError(
            "select is 'best_validation', but there is no validation data. Use select: last, or set val_fraction > 0."
        )
    if epochs < 0 or batch_size < 1:
        raise ValueError(
            f"epochs is {epochs} and batch_size is {batch_size}; expected epochs >= 0 and batch_size >= 1."
        )
    if len(images.labels) < 2:
        raise ValueError(
            f"there are {len(images.labels)} training images; at least 2 are needed. Check the class list "
            f"and the subset."
        )

    progress = options.progress
    trained = nn.ModuleDict({"model": model, **(extra_modules or {})}).to(options.device)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    opt = make_optimizer(parameters, optimizer, lr, weight_decay, momentum)
    full, rest = divmod(len(images.labels), batch_size)
    steps = full + (1 if rest > 1 else 0)
    state = _State()
    if options.checkpoint is not None and options.checkpoint.exists():
        state = _State.load(options.checkpoint, trained, opt)
        if progress is not None:
            for earlier in state.result.records:
                progress.epoch(earlier)
    result = state.result

    last_save = clock = time.monotonic()
    for epoch in range(state.epoch, epochs):
        trained.train()
        stream = batches(
            images,
            batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=True,
            augment=options.augment,
            mix=options.mix,
            mean=mean,
            std=std,
            device=options.device,
            start_step=state.step,
        )
        for step, batch in zip(range(state.step, steps), stream, strict=False):
            torch.manual_seed(_step_seed(seed, epoch, step))
            for group in opt.param_groups:
                group["lr"] = learning_rate(lr, schedule, (epoch * steps + step) / (epochs * steps), milestones, gamma)
            with autocast(options.device, options.precision):
                loss, terms = loss_function(model, batch)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(
                    f"the loss is {value} at epoch {epoch + 1}, step {step + 1}. "
                    f"Lower the learning rate (now {lr}) or look for NaN in the images."
                )
            state.add({"loss": loss, **terms}, len(batch.labels))
            if progress is not None:
                progress.step(epoch + 1, epochs, step + 1, steps, value)
            now = time.monotonic()
            state.spend(now - clock)
            clock = now
            if options.checkpoint is not None and now - last_save >= options.checkpoint_seconds and step + 1 < steps:
                last_save = now
                state.step = step + 1
                state.save(options.checkpoint, trained, opt)
        check_finite(trained, f"after epoch {epoch + 1}")
        record = state.record(epoch, epochs, opt.param_groups[0]["lr"])
        if validate is not None:
            record |= validate(model)
        now = time.monotonic()
        result.seconds += now - clock
        clock = now
        result.records.append(record)
        if select == "last":
            result.selected_epoch = epoch + 1
        elif record["val_accuracy"] > state.best:
            state.best = record["val_accuracy"]
            state.best_weights = {k: v.detach().clone() for k, v in trained.state_dict().items()}
            result.selected_epoch = epoch + 1
        if progress is not None:
            progress.epoch(record)
        state.epoch, state.step, state.sums = epoch + 1, 0, {}
        if options.checkpoint is not None and (epoch + 1 == epochs or now - last_save >= options.checkpoint_seconds):
            last_save = now
            state.save(options.checkpoint, trained, opt)
    if state.best_weights:
        trained.load_state_dict(state.best_weights)
    return result


@dataclass
class _State:
    """Where a training stands: what a checkpoint holds beside the weights and the optimizer.

    Attributes:
        epoch, step: The next ones to run.
        sums: Of the epoch at hand: every loss term over samples, `samples` and `seconds`.
        result: What is returned in the end.
        best, best_weights: For `best_validation`.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    result: FitResult = field(default_factory=FitResult)
    best: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def add(self, terms: Mapping[str, Tensor], samples: int) -> None:
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(term.detach()) * samples
        self.sums["samples"] = self.sums.get("samples", 0.0) + samples

    def spend(self, seconds: float) -> None:
        self.result.seconds += seconds
        self.sums["seconds"] = self.sums.get("seconds", 0.0) + seconds

    def record(self, epoch: int, epochs: int, lr: float) -> dict[str, Any]:
        samples, seconds = self.sums["samples"], self.sums["seconds"]
        means = {name: total / samples for name, total in self.sums.items() if name not in ("samples", "seconds")}
        speed = {"seconds": seconds, "samples_per_second": samples / max(seconds, 1e-9)}
        return {"kind": "epoch", "epoch": epoch + 1, "epochs": epochs, **means, "lr": lr, **speed}

    def save(self, path: Path, trained: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        tensors = {f"weights.{k}": v for k, v in trained.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_weights.items()}
        optimizer_tensors, optimizer_meta = pack_optimizer(optimizer)
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "records": self.result.records,
            "seconds": self.result.seconds,
            "best": self.best if math.isfinite(self.best) else None,
            "selected_epoch": self.result.selected_epoch,
            "optimizer": optimizer_meta,
        }
        save_checkpoint(path, tensors | optimizer_tensors, meta)

    @classmethod
    def load(cls, path: Path, trained: nn.Module, optimizer: torch.optim.Optimizer) -> _State:
        tensors, meta = load_checkpoint(path)
        load_weights(trained, _strip(tensors, "weights."), str(path))
        unpack_optimizer(optimizer, tensors, meta["optimizer"])
        result = FitResult(meta["records"], meta["selected_epoch"], meta["seconds"])
        best = -math.inf if meta["best"] is None else meta["best"]
        return cls(meta["epoch"], meta["step"], meta["sums"], result, best, _strip(tensors, "best."))


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _step_seed(seed: int, epoch: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1)[0])
