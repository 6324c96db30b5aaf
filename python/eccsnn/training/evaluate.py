"""Forward passes over a whole image set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eccsnn import ops
from eccsnn.data import ImageSet, batches
from eccsnn.errors import ConfigError
from eccsnn.models import Model, SpikingModel, split

PRECISIONS = ("fp32", "bf16")


def check_device(name: str) -> str:
    """Returns `name` if torch can compute there.

    Raises:
        ConfigError: It is no device, or a GPU that torch does not see.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}, expected cpu, cuda or cuda:N.")
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(
            f"device is {name!r}, but torch {torch.__version__} sees {gpus or 'no'} GPU{'s' if gpus > 1 else ''} here. "
            "Use device cpu, or install a CUDA build of torch on a machine with a GPU."
        )
    return name


def autocast(device: str, precision: str) -> torch.autocast:
    """Autocast context of a run: bf16 for the layers that gain from it, or nothing for fp32.

    Raises:
        ValueError: Unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}.")
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def predict_logits(
    model: Model,
    images: ImageSet,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: str = "cpu",
    precision: str = "fp32",
    batch_size: int = 256,
) -> np.ndarray:
    """Logits of every image, in order, in evaluation mode; the model's mode is restored afterwards.

    Returns:
        fp32 `[N, K]`.
    """
    was_training = model.training
    model.eval()
    parts = []
    try:
        with torch.inference_mode(), autocast(device, precision):
            for batch in batches(
                images, batch_size, seed=0, epoch=0, shuffle=False, augment=None, mean=mean, std=std, device=device
            ):
                parts.append(model(batch.images).float().cpu().numpy())
    finally:
        model.train(was_training)
    if not parts:
        return np.zeros((0, len(model.head.class_ids)), dtype=np.float32)
    return np.concatenate(parts)


@dataclass(frozen=True)
class TimestepOutputs:
    """What a network gives at every timestep for N images.

    Attributes:
        logits: fp32 `[T, N, K]`, of each timestep alone.
        wire: Packed spikes on the wire, uint8 `[T, N, h, w, ceil(c / 8)]`; None where nothing is cut.
        exit_logits: fp32 `[T, N, K]` of the edge's exit head; None without one.
    """

    logits: np.ndarray
    wire: np.ndarray | None = None
    exit_logits: np.ndarray | None = None


def predict_timesteps(
    model: SpikingModel,
    images: ImageSet,
    *,
    point: str | None,
    mean: Sequence[float],
    std: Sequence[float],
    exit_head: Callable[[Tensor], Tensor] | None = None,
    device: str = "cpu",
    batch_size: int = 128,
) -> TimestepOutputs:
    """Logits of every timestep for every image, in order, in fp32 and evaluation mode.

    Args:
        model: Spiking network.
        images: N images.
        point: Split point with a unit; None runs the network uncut.
        mean, std: Per channel, for normalisation.
        exit_head: Maps spikes on the wire `[T, N, c, h, w]` to logits `[T, N, K]`.
        device: Where to compute.
        batch_size: Images a step.

    Raises:
        ValueError: There are no images.
    """
    if not len(images):
        raise ValueError("there are no images to predict; expected at least one")
    was_training = model.training
    model.eval()
    logits: list[Tensor] = []
    wires: list[Tensor] = []
    exits: list[Tensor] = []
    try:
        with torch.inference_mode():
            for batch in batches(images, batch_size, mean=mean, std=std, device=device):
                if point is None:
                    logits.append(model.forward_timesteps(batch.images, through=None).float().cpu())
                    continue
                edge, cloud = split(model, point)
                wire = edge(batch.images)
                logits.append(cloud.forward_timesteps(wire).float().cpu())
                wires.append(ops.pack_spikes(wire).cpu())
                if exit_head is not None:
                    exits.append(exit_head(wire).float().cpu())
    finally:
        model.train(was_training)

    def joined(parts: list[Tensor]) -> np.ndarray | None:
        return torch.cat(parts, dim=1).numpy() if parts else None

    return TimestepOutputs(torch.cat(logits, dim=1).numpy(), joined(wires), joined(exits))


def predicted_classes(logits: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Class id of the largest logit, int64 `[N]`."""
    return np.asarray(class_ids, dtype=np.int64)[logits.argmax(axis=1)]


def accuracy(logits: np.ndarray, labels: np.ndarray, class_ids: Sequence[int]) -> float:
    """Fraction of samples whose largest logit is their label's; NaN for an empty set."""
    if len(labels) == 0:
        return float("nan")
    return float((predicted_classes(logits, class_ids) == labels).mean())
