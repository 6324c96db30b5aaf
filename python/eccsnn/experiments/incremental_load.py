"""Opening a finished run of class-incremental learners: its trunk, and the exact learner as a device begins with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from eccsnn.data import ImageSet, Splits
from eccsnn.errors import CheckpointError
from eccsnn.experiments.deployment import read_deployment
from eccsnn.experiments.opened import OpenedRun
from eccsnn.incremental.counts import count_bound, count_features
from eccsnn.incremental.exact import ExactLearner
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.models import Model
from eccsnn.training import load_model, predict_logits
from eccsnn.training.checkpoint import write_atomically
from eccsnn.training.evaluate import check_device

SCHEMA: Literal["eccsnn.incremental_deployment/1"] = "eccsnn.incremental_deployment/1"
STATISTICS, HELD_OUT = "statistics.ecstate", "held_out.npz"


class IncrementalDeployment(BaseModel):
    """What a learning device needs to know beside its files: `deployment.json` of an incremental run.

    Attributes:
        class_names: Name of each class id.
        image_size: Height and width of the images, in pixels.
        mean, std: Per channel, of the training data.
        layers: Whose spike counts are the features.
        source: What made the features; statistics of others are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal["eccsnn.incremental_deployment/1"] = Field(SCHEMA, alias="schema")
    class_names: tuple[str, ...]
    image_size: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: tuple[str, ...]
    source: str


def write_device_files(
    folder: Path,
    splits: Splits,
    classes: Sequence[int],
    features: Path,
    source: str,
) -> None:
    """Writes statistics of the first task's training samples, and counts of the validation samples for drift checks.

    Args:
        folder: Where to.
        splits: Data.
        classes: Of the first task.
        features: File with the counts of training and validation samples.
        source: See `IncrementalDeployment`.
    """
    with np.load(features) as arrays:
        train, bound = arrays["train"], int(arrays["max_count"])
        counts = arrays["val"] if len(splits.val) else train[:0]
    statistics = CountStatistics(train.shape[1], bound, source)
    rows = np.flatnonzero(np.isin(splits.train.labels, classes))
    statistics.add(train[rows], splits.train.labels[rows])
    statistics.save(folder / STATISTICS)
    buffer = io.BytesIO()
    np.savez(buffer, counts=counts, labels=splits.val.labels)
    write_atomically(folder / HELD_OUT, buffer.getvalue())


class LoadedIncremental(OpenedRun):
    """A finished run of learners, as a device begins with it: it knows the first task's classes.

    Attributes:
        model: The trunk, in evaluation mode.
        cloud: The cloud's ANN; None where the run needed none.
        learner: The exact learner (ridge) of the first task's training samples.
        held_out: Counts `[N, D]` and class ids `[N]` of the validation samples of all classes.
        class_names, image_size, mean, std, layers, source: As in `IncrementalDeployment`.
    """

    def __init__(self, path: Path, device: str | None = None, precision: str | None = None) -> None:
        settings = read_deployment(path / "deployment.json", IncrementalDeployment)
        if precision not in (None, "fp32"):
            raise ValueError(
                f"precision is {precision!r}, but {path} is a run of learners on spike counts, which fp32 gives: "
                "counts of other roundings are other features. Leave precision out."
            )
        self.path = path
        self.class_names = settings.class_names
        self.image_size = settings.image_size
        self.mean: Sequence[float] = settings.mean
        self.std: Sequence[float] = settings.std
        self.layers, self.source = settings.layers, settings.source
        self.device = check_device(device or "cpu")
        models = path / "models"
        self.model: Any = load_model(models / "trunk.safetensors").to(self.device)
        has_cloud = (models / "cloud.safetensors").is_file()
        self.cloud: Model | None = load_model(models / "cloud.safetensors").to(self.device) if has_cloud else None
        statistics = CountStatistics.load(models / STATISTICS, self.source)
        model: Any = self.model
        bound = count_bound(model, self.layers)
        if statistics.max_count != bound:
            raise CheckpointError(
                f"{models / STATISTICS} holds counts up to {statistics.max_count}, the trunk's go up to {bound}; start "
                "the same `eccsnn run` again"
            )
        self.learner = ExactLearner(statistics.features, bound, incremental_solve=False, source=self.source)
        self.learner.merge(statistics)
        try:
            with np.load(models / HELD_OUT) as arrays:
                self.held_out = (arrays["counts"], arrays["labels"])
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"cannot read {models / HELD_OUT}: {error}; start `eccsnn run` again") from error

    def __repr__(self) -> str:
        return (
            f"LoadedIncremental({str(self.path)!r}: trunk {self.model.spec['name']}, knows {len(self.learner.classes)} "
            f"of {len(self.class_names)} classes)"
        )

    def counts(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Counts `[N, D]` of uint8 images `[N, 3, H, W]`."""
        return count_features(
            self.model, self._set(images), mean=self.mean, std=self.std, layers=self.layers, device=self.device
        )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Class ids `[N]` of uint8 images `[N, 3, H, W]`, by the learner."""
        return self.learner.predict(self.counts(images))

    def cloud_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Cloud logits fp32 `[N, M]` of uint8 images `[N, 3, H, W]`.

        Raises:
            CheckpointError: The run has no cloud.
        """
        if self.cloud is None:
            raise CheckpointError(
                f"{self.path} has no cloud model: nothing in it needed one. Run it with "
                "trunk.distillation.logit_weight above 0"
            )
        return predict_logits(
            self.cloud, self._set(images), mean=self.mean, std=self.std, device=self.device, precision="fp32"
        )

    def predict_files(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """Label and score for image files.

        Raises:
            DataError: A file is not an image.
        """
        scores = self.learner.scores(self.counts(np.stack([self.read_image(path) for path in paths])))
        best = scores.argmax(1)
        return [
            {
                "image": str(path),
                "label": self.class_names[self.learner.classes[best[i]]],
                "score": float(scores[i, best[i]]),
            }
            for i, path in enumerate(paths)
        ]

    def _set(self, images: NDArray[np.uint8]) -> ImageSet:
        expected = (3, self.image_size, self.image_size)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}, expected uint8 [N, {', '.join(map(str, expected))}]."
            )
        return ImageSet(images, np.zeros(len(images), dtype=np.int64))
