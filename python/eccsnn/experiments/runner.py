"""Runs an experiment from a configuration."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from eccsnn.experiments.ecc_snn import run_ecc_snn
from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.incremental import run_incremental
from eccsnn.experiments.incremental_schema import IncrementalConfig
from eccsnn.experiments.run import Run
from eccsnn.experiments.schema import Config, load_config
from eccsnn.experiments.split import run_split
from eccsnn.training.checkpoint import write_json
from eccsnn.training.evaluate import check_device


def run_config(
    config: str | Path | Config,
    overrides: list[str] | None = None,
    *,
    runs_dir: Path | str = "runs",
    console: Console | None = None,
) -> Path:
    """Runs an experiment to its end, or resumes it where it was stopped.

    Args:
        config: Name of a shipped configuration, path of a YAML file, or a validated configuration.
        overrides: `key=value` strings, such as `edge.training.epochs=3`.
        runs_dir: Folder of all runs; finished stages are shared below it.
        console: Where to print progress; None prints nothing.

    Returns:
        The run directory.

    Raises:
        ConfigError: The configuration is not valid, or asks for a GPU that is not there.
        DataError: The data are not where the configuration says, or broken.
    """
    resolved = load_config(str(config), overrides) if isinstance(config, str | Path) else config
    check_device(resolved.device)
    # The same numbers from the same seed and machine, as far as cuDNN can; on a CPU they are the same anyway.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    with Run(resolved, Path(runs_dir), console) as run:
        if isinstance(resolved, EccSnnConfig):
            results = run_ecc_snn(run)
        elif isinstance(resolved, IncrementalConfig):
            results = run_incremental(run)
        else:
            results = run_split(run)
        write_json(run.path / "results.json", results)
    return run.path
