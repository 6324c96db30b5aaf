"""Batch norm as a part of the neurons behind it: what is accepted, which statistics count, and the running ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eccsnn import ops
from eccsnn.ops.reference import membrane_dtype

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_DIMENSIONS: dict[type, tuple[int, ...]] = {nn.BatchNorm1d: (3, 4), nn.BatchNorm2d: (5,), nn.BatchNorm3d: (6,)}
"""Dimensions of [T, N, C, ...] that each layer takes."""


def is_fusible(norm: nn.Module, x: Tensor) -> bool:
    """Whether neurons can compute this batch norm of x themselves.

    Only torch's own classes, to which nobody listens with hooks, and not for nothing: of an empty batch, torch's layer
    decides what becomes. `nn.SyncBatchNorm`, whose statistics pass through other processes, is called as it is.
    """
    if type(norm) not in _DIMENSIONS or x.numel() == 0:
        return False
    hooks = (norm._forward_hooks, norm._forward_pre_hooks, norm._backward_hooks, norm._backward_pre_hooks)
    return not any(hooks) and "forward" not in norm.__dict__


def check_norm(norm: object, x: Tensor, owner: str) -> None:
    """Checks that a layer is a batch norm and that x suits it, as torch's layers do for `[T * N, C, ...]`.

    Args:
        norm: The layer.
        x: [T, N, C, ...].
        owner: Starts the error.

    Raises:
        TypeError: It is no batch norm, x no tensor, or their dtypes do not go together.
        ValueError: x has another number of dimensions or channels.
    """
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
        given = f"the class {norm.__name__}" if isinstance(norm, type) else f"{type(norm).__name__} ({norm!r})"
        raise TypeError(
            f"{owner}: norm is {given}; expected a layer torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d or "
            "SyncBatchNorm; apply another layer to x beforehand, with eccsnn.nn.over_time."
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner}: x is {type(x).__name__}; expected a tensor [T, N, C, ...].")
    if type(norm) not in _DIMENSIONS:
        return  # it checks by itself, when it is called
    name = f"{type(norm).__name__}({norm.num_features})"
    if x.dim() not in _DIMENSIONS[type(norm)] or x.shape[2] != norm.num_features:
        layouts = [", ".join(["T", "N", str(norm.num_features), *"DHW"[6 - n :]]) for n in _DIMENSIONS[type(norm)]]
        expected = " or ".join(f"[{layout}]" for layout in layouts)
        raise ValueError(f"{owner}: x has shape {list(x.shape)}; expected {expected} for {name}.")
    for tensor in (norm.weight, norm.running_mean):
        if tensor is not None and tensor.dtype not in (x.dtype, membrane_dtype(x.dtype)):
            raise TypeError(f"{owner}: {name} is {tensor.dtype}, x is {x.dtype}; convert one with .to(...).")


def statistics_for(norm: BatchNorm, x: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Mean and variance that a batch norm applies to x, as torch's layers choose them. Nothing is updated.

    Args:
        norm: The layer.
        x: [T, N, C, ...] that `check_norm` accepts.

    Returns:
        Mean and biased variance [C], and whether they are those of x.

    Raises:
        ValueError: x has a single value a channel in training mode.
    """
    running_mean, running_var = norm.running_mean, norm.running_var
    if not norm.training and running_mean is not None and running_var is not None:
        if torch.is_grad_enabled():  # kept for the backward pass, before which training may change them
            running_mean, running_var = running_mean.clone(), running_var.clone()
        return running_mean, running_var, False
    if norm.training and x.numel() == x.shape[2]:
        raise ValueError(
            f"x has shape {list(x.shape)}: a single value a channel has no variance; train with a larger batch."
        )
    return *ops.channel_statistics(x), True


def update_running(norm: BatchNorm, x: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Updates the running statistics in training mode, with the unbiased variance.

    Under DistributedDataParallel each process has statistics of its own batch and the running ones of the first process
    count, as for torch's layers.

    Args:
        norm: The layer.
        x: What the statistics are of.
        mean, variance: From `statistics_for`.
    """
    running_mean, running_var = norm.running_mean, norm.running_var
    if not (norm.training and norm.track_running_stats) or running_mean is None or running_var is None:
        return
    count = x.numel() // x.shape[2]
    with torch.no_grad():
        weight: float | Tensor = 0.0 if norm.momentum is None else norm.momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                weight = 1.0 / norm.num_batches_tracked.to(mean.dtype)
        running_mean.lerp_(mean.to(running_mean.dtype), weight)
        unbiased = variance * count / (count - 1)  # tensors first: a compiled count may be symbolic
        running_var.lerp_(unbiased.to(running_var.dtype), weight)
