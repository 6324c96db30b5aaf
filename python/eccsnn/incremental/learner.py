"""What every class-incremental learner shares: a small interface and its checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.errors import CheckpointError


@dataclass
class Work:
    """What a learner has done so far, to be weighed with the network's own cost.

    Attributes:
        forward_samples: Images that passed forward through the network.
        trained_samples: Images that passed forward and backward.
        macs: Multiply-accumulates of the learner's own arithmetic (statistics, solves), besides the network's.
    """

    forward_samples: int = 0
    trained_samples: int = 0
    macs: int = 0


class Learner(ABC):
    """A classifier that is given new classes task by task.

    Attributes:
        takes: `features` (the spike counts of a frozen trunk) or `images` (uint8 pixels; the network changes).
        work: What has been done so far.
        cloud_seconds: Within `observe` so far, time of a cloud's network, which would run elsewhere.
    """

    takes: str

    def __init__(self) -> None:
        self.work = Work()
        self.cloud_seconds = 0.0

    @property
    @abstractmethod
    def classes(self) -> tuple[int, ...]:
        """The class ids learnt so far."""

    @abstractmethod
    def observe(self, inputs: Any, labels: Any) -> None:
        """Learns from samples.

        Args:
            inputs: `[N, ...]`: features or images, as `takes` says.
            labels: int `[N]`, class ids of at least 0.

        Raises:
            TypeError, ValueError: Inputs or labels are not as they should be; nothing is learnt then.
        """

    @abstractmethod
    def scores(self, inputs: Any) -> npt.NDArray[np.float64]:
        """A score for every class, `[N, K]`, columns in the order of `classes`; the largest one wins.

        Raises:
            ValueError: Nothing was learnt yet, or the inputs are not as they should be.
        """

    def predict(self, inputs: Any) -> npt.NDArray[np.int64]:
        """The class id of each sample, int64 `[N]`."""
        scores = self.scores(inputs)
        return np.asarray(self.classes, dtype=np.int64)[scores.argmax(axis=1)]

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes that have to be kept between tasks besides the network that predicts: statistics, exemplars."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything learnt, as tensors (for safetensors)."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state_dict`.

        Raises:
            CheckpointError: The state is of another learner, or not complete.
        """

    def _need_classes(self) -> None:
        if not self.classes:
            raise ValueError(f"{type(self).__name__} has learnt no class yet; call observe first")


def as_float_features(features: Any, columns: int | None) -> Tensor:
    """Features as float64 `[N, D]`.

    Raises:
        TypeError: They are no numbers.
        ValueError: Not two dimensions, another D than before, or values that are not finite.
    """
    if isinstance(features, Tensor):
        array = features
    else:
        rows = np.asarray(features)
        if rows.dtype.kind not in "buif":
            raise TypeError(f"features have dtype {rows.dtype}, expected integers or floats")
        array = torch.as_tensor(rows)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(
            f"features have shape {list(array.shape)}, expected [N, {'D' if columns is None else columns}]"
        )
    array = array.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(array).all()):
        raise ValueError("features hold NaN or infinite values; check the trunk (eccsnn.models.check_finite)")
    return array


def take_state(state: Mapping[str, Tensor], owner: str, *keys: str) -> list[Tensor]:
    """The tensors `keys` of a learner's state.

    Raises:
        CheckpointError: Others are there.
    """
    if set(state) != set(keys):
        raise CheckpointError(
            f"the state has the entries {sorted(state)}, expected {sorted(keys)} of {owner}; is it another learner's?"
        )
    return [state[key] for key in keys]
