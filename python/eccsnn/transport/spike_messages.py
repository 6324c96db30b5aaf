"""Messages of samples that travel timestep by timestep: requests with spikes, and the answers to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from eccsnn.errors import MessageError
from eccsnn.transport.answers import Verdict, is_brief, make_answer, read_answer
from eccsnn.transport.messages import (
    MAX_NAME_CHARS,
    SERVICE,
    ClassList,
    Name,
    RequestError,
    code_name,
)
from eccsnn.transport.packed_spikes import PACKED
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb


class SampleRefusedError(RequestError):
    """The cloud refused a packet, and so its sample.

    Attributes:
        sequence: number of the sample.
    """

    def __init__(self, code: int, message: str, sequence: int) -> None:
        super().__init__(code, message)
        self.sequence = sequence


@dataclass(frozen=True)
class StreamNames:
    """What a stream's latest request has said, and later packets may leave out."""

    edge_id: str = ""
    session: str = ""
    split_point: str = ""


@dataclass(frozen=True)
class StepAnswer(Verdict):
    """The cloud's answer to one timestep: its verdict on the running mean of the logits, and how it came about.

    Attributes:
        sequence: of the sample.
        timestep: of the request.
        exit: the cloud has ended the sample, because it is sure enough.
        last: no further answer follows.
        queue_ms: time the packet waited in the cloud.
        compute_ms: time its timestep took, with all that shared the model's call.
    """

    sequence: int
    timestep: int
    exit: bool
    last: bool
    queue_ms: float
    compute_ms: float


def spike_request(
    name: Name,
    data: bytes,
    *,
    codec: int = PACKED,
    last: bool = False,
    split_point: str = "",
    exit_threshold: float | None = None,
    model_id: str = "",
    class_list_version: int = 0,
    brief: bool = False,
) -> pb.InferRequest:
    """A request that carries the spikes of one timestep.

    Args:
        name: with an empty edge id and session where the stream knows them.
        data: the packet.
        codec: its number.
        last: no further timestep follows.
        split_point: where the network is cut; empty: as the stream's latest request has said.
        exit_threshold: confidence at which the cloud ends the sample, with timestep 0; None: the model's.
        model_id: model that is meant; empty: the one served.
        class_list_version: class list that the edge knows; 0: any.
        brief: with timestep 0, ask for the class and the confidence alone in all answers to this sample.
    """
    request = pb.InferRequest(
        edge_id=name.edge_id,
        session=name.session,
        sequence=name.sequence,
        timestep=name.timestep,
        last=last,
        model_id=model_id,
        split_point=split_point,
        class_list_version=class_list_version,
        brief=brief,
        spikes=pb.SpikePacket(codec=codec, data=data),
    )
    if exit_threshold is not None:
        request.exit_threshold = exit_threshold
    return request


def end_request(sequence: int) -> pb.InferRequest:
    """A request that ends a sample of this stream before its last timestep."""
    return pb.InferRequest(sequence=sequence, end=pb.EndSample())


def learn(request: pb.InferRequest, known: StreamNames) -> StreamNames:
    """What holds for a stream's next packet after a request that is none: its names, where they can be names."""
    edge_id, session = (text if len(text) <= MAX_NAME_CHARS else "" for text in (request.edge_id, request.session))
    return StreamNames(edge_id or known.edge_id, session or known.session, known.split_point)


def complete(request: pb.InferRequest, known: StreamNames) -> StreamNames:
    """Fill in what a packet of spikes or an end has left out, and return what holds for the next.

    Raises:
        RequestError: a name is missing or too long.
    """
    request.edge_id = request.edge_id or known.edge_id
    request.session = request.session or known.session
    request.split_point = request.split_point or known.split_point
    for what, text in (
        ("edge_id", request.edge_id),
        ("session", request.session),
        ("split_point", request.split_point),
    ):
        if not 1 <= len(text) <= MAX_NAME_CHARS:
            raise RequestError(
                pb.ERROR_CODE_MALFORMED,
                f"{what} has {len(text)} characters; expected 1 to {MAX_NAME_CHARS} (a stream's first packet has to "
                "say it)",
            )
    if len(request.model_id) > MAX_NAME_CHARS:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED,
            f"model_id has {len(request.model_id)} characters; expected at most {MAX_NAME_CHARS}",
        )
    return StreamNames(request.edge_id, request.session, request.split_point)


