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

__all__ = [
    "DEFAULT_RULE",
    "MEASURES",
    "RULES",
    "UPLOAD_ALL",
    "Choice",
    "Measure",
    "OffloadCurve",
    "OperatingPoint",
    "Rule",
    "acc_improvement",
    "ambiguity",
    "choose_threshold",
    "exact_curve",
    "offload_curve",
    "operating_point",
    "per_class_upload_rate",
    "top1_correct",
]
