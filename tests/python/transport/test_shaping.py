"""The link shaper: its arithmetic as a function, its bytes and their order over real sockets."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.errors import ConfigError
from eccsnn.transport.shaping import LinkShape, LinkShaper, WireBytes, delivery_s, shaped_link

SHAPES = [LinkShape(), LinkShape(rtt_ms=2), LinkShape(up_mbit_s=200), LinkShape(2, 100, 400)]


def test_delivery_adds_waiting_sending_and_travel() -> None:
    assert delivery_s(0.0, 1500, 0.0, None, 0.0) == (0.0, 0.0)
    assert delivery_s(1.0, 1500, 0.0, 12.0, 0.010) == pytest.approx((1.001, 1.011))  # 12 kbit at 12 Mbit/s: 1 ms
    assert delivery_s(1.0, 1500, 1.5, 12.0, 0.010) == pytest.approx((1.501, 1.511))  # waits for the link


@given(
    gaps=st.lists(st.floats(0, 0.1), min_size=1, max_size=20),
    sizes=st.lists(st.integers(1, 1500), min_size=20, max_size=20),
    mbit_s=st.none() | st.floats(0.1, 1000),
    delay_s=st.floats(0, 0.5),
)
def test_frames_leave_in_order_and_never_above_the_rate(gaps, sizes, mbit_s, delay_s) -> None:
    arrival = free = 0.0
    due = []
    for gap, size in zip(gaps, sizes, strict=False):
        arrival += gap
        free, delivered = delivery_s(arrival, size, free, mbit_s, delay_s)
        due.append(delivered)
        assert delivered >= arrival + delay_s
    assert due == sorted(due)
    if mbit_s is not None:
        assert free * mbit_s * 1e6 >= 8 * sum(sizes[: len(gaps)]) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rtt_ms": -1}, "rtt_ms"),
        ({"rtt_ms": float("nan")}, "rtt_ms"),
        ({"up_mbit_s": 0}, "up_mbit_s"),
        ({"down_mbit_s": float("nan")}, "down_mbit_s"),
    ],
)
def test_impossible_links_are_refused(options, text) -> None:
    with pytest.raises(ConfigError, match=text):
        LinkShape(**options)


def run_with_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    shape: LinkShape,
    body: Callable[[LinkShaper], Awaitable[None]],
) -> LinkShaper:
    """Run `body` against a shaper in front of a server."""

    async def main() -> LinkShaper:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        shaper = LinkShaper("127.0.0.1", server.sockets[0].getsockname()[1], shape)
        await shaper.start()
        try:
            await body(shaper)
        finally:
            await shaper.stop()
            server.close()
        return shaper

    return asyncio.run(main())


async def reply_twice_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, then answer: needs the half-close to arrive."""
    data = await reader.read()
    writer.write(data.upper() * 2)
    writer.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_arrive_in_order_and_are_counted_exactly(shape: LinkShape) -> None:
    sent = b"".join(b"%07d " % i for i in range(6000))  # 48 kB: many frames

    async def body(shaper: LinkShaper) -> None:
        for turn in (1, 2):
            reader, writer = await asyncio.open_connection(shaper.host, shaper.port)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent.upper() * 2
            writer.close()
            assert shaper.wire == WireBytes(turn * len(sent), turn * 2 * len(sent))
            assert shaper.connections == turn

    run_with_server(reply_twice_in_capitals, shape, body)


def test_more_than_the_queue_holds_goes_through() -> None:
    sent = bytes(3 * 1024 * 1024)

    async def body(shaper: LinkShaper) -> None:
        reader, writer = await asyncio.open_connection(shaper.host, shaper.port)
        writer.write(sent)
        writer.write_eof()
        assert len(await reader.read()) == 2 * len(sent)
        writer.close()

    assert run_with_server(reply_twice_in_capitals, LinkShape(1, 4000, None), body).wire.up == len(sent)


def test_a_server_that_hangs_up_is_seen_by_the_client() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"bye")
        writer.close()

    async def body(shaper: LinkShaper) -> None:
        reader, writer = await asyncio.open_connection(shaper.host, shaper.port)
        writer.write(b"x")
        assert await reader.read() == b"bye"
        writer.close()

    assert run_with_server(hang_up, LinkShape(rtt_ms=1), body).wire == WireBytes(1, 3)


def test_no_server_behind_the_link_closes_the_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            shaped_link("127.0.0.1", unused.getsockname()[1]) as link,
            socket.create_connection((link.host, link.port)) as client,
        ):
            assert client.recv(10) == b""
            assert link.wire == WireBytes(0, 0)


def test_stop_cuts_open_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with shaped_link("127.0.0.1", server.getsockname()[1], LinkShape(rtt_ms=1)) as link:
            client = socket.create_connection((link.host, link.port))
            accepted, _ = server.accept()
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
        with client, accepted:
            assert client.recv(1) == b""
            assert accepted.recv(1) == b""


def test_an_error_in_the_body_still_stops_the_link() -> None:
    with pytest.raises(KeyError), shaped_link("127.0.0.1", 9) as link:
        raise KeyError
    with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
        socket.create_connection((link.host, link.port))


def test_differences_of_wire_bytes() -> None:
    assert WireBytes(10, 5) - WireBytes(4, 1) == WireBytes(6, 4)
