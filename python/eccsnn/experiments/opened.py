"""What every opened run can do, whichever system it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eccsnn.data.decode import decode_image


class OpenedRun:
    """A finished run whose `model` answers.

    Attributes:
        model: The network that answers, in evaluation mode.
        image_size: Height and width that it expects, in pixels.
    """

    model: Any
    image_size: int

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
        """An image file as uint8 `[3, H, W]`, cut and scaled as the training images were.

        Raises:
            DataError: The file is missing or not an image.
        """
        return decode_image(path, self.image_size)
