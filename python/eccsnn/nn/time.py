"""Stateless modules over time."""

from collections.abc import Callable

from torch import Tensor


def over_time(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a stateless module to every timestep in one call, by folding time into the batch.

    Nothing is copied when time and batch lie next to each other in memory, as they do in contiguous and in
    channels-last tensors. Batch normalisation in training mode takes its statistics over time and batch together.

    Args:
        module: Maps [B, ...] to [B, ...]; it must not mix samples in evaluation mode.
        x: [T, N, ...].

    Returns:
        [T, N, ...].

    Raises:
        ValueError: x has fewer than two dimensions.

    Example:
        >>> import torch
        >>> over_time(torch.nn.Conv2d(3, 8, 3), torch.zeros(4, 2, 3, 8, 8)).shape
        torch.Size([4, 2, 8, 6, 6])
    """
    if x.ndim < 2:
        raise ValueError(f"over_time: x has shape {list(x.shape)}, expected [T, N, ...]")
    return module(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1]))
