"""What every opened run can do, whichever system it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from eccsnn.data import ImageSet, Splits
from eccsnn.data.decode import decode_image
from eccsnn.data.events.datasets import KINDS, FrameOptions, read_frames
from eccsnn.data.events.files import guess_format
from eccsnn.errors import ConfigError, DataError
from eccsnn.experiments.sections import Data


class Frames(BaseModel):
    """How recordings become event frames, in `deployment.json`.

    Attributes:
        dataset: The data set whose sensor recordings have to be of.
        timesteps: T, the slices of a recording.
        slice_by: `count` or `time`.
        policy: `strict` or `skip`, for bad events.
        binary: Whether frames say only that there were events.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    timesteps: int = Field(ge=1)
    slice_by: Literal["count", "time"] = "count"
    policy: Literal["strict", "skip"] = "strict"
    binary: bool = False

    @classmethod
    def of(cls, data: Data, splits: Splits) -> Frames | None:
        """Those of an experiment; None where its data are images."""
        if splits.timesteps is None:
            return None
        return cls(
            dataset=data.name,
            timesteps=splits.timesteps,
            slice_by=data.slice_by or "count",
            policy=data.policy or "strict",
            binary=bool(data.binary),
        )


class OpenedRun:
    """A finished run whose `model` answers.

    Attributes:
        model: The network that answers, in evaluation mode.
        image_size: Height and width that it expects, in pixels.
        frames: How recordings become event frames; None: the run is one of images.
    """

    model: Any
    image_size: int
    frames: Frames | None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a sample as it is uploaded: an image, or event frames with C = 2 T, timestep 0 first."""
        return 3 if self.frames is None else 2 * self.frames.timesteps, self.image_size, self.image_size

    def samples(self, images: np.ndarray) -> ImageSet:
        """N samples, uint8 `[N, *sample_shape]`, as models are given them: event frames as `[N, T, 2, S, S]`.

        Raises:
            ValueError: They have another shape or dtype.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self.sample_shape:
            shape = ", ".join(map(str, self.sample_shape))
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [N, {shape}].")
        if self.frames is not None:
            images = images.reshape(-1, self.frames.timesteps, 2, self.image_size, self.image_size)
        return ImageSet(np.ascontiguousarray(images), np.zeros(len(images), dtype=np.int64))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits after all timesteps, without gradients, for normalised images `[N, C, H, W]` or events
        `[T, N, C, H, W]`."""
        with torch.no_grad():
            return self.model(images)

    def init_state(self, batch: int) -> Any:
        """State of a spiking model before the first timestep."""
        return self.model.init_state(batch)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One timestep of a spiking model, without gradients: `(logits_t, state)`."""
        with torch.no_grad():
            return self.model.step(x_t, state)

    def read_image(self, path: Path) -> np.ndarray:
        """An image file, or a recording, as uint8 `[*sample_shape]`: made as the training's samples were.

        Raises:
            DataError: The file is missing or not an image; or no recording, one of another sensor, or too short.
        """
        if self.frames is None:
            return decode_image(path, self.image_size)
        kind = KINDS[self.frames.dataset]
        try:
            guess_format(path)
        except ConfigError:
            raise DataError(
                f"{path} is no recording of an event camera; this run was trained on recordings of {kind.title} and "
                f"takes those, files ending in {', '.join(kind.suffixes)}, in place of images"
            ) from None
        options = self.frames.model_dump(exclude={"dataset"})
        frames = read_frames(path, self.frames.dataset, FrameOptions(size=self.image_size, **options))
        return frames.reshape(self.sample_shape)


def as_samples(images: np.ndarray) -> np.ndarray:
    """Images uint8 `[N, C, H, W]` as they are; event frames `[N, T, C, H, W]` as `[N, T * C, H, W]`, for an upload."""
    return images.reshape(len(images), -1, *images.shape[-2:])
