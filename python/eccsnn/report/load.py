"""Run directories, read and checked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eccsnn.errors import DataError
from eccsnn.report.values import dig

RUN_SCHEMA = "eccsnn.run/1"
RESULTS_SCHEMA = "eccsnn.results/1"
STATUSES = ("running", "finished", "failed", "interrupted")


@dataclass(frozen=True)
class Run:
    """What a run directory says.

    Attributes:
        path: The directory.
        info: `run.json`.
        results: `results.json`, empty while a run has none.
        epochs: Lines of `metrics.jsonl` of kind "epoch".
        config: The resolved configuration.
        config_text: The same as it stands in `config.yaml`.
        problems: What was odd but did not stop the reading, in words for the reader.
    """

    path: Path
    info: Mapping[str, Any]
    results: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    config_text: str
    problems: Sequence[str] = ()

    @property
    def name(self) -> str:
        return str(self.info.get("name") or self.path.name)

    @property
    def status(self) -> str:
        return str(self.info["status"])

    @property
    def seed(self) -> Any:
        return self.info.get("seed")

    @property
    def class_names(self) -> list[str]:
        names = dig(self.results, "data", "class_names")
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def class_order(self) -> list[int]:
        """Indices of all classes in the order in which they are learnt."""
        tasks = dig(self.results, "scenario", "tasks")
        return [index for task in tasks for index in task] if isinstance(tasks, list) else []

    @property
    def execution(self) -> list[Mapping[str, Any]]:
        """The entries of the execution stage, one for each number of tasks learnt."""
        entries = self.results.get("execution")
        return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []

    def class_name(self, index: int | str) -> str:
        """The display name of a class, or ``class 7`` where the run does not name it."""
        try:
            return self.class_names[int(index)]
        except (IndexError, ValueError):
            return f"class {index}"


def load_run(path: Path) -> Run:
    """Reads a run directory.

    Args:
        path: A directory that holds `run.json`, `config.yaml`, usually `metrics.jsonl` and, once the run has finished,
            `results.json`.

    Raises:
        DataError: A file is missing, unreadable or of another format.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} is not a run directory: no such folder. Give a folder that `eccsnn run` has written.")
    info = _read_json(path / "run.json", RUN_SCHEMA)
    status = info.get("status")
    if status not in STATUSES:
        raise DataError(f"{path / 'run.json'}: status is {status!r}, expected one of {', '.join(STATUSES)}.")
    config_text = _read_text(path / "config.yaml")
    try:
        config = yaml.safe_load(config_text) or {}
    except yaml.YAMLError as error:
        raise DataError(f"{path / 'config.yaml'} is not valid YAML: {error}. Repeat the run.") from error
    if not isinstance(config, Mapping):
        raise DataError(f"{path / 'config.yaml'} holds {type(config).__name__}, expected a mapping. Repeat the run.")
    problems: list[str] = []
    results: Mapping[str, Any] = {}
    if status == "finished" or (path / "results.json").is_file():
        results = _read_json(path / "results.json", RESULTS_SCHEMA)
    epochs = _read_epochs(path / "metrics.jsonl", problems, tolerate_torn_end=status != "finished")
    return Run(path, info, results, epochs, config, config_text, problems)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(
            f"{file.parent} is not a complete run directory: {file.name} is missing. "
            "Give a folder that `eccsnn run` has written, or repeat the run."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _read_json(file: Path, schema: str) -> Mapping[str, Any]:
    try:
        content = json.loads(_read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is not valid JSON (line {error.lineno}): {error.msg}. Repeat the run.") from error
    if not isinstance(content, Mapping) or content.get("schema") != schema:
        given = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        raise DataError(f"{file}: schema is {given!r}, expected {schema!r}. Was it written by another version?")
    return content


def _read_epochs(file: Path, problems: list[str], *, tolerate_torn_end: bool) -> list[Mapping[str, Any]]:
    if not file.is_file():
        problems.append("metrics.jsonl is missing, so there are no training curves.")
        return []
    lines = _read_json_lines(file, problems, tolerate_torn_end)
    return [line for line in lines if line.get("kind") == "epoch" and line.get("epoch") is not None]


def _read_json_lines(file: Path, problems: list[str], tolerate_torn_end: bool) -> Iterator[Mapping[str, Any]]:
    lines = _read_text(file).splitlines()
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            if tolerate_torn_end and number == len(lines):
                problems.append("The last line of metrics.jsonl was cut off and is left out.")
                return
            raise DataError(f"{file}, line {number} is not valid JSON: {error.msg}.") from error
        if not isinstance(line, Mapping):
            raise DataError(f"{file}, line {number}: expected an object, found {type(line).__name__}.")
        yield line
