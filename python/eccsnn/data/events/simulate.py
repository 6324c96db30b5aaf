"""Images and videos as an event camera would see them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from eccsnn import _core
from eccsnn.data.events.camera_path import CameraPath
from eccsnn.data.events.sensor import SensorModel
from eccsnn.data.events.types import Events
from eccsnn.data.seeding import random_words

MAX_STEP_PX = 0.5
MAX_STEP_US = 10_000
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def simulate(
    image: npt.ArrayLike,
    path: CameraPath | None = None,
    sensor: SensorModel | None = None,
    *,
    frame_times_us: npt.ArrayLike | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Events:
    """Simulates a recording.

    An image moves along a path: it is scaled to the sensor (bilinear), sampled bilinearly at every step of at most half
    a pixel, and its edge pixels go on past its edges. A video shows its frames at their times, moved along
    the path if there is one. Between two samples of a pixel the log intensity is a straight line.

    Args:
        image: uint8 `[H, W]` or `[H, W, 3]` (RGB); with `frame_times_us` a video `[F, H, W]` or `[F, H, W, 3]`.
        path: how the image moves; of a video None: it does not.
        sensor: the camera; None: `SensorModel()`, without noise.
        frame_times_us: of a video: `[F]` whole numbers of µs that grow from 0.
        size: height and width of the sensor in px; None: the image's.
        seed: integer >= 0; the noise of this recording. Thresholds follow `sensor.mismatch_seed`.
        threads: of this call. The events are the same for every number of threads.

    Returns:
        Events sorted by time, those of one time by pixel; `t` counts from the path's start.

    Raises:
        TypeError: the pixels are not uint8.
        ValueError: the shape, the times, the size or the seed is not as above, or an image has no path.

    Source:
        See `SensorModel` and `CameraPath`; `simulate_reference` says the same in plain Python.

    Example:
        >>> edge = np.repeat(np.array([[50, 50, 200, 200]], dtype=np.uint8), 4, axis=0)
        >>> events = simulate(edge, CameraPath.line(10_000, dx=1.0), SensorModel(threshold_sigma=0.0))
        >>> sorted(set(events.x.tolist())), set(events.polarity.tolist())
        ([2], {0})
    """
    sensor = sensor or SensorModel()
    pixels = _grey(np.asarray(image), is_video=frame_times_us is not None)
    if frame_times_us is None:
        if path is None:
            raise ValueError("an image needs a path, such as CameraPath.saccades(); a video needs frame_times_us")
        times = path.times(max_step_px=MAX_STEP_PX, max_step_us=MAX_STEP_US)
        shown = np.zeros(len(times), dtype=np.int64)
    else:
        times = _check_times(frame_times_us, len(pixels))
        shown = np.arange(len(times), dtype=np.int64)
    height, width = size or pixels.shape[1:]
    if min(height, width) < 1:
        raise ValueError(f"size is {size}, expected the height and the width of the sensor, at least 1 px each")
    margin = path.reach_px if path else 0
    frames = np.stack([_scene(frame, height, width, margin) for frame in pixels])
    on, off = sensor.thresholds(height, width)
    t, x, y, polarity = _core.simulate_events(
        sensor.light(frames),
        _steps(times, shown, path, margin),
        sensor.log_intensity(),
        on,
        off,
        refractory_us=sensor.refractory_us,
        shot_noise_rate_hz=sensor.shot_noise_rate_hz,
        leak_rate_hz=sensor.leak_rate_hz,
        seed=noise_key(seed),
        threads=threads,
    )
    return Events.unchecked(t, x, y, polarity, width=int(width), height=int(height))  # the core sorts and bounds them


def noise_key(seed: int) -> int:
    """The 64-bit key of a recording's random numbers."""
    return int(random_words(1, "simulated noise", seed)[0])


def _grey(pixels: npt.NDArray[np.uint8], *, is_video: bool) -> npt.NDArray[np.float64]:
    """Any of the shapes that `simulate` takes as `[F, H, W]`."""
    if pixels.dtype != np.uint8:
        raise TypeError(f"the pixels are {pixels.dtype}, expected uint8 values in 0..255")
    plain = 3 if is_video else 2
    if pixels.ndim == plain + 1 and pixels.shape[-1] == 3:
        grey = pixels @ _LUMA
    elif pixels.ndim == plain:
        grey = pixels.astype(np.float64)
    else:
        lead = "F, " if is_video else ""
        raise ValueError(f"the shape is {list(pixels.shape)}, expected [{lead}H, W] or [{lead}H, W, 3]")
    if 0 in grey.shape:
        raise ValueError(f"the shape is {list(pixels.shape)}, expected at least one frame and one pixel")
    return grey if is_video else grey[None]


def _check_times(frame_times_us: npt.ArrayLike, frames: int) -> npt.NDArray[np.int64]:
    times = np.asarray(frame_times_us)
    if times.shape != (frames,) or not np.issubdtype(times.dtype, np.integer):
        raise ValueError(
            f"frame_times_us has shape {list(times.shape)} and dtype {times.dtype}, expected {frames} whole numbers, "
            "one of µs for each frame"
        )
    if times[0] != 0 or (np.diff(times) <= 0).any() or times[-1] > _core.SIMULATOR_MAX_DURATION_US:
        raise ValueError(
            f"frame_times_us is {times[:6].tolist()}, expected times that grow from 0 up to "
            f"{_core.SIMULATOR_MAX_DURATION_US} us"
        )
    return times.astype(np.int64)


def _scene(grey: npt.NDArray[np.float64], height: int, width: int, margin: int) -> npt.NDArray[np.float32]:
    """One frame at the sensor's resolution with its edges continued: room to move, and one more for sampling."""
    scaled = np.asarray(grey, dtype=np.float32)
    if scaled.shape != (height, width):
        scaled = np.asarray(Image.fromarray(scaled).resize((width, height), Image.Resampling.BILINEAR))
    return np.pad(scaled, (margin, margin + 1), mode="edge")


def _steps(
    times: npt.NDArray[np.int64], shown: npt.NDArray[np.int64], path: CameraPath | None, margin: int
) -> npt.NDArray[np.int64]:
    """int64 `[S, 4]` for the core: time, frame, and where the sensor lies on it in 1/64 px."""
    moved = path.at(times) if path else np.zeros((len(times), 2))
    place = np.rint((margin - moved) * _core.SIMULATOR_SUB_PIXELS).astype(np.int64)
    return np.column_stack([times, shown, place])
