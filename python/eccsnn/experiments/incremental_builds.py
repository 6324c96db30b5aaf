"""How each stage of a comparison of learners is computed; its code is part of the keys of the stages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eccsnn.costs import count_macs, count_synops
from eccsnn.data import Scenario, Splits, normalize
from eccsnn.experiments.cloud import MODEL, fit_options
from eccsnn.experiments.incremental_schema import IncrementalConfig
from eccsnn.experiments.run import StageProgress
from eccsnn.incremental.counts import count_bound, count_features
from eccsnn.incremental.registry import build_learner, learner_info
from eccsnn.models import SpikingModel
from eccsnn.systems import incremental as system
from eccsnn.training import FitOptions, load_model, save_model
from eccsnn.training.checkpoint import write_atomically, write_json

FEATURES = "features.npz"
_COUNTED_IMAGES = 256


def trunk(
    config: IncrementalConfig,
    splits: Splits,
    classes: Sequence[int],
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Trains the trunk on the first task's `classes`."""
    section = config.trunk
    model = system.train_trunk(
        splits,
        classes,
        None if teacher is None else load_model(teacher / MODEL),
        pretraining=section.pretraining,
        pretraining_training=section.pretraining_training.model_dump(),
        model=section.model.model_dump(),
        training=section.training.model_dump(),
        distillation=section.distillation.model_dump(),
        seed=config.seed,
        options=fit_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def features(config: IncrementalConfig, splits: Splits, trunk: Path, folder: Path) -> None:
    """Spike counts of training, validation and test images, and the work of the trunk for an image."""
    model = spiking(load_model(trunk / MODEL)).to(config.device)
    layers = config.trunk.layers
    arrays: dict[str, np.ndarray] = {"max_count": np.int64(count_bound(model, layers))}  # type: ignore[dict-item]
    for name in ("train", "val", "test"):
        if images := getattr(splits, name):
            arrays[name] = count_features(
                model, images, mean=splits.mean, std=splits.std, layers=layers, device=config.device
            )
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / FEATURES, buffer.getvalue())
    model = model.cpu()
    chosen = np.linspace(0, len(splits.train) - 1, min(_COUNTED_IMAGES, len(splits.train))).astype(np.int64)
    report = count_synops(model, normalize(torch.from_numpy(splits.train.gather(chosen)), splits.mean, splits.std))
    counts = {
        "macs_per_image": report.macs_per_image,
        "synops_per_image": report.synops_per_image,
        "dense_macs_per_image": report.dense_per_image,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    write_json(folder / "counts.json", counts)


def learner(
    config: IncrementalConfig,
    splits: Splits,
    scenario: Scenario,
    name: str,
    features: Path,
    trunk: Path,
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Runs one learner over all tasks; see `eccsnn.systems.incremental.run_learner`."""
    options = dict(config.options.get(name, {}))
    labels = splits.train.labels
    cloud_macs = 0
    if learner_info(name).takes == "features":
        with np.load(features / FEATURES) as arrays:
            train, test, bound = arrays["train"], arrays["test"], int(arrays["max_count"])
            validation = arrays.get("val")
        exact = name.startswith("exact_")
        made = build_learner(name, train.shape[1], *((bound,) if exact else ()), **options)
        done = system.run_learner(made, (train, labels), test, scenario.tasks, validation)
    else:
        if name == "lwf" and teacher is not None:
            options["cloud"] = load_model(teacher / MODEL)
            cloud_macs = sum(count_macs(options["cloud"], splits.image_shape).values())
        made = build_learner(
            name,
            load_model(trunk / MODEL),
            mean=splits.mean,
            std=splits.std,
            training=config.training.model_dump(),
            seed=config.seed,
            options=FitOptions(config.data.augment, config.device, config.precision, progress=progress),
            **options,
        )
        done = system.run_learner(made, (splits.train, labels), splits.test, scenario.tasks, splits.val)
    result: dict[str, Any] = {
        "takes": made.takes,
        "seconds": done.seconds,
        "cloud_seconds": done.cloud_seconds,
        "memory_bytes": done.memory_bytes,
        "work": done.work,
        "cloud_macs_per_image": cloud_macs,
    }
    write_json(folder / "learner.json", result)
    np.save(folder / "predictions.npy", done.predictions)
    if done.validation is not None:
        np.save(folder / "validation.npy", done.validation)


def spiking(model: Any) -> SpikingModel:
    """The model, which has to be a spiking one.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(model, SpikingModel):
        raise ValueError(f"the trunk is a {type(model).__name__}, expected a spiking network: its counts are features")
    return model
