"""From logits and counts to the numbers of results.json: curves, the chosen threshold, matrices, costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eccsnn import offload
from eccsnn.costs import ImageCosts, count_macs, count_synops, image_costs, load_profile
from eccsnn.data import Scenario, Splits, model_input
from eccsnn.errors import ConfigError
from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.load import Deployment
from eccsnn.experiments.opened import Frames, as_samples
from eccsnn.incremental import metrics
from eccsnn.models import Model
from eccsnn.systems.ecc_snn import MEASURES, co_inference
from eccsnn.training.evaluate import accuracy, predicted_classes
from eccsnn.transport.images import encode_image

_COUNTED_IMAGES = 256  # firing rates and image sizes are means over this many validation images
# An answer carries one fp32 logit a class; framing is measured on the link, not modelled here.
_ANSWER_BYTES_A_CLASS = 4


def count(
    cloud: Model, edges: Sequence[Model], splits: Splits, codec: str, jpeg_quality: int, *, spike_input: bool = False
) -> dict[str, Any]:
    """Work and bytes of one image: cloud MACs, synaptic operations and firing rates of every edge, encoded sizes.

    Measured on validation images, so that test data plays no part in any figure that a threshold may depend on. Every
    update changes the firing rates, so each state of the edge is counted. The edge's first layer multiplies pixels and
    counts of events; with `spike_input`, for binary event frames, it accumulates.
    """
    chosen = np.linspace(0, len(splits.val) - 1, min(_COUNTED_IMAGES, len(splits.val))).astype(np.int64)
    pixels = splits.val.gather(chosen)
    images = model_input(torch.from_numpy(pixels), splits.mean, splits.std)
    names = ("png", "jpeg", "raw") if splits.timesteps is None else ("png", "raw")
    sizes = {
        name: float(np.mean([len(encode_image(image, name, quality=jpeg_quality)) for image in as_samples(pixels)]))
        for name in dict.fromkeys((*names, codec))
    }
    macs = count_macs(cloud, (cloud.in_channels, *splits.image_shape[1:]))
    return {
        "images": len(chosen),
        "cloud": {"macs": sum(macs.values()), "parameters": _parameters(cloud)},
        "edges": [_count_edge(edge, images, spike_input) for edge in edges],
        "image_bytes": sizes,
    }


def _count_edge(edge: Model, images: Tensor, spike_input: bool) -> dict[str, Any]:
    report = count_synops(edge, images, spike_input=spike_input)
    return {
        "synops_per_image": report.synops_per_image,
        "macs_per_image": report.macs_per_image,
        "dense_macs_per_image": report.dense_per_image,
        "parameters": _parameters(edge),
        "firing_rates": report.firing_rates,
        "uncounted": list(report.uncounted),
    }


def collect(
    config: EccSnnConfig, splits: Splits, scenario: Scenario, logits_path: Path, counts_path: Path, steps: int
) -> dict[str, Any]:
    """Everything in results.json but the link.

    Args:
        config: The resolved configuration.
        splits: Data; labels and names are used.
        scenario: Tasks.
        logits_path: Folder of the stage `logits`.
        counts_path: Folder of the stage `counts`.
        steps: Number of edge models: 1 + updates.
    """
    counts = json.loads((counts_path / "counts.json").read_text(encoding="utf-8"))
    costs = [_costs(config, splits, counts, step) for step in range(steps)]
    cloud_ids = range(splits.num_classes)
    with np.load(logits_path / "logits.npz") as arrays:
        logits = dict(arrays)
    execution = [
        _execution(config, splits, scenario.tasks[: step + 1], logits, step, cloud_ids, costs[step], counts)
        for step in range(steps)
    ]
    first = scenario.tasks[0]
    seen = _of(splits.test.labels, first)
    chosen = execution[-1]["sets"]["all"]["chosen"]
    summary: dict[str, Any] = {
        "schema": "eccsnn.results/1",
        "system": "ecc_snn",
        "data": {
            "name": splits.name,
            "class_names": list(splits.class_names),
            "image_size": splits.image_shape[-1],
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "fingerprint": splits.fingerprint,
        },
        "scenario": {"name": scenario.name, "tasks": [list(task) for task in scenario.tasks]},
        "cloud": {
            "model": config.cloud.model.name,
            "width": config.cloud.model.width,
            **counts["cloud"],
            "test_accuracy": accuracy(logits["cloud_original_test"], splits.test.labels, cloud_ids),
            "test_accuracy_uploaded": accuracy(logits["cloud_test"], splits.test.labels, cloud_ids),
        },
        "edge": {
            "model": config.edge.model.name,
            "width": config.edge.model.width,
            "timesteps": config.edge.model.timesteps,
            "test_accuracy_learned": accuracy(logits["edge_0_test"][seen], splits.test.labels[seen], first),
            **counts["edges"][0],
        },
        "edge_updated": counts["edges"][-1] if steps > 1 else None,
        "execution": execution,
        "costs": costs[-1].rows(chosen["upload_rate"]),
        "image_bytes": counts["image_bytes"],
        "profile": config.costs.profile,
        "notes": _notes(config, splits, scenario, counts),
    }
    if steps > 1:
        summary["update"] = _update(config, splits, scenario, logits, counts)
    return summary


def deployment(config: EccSnnConfig, splits: Splits, summary: dict[str, Any]) -> dict[str, Any]:
    """What an edge and a cloud need to know beside their weights (deployment.json)."""
    chosen = summary["execution"][-1]["sets"]["all"]["chosen"]
    settings = Deployment(
        class_names=tuple(splits.class_names),
        image_size=splits.image_shape[-1],
        mean=tuple(splits.mean),
        std=tuple(splits.std),
        measure=chosen["measure"],
        threshold=chosen["threshold"],
        frames=Frames.of(config.data, splits),
    )
    return settings.model_dump(mode="json", by_alias=True)


def chosen_threshold(summary: dict[str, Any]) -> float:
    """The threshold of the last step, chosen on validation data."""
    return float(summary["execution"][-1]["sets"]["all"]["chosen"]["threshold"])


def _execution(
    config: EccSnnConfig,
    splits: Splits,
    tasks: Any,
    logits: dict[str, np.ndarray],
    step: int,
    cloud_ids: Any,
    costs: ImageCosts,
    counts: dict[str, Any],
) -> dict[str, Any]:
    """Curves over the threshold after `step` updates, on the classes learnt and on all classes, at one threshold."""
    learned = [c for task in tasks for c in task]
    measure = config.execution.measure

    def run(part: str, rows: np.ndarray) -> dict[str, Any]:
        labels = getattr(splits, part).labels[rows]
        return co_inference(
            logits[f"edge_{step}_{part}"][rows],
            logits[f"cloud_{part}"][rows],
            labels,
            tasks,
            cloud_ids,
            thresholds=config.execution.thresholds,
            seed=config.seed,
            part={"val": "validation", "test": "test"}[part],
        )

    validation = run("val", np.ones(len(splits.val), dtype=bool))
    choices = {
        name: offload.choose_threshold(
            curve,
            rule=config.execution.rule,
            tolerance=config.execution.tolerance,
            target=config.execution.upload_rate,
        )
        for name, curve in validation["curves"].items()
    }
    sets = {}
    for name in ("learned", "all"):
        rows = _of(splits.test.labels, learned) if name == "learned" else np.ones(len(splits.test), dtype=bool)
        test = run("test", rows)
        labels = splits.test.labels[rows]
        curves = {m: _curve(test["curves"][m], costs, counts["image_bytes"][config.link.codec]) for m in MEASURES}
        per_class = offload.per_class_upload_rate(test["ambiguity"][measure], labels, choices[measure].threshold)
        points = {name: _chosen_point(curves[name], choice) for name, choice in choices.items()}
        sets[name] = {
            "samples": len(labels),
            "edge_only": {"energy_mj": costs.edge_only_energy.value, "latency_ms": costs.edge_latency.value},
            "edge_accuracy": float(test["edge_correct"].mean()),
            "cloud_accuracy": float(test["cloud_correct"].mean()),
            "curves": curves,
            "chosen": {
                "measure": measure,
                **points[measure],
                "per_class_upload_rate": {str(k): v for k, v in per_class.items()},
            },
            "chosen_by_measure": points,
        }
    return {"tasks_learned": step + 1, "classes_learned": learned, "sets": sets}


def _chosen_point(curve: dict[str, Any], choice: offload.Choice) -> dict[str, Any]:
    """The point of a test curve at the threshold that was chosen on validation data."""
    keys = ("accuracy", "upload_rate", "acc_i", "energy_mj", "latency_ms", "payload_bytes")
    return {**choice.to_json(), **{key: curve[key][choice.index] for key in keys}}


def _curve(curve: Any, costs: ImageCosts, image_bytes: float) -> dict[str, Any]:
    rates = [float(rate) for rate in curve.upload_rate]
    return {
        "threshold": [float(t) for t in curve.threshold],
        "accuracy": [float(a) for a in curve.accuracy],
        "upload_rate": rates,
        "acc_i": [None if a is None or not np.isfinite(a) else float(a) for a in curve.acc_i],
        **costs.curve(rates),
        "payload_bytes": [rate * image_bytes for rate in rates],
    }


def check_costs(config: EccSnnConfig, splits: Splits) -> None:
    """Finds out before anything is trained whether the cost model applies.

    Raises:
        ConfigError: There is no such profile, or it has no figures for this image size or with `costs.memory`.
    """
    nothing = {"edge_synops": 0.0, "edge_macs": 0.0, "cloud_macs": 0.0, "bytes_up": 0.0}
    try:
        _image_costs(config, splits, **nothing)
    except ValueError as error:
        raise ConfigError(f"{config.name}: {error}") from error


def _image_costs(config: EccSnnConfig, splits: Splits, **counted: float) -> ImageCosts:
    costs = config.costs
    return image_costs(
        load_profile(costs.profile),
        **counted,
        image_size=splits.image_shape[-1],
        precision=costs.precision,
        memory=costs.memory,
    )


def _costs(config: EccSnnConfig, splits: Splits, counts: dict[str, Any], step: int) -> ImageCosts:
    return _image_costs(
        config,
        splits,
        edge_synops=counts["edges"][step]["synops_per_image"],
        edge_macs=counts["edges"][step]["macs_per_image"],
        cloud_macs=counts["cloud"]["macs"],
        bytes_up=counts["image_bytes"][config.link.codec],
        bytes_down=splits.num_classes * _ANSWER_BYTES_A_CLASS,
    )


def _update(
    config: EccSnnConfig, splits: Splits, scenario: Scenario, logits: dict[str, np.ndarray], counts: dict[str, Any]
) -> dict[str, Any]:
    """Metrics of class-incremental learning on test data, and what updating on the device saves."""
    order = scenario.class_order
    labels = splits.test.labels
    predictions = [
        predicted_classes(logits[f"edge_{step}_test"], scenario.classes_learned(step + 1))
        for step in range(len(scenario.tasks))
    ]
    matrix = metrics.accuracy_matrix(predictions, labels, scenario.tasks)
    sizes = metrics.task_samples(labels, scenario.tasks)
    main = {
        "average_incremental_accuracy": metrics.average_incremental_accuracy(matrix, sizes),
        "last_accuracy": metrics.last_accuracy(matrix, sizes),
        "forgetting": metrics.forgetting(matrix),
    }
    other = {
        "average_task_accuracy": metrics.average_task_accuracy(matrix),
        "last_task_accuracy": metrics.last_task_accuracy(matrix),
        "forgetting_from_learnt": metrics.forgetting(matrix, "from_learnt"),
        "forgetting_max_past_or_now": metrics.forgetting(matrix, "max_past_or_now"),
        "performance_drop": metrics.performance_drop(matrix, sizes),
    }
    return {
        "learner": "lwf",
        "accuracy_matrix": matrix,
        **main,
        "other": other,
        "confusion": metrics.confusion_matrix(labels, predictions[-1], order),
        "definitions": {name: metrics.DEFINITIONS[name] for name in (*main, *other)},
        "upload_saved": _upload_saved(config, splits, scenario, counts),
    }


def _upload_saved(config: EccSnnConfig, splits: Splits, scenario: Scenario, counts: dict[str, Any]) -> dict[str, Any]:
    """What updating on the device saves against retraining in the cloud.

    Retraining sends every new image up and, once an update, the whole model down. A cloud that distils into the update
    has to see the new images as well, and sends its logits back: then only the difference downwards is saved.
    """
    images = sum(int(np.isin(splits.train.labels, task).sum()) for task in scenario.tasks[1:])
    model_bytes = sum(4 * edge["parameters"] for edge in counts["edges"][1:])
    taught = config.update.logit_weight > 0
    kept = 0 if taught else images
    answers = images * splits.num_classes * _ANSWER_BYTES_A_CLASS if taught else 0
    return {
        "provenance": "modelled",
        "definition": "retraining in the cloud: every new image up, the whole fp32 model down once an update; the "
        + (
            f"update here distils from the cloud (logit_weight {config.update.logit_weight:g}), so every new image "
            "goes up once and its fp32 logits come down"
            if taught
            else "update here asks the cloud nothing"
        ),
        "images_not_uploaded": kept,
        "bytes_up_not_sent": kept * counts["image_bytes"][config.link.codec],
        "requests_not_sent": kept,
        "bytes_down_not_sent": model_bytes - answers,
    }


def _notes(config: EccSnnConfig, splits: Splits, scenario: Scenario, counts: dict[str, Any]) -> list[str]:
    notes = [
        "Nothing was selected on test data; thresholds were chosen on validation data of all classes.",
        "The published code's feature term trains nothing (it is detached); here its gradient reaches the student.",
    ]
    if min(len(task) for task in scenario.tasks) == 1:
        notes.append(
            "Tasks of one class: cross-entropy runs over all logits seen and ambiguity over the "
            "concatenated logits; this is ours, "
            "since the published loss and ambiguity are constant there."
        )
    if splits.timesteps is not None:
        work = "accumulates binary events" if config.data.binary else "multiplies counts of events (MAC)"
        notes.append(
            f"Event frames: {splits.timesteps} of a recording, one a timestep of the SNN and all at once as "
            f"{2 * splits.timesteps} channels of the ANN. An upload is all of them without loss; the edge's first "
            f"layer {work}."
        )
    if config.cloud.model.width != 1 or config.edge.model.width != 1:
        notes.append(
            f"Small experiment: the cloud's channels are times {config.cloud.model.width:g}, the edge's "
            f"times {config.edge.model.width:g} of the published widths."
        )
    uncounted = sorted({name for edge in counts["edges"] for name in edge["uncounted"]})
    if uncounted:
        notes.append(f"Operations that were not counted: {', '.join(uncounted)}.")
    if config.update.enabled and len(scenario.tasks) > 1 and config.update.logit_weight > 0:
        notes.append(
            "The updates distil from the cloud, so their images are uploaded once; update.logit_weight=0 learns on "
            "the device alone."
        )
    return notes


def _parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _of(labels: np.ndarray, classes: Any) -> np.ndarray:
    return np.isin(labels, list(classes))
