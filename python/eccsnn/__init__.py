"""eccsnn: spiking neural networks between edge and cloud.

The parts, from the bottom up: `ops` (fused kernels), `nn` (neurons and layers with explicit state), `models`, `data`,
`costs`, `offload`, `transport`, `training`, `incremental`, `services`, `systems` (the published systems), `experiments`
and `report`. `eccsnn.load(run)` opens the models of a finished run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from eccsnn.experiments.load import Loaded

__version__ = "0.1.0"

_PARTS = (
    "costs",
    "data",
    "experiments",
    "incremental",
    "models",
    "nn",
    "offload",
    "ops",
    "report",
    "services",
    "systems",
    "training",
    "transport",
)


def load(run: Path | str, *, device: str | None = None, precision: str | None = None) -> Loaded:
    """Opens a finished run: `model`, `predict(images)`, `init_state` and `step`.

    See `LoadedRun` (ECC-SNN), `LoadedIncremental` (learners) and `LoadedSplit` in `eccsnn.experiments`.

    Args:
        run: Run directory, as printed by `eccsnn run`.
        device: Where its models compute: `cpu` (the default), `cuda` or `cuda:N`.
        precision: `fp32` (the default, in which thresholds are chosen) or `bf16`.

    Raises:
        ConfigError: The device is not there.
        ValueError: The precision is unknown.
        CheckpointError: It is no run, is not finished, or a file of it is broken.
    """
    from eccsnn.experiments import load as load_run

    return load_run(run, device=device, precision=precision)


def __getattr__(name: str) -> Any:
    # Parts are imported when they are first used, so that `import eccsnn` and `eccsnn --help` stay quick.
    if name in _PARTS:
        return importlib.import_module(f"eccsnn.{name}")
    raise AttributeError(f"module 'eccsnn' has no attribute {name!r}; its parts are {', '.join(_PARTS)}")
