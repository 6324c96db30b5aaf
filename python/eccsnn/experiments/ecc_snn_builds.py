"""How each stage of an ECC-SNN experiment is computed; its code is part of the keys of the stages.

Every function gets what its stage depends on, and the folder that becomes the artefact. Which stages there are, and
what goes into their keys, is in `eccsnn.experiments.ecc_snn`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eccsnn.data import Splits
from eccsnn.experiments import ecc_snn_results as results
from eccsnn.experiments.run import LOG, StageProgress
from eccsnn.experiments.schema import EccSnnConfig
from eccsnn.systems import ecc_snn
from eccsnn.training import FitOptions, load_model, predict_logits, save_model
from eccsnn.training.checkpoint import write_atomically, write_json

MODEL = "model.safetensors"
"""File of an artefact that holds its model."""


def _options(config: EccSnnConfig, folder: Path, progress: StageProgress) -> FitOptions:
    return FitOptions(
        augment=config.data.augment,
        device=config.device,
        precision=config.precision,
        checkpoint=folder / "checkpoint.safetensors",
        checkpoint_seconds=config.checkpoint_seconds,
        progress=progress,
    )


def cloud(config: EccSnnConfig, splits: Splits, folder: Path, progress: StageProgress) -> None:
    """Trains the cloud's ANN on all classes."""
    model, _ = ecc_snn.train_cloud(
        splits,
        model=config.cloud.model.model_dump(exclude_none=True),
        training=config.cloud.training.model_dump(),
        seed=config.cloud.seed,
        options=_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def edge(
    config: EccSnnConfig,
    splits: Splits,
    classes: Sequence[int],
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Trains the edge's SNN on the first task's `classes`; `teacher` is the artefact of the cloud where it is asked."""
    model, _ = ecc_snn.train_edge(
        splits,
        classes,
        None if teacher is None else load_model(teacher / MODEL),
        model=config.edge.model.model_dump(),
        training=config.edge.training.model_dump(),
        distillation=config.edge.distillation.model_dump(),
        seed=config.seed,
        options=_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def update(
    config: EccSnnConfig,
    splits: Splits,
    classes: Sequence[int],
    before: Path,
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Teaches the edge of the artefact `before` one more task of `classes`."""
    model, _ = ecc_snn.update_edge(
        load_model(before / MODEL),
        None if teacher is None else load_model(teacher / MODEL),
        splits,
        classes,
        **config.update.model_dump(exclude={"enabled"}),
        seed=config.seed,
        options=_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def logits(config: EccSnnConfig, splits: Splits, models: Mapping[str, Path], folder: Path) -> None:
    """Logits `NAME_val` and `NAME_test` of the artefacts in `models`; all curves are computed from them."""
    arrays: dict[str, np.ndarray] = {}
    for name, artefact in models.items():
        model = load_model(artefact / MODEL).to(config.device)
        for part, images in (("val", splits.val), ("test", splits.test)):
            LOG.info("logits of %s on %s data (%d images)", name, part, len(images))
            arrays[f"{name}_{part}"] = predict_logits(
                model, images, mean=splits.mean, std=splits.std, device=config.device, precision=config.precision
            )
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "logits.npz", buffer.getvalue())


def counts(config: EccSnnConfig, splits: Splits, cloud: Path, edges: Sequence[Path], folder: Path) -> None:
    """Counted work of the artefacts' models, and sizes of an encoded image; see `ecc_snn_results.count`."""
    models = [load_model(edge / MODEL) for edge in edges]
    link = config.link
    counted = results.count(load_model(cloud / MODEL), models, splits, link.codec, link.jpeg_quality)
    write_json(folder / "counts.json", counted)
