"""Opening a finished run of a cut network, or of its yardsticks: models, codec tables and the exit threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eccsnn import offload
from eccsnn._core import SpikeTables
from eccsnn.errors import CheckpointError, SpikePacketError
from eccsnn.experiments.deployment import read_deployment
from eccsnn.experiments.opened import Frames, OpenedRun
from eccsnn.experiments.split_measures import payload_sizes
from eccsnn.models import SpikingModel, split
from eccsnn.models.ann import ANN
from eccsnn.nn import ExitHead
from eccsnn.systems import baselines
from eccsnn.training import load_checkpoint, load_model, load_weights, predict_logits
from eccsnn.training.evaluate import check_device, predict_timesteps, predicted_classes
from eccsnn.transport.spike_codec import flat_tables, load_tables

SCHEMA: Literal["eccsnn.split_deployment/1"] = "eccsnn.split_deployment/1"


class SplitDeployment(BaseModel):
    """What an edge and a cloud need to know beside their weights: `deployment.json` of a cut network.

    Attributes:
        system: Which system it is.
        class_names: Name of each class id.
        image_size: Height and width of the images, in pixels.
        mean, std: Per channel, of the training data.
        point: Split point; None where nothing is cut.
        threshold: Confidence at which an image stops, chosen on validation data; None: it takes all timesteps.
        cloud_threshold: The same for the cloud's running logits, which decide in lock-step and in speculation; where no
            head decides, it is `threshold`.
        exit_head: Whether the edge's own head decides, and not the cloud's running logits.
        frames: How recordings become event frames; None: the run is one of images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal["eccsnn.split_deployment/1"] = Field(SCHEMA, alias="schema")
    system: str
    class_names: tuple[str, ...]
    image_size: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    point: str | None = None
    threshold: float | None = None
    cloud_threshold: float | None = None
    exit_head: bool = False
    frames: Frames | None = None

    @model_validator(mode="after")
    def _has_the_threshold_of_whoever_may_decide(self) -> SplitDeployment:
        if self.exit_head and "cloud_threshold" not in self.model_fields_set:
            raise ValueError("cloud_threshold is missing, which a run with an exit head needs")
        return self


@dataclass(frozen=True)
class SplitPrediction:
    """What a cut network makes of N images.

    Attributes:
        labels: Class ids, int64 `[N]`.
        confidence: Largest softmax of the answer, `[N]`.
        timesteps: Used until the stop, int64 `[N]`; 1 for an ANN.
        payload_bytes: Of the packets up to the stop, int64 `[N]`; 0 where nothing is cut.
    """

    labels: np.ndarray
    confidence: np.ndarray
    timesteps: np.ndarray
    payload_bytes: np.ndarray


