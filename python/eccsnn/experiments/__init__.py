"""Experiments: configuration schema, stages, run directories and the runner."""

from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.incremental_load import LoadedIncremental
from eccsnn.experiments.load import LoadedRun, load
from eccsnn.experiments.runner import run_config
from eccsnn.experiments.schema import load_config
from eccsnn.experiments.split_load import LoadedSplit
from eccsnn.experiments.split_schema import SplitConfig
from eccsnn.experiments.sweep import sweep

__all__ = [
    "EccSnnConfig",
    "LoadedIncremental",
    "LoadedRun",
    "LoadedSplit",
    "SplitConfig",
    "load",
    "load_config",
    "run_config",
    "sweep",
]
