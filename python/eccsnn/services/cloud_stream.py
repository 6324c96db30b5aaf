"""A bidirectional stream to a cloud as the edge's loop wants it: send without waiting, look whether anything came."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from eccsnn.errors import CloudUnavailableError, MessageError

SEND_WINDOW = 64
"""Messages that may wait to be sent; a sender that is faster than the link waits."""

RECEIVE_WINDOW = 1024
"""Answers that may wait to be read; more than any edge asks for at once."""


class CloudTimeoutError(CloudUnavailableError):
    """The cloud did not answer in time."""


class CloudStream:
    """One open stream: messages leave on gRPC's thread and arrive on one of this object's own.

    Args:
        start: starts the call with an iterator of messages, and returns the iterator of answers, which can be
            cancelled.
        translate: makes an error of the project of one of gRPC.
    """

    def __init__(
        self, start: Callable[[Iterator[bytes]], Any], translate: Callable[[grpc.RpcError], Exception]
    ) -> None:
        self._translate = translate
        self._outgoing: queue.Queue[bytes | None] = queue.Queue(SEND_WINDOW)
        self._incoming: queue.Queue[bytes | None] = queue.Queue(RECEIVE_WINDOW)
        self._failure: Exception | None = None
        self._call = start(self._messages())
        self._reader = threading.Thread(target=self._read, name="eccsnn-stream", daemon=True)
        self._reader.start()

    def send(self, message: bytes, timeout_s: float) -> None:
        """Hand over a message.

        Raises:
            CloudTimeoutError: the link took nothing for `timeout_s`.
            CloudUnavailableError: the stream has ended.
            MessageError: the other end does not speak this protocol.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._outgoing.put(message, timeout=timeout_s)
        except queue.Full:
            if self._failure is not None:
                raise self._failure from None
            raise CloudTimeoutError(
                f"the link to the cloud took nothing within {timeout_s:g} s; {SEND_WINDOW} messages wait"
            ) from None

    def poll(self) -> bytes | None:
        """An answer that has come, or None.

        Raises:
            CloudUnavailableError: the stream has ended.
            MessageError: the other end does not speak this protocol.
        """
        try:
            return self._checked(self._incoming.get_nowait())
        except queue.Empty:
            return None

    def wait(self, timeout_s: float) -> bytes:
        """Wait for the next answer.

        Raises:
            CloudTimeoutError: none came within `timeout_s`.
            CloudUnavailableError: the stream has ended.
            MessageError: the other end does not speak this protocol.
        """
        try:
            return self._checked(self._incoming.get(timeout=max(0.0, timeout_s)))
        except queue.Empty:
            raise CloudTimeoutError(f"the cloud did not answer within {timeout_s:g} s") from None

    def close(self) -> None:
        """End the stream; what is still on its way is lost."""
        self._call.cancel()
        self._reader.join()

    def _checked(self, answer: bytes | None) -> bytes:
        if answer is None:
            assert self._failure is not None
            _put_last(self._incoming)  # for whoever asks again
            raise self._failure
        return answer

    def _messages(self) -> Iterator[bytes]:
        """What gRPC sends, on its thread."""
        while (message := self._outgoing.get()) is not None:
            yield message

    def _read(self) -> None:
        failure: Exception = CloudUnavailableError("the cloud has ended the stream; is it stopping?")
        try:
            for answer in self._call:
                self._incoming.put_nowait(answer)
        except grpc.RpcError as error:
            failure = self._translate(error)
        except queue.Full:
            failure = MessageError(f"the cloud sent {RECEIVE_WINDOW} answers that nobody asked for")
            self._call.cancel()
        self._failure = failure
        _put_last(self._outgoing)
        _put_last(self._incoming)


def _put_last(items: queue.Queue[bytes | None]) -> None:
    """Put None, which whoever waits must see, however full the queue is."""
    while True:
        try:
            items.put_nowait(None)
            return
        except queue.Full:
            with contextlib.suppress(queue.Empty):
                items.get_nowait()
