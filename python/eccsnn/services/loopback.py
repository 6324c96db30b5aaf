"""Both ends on one machine, in two processes, over a real TCP connection.

`python -m eccsnn.services.loopback module:factory '{"key": "value"}'` serves what a factory returns; a `CloudProcess`
starts that, or any other command that prints the ready line, and stops it again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import CloudUnavailableError, ConfigError, MessageError
from eccsnn.services.cloud import READY_PREFIX, Bound, run_cloud
from eccsnn.services.early_exit import ExitMode
from eccsnn.services.edge import EdgeRun, run_edge
from eccsnn.services.stream_run import StreamRun, run_stream
from eccsnn.transport.shaping import LinkShape

_LOG = logging.getLogger(__name__)


def factory_command(factory: str, **arguments: Any) -> list[str]:
    """The command that serves what a factory returns.

    Args:
        factory: "module:function"; the function returns a dict of arguments of `run_cloud`, at least `predict`,
            `class_ids` and `model_id`.
        arguments: keyword arguments of the function, as JSON can say them.

    Example:
        >>> factory_command("package.module:cloud", width=0.25)[1:]
        ['-m', 'eccsnn.services.loopback', 'package.module:cloud', '{"width": 0.25}']
    """
    return [sys.executable, "-m", "eccsnn.services.loopback", factory, json.dumps(arguments)]


class CloudProcess:
    """A cloud in a process of its own; starts on entry and is stopped on exit.

    The child is started afresh, not forked, and ends when this process does (its standard input closes).

    Args:
        command: prints the ready line on standard output once it listens, as `run_cloud` does.
        env: variables on top of this process's own.
        start_timeout_s: how long it may take to listen.
        stop_timeout_s: how long it may take to end after SIGTERM before it is killed.
        stderr: where its standard error goes; None: where this process's goes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 10.0,
        stderr: IO[Any] | None = None,
    ) -> None:
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._start_timeout_s, self._stop_timeout_s = start_timeout_s, stop_timeout_s
        self._stderr = stderr
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Bound:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Bound:
        """Start it and wait until it listens.

        Raises:
            CloudUnavailableError: it ended or was silent for too long before it listened.
        """
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=self._env,
                text=True,
            )
        except OSError as error:
            raise CloudUnavailableError(f"the cloud process {self._command!r} did not start: {error}") from error
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pump, args=(self._process.stdout, lines), daemon=True).start()
        try:
            while (line := lines.get(timeout=self._start_timeout_s)) is not None:
                if line.startswith(READY_PREFIX):
                    return Bound.parse(line)
            code = self._process.wait()
            reason = f"it ended with exit status {code}; its error output says why"
        except queue.Empty:
            reason = f"it did not listen within {self._start_timeout_s:g} s"
        except MessageError as error:
            reason = str(error)
        self.stop()
        raise CloudUnavailableError(f"the cloud process {' '.join(self._command)!r} did not start: {reason}")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; its exit status, or None when it never ran.

        Raises:
            TimeoutError: it still runs.
        """
        try:
            return self._process.wait(timeout_s) if self._process is not None else None
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the cloud process still runs after {timeout_s:g} s") from error

    def close_stdin(self) -> None:
        """Close its standard input, as the end of this process would."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def stop(self) -> int | None:
        """End it in good order; its exit status, or None when it never ran."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        try:
            process.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            _LOG.warning("the cloud process did not end within %g s; killing it", self._stop_timeout_s)
            process.kill()
            process.wait()
        self.close_stdin()
        return process.returncode


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """Read lines until the end, so that the child never blocks on a full pipe."""
    with stream:
        for line in stream:
            lines.put(line.rstrip("\n"))
    lines.put(None)


def measure_link(
    images: Iterable[NDArray[np.uint8]],
    *,
    cloud: Sequence[str],
    env: Mapping[str, str] | None = None,
    start_timeout_s: float = 120.0,
    **edge: Any,
) -> EdgeRun:
    """Start a cloud in a process of its own, answer images against it from this one, and stop it.

    Args:
        images: uint8 `[C, H, W]` each.
        cloud: command that serves and prints the ready line: `factory_command(...)` or the command line's `serve`.
        env: variables for that process on top of this one's.
        start_timeout_s: how long it may take to listen.
        edge: further arguments of `run_edge`, without `host` and `port`.

    Raises:
        CloudUnavailableError: the cloud process did not start.
        EccsnnError: as `run_edge`.
    """
    with CloudProcess(cloud, env=env, start_timeout_s=start_timeout_s) as bound:
        return run_edge(images, host=bound.host, port=bound.port, **edge)


def measure_stream(
    images: Sequence[NDArray[np.uint8]],
    *,
    cloud: Sequence[str],
    modes: Sequence[ExitMode] = tuple(ExitMode),
    shapes: Sequence[LinkShape] = (LinkShape(),),
    env: Mapping[str, str] | None = None,
    start_timeout_s: float = 120.0,
    **run: Any,
) -> list[StreamRun]:
    """Start a cloud in a process of its own, and answer the same images in every mode over every link.

    Args:
        images: uint8 `[C, H, W]` each.
        cloud: command that serves a split model and prints the ready line, such as `factory_command(...)`.
        modes: to compare.
        shapes: links to compare them over.
        env: variables for that process on top of this one's.
        start_timeout_s: how long it may take to listen.
        run: further arguments of `run_stream`, without `host` and `port`.

    Returns:
        One run a shape and mode, the modes of a shape together.

    Raises:
        CloudUnavailableError: the cloud process did not start.
        EccsnnError: as `run_stream`.
    """
    with CloudProcess(cloud, env=env, start_timeout_s=start_timeout_s) as bound:
        return [
            run_stream(images, mode=mode, shape=shape, host=bound.host, port=bound.port, **run)
            for shape in shapes
            for mode in modes
        ]


def load_factory(factory: str, arguments: str) -> dict[str, Any]:
    """Call "module:function" with keyword arguments given as a JSON object.

    Raises:
        ConfigError: there is no such function, or the arguments are no JSON object.
    """
    module, _, function = factory.partition(":")
    try:
        keywords = json.loads(arguments)
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot load {factory!r} with arguments {arguments!r} ({error}); expected 'module:function' and a "
            "JSON object"
        ) from error
    if not isinstance(keywords, dict):
        raise ConfigError(f"arguments are {arguments!r}; expected a JSON object")
    result = made(**keywords)
    if not isinstance(result, dict):
        raise ConfigError(f"{factory} returned {type(result).__name__}; expected a dict of arguments of run_cloud")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Serve what a factory returns until SIGTERM, SIGINT or the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m eccsnn.services.loopback", description=main.__doc__)
    parser.add_argument("factory", help="module:function that returns arguments of run_cloud")
    parser.add_argument("arguments", nargs="?", default="{}", help="its keyword arguments, a JSON object")
    given = parser.parse_args(argv)
    parent_gone = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        parent_gone.set()

    threading.Thread(target=watch, name="eccsnn-parent", daemon=True).start()
    run_cloud(**load_factory(given.factory, given.arguments), stop=parent_gone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
