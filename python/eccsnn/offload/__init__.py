"""Decisions: when does the edge ask the cloud? Pure functions of logits, on torch tensors or NumPy arrays."""

from eccsnn.offload.ambiguity import MEASURES, Measure, ambiguity
from eccsnn.offload.calibration import DEFAULT_RULE, RULES, Choice, Rule, choose_threshold
from eccsnn.offload.curves import (
    UPLOAD_ALL,
    OffloadCurve,
    OperatingPoint,
    acc_improvement,
    exact_curve,
    offload_curve,
    operating_point,
    per_class_upload_rate,
    top1_correct,
)
from eccsnn.offload.exits import (
    NEVER,
    ExitCurve,
    choose_exit,
    confidence,
    default_thresholds,
    exit_curve,
    exit_timesteps,
    running_mean,
)
from eccsnn.offload.intervals import Interval, paired_interval

__all__ = [
    "DEFAULT_RULE",
    "MEASURES",
    "NEVER",
    "RULES",
    "UPLOAD_ALL",
    "Choice",
    "ExitCurve",
    "Interval",
    "Measure",
    "OffloadCurve",
    "OperatingPoint",
    "Rule",
    "acc_improvement",
    "ambiguity",
    "choose_exit",
    "choose_threshold",
    "confidence",
    "default_thresholds",
    "exact_curve",
    "exit_curve",
    "exit_timesteps",
    "offload_curve",
    "operating_point",
    "paired_interval",
    "per_class_upload_rate",
    "running_mean",
    "top1_correct",
]
