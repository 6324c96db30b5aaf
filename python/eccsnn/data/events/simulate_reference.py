"""The readable truth of the event simulator: one pixel and one step at a time; the core is tested against it.

Source:
    As `eccsnn.data.events.sensor`; random numbers are Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy
    as 1, 2, 3" (SC 2011), keyed by recording and counted by pixel and draw.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_f = np.float32
_NEVER = 2**31 - 1
_LONGEST_US = 2**30


class Noise(NamedTuple):
    """A candidate for an event of noise: µs after the last one, its polarity, and the chance that keeps it."""

    interval_us: int
    brighter: bool
    chance: int


def philox(key: int, low: int, high: int) -> tuple[int, int, int, int]:
    """Four random 32-bit words of a 64-bit key and a counter of twice 64 bits."""
    word = 2**32 - 1
    k0, k1 = key & word, key >> 32
    c0, c1, c2, c3 = low & word, low >> 32, high & word, high >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & word, (p0 >> 32) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return c0, c1, c2, c3


def draw_noise(key: int, pixel: int, draw: int, rate_hz: float) -> Noise:
    """Candidates come at the rate in the dark, as a Poisson process."""
    words = philox(key, pixel, draw)
    interval = -math.log((words[0] + 0.5) / 2**32) * (1e6 / rate_hz)
    return Noise(max(1, int(min(interval, _LONGEST_US))), bool(words[2] & 1), words[1])


def simulate_events(
    frames: npt.NDArray[np.uint16],
    steps: npt.NDArray[np.int64],
    log_intensity: npt.NDArray[np.float32],
    threshold_on: npt.NDArray[np.float32],
    threshold_off: npt.NDArray[np.float32],
    *,
    refractory_us: int,
    shot_noise_rate_hz: float,
    leak_rate_hz: float,
    seed: int,
) -> tuple[npt.NDArray[np.int64], ...]:
    """As `_core.simulate_events`: `(t, x, y, polarity)` of frames that pass a sensor step by step."""
    height, width = threshold_on.shape
    events: list[tuple[int, int, int]] = []
    for pixel in range(height * width):
        y, x = divmod(pixel, width)
        on, off = threshold_on[y, x], threshold_off[y, x]
        light = [sample(frames[frame], x, y, at_x, at_y) for _, frame, at_x, at_y in steps.tolist()]
        difference, draw, last = _f(0), 0, -_LONGEST_US
        next_noise = _NEVER
        if shot_noise_rate_hz > 0:
            next_noise = draw_noise(seed, pixel, 0, shot_noise_rate_hz).interval_us
        for k in range(1, len(steps)):
            begin, end = int(steps[k - 1, 0]), int(steps[k, 0])
            duration = _f(end - begin)
            start = difference
            leak = _f(leak_rate_hz * 1e-6 * (end - begin)) * on
            stop = start + (log_intensity[light[k]] - log_intensity[light[k - 1]]) + leak
            while True:
                brighter, darker = stop >= on, stop <= -off
                level = on if brighter else -off
                crossing = _NEVER
                if brighter or darker:
                    part = (level - start) / (stop - start) if stop != start else _f(0)
                    whole = int(min(max(part, _f(0)), _f(1)) * duration)
                    crossing = begin + 1 + min(whole, end - begin - 1)
                if next_noise <= end and next_noise < crossing:
                    now, noise = next_noise, draw_noise(seed, pixel, draw, shot_noise_rate_hz)
                    draw += 1
                    next_noise += draw_noise(seed, pixel, draw, shot_noise_rate_hz).interval_us
                    if keeps_noise(noise.chance, light[k]) and now - last >= refractory_us:
                        events.append((now, pixel, int(noise.brighter)))
                        last = now
                        here = start + (stop - start) * (_f(now - begin) / duration)
                        start, stop = start - here, stop - here
                elif crossing != _NEVER:
                    if crossing - last >= refractory_us:
                        events.append((crossing, pixel, int(brighter)))
                        last = crossing
                    start, stop = start - level, stop - level
                else:
                    break
            difference = stop
    events.sort(key=lambda event: event[:2])  # stable: of one time and pixel in the order they came
    t, pixels, polarity = np.array(events, dtype=np.int64).reshape(-1, 3).T
    return t, pixels % width, pixels // width, polarity


def sample(frame: npt.NDArray[np.uint16], x: int, y: int, at_x: int, at_y: int) -> int:
    """Bilinear intensity at a sensor's pixel, with the sensor at `(at_x, at_y)` in 1/64 px."""
    left, fx = divmod(at_x, 64)
    top, fy = divmod(at_y, 64)
    around = frame[y + top : y + top + 2, x + left : x + left + 2].astype(int)
    weights = np.outer([64 - fy, fy], [64 - fx, fx])
    return (int((around * weights).sum()) + 2048) >> 12


def keeps_noise(chance: int, intensity: int) -> bool:
    """Whether a candidate stays: always in the dark, one of four at white."""
    return chance / 2**32 < 1 - 0.75 * intensity / 4080
