"""The stage that trains the cloud's ANN: the same for every system, so that all of them share one teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eccsnn.data import Splits
from eccsnn.experiments.run import Run, StageProgress
from eccsnn.experiments.schema import Config
from eccsnn.experiments.stages import Artefact
from eccsnn.training import FitOptions, save_model, train_classifier

MODEL = "model.safetensors"
"""File of an artefact that holds its model."""

INFERENCE_CODE = ("ops", "nn", "models", "data", "training")
"""Code that the numbers of every model depend on."""


def cloud_stage(run: Run, splits: Splits) -> Artefact:
    """Trains the cloud's ANN on all classes, or reuses it."""
    config: Config = run.config

    def build(folder: Path, progress: StageProgress) -> None:
        model, _ = train_classifier(
            splits,
            model=config.cloud.model.model_dump(exclude_none=True),
            training=config.cloud.training.model_dump(),
            seed=config.cloud.seed,
            options=fit_options(config, folder, progress),
        )
        save_model(folder / MODEL, model)

    inputs = training_inputs(config, splits) | config.cloud.model_dump(mode="json")
    return run.stage("cloud", inputs, (*INFERENCE_CODE, "experiments/cloud.py"), build)


def training_inputs(config: Config, splits: Splits) -> dict[str, Any]:
    """What every training depends on, as inputs of its stage."""
    inputs = {"data": splits.fingerprint, "augment": config.data.augment, "precision": config.precision}
    return inputs if config.data.mix is None else inputs | {"mix": config.data.mix}  # else the key as it was before


def fit_options(config: Config, folder: Path, progress: StageProgress) -> FitOptions:
    """How a stage's training runs; its checkpoint lives in the stage's folder."""
    return FitOptions(
        augment=config.data.augment,
        device=config.device,
        precision=config.precision,
        checkpoint=folder / "checkpoint.safetensors",
        checkpoint_seconds=config.checkpoint_seconds,
        progress=progress,
        mix=config.data.mix,
    )
