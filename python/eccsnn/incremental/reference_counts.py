"""Readable truth of the statistics of spike counts: of `csrc/core/count_statistics.cpp` and `count_moments`."""

import torch
from torch import Tensor


def count_moments(features: Tensor, classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Second moment and class sums of counts.

    Args:
        features: `[N, D]` integers.
        classes: int64 `[N]`, in 0..num_classes - 1.
        num_classes: K.

    Returns:
        int64 `[D, D]`, the sum of x x^T, and int64 `[K, D]`, the sum of x of each class.

    Example:
        >>> count_moments(torch.tensor([[1, 2]]), torch.tensor([1]), 2)[1].tolist()
        [[0, 0], [1, 2]]
    """
    x = features.to(torch.int64)
    sums = torch.zeros(num_classes, x.shape[1], dtype=torch.int64, device=x.device)
    sums.index_add_(0, classes.to(x.device), x)
    return x.T @ x, sums
