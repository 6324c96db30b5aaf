"""Orders of memory, by which ops take channels-last tensors and others as they lie."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def memory_order(x: Tensor) -> list[int] | None:
    """Dimensions of one timestep of x from the outermost to the innermost in memory.

    None where they already are in order, or where memory has gaps or overlaps, so that a copy is needed anyway.
    """
    sizes, strides = x.shape[1:], x.stride()[1:]
    if _is_dense(sizes, strides, range(len(sizes))):
        return None
    # Insertion sort, because torch cannot compile sorted() over symbolic strides.
    order = list(range(len(sizes)))
    for i in range(1, len(order)):
        while i > 0 and strides[order[i - 1]] < strides[order[i]]:
            order[i - 1], order[i] = order[i], order[i - 1]
            i -= 1
    return order if _is_dense(sizes, strides, order) else None


def _is_dense(sizes: Any, strides: Any, order: Any) -> bool:
    expected = 1
    for d in reversed(order):
        if sizes[d] != 1 and strides[d] != expected:
            return False
        expected = expected * sizes[d]
    return True


def restore_order(values: Tensor, order: list[int] | None, first: int) -> Tensor:
    """Undoes a permutation by `memory_order`; `first` dimensions come before those that were permuted."""
    if order is None:
        return values
    inverse = [order.index(d) for d in range(len(order))]
    return values.permute(*range(first), *(d + first for d in inverse))
