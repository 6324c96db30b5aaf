"""What a simulated event camera is made of: thresholds, mismatch, noise, and its response to light."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn import _core
from eccsnn.data.seeding import random_words

LOWEST_THRESHOLD = 0.01
"""Thresholds are clipped from below here, in log intensity, as v2e does: mismatch makes no pixel fire for ever."""


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """The pixels of an event camera.

    Attributes:
        threshold_on: nominal contrast threshold of a brighter event, in natural-log intensity.
        threshold_off: of a darker event.
        threshold_sigma: standard deviation of both over pixels (mismatch), in log intensity; v2e's default is 0.03.
        refractory_us: µs after an event in which a pixel drops events.
        shot_noise_rate_hz: events a second of noise of a pixel in the dark, ON and OFF together; at white a quarter.
        leak_rate_hz: ON events a second of a pixel that sees no change; v2e's default is 0.1.
        linear_below: pixel value (0..255) below which the response is linear instead of logarithmic; v2e's is 20.
        gamma: exponent from pixel values to light; 1 takes them as linear intensity as v2e does, 2.2 is a monitor.
        mismatch_seed: which camera: the same seed gives the same thresholds in every recording.

    Raises:
        TypeError: a value is no number.
        ValueError: a value is out of range.

    Source:
        Rebecq et al., "ESIM: an open event camera simulator" (CoRL 2018): events where the log intensity, linear
        between samples, crosses thresholds around the level of the last event. Hu et al., "v2e: from video frames to
        realistic DVS events" (CVPR workshops 2021): linear-logarithmic response, mismatch, leak, shot noise. Left out
        on purpose: v2e's low-pass filter of the photoreceptor and its jitter of leak; an event of noise makes the
        level at its moment the reference, where v2e moves the reference by the threshold.

    Example:
        >>> SensorModel(threshold_on=0.3).threshold_off
        0.2
    """

    threshold_on: float = 0.2
    threshold_off: float = 0.2
    threshold_sigma: float = 0.03
    refractory_us: int = 0
    shot_noise_rate_hz: float = 0.0
    leak_rate_hz: float = 0.0
    linear_below: float = 20.0
    gamma: float = 1.0
    mismatch_seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is {value!r}, expected a number from {low} to {high}")
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected {low} to {high}")
        for name in ("refractory_us", "mismatch_seed"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} is {getattr(self, name)!r}, expected an integer")

    def light(self, pixels: npt.ArrayLike) -> npt.NDArray[np.uint16]:
        """Pixel values 0..255 as linear intensity in 1/16 of a pixel value, uint16 of the same shape."""
        scaled = 255.0 * (np.asarray(pixels, dtype=np.float64) / 255.0) ** self.gamma
        return np.rint(16.0 * np.clip(scaled, 0.0, 255.0)).astype(np.uint16)

    def log_intensity(self) -> npt.NDArray[np.float32]:
        """The response to every intensity that `light` gives: float32 `[4081]`, in natural-log units."""
        values = np.arange(_core.SIMULATOR_INTENSITY_LEVELS, dtype=np.float64) / 16.0
        slope = math.log(self.linear_below) / self.linear_below
        response = np.where(values <= self.linear_below, values * slope, np.log(np.maximum(values, 1.0)))
        return response.astype(np.float32)

    def thresholds(self, height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The ON and the OFF thresholds of a sensor's pixels, each float32 `[height, width]`, read-only."""
        return _thresholds(self, height, width)


_RANGES: dict[str, tuple[float, float]] = {
    "threshold_on": (LOWEST_THRESHOLD, 10.0),
    "threshold_off": (LOWEST_THRESHOLD, 10.0),
    "threshold_sigma": (0.0, 10.0),
    "refractory_us": (0, 10**9),
    "shot_noise_rate_hz": (0.0, 1e5),
    "leak_rate_hz": (0.0, 1e5),
    "linear_below": (3.0, 255.0),
    "gamma": (0.1, 10.0),
    "mismatch_seed": (0, 2**63),
}


@functools.lru_cache(maxsize=16)
def _thresholds(
    sensor: SensorModel, height: int, width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    words = random_words(2 * height * width, "threshold mismatch", sensor.mismatch_seed).reshape(2, height, width)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), 2.0 * math.pi * uniform[1]  # Box and Muller: two normals
    maps = []
    for nominal, normal in ((sensor.threshold_on, np.cos(angle)), (sensor.threshold_off, np.sin(angle))):
        values = nominal + sensor.threshold_sigma * radius * normal
        array = np.maximum(values, LOWEST_THRESHOLD).astype(np.float32)
        array.flags.writeable = False
        maps.append(array)
    return maps[0], maps[1]
