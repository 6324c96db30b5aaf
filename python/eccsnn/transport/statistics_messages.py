"""Messages with the statistics of edges that learn; what a state file's bytes mean is for `eccsnn.incremental`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from eccsnn.errors import MessageError
from eccsnn.transport.messages import MAX_NAME_CHARS, RequestError, code_name
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

MAX_STATISTICS_BYTES = 16 << 20
"""Default limit of the statistics in a message: 2048 features and 511 classes, while the second moment fits int32."""

MAX_SEQUENCE = 2**63 - 1
"""Largest sequence number: that of a signed 64-bit column."""

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True)
class Pushed:
    """What the cloud holds of an edge after a push.

    Attributes:
        sequence: of the contribution.
        version: of all contributions together.
    """

    sequence: int
    version: int


@dataclass(frozen=True)
class Fetched:
    """What the other edges have pushed.

    Attributes:
        version: of all contributions together.
        edges: whose contributions are in it.
        sha256: of the statistics.
        statistics: bytes of a state file; None where the edge has them already.
    """

    version: int
    edges: int
    sha256: bytes
    statistics: bytes | None


def parse_push(raw: bytes, max_bytes: int) -> pb.PushStatisticsRequest:
    """Parse and check a push, all but the statistics' own bytes.

    Raises:
        RequestError: it is none, a field is out of range, or the statistics are above `max_bytes`.
    """
    request = _request(pb.PushStatisticsRequest, raw)
    _check_edge(request.edge_id)
    if not 1 <= request.sequence <= MAX_SEQUENCE:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED, f"sequence is {request.sequence}; expected 1 to {MAX_SEQUENCE}: a version"
        )
    if not 1 <= len(request.statistics) <= max_bytes:
        raise RequestError(
            pb.ERROR_CODE_BAD_PAYLOAD, f"statistics have {len(request.statistics)} bytes; expected 1 to {max_bytes}"
        )
    return request


def parse_fetch(raw: bytes) -> pb.FetchStatisticsRequest:
    """Parse and check a request for statistics.

    Raises:
        RequestError: it is none, or a field is out of range.
    """
    request = _request(pb.FetchStatisticsRequest, raw)
    _check_edge(request.edge_id)
    if len(request.known_sha256) not in (0, 32):
        raise RequestError(
            pb.ERROR_CODE_MALFORMED, f"known_sha256 has {len(request.known_sha256)} bytes; expected 32 or none"
        )
    return request


def error_detail(error: RequestError) -> pb.ErrorDetail:
    """The wire form of a refusal."""
    return pb.ErrorDetail(code=error.code, message=str(error), retryable=error.retryable)  # type: ignore[arg-type]


def parse_pushed(raw: bytes, sequence: int) -> Pushed:
    """Parse the answer to a push of this sequence number.

    Raises:
        RequestError: the cloud refused it.
        MessageError: the bytes are no answer to it.
    """
    response = _response(pb.PushStatisticsResponse, raw)
    _raise_refusal(response)
    if response.sequence != sequence:
        raise MessageError(f"the cloud holds sequence {response.sequence} after a push of {sequence}")
    return Pushed(response.sequence, response.version)


def parse_fetched(raw: bytes, known_sha256: bytes) -> Fetched:
    """Parse the answer to a request for statistics.

    Raises:
        RequestError: the cloud refused it.
        MessageError: the bytes are no answer, or the statistics do not match their checksum.
    """
    response = _response(pb.FetchStatisticsResponse, raw)
    _raise_refusal(response)
    if not response.statistics:
        if not known_sha256 or response.sha256 != known_sha256:
            raise MessageError("the answer has no statistics, though they are others than those that are known")
        return Fetched(response.version, response.edges, response.sha256, None)
    if hashlib.sha256(response.statistics).digest() != response.sha256:
        raise MessageError("the statistics do not match their checksum; fetch them again")
    return Fetched(response.version, response.edges, response.sha256, response.statistics)


def _request(kind: type[_M], raw: bytes) -> _M:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED, f"{len(raw)} bytes are no {kind.DESCRIPTOR.name} ({error})"
        ) from error


def _response(kind: type[_M], raw: bytes) -> _M:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise MessageError(f"{len(raw)} bytes are no {kind.DESCRIPTOR.name} ({error})") from error


def _raise_refusal(response: pb.PushStatisticsResponse | pb.FetchStatisticsResponse) -> None:
    if response.HasField("error"):
        detail = response.error
        refused = RequestError(detail.code, f"the cloud refused it ({code_name(detail.code)}): {detail.message}")
        refused.retryable = detail.retryable
        raise refused


def _check_edge(edge_id: str) -> None:
    if not 1 <= len(edge_id) <= MAX_NAME_CHARS:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED, f"edge_id has {len(edge_id)} characters; expected 1 to {MAX_NAME_CHARS}"
        )
