"""How the trainings of an experiment with a cut network are computed; this code is part of the keys of their stages.

Every function gets what its stage depends on, and the folder that becomes the artefact. Which stages there are, and
what goes into their keys, is in `eccsnn.experiments.split`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from eccsnn.data import Splits
from eccsnn.experiments.cloud import MODEL, fit_options
from eccsnn.experiments.run import StageProgress
from eccsnn.experiments.split_schema import SplitConfig
from eccsnn.nn import ExitHead
from eccsnn.systems import baselines, neucodex, spikebottlenet
from eccsnn.training import load_checkpoint, load_model, load_weights, save_checkpoint, save_model, train_classifier

EXIT_HEAD = "exit_head.safetensors"


def network(config: SplitConfig, splits: Splits, folder: Path, progress: StageProgress) -> None:
    """First stage: the network before it is cut."""
    model, _ = train_classifier(
        splits,
        model=config.network_arguments(),
        training=config.network.training.model_dump(),
        seed=config.seed,
        options=fit_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def uncut(
    config: SplitConfig, splits: Splits, backbone: Path, training: dict[str, Any], folder: Path, progress: StageProgress
) -> None:
    """The same network uncut, with as many epochs in all as the cut one."""
    model, _ = baselines.train_uncut(
        load_model(backbone / MODEL),
        splits,
        training=training,
        seed=config.seed,
        exit_weight=config.finetune.exit_weight,
        options=fit_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def unit(
    config: SplitConfig, splits: Splits, backbone: Path, teacher: Path | None, folder: Path, progress: StageProgress
) -> None:
    """Second stage: the unit alone."""
    _cut_stage(config, splits, backbone, teacher, folder, progress, first=True)


def finetune(
    config: SplitConfig, splits: Splits, before: Path, teacher: Path | None, folder: Path, progress: StageProgress
) -> None:
    """Third stage: the whole cut network."""
    _cut_stage(config, splits, before, teacher, folder, progress, first=False)


def _cut_stage(
    config: SplitConfig,
    splits: Splits,
    before: Path,
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
    *,
    first: bool,
) -> None:
    assert config.unit is not None
    model = load_model(before / MODEL)
    losses = config.finetune
    given: dict[str, Any] = {
        "splits": splits,
        "point": config.unit.point,
        "training": (config.unit if first else losses).training.model_dump(),
        "seed": config.seed,
        "teacher": None if teacher is None else load_model(teacher / MODEL),
        "logit_weight": losses.logit_weight,
        "temperature": losses.temperature,
        "options": fit_options(config, folder, progress),
    }
    if first:
        given["unit"] = unit_options(config)
    head = None
    if config.system == "neucodex":
        if config.exit.decide == "edge_head":
            head = exit_head(config, model.head.class_ids)
            if not first:
                load_weights(head, load_checkpoint(before / EXIT_HEAD)[0], str(before / EXIT_HEAD))
        given |= {"exit_weight": losses.exit_weight, "exit_head": head}
    if not first and config.spiking:
        given["rate_weight"] = losses.rate_weight
    system = {"neucodex": neucodex, "spikebottlenet": spikebottlenet}.get(config.system, baselines)
    model, _ = system.train_unit(model, **given) if first else system.finetune(model, **given)
    save_model(folder / MODEL, model)
    if head is not None:
        save_checkpoint(folder / EXIT_HEAD, dict(head.state_dict()), {})


def unit_options(config: SplitConfig) -> dict[str, Any]:
    """Arguments of the unit that stands at the split point."""
    assert config.unit is not None
    options = config.unit.model_dump(include={"channels", "stride", "kernel_size"})
    if config.system in baselines.KINDS:
        options["kind"] = baselines.KINDS[config.system]
        if config.system == "bottlenet":
            options["jpeg_quality"] = config.wire.jpeg_quality
    return options


def exit_head(config: SplitConfig, class_ids: list[int]) -> ExitHead:
    """The edge's own head, with weights that follow from the seed."""
    assert config.unit is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ExitHead(config.unit.channels, [class_ids])
