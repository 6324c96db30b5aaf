"""Random expansions of features: more of them make classes linearly separable."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from eccsnn.incremental.counts import CountArray


class SignExpansion:
    """Integer random features: h = min(max(x S, 0) // divisor, max_count) with seeded signs S in {-1, 1}.

    Integers in, integers out, and no rounding on the way, so that statistics of h are as exact as those of x. Sums of
    at most D max_count stay below 2^24, so that float32 matrix products compute them exactly on any machine (float64
    above that).

    Args:
        features: Size D of the input.
        size: Size M of the output.
        max_count: Largest input.
        out_count: Largest output.
        divisor: None: as large as lets about three standard deviations of dense inputs fit.
        seed: Of the signs.

    Source: the random expansion of RanPAC (McDonnell et al., NeurIPS 2023); signs, clipping and integers are ours.

    Example:
        >>> expand = SignExpansion(features=4, size=6, max_count=4, out_count=15, seed=1)
        >>> expand(np.array([[4, 0, 1, 2]], dtype=np.uint8)).shape
        (1, 6)
    """

    def __init__(
        self,
        features: int,
        size: int,
        *,
        max_count: int,
        out_count: int = 15,
        divisor: int | None = None,
        seed: int = 0,
    ) -> None:
        if size < 1 or features < 1:
            raise ValueError(f"features is {features} and size {size}, expected at least 1 each")
        if not 1 <= out_count <= 32767:
            raise ValueError(f"out_count is {out_count}, expected 1 to 32767")
        if divisor is not None and divisor < 1:
            raise ValueError(f"divisor is {divisor}, expected at least 1")
        self.out_count = out_count
        # The sum of D counts with random signs has the deviation sqrt(sum x^2); rates of spikes are a quarter or so.
        self.divisor = divisor or max(1, 3 * math.isqrt(features * max_count**2) // (4 * out_count))
        self._dtype = torch.float32 if features * max_count < 2**24 else torch.float64
        signs = np.random.Generator(np.random.PCG64(seed)).integers(0, 2, size=(features, size), dtype=np.int8)
        self.signs = torch.from_numpy(2 * signs - 1).to(self._dtype)
        self.source = f"signs {features}x{size}, seed {seed}, divisor {self.divisor}, to {out_count}"

    def __call__(self, counts: CountArray) -> CountArray:
        """Maps counts `[N, D]` to counts `[N, M]`: uint8 for an out_count to 255, else int16."""
        sums = torch.from_numpy(counts).to(self._dtype) @ self.signs
        clipped = torch.div(sums.clamp_(min=0), self.divisor, rounding_mode="floor").clamp_(max=self.out_count)
        return clipped.to(torch.uint8 if self.out_count <= 255 else torch.int16).numpy()


def gaussian_expansion(features: int, size: int, seed: int) -> Tensor:
    """Weights `[D, M]` of a random layer, float64, each from a standard normal distribution; a ReLU follows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features, size, generator=generator, dtype=torch.float64)
