"""A small world to learn in: images whose counts and classes are known, and statistics of them."""

import numpy as np

from eccsnn.incremental.statistics import CountStatistics

FEATURES, MAX_COUNT, SOURCE = 12, 4, "trunk"
CLASSES = (10, 11, 12, 13)
SHAPE = (3, 8, 8)


def images_of(label: int, count: int, seed: int = 0) -> np.ndarray:
    """Images that the cloud puts into this class."""
    pixels = np.random.default_rng([seed, label]).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    pixels[:, 0, 0, 0] = pixels[:, 0, 0, 0] // 4 * 4 + CLASSES.index(label)
    return pixels


def counts_of(images: np.ndarray) -> np.ndarray:
    """Counts `[N, 12]`: one of the first four says the class, the others are noise."""
    counts = images.reshape(len(images), -1)[:, :FEATURES] % (MAX_COUNT + 1)
    counts[:, : len(CLASSES)] = 0
    counts[np.arange(len(images)), images[:, 0, 0, 0] % len(CLASSES)] = MAX_COUNT
    return counts


def statistics_of(*samples: tuple[np.ndarray, int]) -> CountStatistics:
    """Of images with their labels."""
    made = CountStatistics(FEATURES, MAX_COUNT, SOURCE)
    for images, label in samples:
        made.add(counts_of(images), [label] * len(images))
    return made
