"""The cloud side: an asyncio gRPC server around a `CloudHandler`.

Nothing forks after gRPC has started: the model runs on a thread, and another server is another process
started afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from eccsnn.errors import EccsnnError, MessageError
from eccsnn.services.handler import CloudHandler, CloudLimits, CloudModel, Predict, class_list
from eccsnn.services.merging import MergedStatistics, refuse_fetch, refuse_push
from eccsnn.services.samples import SampleStream
from eccsnn.services.split import SplitModel
from eccsnn.transport import tls
from eccsnn.transport.messages import MESSAGE_SLACK_BYTES, SERVICE

_LOG = logging.getLogger(__name__)

STREAM_WINDOW = 64
"""Requests of one stream that may be under way at once."""

MAX_CONCURRENT_RPCS = 1024
"""Calls under way at once; gRPC refuses more."""

READY_PREFIX = "eccsnn-cloud-ready "
"""Starts the line that says where the server listens; JSON follows."""


@dataclass(frozen=True)
class Bound:
    """Where a server listens, and what it serves."""

    host: str
    port: int
    tls: bool
    model_id: str
    pid: int

    def line(self) -> str:
        """The machine-readable line; `Bound.parse` reads it.

        Example:
            >>> Bound.parse(Bound("127.0.0.1", 50051, False, "vgg16", 1).line()).port
            50051
        """
        return READY_PREFIX + json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Bound:
        """Read a line written by `line`.

        Raises:
            MessageError: it is another line.
        """
        if not line.startswith(READY_PREFIX):
            raise MessageError(f"expected a line that starts with {READY_PREFIX!r}, got {line!r}")
        try:
            return cls(**json.loads(line.removeprefix(READY_PREFIX)))
        except (ValueError, TypeError) as error:
            raise MessageError(f"the cloud's ready line does not parse ({error}): {line!r}") from error


class CloudServer:
    """A gRPC server in the running event loop.

    Args:
        handler: answers the requests.
        host: address to listen on; "127.0.0.1" for this machine alone, "0.0.0.0" for everyone.
        port: port; 0: any free one.
        tls_cert: PEM file with the server's certificate; None: no TLS.
        tls_key: PEM file with its key; given together with `tls_cert`.
        merged: adds up the statistics of edges that learn; None: they are refused. Closed by whoever made it.

    Raises:
        ConfigError: the TLS files do not load.
        ValueError: only one of the TLS files is given.
    """

    def __init__(
        self,
        handler: CloudHandler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
        merged: MergedStatistics | None = None,
    ) -> None:
        if (tls_cert is None) != (tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both, or neither for a server without TLS")
        self._credentials = None
        if tls_cert is not None and tls_key is not None:
            self._credentials = tls.server_credentials(tls_cert, tls_key)
        self._handler = handler
        self._merged = merged
        self._address = (host, port)
        self._server: grpc.aio.Server | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> Bound:
        """Start to listen.

        Raises:
            EccsnnError: the address cannot be bound.
        """
        limit = self._handler.limits.max_message_bytes
        if self._merged is not None:
            limit = max(limit, self._merged.max_push_bytes)
        server = grpc.aio.server(
            maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
            options=[
                ("grpc.max_receive_message_length", limit + MESSAGE_SLACK_BYTES),
                ("grpc.max_send_message_length", limit + MESSAGE_SLACK_BYTES),
                # An edge that vanishes without a word would keep its stream's samples for ever.
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.so_reuseport", 0),  # a second server on the same port is an error, not a lottery
            ],
        )
        # Raw bytes in and out: the handler parses, so malformed bytes get a typed answer.
        methods = {
            "Infer": grpc.unary_unary_rpc_method_handler(self._infer),
            "InferStream": grpc.stream_stream_rpc_method_handler(self._infer_stream),
            "GetInfo": grpc.unary_unary_rpc_method_handler(self._get_info),
            "PushStatistics": grpc.unary_unary_rpc_method_handler(self._push_statistics),
            "FetchStatistics": grpc.unary_unary_rpc_method_handler(self._fetch_statistics),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        host, port = self._address
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._credentials is not None:
                bound = server.add_secure_port(address, self._credentials)
            else:
                bound = server.add_insecure_port(address)
        except RuntimeError as error:
            bound, reason = 0, str(error)
        else:
            reason = "gRPC gives no reason"
        if bound == 0:
            raise EccsnnError(
                f"cannot listen on {address} ({reason}): is the port in use, or the host not of this machine? "
                "Port 0 takes any free one"
            )
        self._handler.start()
        await server.start()
        self._server = server
        return Bound(host, bound, self._credentials is not None, self._handler.model.model_id, os.getpid())

    async def stop(self, grace_s: float = 5.0) -> None:
        """Accept nothing more, let running requests end for `grace_s`, then cut them."""
        self._stopping.set()
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None
        await self._handler.close()

    async def _infer(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await self._handler.answer(raw, context.time_remaining())

    async def _get_info(self, _raw: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return self._handler.info()

    # Sums and the disk take milliseconds: on a thread, so that answers to images do not wait for them.

    async def _push_statistics(self, raw: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await asyncio.to_thread(refuse_push if self._merged is None else self._merged.answer_push, raw)

    async def _fetch_statistics(self, raw: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await asyncio.to_thread(refuse_fetch if self._merged is None else self._merged.answer_fetch, raw)

    async def _infer_stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """Answers in the order of the requests, which are worked on together."""
        under_way: asyncio.Queue[asyncio.Task[bytes | None] | None] = asyncio.Queue(STREAM_WINDOW)
        samples = SampleStream(self._handler)

        async def read() -> None:
            async for raw in requests:
                answer = samples.submit(raw, context.time_remaining())
                if answer is not None:
                    await under_way.put(answer)

        async def read_until_stopped() -> None:
            # Edges keep their streams open: a server that stops must not wait for them.
            tasks = [asyncio.create_task(read()), asyncio.create_task(self._stopping.wait())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
            await under_way.put(None)

        reader = asyncio.create_task(read_until_stopped())
        try:
            while (task := await under_way.get()) is not None:
                answer = await task
                if answer is not None:
                    yield answer
        finally:
            reader.cancel()
            samples.close()
            while not under_way.empty():
                left = under_way.get_nowait()
                if left is not None:
                    left.cancel()


async def serve(
    model: CloudModel,
    limits: CloudLimits | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    merged: MergedStatistics | None = None,
    grace_s: float = 5.0,
    ready: Callable[[Bound], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        model: what is served.
        limits: bounds; None: the defaults.
        host: address to listen on.
        port: port; 0: any free one, told through `ready`.
        tls_cert: PEM file with the server's certificate; None: no TLS.
        tls_key: PEM file with its key.
        merged: adds up the statistics of edges that learn; None: they are refused.
        grace_s: how long running requests may take at the end.
        ready: called once the server listens.
        stop: ends the server; None: only cancellation does.

    Raises:
        ConfigError: the TLS files do not load.
        EccsnnError: the address cannot be bound.
    """
    server = CloudServer(
        CloudHandler(model, limits), host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, merged=merged
    )
    bound = await server.start()
    try:
        _LOG.info("serving %s on %s:%d%s", bound.model_id, bound.host, bound.port, " with TLS" if bound.tls else "")
        if ready is not None:
            ready(bound)
        await (stop or asyncio.Event()).wait()
        _LOG.info("stopping")
    finally:
        await server.stop(grace_s)


