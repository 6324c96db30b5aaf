"""Batch norm as a part of the neurons behind it: which statistics count, and the running ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eccsnn import ops

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def is_fusible(norm: nn.Module, x: Tensor) -> bool:
    """Whether neurons can compute this batch norm of x themselves.

    Only torch's own classes, to which nobody listens with hooks, and not for nothing: of an empty batch, torch's layer
    decides what becomes. `nn.SyncBatchNorm`, whose statistics pass through other processes, is called as it is.
    """
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) or x.numel() == 0:
        return False
    hooks = (norm._forward_hooks, norm._forward_pre_hooks, norm._backward_hooks, norm._backward_pre_hooks)
    return not any(hooks) and "forward" not in norm.__dict__


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
    running_mean, running_var = norm.running_mean, norm.running_var
    if not norm.training and running_mean is not None and running_var is not None:
        if torch.is_grad_enabled():  # kept for the backward pass, before which training may change them
            running_mean, running_var = running_mean.clone(), running_var.clone()
        return running_mean, running_var, False
    count = x.numel() // x.shape[2]
    if norm.training and count == 1:
        raise ValueError(
            f"x has shape {list(x.shape)}: a single value a channel has no variance; train with a larger batch."
        )
    mean, variance = ops.channel_statistics(x)
    if norm.training and norm.track_running_stats and running_mean is not None and running_var is not None:
        with torch.no_grad():
            weight: float | Tensor = 0.0 if norm.momentum is None else norm.momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
                if norm.momentum is None:
                    weight = 1.0 / norm.num_batches_tracked.to(mean.dtype)
            running_mean.lerp_(mean.to(running_mean.dtype), weight)
            unbiased = variance * count / (count - 1)  # tensors first: a compiled count may be symbolic
            running_var.lerp_(unbiased.to(running_var.dtype), weight)
    return mean, variance, True
