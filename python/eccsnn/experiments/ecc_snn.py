"""The stages of an ECC-SNN experiment and what each depends on.

    data -> cloud -> edge -> update_1 -> ... -> update_k -> logits -> counts -> link -> results

Every arrow is a stage of `eccsnn.experiments.stages`: computed once, then reused under its key.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data import Scenario, Splits, build_scenario
from eccsnn.errors import ConfigError
from eccsnn.experiments import ecc_snn_builds as builds
from eccsnn.experiments import ecc_snn_results as results
from eccsnn.experiments.cloud import INFERENCE_CODE, MODEL, cloud_stage, training_inputs
from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.live import load_splits, measure_link
from eccsnn.experiments.run import LOG, Run, StageProgress
from eccsnn.experiments.stages import Artefact
from eccsnn.systems import ecc_snn
from eccsnn.training.checkpoint import write_json

# What a stage's numbers depend on; all other code may change without the stage being repeated.
_BUILDS = ("experiments/cloud.py", "experiments/ecc_snn_builds.py")
_LOGITS_CODE = (*INFERENCE_CODE, "transport/images.py", *_BUILDS)
_TRAINING_CODE = (*INFERENCE_CODE, "systems/ecc_snn.py", *_BUILDS)
_UPDATE_CODE = (*_TRAINING_CODE, "incremental/lwf.py")
_COUNTS_CODE = (*INFERENCE_CODE, "costs", "transport/images.py", "experiments/ecc_snn_results.py", *_BUILDS)
_LINK_CODE = (*INFERENCE_CODE, "offload", "transport", "services", "experiments/live.py", "experiments/load.py")


def run_ecc_snn(run: Run) -> dict[str, Any]:
    """Runs or reuses every stage and returns what goes into results.json."""
    config: EccSnnConfig = run.config
    splits = load_splits(config)
    scenario = build_scenario(config.scenario, splits.num_classes, config.class_order_seed)
    LOG.info("%s: %d classes in %d tasks", scenario.name, splits.num_classes, len(scenario.tasks))
    _check(config, splits, scenario)
    cloud = cloud_stage(run, splits)
    edges = [_edge(run, splits, scenario, cloud)]
    if config.update.enabled:
        for task in range(1, len(scenario.tasks)):
            edges.append(_update(run, splits, scenario, task, edges[-1], cloud))
    logits = _logits(run, splits, cloud, edges)
    counts = _counts(run, splits, cloud, edges)
    run.keep(cloud, MODEL, "cloud.safetensors")
    for task, edge in enumerate(edges):
        run.keep(edge, MODEL, f"edge_{task}.safetensors")
    run.keep(edges[-1], MODEL, "edge.safetensors")
    summary = results.collect(config, splits, scenario, logits.path, counts.path, len(edges))
    write_json(run.path / "deployment.json", results.deployment(config, splits, summary))
    if config.link.enabled:
        write_json(run.path / "results.json", summary)  # a link that fails must not cost what was trained
        summary["link"] = _link(run, splits, cloud, edges[-1], summary)
    return summary


def _check(config: EccSnnConfig, splits: Splits, scenario: Scenario) -> None:
    """Finds what would stop the experiment at its end before hours are spent on its beginning.

    Raises:
        ConfigError: The validation part is empty, a task has too few images or classes, a model cannot be built or
            lacks a feature map, or the cost profile does not apply.
    """
    if not len(splits.val):
        raise ConfigError(
            f"data.val_fraction is {config.data.val_fraction} and leaves no validation images, on which the upload "
            "threshold is chosen. Set data.val_fraction to 0.1, for example."
        )
    if len(scenario.tasks[0]) < 2:
        raise ConfigError(
            f"scenario is {config.scenario}: the first task has one class, so there is nothing to tell apart. "
            "Start with two or more, for example B2-Inc1."
        )
    for task in scenario.tasks:
        for part, least in (("train", 2), ("test", 1)):
            found = int(np.isin(getattr(splits, part).labels, task).sum())
            if found < least:
                raise ConfigError(
                    f"the task with the classes {', '.join(splits.class_names[c] for c in task)} has {found} {part} "
                    f"images, expected at least {least}. Raise data.subset.{part}, or add images."
                )
    results.check_costs(config, splits)
    if splits.timesteps is not None and config.link.codec == "jpeg":
        raise ConfigError(
            f"{config.name}: link.codec is jpeg, but event frames are uploaded without loss. Use png or raw."
        )
    try:
        ecc_snn.check_models(
            splits,
            scenario.tasks[0],
            cloud=config.cloud.model.model_dump(exclude_none=True),
            edge=config.edge.model.model_dump(),
            distillation=config.edge.distillation.model_dump(),
        )
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def _edge(run: Run, splits: Splits, scenario: Scenario, cloud: Artefact) -> Artefact:
    config: EccSnnConfig = run.config
    distillation = config.edge.distillation.model_dump(mode="json")
    # What has no weight is no part of the key: an undistilled edge has no teacher.
    used: dict[str, Any] = {}
    if distillation["logit_weight"] > 0:
        used |= {key: distillation[key] for key in ("logit_weight", "temperature")}
    if distillation["feature_weight"] > 0:
        used |= {key: distillation[key] for key in ("feature_weight", "feature_order", "student_map", "teacher_map")}
    inputs = training_inputs(config, splits) | {
        "seed": config.seed,
        "classes": scenario.tasks[0],
        "model": config.edge.model.model_dump(mode="json"),
        "training": config.edge.training.model_dump(mode="json"),
        "distillation": used,
        "cloud": cloud.key if used else None,
    }

    teacher = cloud.path if used else None
    build = partial(builds.edge, config, splits, scenario.tasks[0], teacher)
    return run.stage("edge", inputs, _TRAINING_CODE, build)


def _update(run: Run, splits: Splits, scenario: Scenario, task: int, edge: Artefact, cloud: Artefact) -> Artefact:
    config: EccSnnConfig = run.config
    update = config.update.model_dump(mode="json", exclude={"enabled"})
    classes = scenario.tasks[task]
    needs_cloud = update["logit_weight"] > 0
    inputs = training_inputs(config, splits) | {
        "seed": config.seed,
        "edge": edge.key,
        "cloud": cloud.key if needs_cloud else None,
        "classes": classes,
        **update,
    }

    teacher = cloud.path if needs_cloud else None
    build = partial(builds.update, config, splits, classes, edge.path, teacher)
    return run.stage(f"update_{task}", inputs, _UPDATE_CODE, build)


def _logits(run: Run, splits: Splits, cloud: Artefact, edges: list[Artefact]) -> Artefact:
    """Logits of every model on validation and test data; see `ecc_snn_builds.logits`."""
    config: EccSnnConfig = run.config
    uploads = config.link.model_dump(mode="json", include={"codec", "jpeg_quality"})
    inputs = {
        "data": splits.fingerprint,
        "cloud": cloud.key,
        "edges": [edge.key for edge in edges],
        "uploads": uploads if config.link.codec == "jpeg" else "lossless",
    }
    paths = {f"edge_{task}": edge.path for task, edge in enumerate(edges)}

    def build(folder: Path, progress: StageProgress) -> None:
        builds.logits(config, splits, cloud.path, paths, folder)

    return run.stage("logits", inputs, _LOGITS_CODE, build)


def _counts(run: Run, splits: Splits, cloud: Artefact, edges: list[Artefact]) -> Artefact:
    """Counted work: MACs of the cloud, synaptic operations and firing rates of every edge, bytes of an image."""
    config: EccSnnConfig = run.config
    inputs = {
        "data": splits.fingerprint,
        "cloud": cloud.key,
        "edges": [edge.key for edge in edges],
        "codec": config.link.codec,
        "jpeg_quality": config.link.jpeg_quality,
    }

    paths = [edge.path for edge in edges]

    def build(folder: Path, progress: StageProgress) -> None:
        builds.counts(config, splits, cloud.path, paths, folder)

    return run.stage("counts", inputs, _COUNTS_CODE, build)


class _IncompleteError(Exception):
    """Carries a measurement of the link in which the cloud did not answer every upload."""

    def __init__(self, measured: dict[str, Any]) -> None:
        super().__init__("the cloud did not answer every upload")
        self.measured = measured


def _link(run: Run, splits: Splits, cloud: Artefact, edge: Artefact, summary: dict[str, Any]) -> dict[str, Any]:
    """The measurement over a real link; its figures belong to one machine, which is part of the key.

    A measurement with unanswered uploads is reported, but not kept: the next run measures again.
    """
    config: EccSnnConfig = run.config
    inputs = {
        "data": splits.fingerprint,
        "cloud": cloud.key,
        "edge": edge.key,
        "link": config.link.model_dump(mode="json"),
        "measure": config.execution.measure,
        "threshold": results.chosen_threshold(summary),
        "device": config.device,
        "hardware": run.info["hardware"],
    }

    def build(folder: Path, progress: StageProgress) -> None:
        measured = measure_link(run.path, device=config.device, **config.link.model_dump(exclude={"enabled"}))
        if measured["fallbacks"]:
            raise _IncompleteError(measured)
        write_json(folder / "link.json", measured)

    try:
        artefact = run.stage("link", inputs, _LINK_CODE, build)
    except _IncompleteError as error:
        LOG.warning(
            "link: %d of %d uploads got no answer from the cloud, so the edge answered itself. The figures are in the "
            "results, but not kept for other runs; run the same again to measure anew, or raise link.timeout_s.",
            error.measured["fallbacks"],
            error.measured["uploaded"] + error.measured["fallbacks"],
        )
        return error.measured
    measured: dict[str, Any] = json.loads((artefact.path / "link.json").read_text(encoding="utf-8"))
    return measured
