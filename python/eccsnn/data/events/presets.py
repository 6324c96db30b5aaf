"""How the data sets of event cameras were recorded: camera, movement, and how an image fills the sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eccsnn.data.events.camera_path import CameraPath
from eccsnn.data.events.classes import CALTECH101_ONLY_CLASSES, CIFAR10_DVS_CLASSES, N_CALTECH101_CLASSES
from eccsnn.data.events.sensor import SensorModel
from eccsnn.data.events.simulate import simulate
from eccsnn.data.events.types import Events
from eccsnn.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """A recording set-up.

    Attributes:
        dataset: the data set whose files it makes, a name of `eccsnn list datasets`.
        title: of that data set.
        path: how the image moves.
        sensor: the camera.
        size: height and width of the sensor in px.
        keep_aspect: the image becomes as large as fits, and the recording as large as the image; else it fills the
            sensor.
        classes: the class folders that the data set's reader knows.
        left_out: classes of the images that the original has no recordings of.
        border_px: black around the image, within the sensor.
        file_format: of the originals, a name of `eccsnn.data.events.FORMATS`.
        suffix: of the originals' files.
        file_name: of the originals: of class name and number from 0.
        folder: where the originals have their class folders; of the training part where they have parts.
        test_folder: where those of the test part are; None: the originals have no parts.
    """

    dataset: str
    title: str
    path: CameraPath
    sensor: SensorModel
    size: tuple[int, int]
    keep_aspect: bool
    file_format: str
    suffix: str
    file_name: Callable[[str, int], str]
    classes: tuple[str, ...]
    folder: str = ""
    test_folder: str | None = None
    border_px: int = 0
    left_out: tuple[str, ...] = ()

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the recording of an image of `height` x `width` px."""
        if not self.keep_aspect:
            return self.size
        scale = min(self.size[0] / height, self.size[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def settings(self) -> dict[str, Any]:
        """All that decides, with image and seed, which events a recording has; JSON-able."""
        return {
            "sensor": asdict(self.sensor),
            "path": {"t_us": list(self.path.t_us), "x_px": list(self.path.x), "y_px": list(self.path.y)},
            "size": list(self.size),
            "keep_aspect": self.keep_aspect,
            "border_px": self.border_px,
        }

    def record(self, image: npt.NDArray[np.uint8], *, seed: int, threads: int = 1) -> Events:
        """Simulates a recording of one image, uint8 `[H, W]` or `[H, W, 3]`; see `simulate`."""
        size = self.fitted(image.shape[0], image.shape[1])
        if self.border_px:
            image = _framed(image, size, self.border_px)
        return simulate(image, self.path, self.sensor, size=size, seed=seed, threads=threads)


def _framed(image: npt.NDArray[np.uint8], size: tuple[int, int], border_px: int) -> npt.NDArray[np.uint8]:
    """The image scaled to what `border_px` of black leave of `size`."""
    inner = size[1] - 2 * border_px, size[0] - 2 * border_px
    scaled = np.asarray(Image.fromarray(image).resize(inner, Image.Resampling.BILINEAR))
    return np.pad(scaled, [(border_px, border_px)] * 2 + [(0, 0)] * (image.ndim - 2))


PRESETS = {
    # Thresholds and the loops' size and speed are ours: docs/events.md says what recordings they give.
    "cifar10_dvs": Preset(
        dataset="cifar10_dvs",
        title="CIFAR10-DVS",
        path=CameraPath.closed_loops(loops=6, side_px=4.0, side_us=54_000),
        sensor=SensorModel(
            threshold_on=0.255, threshold_off=0.255, refractory_us=500, shot_noise_rate_hz=1.0, leak_rate_hz=0.1
        ),
        size=(128, 128),
        keep_aspect=False,
        file_format="aedat2",
        suffix=".aedat",
        file_name=lambda name, number: f"cifar10_{name}_{number}",
        classes=CIFAR10_DVS_CLASSES,
    ),
    "n_caltech101": Preset(
        dataset="n_caltech101",
        title="N-Caltech101",
        path=CameraPath.saccades(),
        sensor=SensorModel(
            threshold_on=0.36, threshold_off=0.36, refractory_us=500, shot_noise_rate_hz=1.0, leak_rate_hz=0.1
        ),
        size=(180, 240),
        keep_aspect=True,
        file_format="atis",
        suffix=".bin",
        file_name=lambda name, number: f"image_{number + 1:04d}",
        classes=(*N_CALTECH101_CLASSES, *CALTECH101_ONLY_CLASSES),
        left_out=CALTECH101_ONLY_CLASSES,
        folder="Caltech101",
    ),
    "n_mnist": Preset(
        dataset="n_mnist",
        title="N-MNIST",
        path=CameraPath.saccades(centred=True),
        sensor=SensorModel(
            threshold_on=1.0, threshold_off=1.0, refractory_us=500, shot_noise_rate_hz=1.0, leak_rate_hz=0.1
        ),
        size=(34, 34),
        keep_aspect=False,
        border_px=3,
        file_format="atis",
        suffix=".bin",
        file_name=lambda name, number: f"{number + 1:05d}",
        classes=tuple(str(digit) for digit in range(10)),
        folder="Train",
        test_folder="Test",
    ),
}


def find_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> find_preset("n_caltech101").fitted(200, 300)
        (160, 240)
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r} of the event simulator; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
