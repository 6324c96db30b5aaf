"""Experiments: configuration schema, stages, run directories and the runner."""

from eccsnn.experiments.load import LoadedRun, load
from eccsnn.experiments.runner import run_config
from eccsnn.experiments.schema import EccSnnConfig, load_config

__all__ = ["EccSnnConfig", "LoadedRun", "load", "load_config", "run_config"]
