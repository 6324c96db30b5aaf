"""Learning without forgetting (LwF), the update that ECC-SNN publishes.

Every task brings a new head. The loss is cross-entropy on the new head, distillation from the cloud on the new head,
and distillation from the network's own state before the update on the old heads:

    L = CE(new head) + logit_weight * T^2 KL(cloud || new head)
        + lwf_weight * sum over old heads of T'^2 KL(before || now)

Source: Li and Hoiem 2016 (arXiv 1606.09282); ECC-SNN (arXiv 2505.20835), edge update. Deviations, ours: where the task
has one class, cross-entropy and the cloud's term run over all logits seen (over one logit both are constant); an old
head of one class says nothing by itself, so then one term runs over all old logits together. A term of weight 0 is not
computed: in particular the cloud's network does not run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eccsnn.data import Batch
from eccsnn.models import Model
from eccsnn.training.loop import LossFunction
from eccsnn.training.losses import cross_entropy, logit_distillation


def add_task(model: Model, classes: Sequence[int], seed: int) -> Model:
    """Gives `model` a head for new classes and returns a frozen copy of what it was before.

    Args:
        model: Changed in place.
        classes: Class ids of the new task; none may be known already.
        seed: Of the new head's initial weights, together with the number of heads there are.

    Raises:
        ValueError: A class is known already (from `TaskHeads.add_task`).
    """
    before = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        # Mixed with the number of heads, or every new head of one size would start from the same weights.
        torch.manual_seed(int(np.random.SeedSequence([seed, len(before.head.tasks)]).generate_state(1)[0]))
        model.head.add_task(list(classes))
    return before


def lwf_loss(
    before: Model,
    cloud: Model | None,
    classes: Sequence[int],
    *,
    logit_weight: float = 0.5,
    temperature: float = 3.0,
    lwf_weight: float = 0.5,
    lwf_temperature: float = 2.0,
) -> LossFunction:
    """Loss function of one update, for `eccsnn.training.fit`.

    Args:
        before: The model before the update, frozen; its heads are the old heads.
        cloud: Teacher with a logit for every class, or None when `logit_weight` is 0.
        classes: Class ids of the new task.
        logit_weight: Weight of the cloud's term.
        temperature: Of the cloud's term.
        lwf_weight: Weight of the self-distillation on the old heads.
        lwf_temperature: Of the self-distillation.

    Raises:
        ValueError: `logit_weight` > 0 without a cloud.
    """
    if logit_weight > 0 and cloud is None:
        raise ValueError(
            f"logit_weight is {logit_weight}, but there is no cloud model to distil from. Set it to 0 or pass a cloud."
        )
    old_sizes = [len(task) for task in before.head.tasks]
    old_count = sum(old_sizes)
    groups = old_sizes if min(old_sizes) > 1 else [old_count]

    def loss_function(model: Model, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(batch.images).float()
        first = old_count if len(classes) > 1 else 0
        ids = model.head.class_ids[first:]
        terms = {"cross_entropy": cross_entropy(logits[:, first:], batch.labels, ids, batch.mixed)}
        loss = terms["cross_entropy"]
        if logit_weight > 0 and cloud is not None:
            with torch.no_grad():
                teacher = cloud(batch.images)
            terms["logit_distillation"] = logit_distillation(
                logits[:, first:], teacher, ids, temperature, cloud.head.class_ids
            )
            loss = loss + logit_weight * terms["logit_distillation"]
        if lwf_weight > 0:
            with torch.no_grad():
                target = before(batch.images).float()
            pairs = zip(logits[:, :old_count].split(groups, dim=1), target.split(groups, dim=1), strict=True)
            terms["lwf"] = torch.stack(
                [logit_distillation(new, old, None, lwf_temperature) for new, old in pairs]
            ).sum()
            loss = loss + lwf_weight * terms["lwf"]
        return loss, terms

    return loss_function