def print_ready(bound: Bound) -> None:
    """Print the machine-readable line that `Bound.parse` reads."""
    print(bound.line(), flush=True)


def run_cloud(
    predict: Predict,
    class_ids: Sequence[int],
    model_id: str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    class_names: Sequence[str] = (),
    class_list_version: int = 1,
    image_shape: tuple[int, int, int] | None = None,
    splits: Sequence[SplitModel] = (),
    limits: CloudLimits | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    merged: MergedStatistics | None = None,
    grace_s: float = 5.0,
    ready: Callable[[Bound], None] | None = print_ready,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT (or `stop`), then end in good order; blocks.

    Args:
        predict: uint8 `[N, C, H, W]` to logits `[N, K]`; called from one thread.
        class_ids: class of each of the K logits.
        model_id: name of the model.
        host: address to listen on.
        port: port; 0: any free one.
        class_names: names of the classes, or nothing.
        class_list_version: version of this list of classes, from 1.
        image_shape: `(C, H, W)` that the model takes; None: any.
        splits: what is served at split points besides.
        limits: bounds on what is accepted, held and remembered.
        tls_cert: PEM file with the server's certificate; None: no TLS.
        tls_key: PEM file with its key.
        merged: adds up the statistics of edges that learn; None: they are refused.
        grace_s: how long running requests may take at the end.
        ready: called once the server listens; by default prints one machine-readable line with the real port.
        stop: another way to end the server, for one that runs outside the main thread.

    Raises:
        ConfigError: the TLS files do not load.
        EccsnnError: the address cannot be bound.
        ValueError: class ids, names or shapes contradict each other.
    """
    classes = class_list(class_ids, class_names, class_list_version)
    model = CloudModel(predict, classes, model_id, image_shape, tuple(splits))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stopping.set)
        watcher: threading.Thread | None = None
        if stop is not None:

            def watch() -> None:
                stop.wait()
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    loop.call_soon_threadsafe(stopping.set)

            watcher = threading.Thread(target=watch, name="eccsnn-cloud-stop", daemon=True)
            watcher.start()
        await serve(
            model,
            limits,
            host=host,
            port=port,
            tls_cert=tls_cert,
            tls_key=tls_key,
            merged=merged,
            grace_s=grace_s,
            ready=ready,
            stop=stopping,
        )

    try:
        asyncio.run(main())
    finally:
        # grpc.aio stops its poller thread when the last of its objects is freed. Left to the interpreter's own
        # shutdown, when that thread can no longer run, this may wait for ever.
        gc.collect()


@contextlib.contextmanager
def background_cloud(predict: Predict, class_ids: Sequence[int], model_id: str, **options: Any) -> Iterator[Bound]:
    """`run_cloud` on a thread of this process, for notebooks and tests; yields where it listens.

    Args:
        predict: as for `run_cloud`.
        class_ids: as for `run_cloud`.
        model_id: as for `run_cloud`.
        options: other keyword arguments of `run_cloud`.

    Raises:
        Exception: whatever `run_cloud` raises before it listens.
    """
    listens = threading.Event()
    stop = threading.Event()
    bound: list[Bound] = []
    failure: list[BaseException] = []

    def ready(where: Bound) -> None:
        bound.append(where)
        listens.set()

    def run() -> None:
        try:
            run_cloud(predict, class_ids, model_id, ready=ready, stop=stop, **options)
        except BaseException as error:
            failure.append(error)
        finally:
            listens.set()

    thread = threading.Thread(target=run, name="eccsnn-cloud", daemon=True)
    thread.start()
    listens.wait()
    if not bound:
        raise failure[0]
    try:
        yield bound[0]
    finally:
        stop.set()
        thread.join()
