"""What the scripts that collect finished runs share: which runs they take, where a run comes from, README and commands."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from eccsnn.errors import ConfigError
from eccsnn.experiments.schema import load_config, validate

END = "<!-- end -->"


def finished(runs: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Runs that have finished, and their run.json; the others are named and left out."""
    for run in runs:
        info = json.loads((run / "run.json").read_text())
        if info["status"] == "finished":
            yield run, info
        else:
            print(f"left out: {run} is {info['status']}, not finished: run it to its end first")


def configuration(run: Path) -> dict[str, Any]:
    """The resolved configuration of a run."""
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return config


def provenance(info: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, times and commit of a run, and of its stages the time, hardware and commit that computed them."""
    kept = {key: info[key] for key in ("schema", "name", "seed", "started", "finished", "versions", "git")}
    kept["stages"] = [
        {key: stage[key] for key in ("name", "key", "reused", "seconds")}
        | {key: stage["computed"][key] for key in ("hardware", "git")}
        for stage in info["stages"]
    ]
    return kept


def compared(
    config: Mapping[str, Any], name: str, *, free: tuple[str, ...], variants: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """A configuration with today's defaults for keys that it lacks, and the variant of the shipped one that it is.

    Args:
        config: As a run has written it.
        name: The shipped configuration that it is compared with.
        free: Beginnings of dotted keys in which they may differ.
        variants: Dotted keys in which they may differ, and what the variant's name has before the value.

    Raises:
        ConfigError: There is no shipped configuration of this name, this one is not valid any more, or they differ in
            more than makes a variant.
    """
    try:
        resolved = validate(dict(config), "its configuration").model_dump(mode="json")
        changed = differences(resolved, name)
    except ConfigError as error:
        raise ConfigError(f"cannot be compared with {name}: {error}") from error
    others = sorted(key for key in changed if not key.startswith(free) and key not in variants)
    if others:
        raise ConfigError(f"differs from {name} in {', '.join(others)}")
    return resolved, "-".join(short + _words(changed[key]) for key, short in variants.items() if key in changed)


def differences(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Values of a resolved configuration that differ from the shipped one of its name, by dotted key."""
    shipped, given = flat(load_config(name).model_dump(mode="json")), flat(config)
    return {key: given.get(key) for key in shipped.keys() | given.keys() if shipped.get(key) != given.get(key)}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level of dotted ones.

    >>> flat({"data": {"root": None}, "seed": 0})
    {'data.root': None, 'seed': 0}
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result


def _words(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 3:
        return f"{len(value)}-of-them"  # learners, or layers
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a collected run, and says where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


def write_between_markers(readme: Path, begin: str, lines: Sequence[str]) -> None:
    """Replaces what a README has between its markers, and says which."""
    head, rest = readme.read_text().split(begin)
    tail = rest.split(END)[1]
    body = "\n".join(lines or ["No results have been collected yet.", ""])
    readme.write_text(f"{head}{begin}\n\n{body}\n{END}{tail}")
    print(readme)


def command_line(description: str | None, collect: Callable[[list[Path]], None], table: Callable[[], None]) -> None:
    """The commands `collect RUN...` and `table` of a script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("collect", help="run directories to results/*.json").add_argument("runs", nargs="+", type=Path)
    commands.add_parser("table", help="results/*.json to README.md and figures")
    given = parser.parse_args()
    if given.command == "collect":
        collect(given.runs)
    else:
        table()
