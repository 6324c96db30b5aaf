"""The JSON file of a benchmark: what was measured, on what, and the command that repeats it."""

from __future__ import annotations

import contextlib
import json
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eccsnn.bench.machine import describe, load_average
from eccsnn.bench.peers import Absent, peer_versions
from eccsnn.errors import BenchmarkError, ConfigError
from eccsnn.experiments.provenance import git_state, now, versions
from eccsnn.whole_files import replacing

FORMAT = "eccsnn.bench"
VERSION = 2
BUSY_SPREAD = 0.25
"""Interquartile range over the median, above which a measurement is not judged."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measurement(_Part):
    """One number.

    Attributes:
        name: What was measured.
        owner: Whose: "eccsnn", a peer, or "bound" for a physical bound.
        value, spread: Median and interquartile range (upper minus lower quartile), in `unit`; spread 0 for what is
            counted.
        rounds: Number of measurements.
        bytes_per_item: Bytes that have to move for one item (a neuron-step, say).
        fraction_of_bound: Bandwidth on those bytes over the bandwidth of a copy in the same row.
        note: What a reader has to know.
    """

    name: str
    owner: str
    value: float = Field(ge=0)
    unit: str
    spread: float = Field(default=0.0, ge=0)
    rounds: int = Field(default=1, ge=1)
    bytes_per_item: float | None = None
    fraction_of_bound: float | None = None
    note: str | None = None


class Row(_Part):
    """Measurements that were made together, and the ratios that follow from them (above 1: eccsnn is better).

    Attributes:
        ratio_ranges: Lower and upper quartile of a ratio over single rounds; none where nothing was timed.
        facts: What else is known, such as how far the candidates agree.
    """

    name: str
    measurements: list[Measurement]
    ratios: dict[str, float] = {}
    ratio_ranges: dict[str, tuple[float, float]] = {}
    facts: dict[str, Any] = {}


class Result(_Part):
    """A headline.

    Attributes:
        value: The number.
        unit: "x" for a ratio.
        bar: What it has to reach; None: there is no bar.
        aim: Where it should end, in words.
        better: Whether higher or lower is better.
        spread: Of what was timed: the largest interquartile range over its median among the measurements that the value
            follows from. None for what is counted, which a busy machine does not change.
    """

    name: str
    value: float
    unit: str = "x"
    bar: float | None = None
    aim: str | None = None
    better: Literal["higher", "lower"] = "higher"
    spread: float | None = Field(default=None, ge=0)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.better == "higher" else self.value <= self.bar


class AbsentPeer(_Part):
    """A peer that was asked for and not measured, and why."""

    peer: str
    reason: str
    install: str | None = None


class Load(_Part):
    """Load averages of the last minute: processes that wanted a core."""

    before: float
    after: float


class Record(_Part):
    """A benchmark's file.

    Version 1 had no load, no ranges of ratios and no spread of results, and compared networks in fp32 alone.
    """

    format: Literal["eccsnn.bench"]
    version: Literal[1, 2]
    name: str
    title: str
    command: str
    date: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    threads: int = Field(ge=1)
    git: dict[str, Any]
    host_memory: str
    settings: dict[str, Any]
    absent: list[AbsentPeer]
    rows: list[Row] = Field(min_length=1)
    results: list[Result]
    load: Load | None = None

    @property
    def started_busy(self) -> bool:
        """Whether more than half the cores were wanted before the measurement; False where that was not recorded."""
        return self.load is not None and self.load.before > (self.hardware.get("cores") or 1) / 2

    def is_busy(self, result: Result) -> bool:
        """Whether a result cannot be judged, because something else may have run beside it."""
        return result.spread is not None and (self.started_busy or result.spread > BUSY_SPREAD)


def make_record(
    name: str,
    title: str,
    *,
    command: str,
    device: str,
    host_memory: str,
    settings: dict[str, Any],
    absent: Sequence[Absent],
    rows: Sequence[Row],
    results: Sequence[Result],
    load_before: float | None,
) -> Record:
    """A record of what was measured just now in this process; `load_before` is the `load_average` at its start."""
    load_after = load_average()
    return Record(
        format="eccsnn.bench",
        version=VERSION,
        name=name,
        title=title,
        command=command,
        date=now(),
        versions=versions() | peer_versions(),
        hardware=describe(device),
        threads=torch.get_num_threads(),
        git=git_state(),
        host_memory=host_memory,
        settings=settings,
        absent=[AbsentPeer(peer=a.peer, reason=a.reason, install=a.install) for a in absent],
        rows=list(rows),
        results=list(results),
        load=None if load_before is None or load_after is None else Load(before=load_before, after=load_after),
    )


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of ratios.

    Raises:
        ValueError: There are none, or one is not above 0.

    Example:
        >>> round(geometric_mean([2.0, 8.0]), 6)
        4.0
    """
    values = list(values)
    if not values or min(values) <= 0:
        raise ValueError(f"values are {values}; expected at least one, all above 0.")
    return math.exp(sum(map(math.log, values)) / len(values))


def default_path(name: str, changed: Sequence[str], device: str) -> Path:
    """benchmarks/<name>-<settings that are not the defaults>-<processor or GPU>.json.

    A processor whose name has no number (virtual machines hide it) is told by its family and model.

    Args:
        name: Of the benchmark.
        changed: Such as "bf16" and "width0.25"; runs of other settings go to other files.
        device: Of the run.
    """
    found = describe(device)
    slug = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@.*", " ", str(found["gpu"] or found["cpu"]).lower())
    if not found["gpu"] and not re.search(r"\d", slug) and "cpu_model" in found:
        slug += f" family {found.get('cpu_family')} model {found['cpu_model']}"
    slug = re.sub(r"[^a-z0-9]+", "-", slug).strip("-") or "unknown"
    return Path("benchmarks") / ("-".join([name, *changed, slug]) + ".json")


def check_writable(path: Path, option: str) -> None:
    """Checks that a file can be written, before anything is measured; leaves nothing behind.

    Raises:
        ConfigError: It cannot, or it is a folder; `option` starts the error.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        if path.is_dir():
            raise IsADirectoryError(0, f"{str(path)!r} is a folder")
        if path.exists() and not path.is_file():
            raise FileExistsError(0, "it is there and no regular file")
        for folder in path.parents:
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(0, f"{str(folder)!r} is no folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option}: {str(path)!r} cannot be written: {error.strerror or error}; expected a file in a folder that "
            "is there and writable, or that can be made."
        ) from error
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_record(record: Record, path: Path) -> Path:
    """Writes a record, whole or not at all, and makes its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return path


def load_record(path: Path) -> Record:
    """Reads and checks a record.

    Raises:
        BenchmarkError: The file is missing or is not a record of this version.
    """
    again = "measure again with `eccsnn bench NAME`, or move the file elsewhere"
    if not path.exists():
        raise BenchmarkError(f"{path} cannot be read: there is no such file; measure it with `eccsnn bench NAME`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON: {error}; {again}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BenchmarkError(f"{path} is not written by `eccsnn bench`: format is not {FORMAT!r}; {again}.")
    if content.get("version") not in (1, VERSION):
        raise BenchmarkError(
            f"{path} has version {content.get('version')!r} of the format; this eccsnn reads 1 to {VERSION}; {again}."
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(f"{path}: {where}: {first['msg']}; {again}.") from error