def check_geometry(packet: pb.SpikePacket, shape: tuple[int, int, int], max_count: int, max_bytes: int) -> None:
    """Check what a packet says of itself, and its size; its bytes are decoded later.

    Raises:
        RequestError: several timesteps, another shape than is served, or too many bytes.
    """
    if packet.timesteps > 1:
        raise RequestError(
            pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
            f"a packet came with {packet.timesteps} timesteps; send one packet a timestep",
        )
    given = (packet.channels, packet.height, packet.width)
    if any(given) and given != shape:
        raise RequestError(
            pb.ERROR_CODE_SHAPE_MISMATCH,
            f"spikes are {list(given)}; the split point takes {list(shape)} (channels, height, width)",
        )
    if packet.max_count not in (0, max_count):
        raise RequestError(
            pb.ERROR_CODE_SHAPE_MISMATCH, f"max_count is {packet.max_count}; the split point has {max_count}"
        )
    if len(packet.data) > max_bytes:
        raise RequestError(
            pb.ERROR_CODE_BAD_PAYLOAD, f"a packet has {len(packet.data)} bytes; expected at most {max_bytes}"
        )


def step_response(
    name: Name,
    logits: NDArray[np.float32],
    classes: ClassList,
    *,
    model_id: str,
    ends: bool,
    exits: bool,
    queue_ms: float,
    compute_ms: float,
    batch_size: int,
    brief: bool = False,
) -> pb.InferResponse:
    """The answer to one timestep; only that to the first repeats what stays the same over a sample.

    With `brief` it says the class and the confidence alone, and whose stream it is on is left to the stream.
    """
    first = name.timestep == 0
    response = pb.InferResponse(
        sequence=name.sequence,
        timestep=name.timestep,
        last=ends,
        exit=exits,
        queue_ms=queue_ms,
        compute_ms=compute_ms,
        answer=make_answer(logits, classes.class_ids, classes.version, brief=brief, first=first),
    )
    if not brief:
        response.batch_size = batch_size
        if first:
            response.session, response.model_id = name.session, model_id
    return response


def parse_step(raw: bytes, session: str, expected: ClassList, *, brief: bool = False) -> StepAnswer:
    """Parse the answer to a timestep; whether it was due, the caller has to know.

    Args:
        raw: bytes of an InferResponse.
        session: of the requests.
        expected: the class list that the answer must use.
        brief: the answers were asked to be brief; logits are taken all the same.

    Raises:
        SampleRefusedError: the cloud refused the sample.
        MessageError: the bytes are no answer, or one of another session, over other classes, or with impossible
            numbers.
    """
    try:
        response = pb.InferResponse.FromString(raw)
    except DecodeError as error:
        raise MessageError(f"{len(raw)} bytes are no {SERVICE} answer ({error})") from error
    outcome = response.WhichOneof("outcome")
    if outcome == "error":
        detail = response.error
        refused = SampleRefusedError(
            detail.code, f"the cloud refused the sample ({code_name(detail.code)}): {detail.message}", response.sequence
        )
        refused.retryable = detail.retryable
        raise refused
    answer, later = response.answer, response.timestep > 0
    short = is_brief(answer)
    if response.session not in (("", session) if later or short else (session,)):
        raise MessageError(f"the answer is for session {response.session!r}; expected {session!r}")
    if outcome is None:
        raise MessageError("the answer holds neither logits nor an error; is the cloud newer than this edge?")
    version = expected.version if later and short and not answer.class_list_version else answer.class_list_version
    ids = expected.class_ids if (later or short) and not answer.class_ids else tuple(answer.class_ids)
    if (ids, version) != (expected.class_ids, expected.version):
        raise MessageError(
            f"the answer is over class list version {answer.class_list_version}; expected version {expected.version} "
            f"with {len(expected.class_ids)} classes: fetch the cloud's class list again"
        )
    verdict = read_answer(answer, expected.class_ids, brief=brief)
    times = (response.queue_ms, response.compute_ms)
    if not all(math.isfinite(time) and time >= 0 for time in times):
        raise MessageError(f"the answer's times are {times} ms; expected finite numbers >= 0")
    return StepAnswer(
        verdict.label,
        verdict.confidence,
        verdict.logits,
        response.sequence,
        response.timestep,
        response.exit,
        response.last,
        *times,
    )
