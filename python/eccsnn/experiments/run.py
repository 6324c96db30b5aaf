"""A run directory: everything that is needed to repeat, resume, inspect and report one experiment.

RUN/config.yaml      the resolved configuration, every default written out
RUN/run.json         status, seed, versions, hardware, git commit, stages with their keys
RUN/metrics.jsonl    one JSON object a line: what every epoch of every training measured
RUN/results.json     what came out (read by `eccsnn report`)
RUN/models/          the models, safetensors
RUN/tensorboard/     the same metrics for TensorBoard
RUN/run.log          what was logged
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eccsnn.errors import EccsnnError
from eccsnn.experiments import provenance
from eccsnn.experiments.schema import Config, dump_config
from eccsnn.experiments.stages import Artefact, StageStore
from eccsnn.training.checkpoint import write_atomically, write_json

LOG = logging.getLogger("eccsnn")


def run_directory(config: Config, runs_dir: Path) -> Path:
    """Folder of a configuration: the same configuration and seed give the same folder, so that a run is resumed."""
    digest = hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
    return runs_dir / config.name / f"seed{config.seed}-{digest[:8]}"


def _first_start(path: Path) -> str | None:
    """When this run was started first, so that resuming or reusing it does not rewrite its history."""
    try:
        started = json.loads((path / "run.json").read_text(encoding="utf-8"))["started"]
    except (OSError, ValueError, KeyError):
        return None
    return str(started)


class Run:
    """An open run directory; a context manager that leaves the right status behind, whatever happens.

    Args:
        config: The resolved configuration.
        runs_dir: Folder of all runs; stages are shared below `runs_dir/stages`.
        console: Where to print; None prints nothing.
    """

    def __init__(self, config: Config, runs_dir: Path, console: Console | None = None) -> None:
        self.config: Any = config  # the stages of each system know which schema theirs is
        self.path = run_directory(config, runs_dir)
        self.console = console or Console(quiet=True)
        self._start = time.monotonic()
        self._board: Any = None
        self._handlers: list[logging.Handler] = []
        self._lock: IO[str] | None = None
        self.info: dict[str, Any] = {
            "schema": "eccsnn.run/1",
            "name": config.name,
            "system": config.system,
            "status": "running",
            "seed": config.seed,
            "started": provenance.now(),
            "finished": None,
            "seconds": None,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(config.device),
            "git": provenance.git_state(),
            "stages": [],
        }
        context = {key: self.info[key] for key in ("versions", "hardware", "git")} | {"device": config.device}
        self.store = StageStore(runs_dir / "stages", context)

    def __enter__(self) -> Run:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EccsnnError(
                f"cannot make the run directory {self.path}: {error.strerror}. Choose another --runs-dir."
            ) from error
        self._lock = open(self.path / ".lock", "w")  # held until the run ends; the system frees it even after a kill
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise EccsnnError(
                f"{self.path} is being written by another process that runs the same configuration. Wait for it, or "
                "change the configuration (another seed, for example)."
            ) from None
        self.info["started"] = _first_start(self.path) or self.info["started"]
        write_atomically(self.path / "config.yaml", dump_config(self.config).encode())
        (self.path / "metrics.jsonl").write_text("")
        for old in (self.path / "tensorboard").glob("events.*"):
            old.unlink()
        write_json(self.path / "run.json", self.info)
        to_file = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        to_console = RichHandler(console=self.console, show_path=False, show_level=False, log_time_format="[%X]")
        self._handlers = [to_file, to_console]
        LOG.setLevel(logging.INFO)
        for handler in self._handlers:
            LOG.addHandler(handler)
        LOG.info("run directory %s", self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.info["status"] = "finished"
        elif issubclass(kind, KeyboardInterrupt | SystemExit):
            self.info["status"] = "interrupted"
        else:
            self.info["status"] = "failed"
            self.info["error"] = f"{kind.__name__}: {error}"
            if error is not None and self._handlers:  # for the log; whoever catches the error tells the user
                trouble = (type(error), error, trace)
                self._handlers[0].handle(LOG.makeRecord(LOG.name, logging.ERROR, "", 0, "traceback", (), trouble))
        self.info["finished"] = provenance.now()
        # Of all stages, whenever they were computed, and of this session: what the run costs, and what it cost now.
        self.info["seconds"] = round(sum(stage["seconds"] for stage in self.info["stages"]), 3)
        self.info["session_seconds"] = round(time.monotonic() - self._start, 3)
        write_json(self.path / "run.json", self.info)
        if self._board is not None:
            self._board.close()
        for handler in self._handlers:
            LOG.removeHandler(handler)
            handler.close()
        if self._lock is not None:
            self._lock.close()

    def stage(
        self, name: str, inputs: dict[str, Any], code: Sequence[str], build: Callable[[Path, StageProgress], None]
    ) -> Artefact:
        """Computes or reuses a stage; its metrics become part of the run's."""
        progress = StageProgress(self, name)

        def with_progress(folder: Path) -> None:
            progress.open(folder)
            try:
                build(folder, progress)
            finally:
                progress.close()

        artefact = self.store.run(name, inputs, code, with_progress)
        if artefact.reused:
            LOG.info(
                "stage %s: reused %s (took %.0f s when it was computed)", name, artefact.key[:16], artefact.seconds
            )
            metrics = artefact.path / "metrics.jsonl"
            if metrics.is_file():
                for line in metrics.read_text(encoding="utf-8").splitlines():
                    self.record(json.loads(line))
        else:
            LOG.info("stage %s: done in %.0f s, kept as %s", name, artefact.seconds, artefact.key[:16])
        self.info["stages"].append(
            {
                "name": name,
                "key": artefact.key,
                "reused": artefact.reused,
                "seconds": round(artefact.seconds, 3),
                "computed": artefact.computed,
            }
        )
        write_json(self.path / "run.json", self.info)
        return artefact

    def record(self, record: dict[str, Any]) -> None:
        """Adds one line to the run's metrics, and to TensorBoard."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, needed only here

            self._board = SummaryWriter(str(self.path / "tensorboard"))
        for key, value in record.items():
            if isinstance(value, int | float) and key not in ("epoch", "epochs"):
                self._board.add_scalar(f"{record['stage']}/{key}", value, record.get("epoch", 0))

    def keep(self, artefact: Artefact, file: str, name: str) -> None:
        """Copies a file of a stage into the run's `models/`, so that the run directory can travel alone."""
        target = self.path / "models" / name
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_name(f".{name}.partial")
        temporary.unlink(missing_ok=True)
        try:
            os.link(artefact.path / file, temporary)
        except OSError:  # another file system
            temporary.write_bytes((artefact.path / file).read_bytes())
        os.replace(temporary, target)
        temporary.unlink(missing_ok=True)  # renaming a link onto the same file leaves both names


