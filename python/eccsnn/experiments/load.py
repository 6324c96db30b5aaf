"""Opening a finished run: its models, its preprocessing and its offload decision in one object."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from eccsnn import offload
from eccsnn.experiments.deployment import deployment_schema, read_deployment
from eccsnn.experiments.incremental_load import SCHEMA as INCREMENTAL_SCHEMA
from eccsnn.experiments.incremental_load import LoadedIncremental
from eccsnn.experiments.opened import Frames, OpenedRun
from eccsnn.experiments.split_load import SCHEMA as SPLIT_SCHEMA
from eccsnn.experiments.split_load import LoadedSplit
from eccsnn.models import Model
from eccsnn.training import load_model, predict_logits
from eccsnn.training.evaluate import autocast, check_device, predicted_classes


class Deployment(BaseModel):
    """What an edge and a cloud need to know beside their weights: `deployment.json`.

    Attributes:
        class_names: Name of each class id.
        image_size: Height and width of the images, in pixels.
        mean, std: Per channel, of the training data.
        measure: Name of the ambiguity measure.
        threshold: Ambiguity above which the edge uploads.
        frames: How recordings become event frames; None: the run is one of images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal["eccsnn.deployment/1"] = Field("eccsnn.deployment/1", alias="schema")
    class_names: tuple[str, ...]
    image_size: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    measure: offload.Measure
    threshold: float
    frames: Frames | None = None


@dataclass(frozen=True)
class Prediction:
    """What an edge with a cloud at hand makes of N images.

    Attributes:
        labels: The edge's class ids, int64 `[N]`.
        confidence: The largest softmax of the edge, `[N]`.
        ambiguity: `[N]`, in [0, 1].
        upload: bool `[N]`: the ambiguity is above the run's threshold, so the edge would ask the cloud.
    """

    labels: np.ndarray
    confidence: np.ndarray
    ambiguity: np.ndarray
    upload: np.ndarray


class LoadedRun(OpenedRun):
    """A finished run, ready to use.

    Attributes:
        model: The edge's SNN after its last update, in evaluation mode.
        cloud: The cloud's ANN, in evaluation mode.
        class_names: Name of each class id.
        image_size: Height and width that the models expect, in pixels.
        mean, std: Per channel, of the training data.
        measure: Name of the ambiguity measure.
        threshold: Ambiguity above which the edge uploads, chosen on validation data.
        frames: How recordings become event frames; None: the run is one of images.
        device, precision: Where and how the models compute.
    """

    def __init__(self, path: Path, device: str | None = None, precision: str | None = None) -> None:
        settings = read_deployment(path / "deployment.json", Deployment)
        self.path = path
        self.class_names = settings.class_names
        self.image_size = settings.image_size
        self.mean: Sequence[float] = settings.mean
        self.std: Sequence[float] = settings.std
        self.measure: str = settings.measure
        self.threshold = settings.threshold
        self.frames = settings.frames
        self.device = check_device(device or "cpu")
        self.precision = precision or "fp32"
        autocast(self.device, self.precision)  # refuses an unknown precision before the first image comes
        self._draws = itertools.count()
        self.model: Any = load_model(path / "models" / "edge.safetensors").to(self.device)
        self.cloud: Model = load_model(path / "models" / "cloud.safetensors").to(self.device)

    def __repr__(self) -> str:
        return (
            f"LoadedRun({str(self.path)!r}: edge {self.model.spec['name']}, cloud {self.cloud.spec['name']}, "
            f"{len(self.class_names)} classes, uploads when {self.measure} > {self.threshold:g})"
        )

    def edge_logits(self, images: np.ndarray) -> np.ndarray:
        """Edge logits fp32 `[N, K]` of samples, uint8 `[N, *sample_shape]`."""
        return self._logits(self.model, images)

    def cloud_logits(self, images: np.ndarray) -> np.ndarray:
        """Cloud logits fp32 `[N, M]` of samples, uint8 `[N, *sample_shape]`."""
        return self._logits(self.cloud, images)

    def ambiguity(self, logits: np.ndarray) -> np.ndarray:
        """Ambiguity `[N]` of edge logits, by the run's measure; the random one draws anew at every call."""
        heads = [len(task) for task in self.model.head.tasks]
        return offload.ambiguity(logits, heads, measure=self.measure, seed=next(self._draws))

    def predict(self, images: np.ndarray) -> Prediction:
        """Labels, confidence and the offload decision for samples, uint8 `[N, *sample_shape]`.

        Raises:
            ValueError: The images have another shape or dtype.
        """
        logits = self.edge_logits(images)
        ambiguity = self.ambiguity(logits)
        confidence = torch.softmax(torch.from_numpy(logits), dim=1).amax(dim=1).numpy()
        labels = predicted_classes(logits, self.model.head.class_ids)
        return Prediction(labels, confidence, ambiguity, ambiguity > self.threshold)

    def predict_files(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """Predictions for image files, and the cloud model's label where the edge would upload.

        Raises:
            DataError: A file is not an image.
        """
        images = np.stack([self.read_image(path) for path in paths])
        edge = self.predict(images)
        cloud = {}
        if edge.upload.any():
            ids = predicted_classes(self.cloud_logits(images[edge.upload]), self.cloud.head.class_ids)
            cloud = dict(zip(np.flatnonzero(edge.upload).tolist(), ids.tolist(), strict=True))
        return [
            {
                "image": str(path),
                "label": self.class_names[edge.labels[i]],
                "confidence": float(edge.confidence[i]),
                "ambiguity": float(edge.ambiguity[i]),
                "decision": "upload" if edge.upload[i] else "edge",
                "cloud_label": self.class_names[cloud[i]] if i in cloud else None,
            }
            for i, path in enumerate(paths)
        ]

    def _logits(self, model: Model, images: np.ndarray) -> np.ndarray:
        return predict_logits(
            model,
            self.samples(images),
            mean=self.mean,
            std=self.std,
            device=self.device,
            precision=self.precision,
        )


Loaded = LoadedRun | LoadedSplit | LoadedIncremental
"""What `load` returns."""


def load(path: Path | str, *, device: str | None = None, precision: str | None = None) -> Loaded:
    """Opens a finished run: a `LoadedRun` of ECC-SNN, a `LoadedIncremental` of learners, else a `LoadedSplit`.

    Args:
        path: Run directory.
        device: Where its models compute: `cpu` (the default), `cuda` or `cuda:N`.
        precision: `fp32` (the default, in which thresholds are chosen) or `bf16`.

    Raises:
        ConfigError: The device is not there.
        ValueError: The precision is unknown.
        CheckpointError: It is no run, is not finished, or a file of it is broken.
    """
    kinds: dict[str, type[LoadedSplit | LoadedIncremental]] = {
        SPLIT_SCHEMA: LoadedSplit,
        INCREMENTAL_SCHEMA: LoadedIncremental,
    }
    found = deployment_schema(Path(path) / "deployment.json")
    return kinds.get(found, LoadedRun)(Path(path), device, precision)
