"""Losses of joint training: cross-entropy over the student's classes, logit and feature distillation.

The arithmetic of the distillation terms is in `eccsnn.ops`; this file puts them together as ECC-SNN does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eccsnn import ops
from eccsnn.data import MixedLabels
from eccsnn.nn import over_time

ORDERS = ("time_first", "per_timestep")


def class_positions(class_ids: Sequence[int]) -> Tensor:
    """Lookup table from a class id to its place among the logits; -1 where a class has no logit.

    Args:
        class_ids: Class id of each logit, in order.

    Returns:
        int64 `[max(class_ids) + 1]`.

    >>> class_positions([2, 0]).tolist()
    [1, -1, 0]
    """
    table = torch.full((max(class_ids) + 1,), -1, dtype=torch.int64)
    table[torch.as_tensor(list(class_ids))] = torch.arange(len(class_ids))
    return table


def cross_entropy(logits: Tensor, labels: Tensor, class_ids: Sequence[int], mixed: MixedLabels | None = None) -> Tensor:
    """Mean cross-entropy where logit k stands for class `class_ids[k]`.

    Args:
        logits: `[N, K]`.
        labels: Class ids, int64 `[N]`; each must be in `class_ids`.
        class_ids: Class id of each logit.
        mixed: Of samples that were mixed: each counts by its share for `labels` and by the rest for `mixed.labels`,
            which is the cross-entropy to soft labels of two classes.

    Raises:
        ValueError: A label has no logit.
    """
    known = torch.isin(labels, torch.as_tensor(list(class_ids), device=labels.device))
    if not bool(known.all()):
        unknown = sorted(set(labels[~known].tolist()))
        raise ValueError(
            f"labels {unknown} have no logit: the model knows the classes {sorted(class_ids)}. "
            "Restrict the data to those classes, or add a head for the new ones first."
        )
    places = class_positions(class_ids).to(labels.device)
    if mixed is None:
        return F.cross_entropy(logits.float(), places[labels])
    own, other = (F.cross_entropy(logits.float(), places[ids], reduction="none") for ids in (labels, mixed.labels))
    return (mixed.share * own + (1 - mixed.share) * other).mean()


class FeatureDistillation(nn.Module):
    """Pulls the student's spikes at one layer towards the teacher's activations at another.

    Both feature maps are average-pooled to a common grid; a learned 1x1 convolution with batch normalisation maps the
    student's channels to the teacher's; the loss is the mean squared error. Two orders are known for the first step:

    - `time_first`: the spikes are counted over time and pooled by one fused op, then projected once (the paper's text);
    - `per_timestep`: every timestep is projected, then pooled and averaged (the paper's code; an ablation here).

    The gradient reaches every layer of the student up to the matched one; none reaches the teacher.

    Source: ECC-SNN (arXiv 2505.20835), feature term of the joint loss. Deviation: in the official code the term is
    detached from the student and trains nothing; here it trains.

    Args:
        student_channels: Channels of the student's map `[T, N, C, H, W]`.
        teacher_channels: Channels of the teacher's map `[N, C', H', W']`.
        student_size: H = W of the student's map.
        teacher_size: H' = W' of the teacher's map.
        order: `time_first` or `per_timestep`.

    Raises:
        ValueError: Unknown order, or sizes of which neither divides the other.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        student_size: int,
        teacher_size: int,
        order: str = "time_first",
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f"feature_order is {order!r}, expected one of {', '.join(ORDERS)}.")
        if max(student_size, teacher_size) % min(student_size, teacher_size):
            raise ValueError(
                f"the student's map is {student_size} px wide and the teacher's {teacher_size} px; one has to be a "
                "multiple of the other to be pooled to its grid. Choose other maps."
            )
        self.order = order
        self.grid = min(student_size, teacher_size)
        self.student_window = student_size // self.grid
        self.teacher_window = teacher_size // self.grid
        self.project = nn.Conv2d(student_channels, teacher_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(teacher_channels)

    def forward(self, spikes: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared error between the student's projected spikes and the teacher's activations.

        Args:
            spikes: Student's map, `[T, N, C, H, W]`.
            teacher: Teacher's map, `[N, C', H', W']`.

        Returns:
            Scalar, fp32.
        """
        target = F.avg_pool2d(teacher.detach().float(), self.teacher_window)
        if self.order == "time_first":
            rates = ops.spike_count_pool(spikes, self.student_window, mean=True)
            mapped = self.norm(self.project(rates))
        else:
            per_step = over_time(lambda x: F.avg_pool2d(self.norm(self.project(x)), self.student_window), spikes)
            mapped = per_step.mean(dim=0)
        return F.mse_loss(mapped.float(), target)


def logit_distillation(
    student: Tensor,
    teacher: Tensor,
    class_ids: Sequence[int] | None,
    temperature: float,
    teacher_ids: Sequence[int] | None = None,
) -> Tensor:
    """Mean over the batch of T^2 KL(teacher || student), the teacher restricted to the student's classes.

    Args:
        student: `[N, K]`.
        teacher: `[N, M]`.
        class_ids: Class id of each student logit, or None when both have the same logits in the same order.
        temperature: T > 0.
        teacher_ids: Class id of each teacher logit; None means logit m stands for class m.

    Source: Hinton et al. 2015 (arXiv 1503.02531), eq. 2 ff.; ECC-SNN, L_KD.
    """
    positions = None
    if class_ids is not None:
        ids = torch.as_tensor(list(class_ids), dtype=torch.int64)
        positions = ids if teacher_ids is None else class_positions(teacher_ids)[ids]
    return ops.logit_distillation(student.float(), teacher.detach().float(), positions, temperature).mean()
