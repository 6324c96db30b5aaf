"""Batch norm as a part of the neurons behind it: which statistics count, and the running ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eccsnn import ops

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def is_fusible(norm: nn.Module) -> bool:
    """Whether neurons can compute this batch norm themselves: torch's own classes, and nobody listens to them.

    `nn.SyncBatchNorm`, whose statistics pass through other processes, is called as it is.
    """
    plain = type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return plain and not (norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks)


def statistics_for(norm: BatchNorm, x: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Mean and variance that a batch norm applies to x, as torch's layers choose them.

    In training mode the running statistics are updated, with the unbiased variance. Under DistributedDataParallel each
    process has statistics of its own batch and the running ones of the first process count, as for torch's layers.

    Args:
        norm: The layer.
        x: [T, N, C, ...].

    Returns:
        Mean and biased variance [C], and whether they are those of x.

    Raises:
        ValueError: x has another number of channels, or a single value a channel in training mode.
    """
    if x.dim() < 3 or x.shape[2] != norm.num_features:
        raise ValueError(
            f"x has shape {list(x.shape)}; expected [T, N, {norm.num_features}, ...] for {type(norm).__name__}"
            f"({norm.num_features})."
        )
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        return norm.running_mean, norm.running_var, False
    count = x.numel() // x.shape[2]
    if norm.training and count == 1:
        raise ValueError(
            f"x has shape {list(x.shape)}: a single value a channel has no variance; train with a larger batch."
        )
    mean, variance = ops.channel_statistics(x)
    batches = norm.num_batches_tracked
    if norm.training and norm.running_mean is not None and norm.running_var is not None and batches is not None:
        with torch.no_grad():
            batches.add_(1)
            weight: float | Tensor = 1.0 / batches.to(mean.dtype) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
            unbiased = variance * count / (count - 1)  # tensors first: a compiled count may be symbolic
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), weight)
    return mean, variance, True
