"""How the spike codec predicts large timesteps: a logistic regression a channel, on the spikes around.

Timesteps of at least 2^16 spikes are coded 32 channels at a time (`csrc/core/spike_lanes.h`), too fast for tables of
contexts: the logit of a spike is a bias plus a weight for each feature that is set. With the features that a table
would look at, too, that is about as good a prediction. Weights and biases are learnt by gradient on the bits
themselves; the codec goes on to correct the biases while it runs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEIGHBOURS = (
    "before1",
    "before2",
    "before3",
    "left",
    "up",
    "up_left",
    "up_right",
    "left2",
    "up2",
    "right_before",
    "down_before",
    "left_before",
)
"""The features, in the codec's order; after them come four products, see `LaneRates.bits`."""

FEATURES = len(NEIGHBOURS) + 4
LEAST_BITS, LEAST_CHANNELS = 2**16, 32
BIAS_SHIFT, WEIGHT_SHIFT = 7, 0
"""How slowly the codec corrects a bias (by its error times 2^(3 - 7)); weights stay as they were learnt."""

_UNIT = 4096  # a nat
_TIME_CLASSES = 4

Neighbour = Callable[[int, str], Tensor]
"""The spikes [N, H, W, C] that are a named neighbour of each, at a timestep."""


def fits_lanes(channels: int, height: int, width: int) -> bool:
    """Whether timesteps of this geometry can be coded in lanes.

    Example:
        >>> fits_lanes(64, 32, 32), fits_lanes(16, 32, 32)
        (True, False)
    """
    return channels >= LEAST_CHANNELS and channels * height * width >= LEAST_BITS


class LaneRates(nn.Module):
    """Biases and weights of the lanes of one geometry.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        start = torch.zeros(_TIME_CLASSES, 1 + FEATURES, channels)
        start[:, 0] = -2.0
        self.weights = nn.Parameter(start)

    def bits(self, timestep: int, now: Tensor, neighbour: Neighbour) -> Tensor:
        """Bits of each sample's spikes [N, H, W, C] at a timestep: [N]."""
        one = {name: neighbour(timestep, name) for name in NEIGHBOURS}
        before = one["before1"]
        products = [before * one["before2"], before * one["left"], before * one["up"], one["left"] * one["up"]]
        weights = self.weights[min(timestep, _TIME_CLASSES - 1)]
        logit = weights[0].expand(now.shape)
        for feature, weight in zip([*one.values(), *products], weights[1:], strict=True):
            logit = logit + feature * weight
        return (F.softplus(logit) - now * logit).sum((1, 2, 3)) / math.log(2)

    def fit(self, batches: Sequence[Tensor], bits: Callable[[Tensor], Tensor], *, steps: int, lr: float) -> None:
        """Learns by Adam, a few samples a step."""
        optimizer = torch.optim.Adam([self.weights], lr=lr)
        with torch.enable_grad():
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 - step / steps)
                batch = batches[step % len(batches)]
                begin = step // len(batches) * 4 % batch.shape[1]
                part = batch[:, begin : begin + 4]
                optimizer.zero_grad()
                (bits(part).mean() / part[:, 0].numel()).backward()
                optimizer.step()

    def export(self) -> bytes:
        """Shifts and weights as the codec reads them, in units of 2^-12."""
        units = (self.weights.detach().double() * _UNIT).round().clamp(-32768, 32767).to(torch.int16)
        return struct.pack("<BB", BIAS_SHIFT, WEIGHT_SHIFT) + units.cpu().numpy().astype("<i2").tobytes()
