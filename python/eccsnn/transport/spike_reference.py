"""The yardstick of the spike codec: the ideal code length of a fixed adaptive context model, in plain Python.

It predicts each spike by a Bayesian mixture of six context models of the kind that the codec has. Each model counts
the zeros and ones that followed a context and predicts (ones + 1/2) / (zeros + ones + 1), after Krichevsky and Trofimov
(1981); a model's weight is its share in what the mixture has predicted so far, with slow forgetting. `learnt` counts
make the start as fair as the codec's: they are what the same contexts were followed by in training, scaled down to at
most `START` observations. The code length is that of a perfect arithmetic coder, without headers and without rounding.
`START` and `FORGETTING` are those at which it was shortest on spikes of a trained network.

This file is the bar: it is not to be made weaker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

START = 60
"""Observations that learnt counts stand for at most."""

FORGETTING = 0.99
"""Exponent of the models' weights after each spike: about 100 spikes are remembered."""

_CONTEXTS: tuple[tuple[str, ...], ...] = (
    (),
    ("before1", "before2", "before3"),
    ("left", "up", "up_left", "up_right"),
    ("before1", "before2", "before3", "left", "up"),
    ("before1", "before2", "left", "up", "right_before", "down_before"),
    ("before1", "before2", "left", "up", "channel1", "channel2"),
)
_PLACES = {
    "before1": (1, 0, 0, 0),
    "before2": (2, 0, 0, 0),
    "before3": (3, 0, 0, 0),
    "left": (0, 0, -1, 0),
    "up": (0, -1, 0, 0),
    "up_left": (0, -1, -1, 0),
    "up_right": (0, -1, 1, 0),
    "right_before": (1, 0, 1, 0),
    "down_before": (1, 1, 0, 0),
    "channel1": (0, 0, 0, -1),
    "channel2": (0, 0, 0, -2),
}  # timesteps back, rows, columns, channels

Spikes = NDArray[np.uint8]
Counts = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def learn_counts(samples: Sequence[Spikes]) -> Counts:
    """Zeros and ones that followed each context of each model, scaled down to `START`.

    Args:
        samples: uint8 `[T, C, H, W]` of 0 and 1, not those that are judged.
    """
    counts: Counts = []
    for model, names in enumerate(_CONTEXTS):
        cells = _cells(samples[0].shape, names)
        zeros, ones = np.zeros(cells), np.zeros(cells)
        for spikes in samples:
            index, bits = _contexts(spikes)[model], _in_order(spikes)
            zeros += np.bincount(index[bits == 0], minlength=cells)
            ones += np.bincount(index[bits == 1], minlength=cells)
        scale = np.minimum(1.0, START / np.maximum(zeros + ones, 1.0))
        counts.append((zeros * scale, ones * scale))
    return counts


def ideal_bits(spikes: Spikes, learnt: Counts | None = None) -> list[float]:
    """Ideal code length of each timestep of a stream.

    Args:
        spikes: uint8 `[T, C, H, W]` of 0 and 1.
        learnt: From `learn_counts` of the same geometry; None starts without any knowledge.

    Returns:
        Bits of each of the T timesteps.

    Example:
        >>> silent = np.zeros((2, 1, 8, 8), np.uint8)
        >>> ideal_bits(silent)[0] < 6
        True
    """
    timesteps = spikes.shape[0]
    contexts = [index.tolist() for index in _contexts(spikes)]
    tables = [
        (zeros.tolist(), ones.tolist()) if learnt else ([0.0] * len(zeros), [0.0] * len(zeros))
        for zeros, ones in (learnt or [(np.zeros(_cells(spikes.shape, names)),) * 2 for names in _CONTEXTS])
    ]
    per_step = spikes[0].size
    lengths: list[float] = []
    weights = [1.0 / len(_CONTEXTS)] * len(_CONTEXTS)
    total = 0.0
    for place, bit in enumerate(_in_order(spikes).tolist()):
        if place % per_step == 0 and place:
            lengths.append(total)
            total = 0.0
        chances = []
        for index, (zeros, ones) in zip(contexts, tables, strict=True):
            cell = index[place]
            one = (ones[cell] + 0.5) / (zeros[cell] + ones[cell] + 1.0)
            chances.append(one if bit else 1.0 - one)
            (ones if bit else zeros)[cell] += 1.0
        mixed = sum(weight * chance for weight, chance in zip(weights, chances, strict=True))
        total -= math.log2(mixed)
        powers = [(weight * chance) ** FORGETTING for weight, chance in zip(weights, chances, strict=True)]
        scale = sum(powers)
        weights = [power / scale for power in powers]
    lengths.append(total)
    assert len(lengths) == timesteps
    return lengths


def _in_order(spikes: Spikes) -> NDArray[np.uint8]:
    """[T, H, W, C], flat: the order in which spikes are coded."""
    return np.ascontiguousarray(np.moveaxis(spikes, 1, -1)).reshape(-1)


def _cells(shape: tuple[int, ...], names: tuple[str, ...]) -> int:
    return 4 * shape[1] << len(names)


def _contexts(spikes: Spikes) -> list[NDArray[np.int64]]:
    """For each model the context of each spike, in coding order."""
    ordered = np.moveaxis(spikes, 1, -1)
    timesteps, height, width, channels = ordered.shape
    border = np.pad(ordered, ((3, 0), (1, 1), (1, 1), (2, 0)))
    around = {
        name: border[
            3 - back : 3 - back + timesteps,
            1 + row : 1 + row + height,
            1 + column : 1 + column + width,
            2 + channel : 2 + channel + channels,
        ]
        for name, (back, row, column, channel) in _PLACES.items()
    }
    time = np.minimum(np.arange(timesteps), 3).reshape(-1, 1, 1, 1)
    scope = time * channels + np.arange(channels)
    result = []
    for names in _CONTEXTS:
        index = np.broadcast_to(scope, ordered.shape).astype(np.int64)
        for name in names:
            index = index * 2 + around[name]
        result.append(index.reshape(-1))
    return result
