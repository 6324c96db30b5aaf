"""How sure is a difference of accuracies? Paired bootstrap over test samples and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes:
        mean: Over all samples and seeds.
        low, high: Ends of the interval.
        confidence: Such as 0.95.
        samples, seeds: What was drawn from.
    """

    mean: float
    low: float
    high: float
    confidence: float
    samples: int
    seeds: int


def paired_bootstrap(
    first: Any, second: Any, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Interval of the mean of `first - second`, where both were measured on the same samples.

    Every draw takes as many seeds and as many samples, with replacement; all seeds of a draw share its samples, since
    they were measured on the same test set.

    Few seeds, drawn with replacement, vary too little: their mean has (S - 1) / S of its variance, and the percentiles
    are those of a normal distribution although S seeds tell as little of their spread as Student's t says. So a draw's
    mean over seeds is moved away from the mean over all seeds by sqrt(S / (S - 1)) t(S - 1) / z, quantiles of Student's
    and of the normal distribution (2.69 for three seeds at 95%). What differs between seeds because of the samples is
    widened, too: with three seeds the interval is rather too wide than too narrow.

    Args:
        first, second: `[N]` or `[S, N]` (S seeds), such as whether each answer is right.
        confidence: In (0, 1).
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        ValueError: Shapes differ or are empty, values are not finite, or a number is out of range.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993: percentile interval. Hesterberg, "What Teachers
        Should Know About the Bootstrap", The American Statistician 69, 2015: expanded percentiles, as here for seeds.

    Example:
        >>> paired_bootstrap([True, True, False], [True, True, False])
        Interval(mean=0.0, low=0.0, high=0.0, confidence=0.95, samples=3, seeds=1)
    """
    a, b = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (first, second))
    if a.shape != b.shape or a.ndim != 2 or a.size == 0:
        raise ValueError(f"shapes are {list(a.shape)} and {list(b.shape)}, expected twice the same [N] or [S, N]")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values are NaN or infinite; expected finite numbers, such as 0 and 1")
    if not 0 < confidence < 1 or draws < 1:
        raise ValueError(f"confidence is {confidence} and draws {draws}; expected a fraction in (0, 1), and at least 1")
    difference = a - b
    seeds, samples = difference.shape
    generator = np.random.default_rng(seed)
    centre, widening = difference.mean(axis=0), 0.0
    if seeds > 1:
        upper = (1 + confidence) / 2
        widening = float(np.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, upper) / ndtri(upper))
    means = np.empty(draws)
    for draw in range(draws):
        rows = centre
        if seeds > 1:
            rows = centre + widening * (difference[generator.integers(0, seeds, seeds)].mean(axis=0) - centre)
        # How often each sample is drawn; their weighted mean is the mean over the drawn samples.
        weights = np.bincount(generator.integers(0, samples, samples), minlength=samples)
        means[draw] = rows @ weights / samples
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(difference.mean()), float(low), float(high), confidence, samples, seeds)
