"""How sure is a difference of accuracies? An interval over test samples and seeds that are paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: Over all samples and seeds.
        low, high: Ends of the interval.
        confidence: Such as 0.95.
        samples, seeds: What the mean is over.
    """

    mean: float
    low: float
    high: float
    confidence: float
    samples: int
    seeds: int


def paired_interval(first: Any, second: Any, *, confidence: float = 0.95) -> Interval:
    """Interval of the mean of `first - second`, where both were measured on the same samples.

    Samples and seeds are both random, and all seeds share the samples. The variance of the mean over S seeds and N
    samples is (MS_seeds + max(MS_samples - MS_rest, 0)) / (S N), from the mean squares of the two-way table of
    differences. MS_seeds holds what samples add to the differences of seeds, which is not counted again with them.
    Quantiles are Student's, with as many degrees of freedom as that sum has: S - 1 where seeds make all of the
    variance, more where samples do. One seed leaves the samples alone, and N - 1.

    Args:
        first, second: `[N]` or `[S, N]` (S seeds), such as whether each answer is right; at least two samples.
        confidence: In (0, 1).

    Raises:
        ValueError: Shapes differ or hold fewer than two samples, values are not finite, or the confidence is out of
            range.

    Source:
        Dorfman, Berbaum & Metz, Investigative Radiology 27, 1992, for readers and cases; degrees of freedom: Hillis,
        Statistics in Medicine 26, 2007.

    Example:
        >>> paired_interval([True, True, False], [True, True, False])
        Interval(mean=0.0, low=0.0, high=0.0, confidence=0.95, samples=3, seeds=1)
    """
    a, b = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (first, second))
    if a.shape != b.shape or a.ndim != 2 or len(a) < 1 or a.shape[1] < 2:
        raise ValueError(
            f"shapes are {list(a.shape)} and {list(b.shape)}, expected twice the same [N] or [S, N], N of 2 at least"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values are NaN or infinite; expected finite numbers, such as 0 and 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a fraction in (0, 1)")
    difference = a - b
    mean, (seeds, samples) = float(difference.mean()), difference.shape
    by_sample = difference.mean(axis=0)
    ms_samples = seeds * by_sample.var(ddof=1)
    if seeds == 1:
        spread, freedom = ms_samples, samples - 1.0
    else:
        by_seed = difference.mean(axis=1, keepdims=True)
        ms_seeds = samples * by_seed.var(ddof=1)
        rest = difference - by_sample - by_seed + mean
        spread = ms_seeds + max(ms_samples - (rest**2).sum() / ((seeds - 1) * (samples - 1)), 0.0)
        # Seeds that all agree tell nothing of their own spread, and samples have so many degrees that t is normal.
        freedom = (seeds - 1) * (spread / ms_seeds) ** 2 if ms_seeds > 0 else np.inf
    half = float(stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(spread / difference.size))
    return Interval(mean, mean - half, mean + half, confidence, samples, seeds)
