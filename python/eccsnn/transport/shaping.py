"""A link with a known round trip and rate: a TCP proxy in user space that delays, throttles and counts.

It sits between client and server on one machine, needs no privileges, and counts what really crosses the TCP
connection: payload, protobuf, gRPC and HTTP/2 framing, and TLS records. TCP and IP headers are not seen and not
counted. The delays are deterministic: no jitter, no loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from eccsnn.errors import ConfigError

FRAME_BYTES = 1500
"""Unit that a rate-limited link sends at a time, as in one Ethernet frame."""

QUEUE_BYTES = 256 * 1024
"""Bytes a direction holds before it stops reading from the sender."""


@dataclass(frozen=True)
class LinkShape:
    """Delay and rate of a link.

    Attributes:
        rtt_ms: round trip; each direction delays by half of it, and a new connection waits one for its handshake.
        up_mbit_s: rate from edge to cloud in 10^6 bit/s; None: unlimited.
        down_mbit_s: rate from cloud to edge; None: unlimited.
    """

    rtt_ms: float = 0.0
    up_mbit_s: float | None = None
    down_mbit_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rtt_ms < float("inf"):
            raise ConfigError(f"rtt_ms is {self.rtt_ms}; expected a finite number >= 0")
        for name in ("up_mbit_s", "down_mbit_s"):
            rate = getattr(self, name)
            if rate is not None and not rate > 0:
                raise ConfigError(f"{name} is {rate}; expected a number > 0, or null for unlimited")

    def describe(self) -> str:
        """One phrase for tables.

        Example:
            >>> LinkShape(20, 10, 100).describe(), LinkShape().describe()
            ('RTT 20 ms, 10 Mbit/s up, 100 Mbit/s down', 'not shaped')
        """
        if self == LinkShape():
            return "not shaped"
        up, down = (f"{r:g} Mbit/s" if r is not None else "unlimited" for r in (self.up_mbit_s, self.down_mbit_s))
        return f"RTT {self.rtt_ms:g} ms, {up} up, {down} down"


def delivery_s(
    arrival_s: float, size_bytes: int, free_s: float, mbit_s: float | None, delay_s: float
) -> tuple[float, float]:
    """When a frame leaves a link: it waits for those before it, is sent at the link's rate, then travels.

    Args:
        arrival_s: when the frame reaches the link.
        size_bytes: its size.
        free_s: when the link has sent all earlier frames.
        mbit_s: rate in 10^6 bit/s; None: unlimited.
        delay_s: travel time in one direction.

    Returns:
        When the link is free again, and when the frame arrives at the other end (both in seconds).

    Example:
        >>> delivery_s(1.0, 125_000, 0.0, 1.0, 0.01)    # 1 Mbit at 1 Mbit/s
        (2.0, 2.01)
        >>> delivery_s(1.0, 125_000, 3.0, 1.0, 0.01)    # the link is busy until 3.0
        (4.0, 4.01)
    """
    start = max(arrival_s, free_s)
    free = start + (size_bytes * 8 / (mbit_s * 1e6) if mbit_s is not None else 0.0)
    return free, free + delay_s


@dataclass(frozen=True)
class WireBytes:
    """Bytes that crossed a link in each direction."""

    up: int = 0
    down: int = 0

    def __sub__(self, earlier: WireBytes) -> WireBytes:
        """What crossed between two readings."""
        return WireBytes(self.up - earlier.up, self.down - earlier.down)


class LinkShaper:
    """The proxy; use it in a running event loop, or `shaped_link` from code without one.

    All connections share the rate, as on one radio link.

    Args:
        target_host: where connections are passed on to.
        target_port: its port.
        shape: delay and rates.
        host: address to listen on.
        port: port to listen on; 0: any free one, to be read from `port` after `start`.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        shape: LinkShape | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.shape = shape or LinkShape()
        self.host, self.port = host, port
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = self._down = 0
        self._free_s = {True: 0.0, False: 0.0}  # when each direction has sent what it holds; up is True
        self.connections = 0

    @property
    def wire(self) -> WireBytes:
        """Bytes so far; safe to read from any thread."""
        return WireBytes(self._up, self._down)

    async def start(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._connect(client_in, client_out))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        writers = [client_out]
        try:
            server_in, server_out = await asyncio.open_connection(*self._target)
            writers.append(server_out)
            open_s = asyncio.get_running_loop().time() + self.shape.rtt_ms / 1e3
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(client_in, server_out, up=True, open_s=open_s))
                group.create_task(self._carry(server_in, client_out, up=False, open_s=open_s))
        except* OSError:
            pass  # one end is gone; closing the other tells it
        finally:
            for writer in writers:
                writer.close()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool, open_s: float
    ) -> None:
        """Move one direction of one connection until its end, reading ahead by at most `QUEUE_BYTES`."""
        rate = self.shape.up_mbit_s if up else self.shape.down_mbit_s
        if rate is None and self.shape.rtt_ms == 0:
            while chunk := await source.read(QUEUE_BYTES):
                self._count(len(chunk), up)
                sink.write(chunk)
                await sink.drain()
        else:
            frame_bytes = FRAME_BYTES if rate is not None else QUEUE_BYTES // 4
            frames: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_BYTES // frame_bytes)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(source, frames, rate, frame_bytes, up, open_s))
                group.create_task(self._deliver(frames, sink))
        if sink.can_write_eof():
            sink.write_eof()

    async def _read(
        self,
        source: asyncio.StreamReader,
        frames: asyncio.Queue[tuple[float, bytes]],
        rate: float | None,
        frame_bytes: int,
        up: bool,
        open_s: float,
    ) -> None:
        now = asyncio.get_running_loop().time
        due_s = 0.0
        while chunk := await source.read(frame_bytes):
            self._count(len(chunk), up)
            self._free_s[up], due_s = delivery_s(
                max(now(), open_s), len(chunk), self._free_s[up], rate, self.shape.rtt_ms / 2e3
            )
            await frames.put((due_s, chunk))
        await frames.put((due_s, b""))

    @staticmethod
    async def _deliver(frames: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due_s, chunk = await frames.get()
            wait_s = due_s - now()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if not chunk:
                return
            sink.write(chunk)
            await sink.drain()

    def _count(self, size: int, up: bool) -> None:
        if up:
            self._up += size
        else:
            self._down += size


@contextlib.contextmanager
def shaped_link(target_host: str, target_port: int, shape: LinkShape | None = None) -> Iterator[LinkShaper]:
    """Run a `LinkShaper` on its own thread; connect to its `host` and `port` instead of the target's.

    Raises:
        ConfigError: no port to listen on could be opened.
    """
    # The default loop rounds waits up to a millisecond, once in each direction; select() counts microseconds.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    thread = threading.Thread(target=loop.run_forever, name="eccsnn-link", daemon=True)
    shaper = LinkShaper(target_host, target_port, shape)
    thread.start()
    try:
        try:
            asyncio.run_coroutine_threadsafe(shaper.start(), loop).result()
        except OSError as error:
            raise ConfigError(f"the link shaper cannot listen on {shaper.host} ({error})") from error
        try:
            yield shaper
        finally:
            asyncio.run_coroutine_threadsafe(shaper.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
