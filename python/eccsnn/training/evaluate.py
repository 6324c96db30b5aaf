"""Forward passes over a whole image set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from eccsnn.data import ImageSet, batches
from eccsnn.errors import ConfigError
from eccsnn.models import Model

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


def predicted_classes(logits: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Class id of the largest logit, int64 `[N]`."""
    return np.asarray(class_ids, dtype=np.int64)[logits.argmax(axis=1)]


def accuracy(logits: np.ndarray, labels: np.ndarray, class_ids: Sequence[int]) -> float:
    """Fraction of samples whose largest logit is their label's; NaN for an empty set."""
    if len(labels) == 0:
        return float("nan")
    return float((predicted_classes(logits, class_ids) == labels).mean())
