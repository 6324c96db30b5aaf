"""The stages of a comparison of class-incremental learners and what each depends on.

    data -> cloud -> trunk -> features -> learner_NAME ... -> results
                                       -> device: what `eccsnn edge --update` begins with

The trunk and its features are shared by all learners; a learner that is added computes itself alone.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.costs import load_profile
from eccsnn.costs.energy import arithmetic_energy_mj
from eccsnn.data import Scenario, Splits, build_scenario
from eccsnn.errors import ConfigError
from eccsnn.experiments import incremental_builds as builds
from eccsnn.experiments.cloud import INFERENCE_CODE, MODEL, cloud_stage, training_inputs
from eccsnn.experiments.incremental_load import HELD_OUT, SCHEMA, STATISTICS, write_device_files
from eccsnn.experiments.incremental_schema import IncrementalConfig
from eccsnn.experiments.live import load_splits
from eccsnn.experiments.run import LOG, Run
from eccsnn.experiments.stages import Artefact
from eccsnn.incremental import metrics
from eccsnn.incremental.counts import count_bound
from eccsnn.incremental.registry import learner_info
from eccsnn.systems.ecc_snn import check_models
from eccsnn.training.checkpoint import write_json
from eccsnn.training.classifier import build_seeded, input_shape

_BUILDS = ("experiments/cloud.py", "experiments/incremental_builds.py")
_TRUNK_CODE = (*INFERENCE_CODE, "systems/ecc_snn.py", "systems/incremental.py", "incremental/pretraining.py", *_BUILDS)
_FEATURE_CODE = (*INFERENCE_CODE, "costs", "incremental/counts.py", *_BUILDS)
_DEVICE_CODE = (*_FEATURE_CODE, "incremental/statistics.py", "experiments/incremental_load.py")
_LEARNER_CODE = (*INFERENCE_CODE, "costs", "incremental", "systems/incremental.py", *_BUILDS)

BACKWARD_FACTOR = 2
"""A backward pass multiplies about twice as much as the forward pass: by weights, and for them."""


def run_incremental(run: Run) -> dict[str, Any]:
    """Runs or reuses every stage and returns what goes into results.json."""
    config: IncrementalConfig = run.config
    splits = load_splits(config)
    scenario = build_scenario(config.scenario, splits.num_classes, config.class_order_seed)
    LOG.info("%s: %d classes in %d tasks", scenario.name, splits.num_classes, len(scenario.tasks))
    try:
        metrics.task_samples(splits.train.labels, scenario.tasks)
        samples = metrics.task_samples(splits.test.labels, scenario.tasks)
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}; raise data.subset, or add images") from error
    _check(config, splits, scenario)
    cloud = cloud_stage(run, splits) if _needs_cloud(config) else None
    trunk = _trunk(run, splits, scenario, cloud)
    features = _features(run, splits, trunk)
    learners = {name: _learner(run, splits, scenario, name, features, trunk, cloud) for name in config.learners}
    _deploy(run, splits, scenario, trunk, features, cloud)
    counts = json.loads((features.path / "counts.json").read_text(encoding="utf-8"))
    results = {
        name: _result(config, splits, scenario, samples, counts, artefact.path) for name, artefact in learners.items()
    }
    for name, result in results.items():
        LOG.info("%s: last %.1f%%, average %.1f%%", name, 100 * result["last"], 100 * result["average_incremental"])
    return {
        "schema": "eccsnn.results/1",
        "system": "incremental",
        "data": {
            "name": splits.name,
            "class_names": list(splits.class_names),
            "image_size": splits.image_shape[-1],
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "fingerprint": splits.fingerprint,
        },
        "scenario": {"name": scenario.name, "tasks": [list(task) for task in scenario.tasks], "test_samples": samples},
        "trunk": {
            "model": config.trunk.model.name,
            "width": config.trunk.model.width,
            "timesteps": config.trunk.model.timesteps,
            "layers": list(config.trunk.layers),
            "pretraining": config.trunk.pretraining,
            **counts,
        },
        "profile": config.costs.profile,
        "definitions": metrics.DEFINITIONS,
        "learners": results,
        "notes": _notes(config),
    }


def _check(config: IncrementalConfig, splits: Splits, scenario: Scenario) -> None:
    """Finds what would stop the experiment at its end before hours are spent on its beginning."""
    trunk = config.trunk.model.model_dump()
    task = list(scenario.tasks[0])
    try:
        model = build_seeded(0, tasks=[task], **{**input_shape(splits, trunk["name"]), **trunk})
        count_bound(builds.spiking(model), config.trunk.layers)
        if _needs_cloud(config):
            check_models(
                splits,
                task,
                cloud=config.cloud.model.model_dump(exclude_none=True),
                edge=trunk,
                distillation=config.trunk.distillation.model_dump(),
            )
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def _needs_cloud(config: IncrementalConfig) -> bool:
    distillation = config.trunk.distillation
    return bool(
        distillation.logit_weight > 0
        or distillation.feature_weight > 0
        or config.trunk.pretraining == "cloud_labels"
        or ("lwf" in config.learners and _lwf_weight(config) > 0)
    )


def _lwf_weight(config: IncrementalConfig) -> float:
    return float(config.options.get("lwf", {}).get("logit_weight", 0.5))


def _trunk(run: Run, splits: Splits, scenario: Scenario, cloud: Artefact | None) -> Artefact:
    config: IncrementalConfig = run.config
    section = config.trunk.model_dump(mode="json", exclude={"layers"})
    if section["pretraining"] == "none":
        del section["pretraining_training"]
    asks = section["pretraining"] == "cloud_labels" or any(
        section["distillation"][key] > 0 for key in ("logit_weight", "feature_weight")
    )
    teacher = cloud if asks else None
    inputs = training_inputs(config, splits) | {
        "seed": config.seed,
        "classes": scenario.tasks[0],
        "cloud": teacher.key if teacher else None,
        **section,
    }
    build = partial(builds.trunk, config, splits, scenario.tasks[0], teacher.path if teacher else None)
    return run.stage("trunk", inputs, _TRUNK_CODE, build)


def _features(run: Run, splits: Splits, trunk: Artefact) -> Artefact:
    config: IncrementalConfig = run.config
    inputs = {"data": splits.fingerprint, "trunk": trunk.key, "layers": list(config.trunk.layers)}
    return run.stage(
        "features",
        inputs,
        _FEATURE_CODE,
        lambda folder, progress: builds.features(config, splits, trunk.path, folder),
    )


def _deploy(
    run: Run, splits: Splits, scenario: Scenario, trunk: Artefact, features: Artefact, cloud: Artefact | None
) -> None:
    """Puts into the run directory what a device begins with, and the cloud that labels for it."""
    config: IncrementalConfig = run.config
    layers = list(config.trunk.layers)
    device = run.stage(
        "device",
        {"data": splits.fingerprint, "features": features.key, "classes": scenario.tasks[0], "layers": layers},
        _DEVICE_CODE,
        lambda folder, progress: write_device_files(
            folder,
            splits,
            scenario.tasks[0],
            features.path / builds.FEATURES,
            features.key,
        ),
    )
    run.keep(trunk, MODEL, "trunk.safetensors")
    if cloud is not None:
        run.keep(cloud, MODEL, "cloud.safetensors")
    for name in (STATISTICS, HELD_OUT):
        run.keep(device, name, name)
    write_json(
        run.path / "deployment.json",
        {
            "schema": SCHEMA,
            "class_names": list(splits.class_names),
            "image_size": splits.image_shape[-1],
            "mean": list(splits.mean),
            "std": list(splits.std),
            "layers": layers,
            "source": features.key,
        },
    )


def _learner(
    run: Run,
    splits: Splits,
    scenario: Scenario,
    name: str,
    features: Artefact,
    trunk: Artefact,
    cloud: Artefact | None,
) -> Artefact:
    config: IncrementalConfig = run.config
    inputs: dict[str, Any] = {
        "learner": name,
        "tasks": [list(task) for task in scenario.tasks],
        "options": config.options.get(name, {}),
        "data": splits.fingerprint,
    }
    teacher = cloud if name == "lwf" and _lwf_weight(config) > 0 else None
    if learner_info(name).takes == "features":
        inputs["features"] = features.key
    else:
        inputs |= training_inputs(config, splits) | {
            "trunk": trunk.key,
            "seed": config.seed,
            "training": config.training.model_dump(mode="json"),
            "cloud": teacher.key if teacher else None,
        }
    teacher_path = teacher.path if teacher else None
    build = partial(builds.learner, config, splits, scenario, name, features.path, trunk.path, teacher_path)
    return run.stage(f"learner_{name}", inputs, _LEARNER_CODE, build)


def _result(
    config: IncrementalConfig,
    splits: Splits,
    scenario: Scenario,
    samples: list[int],
    counts: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Accuracies, times, bytes and work of one learner."""
    done = json.loads((folder / "learner.json").read_text(encoding="utf-8"))
    predictions = np.load(folder / "predictions.npy")
    full = metrics.accuracy_matrix(list(predictions), splits.test.labels, scenario.tasks, full=True)
    matrix = [row[: t + 1] for t, row in enumerate(full)]
    macs = [_macs(config, done, counts, work) for work in done["work"]]
    held_out = folder / "validation.npy"
    profile = load_profile(config.costs.profile)
    # The first task is the trunk's: what learning new classes costs is what comes after it.
    update = {key: value - macs[0][key] for key, value in macs[-1].items()}
    edge_macs = update["network"] + update["learner"]
    energy = arithmetic_energy_mj(profile, macs=edge_macs, precision=config.costs.precision, memory=config.costs.memory)
    return {
        "takes": done["takes"],
        "accuracy_matrix": matrix,
        "seen_accuracy": metrics.seen_accuracies(matrix, samples),
        "validation_seen_accuracy": _seen(np.load(held_out), splits.val.labels, scenario)
        if held_out.is_file()
        else None,
        "last": metrics.last_accuracy(matrix, samples),
        "average_incremental": metrics.average_incremental_accuracy(matrix, samples),
        "last_task_mean": metrics.last_task_accuracy(matrix),
        "average_task": metrics.average_task_accuracy(matrix),
        "forgetting": {name: metrics.forgetting(matrix, name) for name in metrics.FORGETTING},
        "backward_transfer": metrics.backward_transfer(matrix),
        "forward_transfer": metrics.forward_transfer(full, [0.0] * len(full)),
        "performance_drop": metrics.performance_drop(matrix, samples),
        "seconds": done["seconds"],
        "update_seconds": sum(done["seconds"][1:]),
        "update_cloud_seconds": sum(done["cloud_seconds"][1:]),
        "memory_bytes": done["memory_bytes"],
        "macs": macs,
        "update_macs": edge_macs,
        "update_cloud_macs": update["cloud"],
        "update_energy_mj": {"value": energy.value, "provenance": energy.provenance, "source": energy.source},
    }