class LoadedSplit(OpenedRun):
    """A finished run of a cut network (or of edge only or cloud only), ready to use.

    Attributes:
        model: The network that answers, in evaluation mode: cut, or uncut where nothing is cut.
        edge, cloud: Its parts before and behind the wire (they share its weights); None where nothing is cut.
        uncut: The uncut network with as many epochs; None for cloud only.
        exit_head: The edge's own head, or None.
        tables: Where the spike codec starts; None where no spikes are sent.
        system, class_names, image_size, mean, std, point, threshold, cloud_threshold, frames: As in `SplitDeployment`;
            a threshold of None is infinite here.
        device: Where the models compute, in fp32, in which thresholds are chosen.
    """

    def __init__(self, path: Path, device: str | None = None, precision: str | None = None) -> None:
        settings = read_deployment(path / "deployment.json", SplitDeployment)
        self.path = path
        self.system = settings.system
        self.class_names = settings.class_names
        self.image_size = settings.image_size
        self.mean: Sequence[float] = settings.mean
        self.std: Sequence[float] = settings.std
        self.point = settings.point
        self.frames = settings.frames
        self.threshold = offload.NEVER if settings.threshold is None else settings.threshold
        by_cloud = settings.cloud_threshold if settings.exit_head else settings.threshold
        self.cloud_threshold = offload.NEVER if by_cloud is None else by_cloud
        self.device = check_device(device or "cpu")
        if precision not in (None, "fp32"):
            raise ValueError(
                f"precision is {precision!r}, but {path} is a run of {self.system}, which computes in fp32: its exit "
                "threshold was chosen so, and both ends of a wire have to agree. Leave precision out."
            )

        def opened(name: str) -> Any:
            return load_model(path / "models" / f"{name}.safetensors").to(self.device)

        self.uncut: Any = None if self.system == "cloud_only" else opened("uncut")
        self.model: Any = self.uncut if self.uncut is not None else opened("cloud")
        self.edge: Any = None
        self.cloud: Any = None
        self.exit_head: ExitHead | None = None
        self.tables: SpikeTables | None = None
        if self.point is not None:
            self.model = opened("cut")
            self.edge, self.cloud = split(self.model, self.point)
            if isinstance(self.model, SpikingModel):
                self.tables = self._tables()
        if settings.exit_head:
            file = path / "models" / "exit_head.safetensors"
            self.exit_head = ExitHead(self.edge.wire.channels, [self.model.head.class_ids])
            load_weights(self.exit_head, load_checkpoint(file)[0], str(file))
            self.exit_head.to(self.device).eval()

    def _tables(self) -> SpikeTables:
        wire, file = self.edge.wire, self.path / "models" / "tables.bin"
        if not file.is_file():
            return flat_tables(wire.channels, wire.size, wire.size)
        try:
            tables = load_tables(file.read_bytes())
        except SpikePacketError as error:
            raise CheckpointError(f"{file} holds no tables of the spike codec: {error}. Run the same again.") from error
        if tables.shape != (wire.channels, wire.size, wire.size):
            raise CheckpointError(
                f"{file} is for spikes {list(tables.shape)}, but the wire carries "
                f"{[wire.channels, wire.size, wire.size]}. Run the same again."
            )
        return tables

    def __repr__(self) -> str:
        cut = "uncut" if self.point is None else f"cut at {self.point}"
        stops = "" if self.threshold == offload.NEVER else f", stops at confidence {self.threshold:g}"
        return (
            f"LoadedSplit({str(self.path)!r}: {self.system}, {self.model.spec['name']} {cut}, "
            f"{len(self.class_names)} classes{stops})"
        )

    def predict(self, images: np.ndarray) -> SplitPrediction:
        """Answers, the timesteps they took and the bytes that were sent for them.

        Args:
            images: uint8 `[N, *sample_shape]`, at least one.

        Raises:
            ValueError: The images have another shape or dtype, or there are none.
        """
        data = self.samples(images)
        if not len(data):
            raise ValueError(f"there are no images, expected uint8 {['N', *self.sample_shape]} with N >= 1.")
        statistics: dict[str, Any] = {"mean": self.mean, "std": self.std, "device": self.device}
        steps = 1
        deciding = None
        if isinstance(self.model, SpikingModel):
            out = predict_timesteps(self.model, data, point=self.point, exit_head=self.exit_head, **statistics)
            logits, deciding, steps = out.logits, out.exit_logits, len(out.logits)
            if out.wire is None or self.tables is None:
                sizes = np.zeros((steps, len(images)), dtype=np.int64)
            else:
                sizes = payload_sizes(out.wire, self.tables)
        elif isinstance(self.model, ANN) and self.point is not None:
            logits, sizes = baselines.predict_through_features(self.model, data, point=self.point, **statistics)
        else:
            logits = predict_logits(self.model, data, **statistics)[None]
            sizes = np.zeros((1, len(images)), dtype=np.int64)
        running = offload.running_mean(logits)
        sure = offload.confidence(running if deciding is None else offload.running_mean(deciding))
        stops = offload.exit_timesteps(sure, self.threshold)
        each = np.arange(len(images))
        answer = running[stops - 1, each]
        return SplitPrediction(
            labels=predicted_classes(answer, self.model.head.class_ids),
            confidence=offload.confidence(answer),
            timesteps=stops,
            payload_bytes=sizes.cumsum(axis=0)[stops - 1, each],
        )

    def predict_files(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """Predictions for image files.

        Raises:
            DataError: A file is not an image.
        """
        found = self.predict(np.stack([self.read_image(path) for path in paths]))
        return [
            {
                "image": str(path),
                "label": self.class_names[found.labels[i]],
                "confidence": float(found.confidence[i]),
                "timesteps": int(found.timesteps[i]),
                "payload_bytes": int(found.payload_bytes[i]),
            }
            for i, path in enumerate(paths)
        ]
