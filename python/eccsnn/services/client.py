"""The edge's connection to a cloud: requests in, checked answers or errors out; no decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from eccsnn.errors import CloudUnavailableError, MessageError
from eccsnn.services.cloud_stream import CloudStream, CloudTimeoutError
from eccsnn.transport import images, messages, statistics_messages, tls
from eccsnn.transport.messages import MESSAGE_SLACK_BYTES, SERVICE, CloudInfo
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.statistics_messages import Fetched, Pushed

__all__ = ["CloudClient", "CloudTimeoutError", "address_of"]


def address_of(host: str, port: int) -> str:
    """`HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class CloudClient:
    """A channel to one cloud; connects at the first call and again after a failure.

    Args:
        host: host of the cloud, or of the link shaper in front of it.
        port: port.
        tls_root: PEM file with the certificates to trust; None: no TLS.
        tls_name: name in the cloud's certificate, where `host` is another (a link shaper); None: `host`.
        cloud: how errors call the cloud, where a link shaper stands in front of it; None: its address.
        max_message_bytes: largest message in either direction.

    Raises:
        ConfigError: the TLS file does not load.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls_root: str | Path | None = None,
        tls_name: str | None = None,
        cloud: str | None = None,
        max_message_bytes: int = images.MAX_BYTES,
    ) -> None:
        address = address_of(host, port)
        self.address = cloud or address
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", max_message_bytes + MESSAGE_SLACK_BYTES),
            ("grpc.max_send_message_length", max_message_bytes + MESSAGE_SLACK_BYTES),
            # A cloud that comes back is found within seconds; gRPC's own default goes up to two minutes. The minimum
            # stays as it is: it is also the time limit of a connection attempt, and slow links need several trips.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.enable_retries", 0),  # the agent repeats by itself, with its own bound and count
            ("grpc.use_local_subchannel_pool", 1),  # so that a second channel has a connection of its own
            ("grpc.enable_http_proxy", 0),
        ]
        if tls_root is not None:
            if tls_name is not None:
                options.append(("grpc.ssl_target_name_override", tls_name))
            self._channel = grpc.secure_channel(address, tls.channel_credentials(tls_root), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        # Raw bytes: message sizes are those that travel, and what does not parse becomes a MessageError.
        self._infer = self._channel.unary_unary(f"/{SERVICE}/Infer")
        self._infer_stream = self._channel.stream_stream(f"/{SERVICE}/InferStream")
        self._get_info = self._channel.unary_unary(f"/{SERVICE}/GetInfo")
        self._push = self._channel.unary_unary(f"/{SERVICE}/PushStatistics")
        self._fetch = self._channel.unary_unary(f"/{SERVICE}/FetchStatistics")

    def infer(self, request: bytes, timeout_s: float) -> bytes:
        """Send the bytes of an InferRequest, return those of the InferResponse.

        Raises:
            CloudTimeoutError: no answer within `timeout_s`.
            CloudUnavailableError: no connection, or it broke.
            MessageError: the message is above a size limit, or the other end does not speak this protocol.
        """
        try:
            return self._infer(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error, timeout_s) from error

    def infer_stream(self, requests: Iterable[bytes], timeout_s: float | None = None) -> Iterator[bytes]:
        """Send requests on one stream and yield their answers in the same order.

        Raises:
            CloudTimeoutError: the stream did not end within `timeout_s`.
            CloudUnavailableError: no connection, or it broke.
            MessageError: a message is above a size limit, or the other end does not speak this protocol.
        """
        try:
            yield from self._infer_stream(iter(requests), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error, timeout_s) from error

    def open_stream(self) -> CloudStream:
        """Open a stream for requests that depend on the answers to earlier ones; it stays open until it is closed."""
        return CloudStream(lambda requests: self._infer_stream(requests), lambda error: self._translate(error, None))

    def get_info(self, timeout_s: float) -> CloudInfo:
        """Ask what the cloud serves.

        Raises:
            CloudTimeoutError: no answer within `timeout_s`.
            CloudUnavailableError: no connection, or it broke.
            MessageError: the answer is not valid.
        """
        try:
            raw = self._get_info(b"", timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error, timeout_s) from error
        return messages.parse_info(raw)

    def push_statistics(self, edge_id: str, sequence: int, statistics: bytes, timeout_s: float) -> Pushed:
        """Put an edge's statistics in place of those it had pushed before; may be repeated.

        Args:
            edge_id: whose they are.
            sequence: their version, from 1.
            statistics: bytes of a state file.
            timeout_s: how long to wait.

        Raises:
            RequestError: the cloud refused them.
            CloudTimeoutError, CloudUnavailableError, MessageError: as for `infer`.
        """
        request = pb.PushStatisticsRequest(edge_id=edge_id, sequence=sequence, statistics=statistics)
        try:
            raw = self._push(request.SerializeToString(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error, timeout_s) from error
        return statistics_messages.parse_pushed(raw, sequence)

    def fetch_statistics(self, edge_id: str, known_sha256: bytes, timeout_s: float) -> Fetched:
        """Ask for the sum of what the other edges have pushed.

        Args:
            edge_id: whose own statistics are left out.
            known_sha256: of the statistics that the last `Fetched` had; empty: none.
            timeout_s: how long to wait.

        Raises:
            RequestError: the cloud refused it.
            CloudTimeoutError, CloudUnavailableError, MessageError: as for `infer`.
        """
        request = pb.FetchStatisticsRequest(edge_id=edge_id, known_sha256=known_sha256)
        try:
            raw = self._fetch(request.SerializeToString(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error, timeout_s) from error
        return statistics_messages.parse_fetched(raw, known_sha256)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the connection stands; calls do not need it, they connect by themselves.

        Raises:
            CloudTimeoutError: it does not stand after `timeout_s`.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout_s)
        except grpc.FutureTimeoutError:
            raise CloudTimeoutError(f"no connection to {self.address} within {timeout_s:g} s") from None

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> CloudClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _translate(self, error: grpc.RpcError, timeout_s: float | None) -> CloudUnavailableError | MessageError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            wait = f"{timeout_s:g} s" if timeout_s is not None else "its deadline"
            return CloudTimeoutError(f"the cloud at {self.address} did not answer within {wait}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger" in (details or ""):
            return MessageError(f"a message is above the size limit of {self.address} or of this edge: {details}")
        if code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL):
            return MessageError(f"{self.address} does not answer as {SERVICE} ({code.name}): {details}")
        return CloudUnavailableError(
            f"the cloud at {self.address} is not there or went away ({code.name}: {details}): is it running, and is "
            "TLS used on both sides or on neither?"
        )
