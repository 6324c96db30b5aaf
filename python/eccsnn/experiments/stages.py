"""Stages: parts of an experiment whose results are kept under the hash of everything that they depend on.

A stage's key is the SHA-256 of its name, its resolved inputs (configuration, seed, data fingerprint, keys of the stages
before it) and the code that computes it. The same key is never computed twice, by whatever experiment, seed or resumed
run; another key is never reused. What is being computed lives in `KEY.partial`, where a stage keeps its own
checkpoints, and gets its final name only when it is complete.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from eccsnn import _core
from eccsnn.training.checkpoint import write_json

_LOG = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]

KERNELS_VERSION = 2
"""Raise it when a compiled kernel gives other numbers than before: sources in C++ and CUDA are not hashed, since most
changes of them (speed, another instruction set) leave the numbers as they are. Those of the codecs are: see `CODEC`."""

CODEC: dict[str, Any] = {"codec": _core.CODEC_SOURCES_SHA256}
"""Input of a stage that keeps packets or their sizes: the hash of the C++ sources of the codecs that were built."""

_CHECKPOINT = "checkpoint.safetensors"
_KEPT_BETWEEN_TRIES = ("seconds", _CHECKPOINT)


@dataclass(frozen=True)
class Artefact:
    """A finished stage.

    Attributes:
        name: Name of the stage.
        key: Hash of what it depends on.
        path: Folder with its files.
        reused: True when it was there before this run.
        seconds: What computing it took, whenever that was.
        computed: Where and with what it was computed: versions, hardware, git commit, device.
    """

    name: str
    key: str
    path: Path
    reused: bool
    seconds: float
    computed: dict[str, Any] = field(default_factory=dict)


@cache
def code_version(packages: tuple[str, ...]) -> str:
    """Hash of the Python code of some subpackages, comments and docstrings left out.

    Compiled kernels are covered by `KERNELS_VERSION`, codecs by the input `CODEC` of the stages that use them.

    >>> code_version(("nn",)) == code_version(("nn",))
    True
    """
    digest = hashlib.sha256(f"kernels {KERNELS_VERSION}".encode())
    for package in packages:
        target = _PACKAGE / package
        for path in sorted(target.rglob("*.py")) if target.is_dir() else [target]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                    value = body[0].value
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        value.value = ""
            digest.update(str(path.relative_to(_PACKAGE)).encode())
            digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


class StageStore:
    """Folder of artefacts, one folder a stage name, one folder a key below it."""

    def __init__(self, root: Path, context: dict[str, Any] | None = None) -> None:
        """Opens a store.

        Args:
            root: Folder; made when the first stage is kept.
            context: Where and with what this process computes (versions, hardware, git commit); kept with each new
                artefact, as JSON, and no part of any key.
        """
        self.root = root
        self.context = context or {}

    def key(self, name: str, inputs: dict[str, Any], code: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Key of a stage and the full description that it is the hash of."""
        text = json.dumps({"stage": name, "inputs": inputs, "code": code_version(tuple(code))}, sort_keys=True)
        # As it will be read back, so that a tuple does not differ from the list that it becomes.
        return hashlib.sha256(text.encode()).hexdigest(), json.loads(text)

    def run(self, name: str, inputs: dict[str, Any], code: Sequence[str], build: Callable[[Path], None]) -> Artefact:
        """Returns the artefact of a stage, computing it only when there is none.

        Args:
            name: Name of the stage.
            inputs: Everything that the result depends on, as JSON.
            code: Subpackages (or files) of eccsnn whose code the result depends on.
            build: Computes the stage into the folder it is given. It may find its own checkpoint there, from an earlier
                try that was killed; everything else of that try is gone.
        """
        key, described = self.key(name, inputs, code)
        final = self.root / name / key[:16]
        with self._lock(final):
            found = self._open(name, key, final)
            if found is not None:
                return found
            partial = final.with_name(final.name + ".partial")
            if (partial / _CHECKPOINT).exists():
                _LOG.info("stage %s: goes on from the checkpoint of an earlier try", name)
            else:
                self._say_why(name, described)
            partial.mkdir(parents=True, exist_ok=True)
            spent = _seconds_spent(partial)
            _clear(partial)
            start = time.monotonic()
            (partial / "started").write_text(f"{time.time():.3f}")
            try:
                build(partial)
            finally:
                spent += time.monotonic() - start
                if partial.exists():
                    (partial / "seconds").write_text(f"{spent:.3f}")
                    (partial / "started").unlink(missing_ok=True)
            files = {
                str(path.relative_to(partial)): _sha256(path)
                for path in sorted(partial.rglob("*"))
                if path.is_file() and path.name not in _KEPT_BETWEEN_TRIES
            }
            write_json(
                partial / "stage.json",
                {"key": key, "seconds": spent, "files": files, "computed": self.context, **described},
            )
            (partial / _CHECKPOINT).unlink(missing_ok=True)
            (partial / "seconds").unlink(missing_ok=True)
            os.replace(partial, final)
            return Artefact(name, key, final, reused=False, seconds=spent, computed=self.context)

    def _open(self, name: str, key: str, path: Path) -> Artefact | None:
        if not path.is_dir():
            return None
        problem = None
        try:
            stage = json.loads((path / "stage.json").read_text(encoding="utf-8"))
            if stage["key"] != key:
                problem = "it belongs to another key"
            for file, digest in stage["files"].items():
                if not (path / file).is_file() or _sha256(path / file) != digest:
                    problem = f"{file} is missing or was altered"
        except (OSError, ValueError, KeyError) as error:
            problem = f"stage.json cannot be read ({error})"
        if problem is None:
            return Artefact(
                name, key, path, reused=True, seconds=float(stage["seconds"]), computed=stage.get("computed", {})
            )
        aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
        os.replace(path, aside)
        _LOG.warning(
            "stage %s: the artefact %s is broken: %s. It was moved to %s and is computed again.",
            name,
            path,
            problem,
            aside,
        )
        return None

    def _say_why(self, name: str, described: dict[str, Any]) -> None:
        """Logs what differs from the nearest artefact of the same stage, so that no recomputation is a surprise."""
        nearest: list[str] | None = None
        for path in (self.root / name).glob("*/stage.json"):
            try:
                other = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            differs = _differences(described, {k: other.get(k) for k in described})
            if nearest is None or len(differs) < len(nearest):
                nearest = differs
        if nearest:
            _LOG.info(
                "stage %s: computed anew; against the nearest artefact this differs: %s", name, ", ".join(nearest[:6])
            )

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        """Lets one process at a time work on a key; another waits and then finds the finished artefact."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_name(path.name + ".lock"), "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOG.warning("stage %s is being computed by another process; waiting for it.", path)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _clear(partial: Path) -> None:
    """Removes what a killed try has left but its checkpoint: half-written files would end up in the artefact."""
    for path in partial.iterdir():
        if path.name in _KEPT_BETWEEN_TRIES:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _seconds_spent(partial: Path) -> float:
    """What earlier tries took; of one that was killed, the part up to its last checkpoint, since the rest is lost."""
    spent = _number_in(partial / "seconds")
    started = _number_in(partial / "started")
    if started and (partial / _CHECKPOINT).exists():
        spent += max(0.0, (partial / _CHECKPOINT).stat().st_mtime - started)
    if started:
        (partial / "seconds").write_text(f"{spent:.3f}")
    return spent


def _number_in(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{where}.{k}" if where else str(k))]
    return [] if a == b else [where]
