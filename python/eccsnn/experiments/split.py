"""The stages of an experiment with a cut network (or its uncut yardsticks), and what each depends on.

    data -> network -> uncut
                    -> unit -> finetune -> tables -> outputs -> counts -> link -> results
    data -> cloud -> outputs                                                         (cloud only; or as a teacher)

Every arrow is a stage of `eccsnn.experiments.stages`: computed once, then reused under its key. `network` is shared by
all systems that cut the same network. `uncut` is both the yardstick and, unless the configuration says otherwise, the
teacher of `unit` and `finetune`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from eccsnn.data import Splits
from eccsnn.errors import ConfigError
from eccsnn.experiments import split_builds as builds
from eccsnn.experiments import split_measures as measures
from eccsnn.experiments import split_results as results
from eccsnn.experiments.cloud import INFERENCE_CODE, MODEL, cloud_stage, training_inputs
from eccsnn.experiments.live import load_splits, sample_test_images
from eccsnn.experiments.run import LOG, Run, StageProgress
from eccsnn.experiments.split_live import measure
from eccsnn.experiments.split_schema import SplitConfig
from eccsnn.experiments.stages import CODEC, Artefact
from eccsnn.models import list_models, split
from eccsnn.training.checkpoint import write_json
from eccsnn.training.classifier import build_seeded, input_shape

_SYSTEMS = ("systems/neucodex.py", "systems/spikebottlenet.py", "systems/baselines.py")
_TRAINING_CODE = (*INFERENCE_CODE, *_SYSTEMS, "experiments/cloud.py", "experiments/split_builds.py")
_OUTPUTS_CODE = (*_TRAINING_CODE, "transport", "experiments/split_measures.py")
_COUNTS_CODE = (*_OUTPUTS_CODE, "costs")
_LINK_CODE = (*_OUTPUTS_CODE, "offload", "services", "systems/split_services.py", "experiments/split_live.py")


def run_split(run: Run) -> dict[str, Any]:
    """Runs or reuses every stage and returns what goes into results.json."""
    config: SplitConfig = run.config
    splits = load_splits(config)
    if not len(splits.val):
        raise ConfigError(
            f"data.val_fraction is {config.data.val_fraction} and leaves no validation images, on which the exit "
            "threshold is chosen. Set data.val_fraction to 0.1, for example."
        )
    results.check_costs(config)
    if config.system == "cloud_only":
        return _cloud_only(run, splits)
    _check(config, splits)
    backbone = _network(run, splits)
    uncut = _uncut(run, splits, backbone)
    cut = tables = None
    if config.unit is not None:
        cut = _cut(run, splits, backbone, uncut)
        run.keep(cut, MODEL, "cut.safetensors")
        if config.spiking and config.wire.tables:
            tables = _tables(run, splits, cut)
            run.keep(tables, measures.TABLES, measures.TABLES)
        if (cut.path / builds.EXIT_HEAD).is_file():
            run.keep(cut, builds.EXIT_HEAD, builds.EXIT_HEAD)
    run.keep(uncut, MODEL, "uncut.safetensors")
    outputs = _outputs(run, splits, cut, uncut, tables)
    counts = _counts(run, splits, cut, uncut)
    summary = results.collect(config, splits, outputs.path, counts.path)
    write_json(run.path / "deployment.json", results.deployment(config, splits, summary))
    if config.link.enabled and cut is not None and config.spiking:
        write_json(run.path / "results.json", summary)  # a link that fails must not cost what was trained
        summary["link"] = _link(run, cut, uncut, tables, summary)
    return summary


def _check(config: SplitConfig, splits: Splits) -> None:
    """Finds what would stop the experiment at its end before hours are spent on its beginning."""
    kind = "snn" if config.spiking else "ann"
    name = config.network.model.name
    known = {info.name: info.kind for info in list_models()}
    if known.get(name, kind) != kind:
        fitting = ", ".join(other for other, its in known.items() if its == kind and "/" not in other)
        raise ConfigError(
            f"{config.name}: network.model.name is {name}, an {known[name]}, but {config.system} takes an {kind}, like "
            f"{fitting}."
        )
    if not config.spiking and splits.timesteps is not None:
        raise ConfigError(
            f"{config.name}: {config.system} sends the features of a network that sees one image; event frames have no "
            "published form of it. Use neucodex, spikebottlenet, edge_only or cloud_only."
        )
    try:
        arguments = config.network_arguments()
        if config.unit is not None:
            arguments["bottlenecks"] = {config.unit.point: builds.unit_options(config)}
        model = build_seeded(0, num_classes=splits.num_classes, **{**input_shape(splits, name), **arguments})
        if config.unit is not None:
            split(model, config.unit.point)  # type: ignore[call-overload]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{config.name}: {error}") from error


def _network(run: Run, splits: Splits) -> Artefact:
    config: SplitConfig = run.config
    inputs = training_inputs(config, splits) | {
        "seed": config.seed,
        "model": config.network_arguments(),
        "training": config.network.training.model_dump(mode="json"),
    }
    return run.stage("network", inputs, _TRAINING_CODE, partial(builds.network, config, splits))


def _uncut(run: Run, splits: Splits, backbone: Artefact) -> Artefact:
    """The uncut yardstick, with the total epochs of the cut network."""
    config: SplitConfig = run.config
    training = config.finetune.training.model_dump(mode="json")
    if config.unit is not None:
        training["epochs"] += config.unit.training.epochs
    inputs = training_inputs(config, splits) | {
        "seed": config.seed,
        "network": backbone.key,
        "training": training,
        "exit_weight": config.finetune.exit_weight,
    }
    return run.stage("uncut", inputs, _TRAINING_CODE, partial(builds.uncut, config, splits, backbone.path, training))


def _cut(run: Run, splits: Splits, backbone: Artefact, uncut: Artefact) -> Artefact:
    """The unit's stage, then that of the whole network."""
    config: SplitConfig = run.config
    unit, losses = config.unit, config.finetune
    assert unit is not None
    teacher: Artefact | None = None
    if losses.logit_weight > 0:
        teacher = cloud_stage(run, splits) if losses.teacher == "cloud" else uncut
    shared = training_inputs(config, splits) | {
        "seed": config.seed,
        "point": unit.point,
        "unit": builds.unit_options(config),
        "logit_weight": losses.logit_weight,
        "teacher": None if teacher is None else {"key": teacher.key, "temperature": losses.temperature},
    }
    if config.system == "neucodex":
        shared |= {"exit_weight": losses.exit_weight, "exit_head": config.exit.decide == "edge_head"}
    path = None if teacher is None else teacher.path
    first = run.stage(
        "unit",
        shared | {"network": backbone.key, "training": unit.training.model_dump(mode="json")},
        _TRAINING_CODE,
        partial(builds.unit, config, splits, backbone.path, path),
    )
    rate = {"rate_weight": losses.rate_weight} if config.spiking else {}
    return run.stage(
        "finetune",
        shared | rate | {"unit_stage": first.key, "training": losses.training.model_dump(mode="json")},
        _TRAINING_CODE,
        partial(builds.finetune, config, splits, first.path, path),
    )


