"""Running one configuration over all combinations of some keys' values, one run after the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from eccsnn.errors import ConfigError
from eccsnn.experiments.run import run_directory
from eccsnn.experiments.runner import run_config
from eccsnn.experiments.schema import load_config


def combinations(over: Sequence[str]) -> list[list[str]]:
    """Overrides of every run of a sweep.

    Args:
        over: `key=value,value,...` strings.

    Raises:
        ConfigError: An entry has no key or no values, or a key comes twice.

    Example:
        >>> combinations(["seed=0,1", "unit.point=pool2,pool3"])[1:3]
        [['seed=0', 'unit.point=pool3'], ['seed=1', 'unit.point=pool2']]
    """
    axes: dict[str, list[str]] = {}
    for entry in over:
        key, separator, text = entry.partition("=")
        try:
            values = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError as error:
            raise ConfigError(f"the values of {entry!r} are not valid YAML: {error}") from error
        if not separator or not key or not values:
            raise ConfigError(f"{entry!r} is not of the form key=value,value,..., for example unit.channels=1,2,4.")
        if key in axes:
            raise ConfigError(f"{key} is given twice; put all of its values into one list: {key}=value,value,...")
        axes[key] = [f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}" for value in values]
    return [list(chosen) for chosen in itertools.product(*axes.values())]


def sweep(
    config: str,
    overrides: Sequence[str] = (),
    *,
    over: Sequence[str],
    runs_dir: Path | str = "runs",
    console: Console | None = None,
) -> list[Path]:
    """Runs a configuration once for every combination; finished runs and stages are not computed again.

    Args:
        config: Name of a shipped configuration, or path of a YAML file.
        overrides: `key=value` strings for all runs.
        over: `key=value,value,...` strings: the combinations.
        runs_dir: Folder of all runs.
        console: Where to print progress; None prints nothing.

    Returns:
        The run directories, in the order of the combinations.

    Raises:
        ConfigError: A combination is not valid; nothing has been run then.
    """
    wanted = [[*overrides, *chosen] for chosen in combinations(over)]
    resolved = [load_config(config, list(chosen)) for chosen in wanted]
    paths = [run_directory(one, Path(runs_dir)) for one in resolved]
    for index, (one, chosen) in enumerate(zip(resolved, wanted, strict=True), start=1):
        if console is not None:
            console.rule(f"{index} of {len(wanted)}: {' '.join(chosen)}")
        run_config(one, runs_dir=runs_dir, console=console)
    return paths
