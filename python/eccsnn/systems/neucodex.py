"""NeuCODEX: a split spiking network with learned spike compression and early exit over timesteps.

    images -> f_edge -> encoder | wire | decoder -> f_cloud -> logits of every timestep -> stop?

Source: "NeuCODEX: Edge-Cloud Co-Inference with Spike-Driven Compression and Dynamic Early-Exit" (ICMLA 2025, arXiv
2509.19156). Known from there: after every timestep the accumulated output's confidence is compared with a threshold,
and inference stops when it is reached; the whole network is fine-tuned after the compression. Defined here:
encoder and decoder (`eccsnn.nn.SpikeBottleneck`), the stages (backbone, unit, whole network), the losses
(`eccsnn.training.split`), the confidence (maximum softmax of the running mean of the logits), the threshold's choice on
validation data, and the codec between the parts (`eccsnn.transport.spike_codec`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from eccsnn import offload
from eccsnn.data import Splits
from eccsnn.models import Model
from eccsnn.nn import ExitHead, SpikeRateModel
from eccsnn.training import FitOptions, FitResult, train_cut


def train_unit(
    backbone: Model,
    splits: Splits,
    *,
    point: str,
    unit: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    teacher: Model | None = None,
    exit_head: ExitHead | None = None,
    options: FitOptions = FitOptions(),
    **losses: Any,
) -> tuple[Model, FitResult]:
    """Second stage: a bottleneck unit is inserted and learns alone; the backbone stays as it is.

    Args:
        backbone: Trained network, not changed.
        splits: Data.
        point: Split point.
        unit: `channels`, `stride` and `kernel_size` of `eccsnn.nn.SpikeBottleneck`.
        training: Keyword arguments of `eccsnn.training.fit`.
        seed: Of the unit's weights, of order and augmentation.
        teacher: For distillation, not changed.
        exit_head: The edge's own head, trained with the unit; changed in place.
        options: Where and how to compute, checkpoints and progress.
        losses: `exit_weight`, `logit_weight`, `temperature` of `eccsnn.training.split_loss`. The rate has no weight
            here: first the unit has to carry what the answer needs.

    Returns:
        The network with its unit, and what the training recorded.
    """
    return train_cut(
        backbone,
        splits,
        point=point,
        trains="unit",
        unit=unit,
        training=training,
        seed=seed,
        teacher=teacher,
        extra_modules={} if exit_head is None else {"exit_head": exit_head},
        options=options,
        **losses,
    )


def finetune(
    network: Model,
    splits: Splits,
    *,
    point: str,
    training: Mapping[str, Any],
    seed: int,
    teacher: Model | None = None,
    exit_head: ExitHead | None = None,
    rate_weight: float = 0.0,
    options: FitOptions = FitOptions(),
    **losses: Any,
) -> tuple[Model, FitResult]:
    """Third stage: the whole cut network is trained, and pays for its bits.

    Args:
        network: With a unit at `point`, not changed.
        splits: Data.
        point: Split point.
        training: Keyword arguments of `eccsnn.training.fit`.
        seed: Of order and augmentation.
        teacher: For distillation, not changed.
        exit_head: The edge's own head, trained with the network; changed in place.
        rate_weight: Of the bits a wire element, as the codec's own model estimates them; 0 leaves them out.
        options: Where and how to compute, checkpoints and progress.
        losses: `exit_weight`, `logit_weight`, `temperature` of `eccsnn.training.split_loss`.

    Returns:
        The trained network and what the training recorded.
    """
    modules: dict[str, torch.nn.Module] = {} if exit_head is None else {"exit_head": exit_head}
    if rate_weight > 0:
        wire = network.bottleneck(point)
        modules["rate"] = SpikeRateModel(wire.channels, wire.size, wire.size)
    return train_cut(
        network,
        splits,
        point=point,
        trains="all",
        training=training,
        seed=seed,
        teacher=teacher,
        extra_modules=modules,
        options=options,
        rate_weight=rate_weight,
        **losses,
    )


def early_exit(
    validation: Mapping[str, Any],
    test: Mapping[str, Any],
    class_ids: list[int],
    *,
    tolerance: float = offload.exits.DEFAULT_TOLERANCE,
) -> dict[str, Any]:
    """Execution: the threshold is chosen on validation data, then judged on test data.

    Args:
        validation, test: `logits` `[T, N, K]` of each timestep, `labels` `[N]`, `deciding` (logits of the exit head, or
            None) and `costs` (name to `[T, N]`, such as `payload_bytes`).
        class_ids: Class id of each logit.
        tolerance: Validation accuracy given up for fewer timesteps.

    Returns:
        `threshold` (None: never reached), `rule`, `validation` and `test` (both curves), `chosen` (figures on test data
        at the threshold), `all_timesteps` (the same without early exit), and `stops` (int64 `[N]`, timesteps of each
        test image).
    """
    curve = offload.exit_curve(class_ids=class_ids, part="validation", **validation)
    index = offload.choose_exit(curve, tolerance)
    threshold = float(curve.threshold[index])
    judged = offload.exit_curve(class_ids=class_ids, part="test", **test)
    deciding = test["logits"] if test.get("deciding") is None else test["deciding"]
    sure = offload.confidence(offload.running_mean(deciding))
    return {
        "threshold": threshold if np.isfinite(threshold) else None,
        "rule": f"fewest timesteps with validation accuracy within {tolerance:g} of all timesteps",
        "validation": curve.to_json(),
        "test": judged.to_json(),
        "chosen": {key: value for key, value in judged.point(index).items() if key != "threshold"},
        "all_timesteps": {key: value for key, value in judged.point(-1).items() if key != "threshold"},
        "stops": offload.exit_timesteps(sure, threshold),
    }
