"""Stratified, seeded cuts: every part keeps the class proportions, and the same seed gives the same cut everywhere."""

from __future__ import annotations

import numpy as np

from eccsnn.data.seeding import permutation
from eccsnn.data.types import Int64Array


def stratified_split(labels: Int64Array, fraction: float, *, seed: int, purpose: str) -> tuple[Int64Array, Int64Array]:
    """Cuts `fraction` of every class off.

    A class of `n` images gives `round(fraction * n)` of them, but at least one and at most `n - 1`; a class of one
    image gives none. What a class gives does not depend on the other classes.

    Args:
        labels: int64 `[N]`.
        fraction: in `[0, 1)`; 0 cuts nothing off.
        seed: integer >= 0.
        purpose: names the cut ("val", "test"), so that several cuts with one seed are independent.

    Returns:
        `(kept, cut)`: ascending row numbers, int64; together all of `0..N - 1`.

    Raises:
        ValueError: `fraction` is outside `[0, 1)` or `seed` is negative.

    Example:
        >>> kept, cut = stratified_split(np.array([0] * 8 + [1] * 4), 0.25, seed=0, purpose="val")
        >>> len(kept), len(cut)
        (9, 3)
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"fraction is {fraction}, expected 0 <= fraction < 1")
    taken = np.zeros(len(labels), dtype=bool)
    for class_id in np.unique(labels):
        rows = np.flatnonzero(labels == class_id)
        count = int(np.floor(fraction * len(rows) + 0.5))
        if fraction > 0.0:
            count = min(max(count, 1), len(rows) - 1)
        taken[rows[permutation(len(rows), purpose, seed, int(class_id))[:count]]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def stratified_subset(labels: Int64Array, count: int, *, seed: int, purpose: str) -> Int64Array:
    """`count` rows with the class proportions of `labels` (largest remainders decide the rounding).

    Every class keeps at least one row when `count` allows it. With the same seed a class that keeps more rows keeps
    those that it kept with fewer.

    Args:
        labels: int64 `[N]`.
        count: how many rows in all, `1 <= count <= N`.
        seed: integer >= 0.
        purpose: names the cut.

    Returns:
        Ascending row numbers, int64 `[count]`.

    Raises:
        ValueError: `count` is not in `1..N`.
    """
    if not 1 <= count <= len(labels):
        raise ValueError(f"a subset of {count} was asked for, expected between 1 and the {len(labels)} there are")
    classes, sizes = np.unique(labels, return_counts=True)
    quotas = _share(sizes, count)
    chosen = []
    for class_id, quota in zip(classes, quotas, strict=True):
        rows = np.flatnonzero(labels == class_id)
        chosen.append(rows[permutation(len(rows), purpose, seed, int(class_id))[:quota]])
    return np.sort(np.concatenate(chosen))


def _share(sizes: Int64Array, count: int) -> Int64Array:
    """Shares `count` out over classes of the given sizes, in integers so that no rounding depends on the machine."""
    total = int(sizes.sum())
    quotas = sizes * count // total
    remainders = sizes * count % total
    missing = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    if count >= len(sizes):
        for empty in np.flatnonzero(quotas == 0):
            quotas[np.argmax(quotas)] -= 1
            quotas[empty] = 1
    return quotas
