"""Random numbers that are the same everywhere.

Everything random about data is a pure function of a purpose and a few integers (seed, epoch, step, class), so nothing
has to be saved to resume a run. Only raw PCG64 words are used: NumPy promises that these never change between versions,
which it does not promise for `Generator.permutation` and friends.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from eccsnn.data.types import Int64Array


def random_words(count: int, purpose: str, *keys: int) -> npt.NDArray[np.uint64]:
    """`count` uniform 64-bit words, determined by `purpose` and `keys`.

    Raises:
        ValueError: a key (for instance the seed) is negative or not an integer.

    Example:
        >>> bool((random_words(3, "shuffle", 0, 1) == random_words(3, "shuffle", 0, 1)).all())
        True
    """
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, int | np.integer) or key < 0:
            raise ValueError(f"a seed, epoch or step is {key!r}, expected an integer >= 0")
    entropy = [zlib.crc32(purpose.encode()), *(int(key) for key in keys)]
    return np.asarray(np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(count), dtype=np.uint64)


def permutation(count: int, purpose: str, *keys: int) -> Int64Array:
    """The numbers `0..count - 1` in random order, int64 `[count]`, determined by `purpose` and `keys`."""
    return np.argsort(random_words(count, purpose, *keys), kind="stable").astype(np.int64, copy=False)
