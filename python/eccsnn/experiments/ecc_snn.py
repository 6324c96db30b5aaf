"""The stages of an ECC-SNN experiment and what each depends on.

    data -> cloud -> edge -> update_1 -> ... -> update_k -> logits -> counts -> link -> results

Every arrow is a stage of `eccsnn.experiments.stages`: computed once, then reused under its key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data import ImageSet, Scenario, Splits, build_scenario
from eccsnn.errors import ConfigError
from eccsnn.experiments import ecc_snn_results as results
from eccsnn.experiments.live import load_splits, measure_link
from eccsnn.experiments.run import LOG, Run, StageProgress
from eccsnn.experiments.schema import EccSnnConfig
from eccsnn.experiments.stages import Artefact
from eccsnn.systems import ecc_snn
from eccsnn.training import load_model, predict_logits, save_model
from eccsnn.training.checkpoint import write_atomically, write_json
from eccsnn.transport.images import decode_image, encode_image

# What a stage's numbers depend on; all other code may change without the stage being repeated.
_INFERENCE_CODE = ("ops", "nn", "models", "data", "training")
_LOGITS_CODE = (*_INFERENCE_CODE, "transport/images.py")
_TRAINING_CODE = (*_INFERENCE_CODE, "systems/ecc_snn.py")
_UPDATE_CODE = (*_TRAINING_CODE, "incremental/lwf.py")
_COUNTS_CODE = (*_INFERENCE_CODE, "costs", "transport/images.py", "experiments/ecc_snn_results.py")
_LINK_CODE = (*_INFERENCE_CODE, "offload", "transport", "services", "experiments/live.py", "experiments/load.py")
_MODEL = "model.safetensors"


def run_ecc_snn(run: Run) -> dict[str, Any]:
    """Runs or reuses every stage and returns what goes into results.json."""
    config: EccSnnConfig = run.config
    splits = load_splits(config)
    scenario = build_scenario(config.scenario, splits.num_classes, config.class_order_seed)
    LOG.info("%s: %d classes in %d tasks", scenario.name, splits.num_classes, len(scenario.tasks))
    _check(config, splits, scenario)
    cloud = _cloud(run, splits)
    edges = [_edge(run, splits, scenario, cloud)]
    if config.update.enabled:
        for task in range(1, len(scenario.tasks)):
            edges.append(_update(run, splits, scenario, task, edges[-1], cloud))
    logits = _logits(run, splits, cloud, edges)
    counts = _counts(run, splits, cloud, edges)
    run.keep(cloud, _MODEL, "cloud.safetensors")
    for task, edge in enumerate(edges):
        run.keep(edge, _MODEL, f"edge_{task}.safetensors")
    run.keep(edges[-1], _MODEL, "edge.safetensors")
    summary = results.collect(config, splits, scenario, logits.path, counts.path, len(edges))
    write_json(run.path / "deployment.json", results.deployment(splits, summary))
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
    results.check_profile(config.profile, splits)
    try:
        ecc_snn.check_models(
            splits.image_shape[-1],
            splits.num_classes,
            scenario.tasks[0],
            cloud=config.cloud.model.model_dump(exclude_none=True),
            edge=config.edge.model.model_dump(),
            distillation=config.edge.distillation.model_dump(),
        )
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def _common(config: EccSnnConfig, splits: Splits) -> dict[str, Any]:
    return {"data": splits.fingerprint, "augment": config.data.augment, "precision": config.precision}


def _fit_options(config: EccSnnConfig, folder: Path, progress: StageProgress) -> dict[str, Any]:
    return {
        "augment": config.data.augment,
        "device": config.device,
        "precision": config.precision,
        "checkpoint": folder / "checkpoint.safetensors",
        "checkpoint_seconds": config.checkpoint_seconds,
        "progress": progress,
    }


def _cloud(run: Run, splits: Splits) -> Artefact:
    config: EccSnnConfig = run.config
    inputs = _common(config, splits) | config.cloud.model_dump(mode="json")

    def build(folder: Path, progress: StageProgress) -> None:
        model, _ = ecc_snn.train_cloud(
            splits,
            model=config.cloud.model.model_dump(exclude_none=True),
            training=config.cloud.training.model_dump(),
            seed=config.cloud.seed,
            **_fit_options(config, folder, progress),
        )
        save_model(folder / _MODEL, model)

    return run.stage("cloud", inputs, _TRAINING_CODE, build)


def _edge(run: Run, splits: Splits, scenario: Scenario, cloud: Artefact) -> Artefact:
    config: EccSnnConfig = run.config
    distillation = config.edge.distillation.model_dump(mode="json")
    # What has no weight is no part of the key: an undistilled edge has no teacher.
    used: dict[str, Any] = {}
    if distillation["logit_weight"] > 0:
        used |= {key: distillation[key] for key in ("logit_weight", "temperature")}
    if distillation["feature_weight"] > 0:
        used |= {key: distillation[key] for key in ("feature_weight", "feature_order", "student_map", "teacher_map")}
    inputs = _common(config, splits) | {
        "seed": config.seed,
        "classes": scenario.tasks[0],
        "model": config.edge.model.model_dump(mode="json"),
        "training": config.edge.training.model_dump(mode="json"),
        "distillation": used,
        "cloud": cloud.key if used else None,
    }

    def build(folder: Path, progress: StageProgress) -> None:
        teacher = load_model(cloud.path / _MODEL) if used else None
        model, _ = ecc_snn.train_edge(
            splits,
            scenario.tasks[0],
            teacher,
            model=config.edge.model.model_dump(),
            training=config.edge.training.model_dump(),
            distillation=distillation,
            seed=config.seed,
            **_fit_options(config, folder, progress),
        )
        save_model(folder / _MODEL, model)

    return run.stage("edge", inputs, _TRAINING_CODE, build)


def _update(run: Run, splits: Splits, scenario: Scenario, task: int, edge: Artefact, cloud: Artefact) -> Artefact:
    config: EccSnnConfig = run.config
    update = config.update.model_dump(mode="json", exclude={"enabled"})
    classes = scenario.tasks[task]
    needs_cloud = update["logit_weight"] > 0
    inputs = _common(config, splits) | {
        "seed": config.seed,
        "edge": edge.key,
        "cloud": cloud.key if needs_cloud else None,
        "classes": classes,
        **update,
    }

    def build(folder: Path, progress: StageProgress) -> None:
        model, _ = ecc_snn.update_edge(
            load_model(edge.path / _MODEL),
            load_model(cloud.path / _MODEL) if needs_cloud else None,
            splits,
            classes,
            seed=config.seed,
            **(config.update.model_dump(exclude={"enabled"})),
            **_fit_options(config, folder, progress),
        )
        save_model(folder / _MODEL, model)

    return run.stage(f"update_{task}", inputs, _UPDATE_CODE, build)


def _logits(run: Run, splits: Splits, cloud: Artefact, edges: list[Artefact]) -> Artefact:
    """Logits of every model on validation and test data; all curves are computed from them.

    In fp32, whatever the training's precision: rounded to bf16, logits tie, and ties go to the class learnt first. The
    cloud sees what the link delivers, since the bytes that an upload costs are those of that encoding; `cloud_original`
    is the cloud on the images as they are.
    """
    config: EccSnnConfig = run.config
    codec, quality = config.link.codec, config.link.jpeg_quality
    lossy = codec == "jpeg"
    inputs = {
        "data": splits.fingerprint,
        "cloud": cloud.key,
        "edges": [edge.key for edge in edges],
        "uploads": {"codec": codec, "jpeg_quality": quality} if lossy else "lossless",
    }

    def build(folder: Path, progress: StageProgress) -> None:
        arrays: dict[str, np.ndarray] = {}
        original = {"val": splits.val, "test": splits.test}
        uploaded = {part: as_uploaded(images, codec, quality) for part, images in original.items()}
        edge_models = {f"edge_{task}": (edge, original) for task, edge in enumerate(edges)}
        models = {"cloud": (cloud, uploaded), "cloud_original": (cloud, original), **edge_models}
        for name, (artefact, parts) in models.items():
            model = load_model(artefact.path / _MODEL).to(config.device)
            for part, images in parts.items():
                if name == "cloud_original" and not lossy:
                    arrays[f"{name}_{part}"] = arrays[f"cloud_{part}"]
                    continue
                LOG.info("logits of %s on %s data (%d images)", name, part, len(images))
                arrays[f"{name}_{part}"] = predict_logits(
                    model, images, mean=splits.mean, std=splits.std, device=config.device
                )
        _save_arrays(folder / "logits.npz", arrays)

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

    def build(folder: Path, progress: StageProgress) -> None:
        models = [load_model(edge.path / _MODEL) for edge in edges]
        teacher = load_model(cloud.path / _MODEL)
        write_json(
            folder / "counts.json",
            results.count(teacher, models, splits, config.link.codec, config.link.jpeg_quality),
        )

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
        "hardware": run.info["hardware"],
    }

    def build(folder: Path, progress: StageProgress) -> None:
        measured = measure_link(
            run.path, images=config.link.images, **config.link.model_dump(exclude={"enabled", "images"})
        )
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


def as_uploaded(images: ImageSet, codec: str, jpeg_quality: int) -> ImageSet:
    """The images as a receiver decodes them after `encode_image`; the same ones where the codec is lossless."""
    if codec != "jpeg":
        return images
    pixels = images.gather(np.arange(len(images)))
    decoded = [decode_image(encode_image(image, codec, quality=jpeg_quality), codec) for image in pixels]
    return ImageSet(np.stack(decoded) if decoded else pixels, images.labels)


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