def _tables(run: Run, splits: Splits, cut: Artefact) -> Artefact:
    config: SplitConfig = run.config

    def build(folder: Any, progress: StageProgress) -> None:
        measures.tables(config, splits, cut.path, folder)

    return run.stage("tables", {"data": splits.fingerprint, "cut": cut.key} | CODEC, _OUTPUTS_CODE, build)


def _outputs(run: Run, splits: Splits, cut: Artefact | None, uncut: Artefact, tables: Artefact | None) -> Artefact:
    config: SplitConfig = run.config
    inputs = {
        "data": splits.fingerprint,
        "cut": None if cut is None else cut.key,
        "uncut": uncut.key,
        "tables": None if tables is None else tables.key,
    }

    def build(folder: Any, progress: StageProgress) -> None:
        cut_path, uncut_path, tables_path = (None if one is None else one.path for one in (cut, uncut, tables))
        measures.outputs(config, splits, cut_path, uncut_path, tables_path, folder)

    return run.stage("outputs", inputs | CODEC, _OUTPUTS_CODE, build)


def _counts(run: Run, splits: Splits, cut: Artefact | None, uncut: Artefact) -> Artefact:
    config: SplitConfig = run.config
    inputs = {
        "data": splits.fingerprint,
        "cut": None if cut is None else cut.key,
        "uncut": uncut.key,
        "jpeg_quality": config.upload.jpeg_quality,
    }

    def build(folder: Any, progress: StageProgress) -> None:
        measures.counts(config, splits, None if cut is None else cut.path, uncut.path, folder)

    return run.stage("counts", inputs, _COUNTS_CODE, build)


def _link(run: Run, cut: Artefact, uncut: Artefact, tables: Artefact | None, summary: dict[str, Any]) -> Any:
    """The measurement over real links; its figures belong to one machine, which is part of the key."""
    config: SplitConfig = run.config
    exits = summary["cut"]["exit"]
    inputs = {
        "cut": cut.key,
        "uncut": uncut.key,
        "tables": None if tables is None else tables.key,
        "link": config.link.model_dump(mode="json"),
        "thresholds": None if exits is None else [exits["threshold"], exits["cloud_threshold"]],
        "exit_head": config.exits and config.exit.decide == "edge_head",
        "jpeg_quality": config.upload.jpeg_quality,
        "device": config.device,
        "hardware": run.info["hardware"],
    }

    def build(folder: Any, progress: StageProgress) -> None:
        images, labels, _ = sample_test_images(config, config.link.images)
        options = config.link.model_dump(include={"rtt_ms", "rate_mbit", "timeout_s"})
        options["jpeg_quality"] = config.upload.jpeg_quality
        rows = measure(run.path, images, labels, device=config.device, progress=LOG.info, **options)
        write_json(folder / "link.json", {"rows": rows})

    artefact = run.stage("stream", inputs | CODEC, _LINK_CODE, build)
    return json.loads((artefact.path / "link.json").read_text(encoding="utf-8"))["rows"]


def _cloud_only(run: Run, splits: Splits) -> dict[str, Any]:
    config: SplitConfig = run.config
    cloud = cloud_stage(run, splits)
    run.keep(cloud, MODEL, "cloud.safetensors")
    inputs = {"data": splits.fingerprint, "cloud": cloud.key, "jpeg_quality": config.upload.jpeg_quality}

    def outputs(folder: Any, progress: StageProgress) -> None:
        measures.cloud_outputs(config, splits, cloud.path, folder)

    def counts(folder: Any, progress: StageProgress) -> None:
        measures.counts(config, splits, None, cloud.path, folder)

    answers = run.stage("cloud_outputs", inputs, _OUTPUTS_CODE, outputs)
    work = run.stage("cloud_counts", inputs, _COUNTS_CODE, counts)
    summary = results.collect_cloud_only(config, splits, answers.path, work.path)
    write_json(run.path / "deployment.json", results.deployment(config, splits, summary))
    return summary
