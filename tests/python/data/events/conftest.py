"""Small recordings."""

from collections.abc import Callable

import numpy as np
import pytest

from eccsnn.data.events import Events


@pytest.fixture
def make_events() -> Callable[..., Events]:
    """make_events(1000, seed=0, width=128, height=128, duration_us=100_000): events anywhere, in the order of time."""

    def make(count: int, seed: int = 0, width: int = 128, height: int = 128, duration_us: int = 100_000) -> Events:
        random = np.random.default_rng(seed)
        return Events(
            np.sort(random.integers(0, duration_us, count)),
            random.integers(0, width, count),
            random.integers(0, height, count),
            random.integers(0, 2, count),
            width=width,
            height=height,
        )

    return make