def _seen(predictions: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], scenario: Scenario) -> list[float | None]:
    """After each task, the accuracy on samples of the classes seen so far; None where there are none."""
    result = []
    for t, answer in enumerate(predictions):
        seen = np.isin(labels, scenario.classes_learned(t + 1))
        result.append(float((answer == labels)[seen].mean()) if seen.any() else None)
    return result


def _macs(
    config: IncrementalConfig, done: dict[str, Any], counts: dict[str, Any], work: dict[str, int]
) -> dict[str, float]:
    """Multiply-accumulates so far: the network's (dense, all timesteps), the learner's own, the cloud's."""
    dense = counts["dense_macs_per_image"]
    forward, trained = work["forward_samples"], work["trained_samples"]
    cloud = done["cloud_macs_per_image"] * trained
    return {
        "network": dense * (forward + trained * (1 + BACKWARD_FACTOR)),
        "learner": float(work["macs"]),
        "cloud": float(cloud),
    }


def _notes(config: IncrementalConfig) -> list[str]:
    notes = [
        "All learners begin with the same trunk, trained on the first task; learners on features keep it as it is.",
        "Learners on features: the forward passes that make the features are those of inference and are not counted.",
        "Seconds, MACs and energy of updates are the device's; those of the cloud, which LwF asks, stand apart.",
        f"A backward pass counts as {BACKWARD_FACTOR} forward passes; the network's work is counted dense.",
    ]
    if config.trunk.pretraining == "cloud_labels":
        notes.append("The trunk has seen images of later classes, without labels: the cloud's answers to them.")
    return notes
