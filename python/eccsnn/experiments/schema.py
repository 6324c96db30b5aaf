"""Reading configurations: YAML into validated, frozen objects, one schema a system.

Keys are spelled as the arguments they end in, all the way down to the kernels. Unknown keys are errors that name the
nearest known one. Objects are frozen: what a run was started with cannot change under it.
"""

from __future__ import annotations

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from eccsnn.errors import ConfigError
from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.incremental_schema import IncrementalConfig
from eccsnn.experiments.sections import Section
from eccsnn.experiments.split_schema import SPLIT_SYSTEMS, SplitConfig

Config = EccSnnConfig | IncrementalConfig | SplitConfig

SYSTEMS: dict[str, type[Config]] = {
    "ecc_snn": EccSnnConfig,
    "incremental": IncrementalConfig,
    **dict.fromkeys(SPLIT_SYSTEMS, SplitConfig),
}
"""Schema of every system."""

DEFAULT_SYSTEM = "ecc_snn"


def shipped_configs() -> dict[str, Path]:
    """Name to file of every configuration that comes with the package, such as `ecc_snn/digits_debug`."""
    root = Path(str(resources.files("eccsnn"))) / "configs"
    if not root.is_dir():  # a checkout whose package is used in place
        root = Path(__file__).resolve().parents[3] / "configs"
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def find_config(name: str) -> Path:
    """Path of a configuration, given as a file or as the name of a shipped one.

    Raises:
        ConfigError: There is none; the nearest names are given.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(
        f"no configuration {name!r}: neither a YAML file nor a shipped name.{hint} `eccsnn list configs` shows all."
    )


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """Turns `["edge.training.epochs=3"]` into nested dicts; values are read as YAML.

    Raises:
        ConfigError: An entry is not `key=value`.

    >>> parse_overrides(["edge.training.epochs=3", "data.root=null"])
    {'edge': {'training': {'epochs': 3}}, 'data': {'root': None}}
    """
    result: dict[str, Any] = {}
    for entry in overrides:
        key, separator, text = entry.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {entry!r} is not of the form key=value, for example edge.training.epochs=3.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of override {entry!r} is not valid YAML: {error}") from error
        node = result
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"override {entry!r} goes below {parent!r}, which another override sets to a plain value."
                )
        node[leaf] = value
    return result


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def load_config(name: str, overrides: list[str] | None = None) -> Config:
    """Reads, overrides and validates a configuration.

    Args:
        name: Path of a YAML file, or the name of a shipped configuration.
        overrides: `key.sub=value` strings.

    Raises:
        ConfigError: The file is no valid YAML, or does not fit the schema; every problem is listed.
    """
    path = find_config(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected a mapping of keys such as system, name, data.")
    source = f"{path} with {' '.join(overrides)}" if overrides else str(path)
    return validate(_merge(raw, parse_overrides(overrides or [])), source)


def validate(raw: dict[str, Any], source: str) -> Config:
    """Checks a mapping against the schema of its system.

    Raises:
        ConfigError: With one line for every problem.
    """
    system = raw.get("system", DEFAULT_SYSTEM)
    if not isinstance(system, str) or system not in SYSTEMS:
        near = difflib.get_close_matches(str(system), SYSTEMS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{source}: system is {system!r}, expected one of {', '.join(SYSTEMS)}.{hint}")
    schema = SYSTEMS[system]
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem, schema) for problem in error.errors()]
        raise ConfigError(f"{source} is not a valid configuration:\n  " + "\n  ".join(lines)) from error


def _explain(problem: Any, schema: type[Section]) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location) or "(top)"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(schema, location[:-1])
        near = _near_keys(schema, location, known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known keys here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: missing; add this key"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):  # of a whole section, whose message names the key
        return message if not location else f"{where}: {message}"
    return f"{where}: {message} (given: {problem['input']!r})"


def _near_keys(schema: type[Section], location: list[str], known: list[str]) -> list[str]:
    """What an unknown key may have meant: the same name elsewhere, else one like it here or elsewhere."""
    *parents, name = location
    last: dict[str, list[str]] = {}
    parts = (key.split(".") for key, _, _ in describe_keys(schema))
    for key in dict.fromkeys(".".join(path[:end]) for path in parts for end in range(1, len(path) + 1)):
        last.setdefault(key.rpartition(".")[2], []).append(key)

    def here(cutoff: float) -> list[str]:
        return [".".join([*parents, key]) for key in difflib.get_close_matches(name, known, n=1, cutoff=cutoff)]

    elsewhere = [key for like in difflib.get_close_matches(name, last, n=1, cutoff=0.8) for key in last[like]]
    near = last.get(name) or here(0.6) or elsewhere or here(0.4)
    return sorted(near, key=lambda key: key.split(".")[: len(parents)] != parents)[:3]


def _keys_at(schema: type[Section], location: list[str]) -> list[str]:
    section: Any = schema
    for part in location:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, Section))
    return list(section.model_fields)


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def describe_keys(
    section: type[Section], prefix: str = "", defaults: Section | None = None
) -> list[tuple[str, str, str]]:
    """Every key of a configuration as (key, default, meaning), for `eccsnn list keys`.

    Args:
        section: Part of the schema.
        prefix: What stands before its keys.
        defaults: Its default where it stands; None takes the defaults of its class.
    """
    rows = []
    for name, field in section.model_fields.items():
        default = field.default if defaults is None else getattr(defaults, name)
        below = [c for c in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_section(c)]
        if below:
            rows += describe_keys(below[0], f"{prefix}{name}.", default)
            continue
        shown = "(required)" if field.is_required() else json.dumps(default)
        choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
        meaning = field.description or " | ".join(choice for choice in choices if isinstance(choice, str))
        rows.append((prefix + name, shown, meaning))
    return rows


def _is_section(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Section)
