"""Second moment and class sums of spike counts, in integers: `eccsnn::count_moments`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eccsnn.ops import _library

_library.load()


def count_moments(features: Tensor, classes: Any, num_classes: int, max_count: int) -> tuple[Tensor, Tensor]:
    """Sum of x x^T over samples, and the sum of x of each class; exact, so the same on every device.

    Schema: `count_moments(Tensor features, Tensor classes, SymInt num_classes, SymInt max_count)
    -> (Tensor moment, Tensor sums)`.

    Args:
        features: uint8 or int16 `[N, D]` in 0..max_count.
        classes: int64 `[N]` in 0..num_classes - 1, a tensor or an array.
        num_classes: K.
        max_count: Largest feature, 1 to 32767.

    Returns:
        int64 `[D, D]` and int64 `[K, D]`, on the CPU.

    Raises:
        TypeError: features have another dtype.
        ValueError: A shape, a feature or a class is not as it should be.

    Example:
        >>> moment, sums = count_moments(torch.tensor([[1, 2]], dtype=torch.uint8), torch.tensor([1]), 2, 4)
        >>> moment.tolist(), sums.tolist()
        ([[1, 2], [2, 4]], [[0, 0], [1, 2]])
    """
    ids = torch.as_tensor(classes, dtype=torch.int64)
    _check(features, ids, num_classes, max_count)
    moment, sums = torch.ops.eccsnn.count_moments(features, ids.to(features.device), num_classes, max_count)
    return moment.cpu(), sums.cpu()


def _check(features: Tensor, classes: Tensor, num_classes: int, max_count: int) -> None:
    """Raises TypeError or ValueError where `count_moments` cannot take its arguments."""
    if features.dtype not in (torch.uint8, torch.int16):
        raise TypeError(f"count_moments: features have dtype {features.dtype}, expected uint8 or int16 counts")
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"count_moments: features have shape {list(features.shape)}, expected [N, D]")
    if classes.shape != features.shape[:1]:
        raise ValueError(f"count_moments: classes have shape {list(classes.shape)}, expected [{len(features)}]")
    if not 1 <= max_count <= 32767:
        raise ValueError(f"count_moments: max_count is {max_count}, expected 1 to 32767")
    for name, values, most in (("features", features, max_count), ("classes", classes, num_classes - 1)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) <= most:
            raise ValueError(
                f"count_moments: {name} span {int(values.min())}..{int(values.max())}, expected values in 0..{most}"
            )


@torch.library.register_fake("eccsnn::count_moments")
def _(features: Tensor, classes: Tensor, num_classes: int, max_count: int) -> tuple[Tensor, Tensor]:
    columns = features.shape[1]
    return (
        features.new_empty((columns, columns), dtype=torch.int64),
        features.new_empty((num_classes, columns), dtype=torch.int64),
    )
