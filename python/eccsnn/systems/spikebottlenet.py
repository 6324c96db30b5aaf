"""SpikeBottleNet: bottleneck units at split points of a spiking network; every timestep crosses the wire.

Source: "SpikeBottleNet: Spike-Driven Feature Compression Architecture for Edge-Cloud Co-Inference" (IntelliSys 2025,
arXiv 2410.08673), spiking ResNet-50 and MobileNet. Defined here: encoder and decoder (`eccsnn.nn.SpikeBottleneck`), and
the stages and the codec of `eccsnn.systems.neucodex`, without early exit and without its loss at every timestep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eccsnn.data import Splits
from eccsnn.models import Model
from eccsnn.systems import neucodex
from eccsnn.training import FitOptions, FitResult


def train_unit(
    backbone: Model,
    splits: Splits,
    *,
    point: str,
    unit: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    teacher: Model | None = None,
    options: FitOptions = FitOptions(),
    logit_weight: float = 0.0,
    temperature: float = 3.0,
) -> tuple[Model, FitResult]:
    """Second stage: see `eccsnn.systems.neucodex.train_unit`; the loss is that of the answer after all timesteps."""
    return neucodex.train_unit(
        backbone,
        splits,
        point=point,
        unit=unit,
        training=training,
        seed=seed,
        teacher=teacher,
        options=options,
        logit_weight=logit_weight,
        temperature=temperature,
    )


def finetune(
    network: Model,
    splits: Splits,
    *,
    point: str,
    training: Mapping[str, Any],
    seed: int,
    teacher: Model | None = None,
    rate_weight: float = 0.0,
    options: FitOptions = FitOptions(),
    logit_weight: float = 0.0,
    temperature: float = 3.0,
) -> tuple[Model, FitResult]:
    """Third stage: see `eccsnn.systems.neucodex.finetune`; the loss is that of the answer after all timesteps."""
    return neucodex.finetune(
        network,
        splits,
        point=point,
        training=training,
        seed=seed,
        teacher=teacher,
        rate_weight=rate_weight,
        options=options,
        logit_weight=logit_weight,
        temperature=temperature,
    )
