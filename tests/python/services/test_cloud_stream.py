"""The edge's end of a stream: windows, ends, failures; over a call that the test answers."""

import queue
import threading
from collections.abc import Iterator

import grpc
import pytest

from eccsnn.errors import CloudUnavailableError, MessageError
from eccsnn.services.cloud_stream import RECEIVE_WINDOW, SEND_WINDOW, CloudStream, CloudTimeoutError

WAIT_S = 30.0


class Call:
    """What gRPC returns: an iterator of answers that can be cancelled."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.answers: queue.Queue[bytes | Exception | None] = queue.Queue()
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        while (answer := self.answers.get()) is not None:
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def cancel(self) -> None:
        self.cancelled.set()
        self.answers.put(grpc.RpcError("cancelled"))


@pytest.fixture
def opened():
    calls: list[Call] = []

    def start(requests: Iterator[bytes]) -> Call:
        calls.append(Call(requests))
        return calls[0]

    stream = CloudStream(start, lambda error: CloudUnavailableError(f"translated: {error}"))
    yield stream, calls[0]
    stream.close()


def test_messages_go_out_in_order_and_answers_come_in(opened) -> None:
    stream, call = opened
    stream.send(b"1", WAIT_S)
    stream.send(b"2", WAIT_S)
    assert [next(call.requests), next(call.requests)] == [b"1", b"2"]
    assert stream.poll() is None
    call.answers.put(b"a")
    call.answers.put(b"b")
    assert stream.wait(WAIT_S) == b"a"
    assert stream.wait(WAIT_S) == b"b"
    with pytest.raises(CloudTimeoutError, match=r"within 0\.01 s"):
        stream.wait(0.01)


def test_a_link_that_takes_nothing_is_a_timeout(opened) -> None:
    stream, call = opened
    for _ in range(SEND_WINDOW):
        stream.send(b"x", WAIT_S)
    with pytest.raises(CloudTimeoutError, match="took nothing"):
        stream.send(b"x", 0.01)
    assert next(call.requests) == b"x"
    stream.send(b"y", WAIT_S)


@pytest.mark.parametrize(("end", "text"), [(None, "has ended the stream"), (grpc.RpcError("gone"), "translated: gone")])
def test_whoever_asks_after_the_end_hears_of_it(opened, end, text) -> None:
    stream, call = opened
    call.answers.put(b"last")
    call.answers.put(end)
    assert stream.wait(WAIT_S) == b"last"
    for _ in range(2):
        with pytest.raises(CloudUnavailableError, match=text):
            stream.wait(WAIT_S)
        with pytest.raises(CloudUnavailableError, match=text):
            stream.poll()
        with pytest.raises(CloudUnavailableError, match=text):
            stream.send(b"x", WAIT_S)
    assert list(call.requests) == []  # what gRPC reads from has ended, too


def test_more_answers_than_fit_end_the_stream(opened) -> None:
    stream, call = opened
    for _ in range(RECEIVE_WINDOW + 1):
        call.answers.put(b"flood")
    assert call.cancelled.wait(WAIT_S)
    with pytest.raises(MessageError, match="nobody asked for"):
        list(iter(lambda: stream.wait(WAIT_S), None))


def test_closing_ends_both_directions(opened) -> None:
    stream, call = opened
    for _ in range(SEND_WINDOW):
        stream.send(b"x", WAIT_S)
    stream.close()
    assert len(list(call.requests)) < SEND_WINDOW
    assert call.cancelled.is_set()