class StageProgress:
    """What `eccsnn.training.fit` reports to: a progress bar, the stage's metrics and the run's."""

    def __init__(self, run: Run, stage: str) -> None:
        self._run = run
        self._stage = stage
        self._metrics: Path | None = None
        self._bar: Progress | None = None
        self._task: Any = None

    def open(self, folder: Path) -> None:
        """Starts anew; a resumed training reports its earlier epochs again."""
        self._metrics = folder / "metrics.jsonl"
        self._metrics.write_text("")

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """After a training step."""
        if not self._run.console.is_terminal or self._run.console.quiet:
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._run.console, transient=True)
            self._task = self._bar.add_task(self._stage, total=epochs * steps)
            self._bar.start()
        self._bar.update(
            self._task,
            completed=(epoch - 1) * steps + step,
            description=f"{self._stage} epoch {epoch}/{epochs} loss {loss:.3f}",
        )

    def epoch(self, record: dict[str, Any]) -> None:
        """After an epoch."""
        record = {"time": provenance.now(), "stage": self._stage, **record}
        if self._metrics is not None:
            with open(self._metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        self._run.record(record)
        shown = "  ".join(
            f"{key} {value:.4f}"
            for key, value in record.items()
            if key in ("loss", "val_accuracy") and value is not None
        )
        LOG.info(
            "%s epoch %d/%d  %s  %.0f images/s",
            self._stage,
            record["epoch"],
            record["epochs"],
            shown,
            record["samples_per_second"],
        )
