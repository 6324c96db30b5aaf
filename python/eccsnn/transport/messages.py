"""Builds and checks the messages of `eccsnn.v1`; bytes from outside become values here or a `RequestError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from google.protobuf.message import DecodeError

from eccsnn.errors import MessageError
from eccsnn.transport import images
from eccsnn.transport.answers import Verdict, is_brief, read_answer
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Cloud"].full_name
"""Full name of the gRPC service."""

INPUT_SPLIT_POINT = "input"
"""Split point of raw inputs: the cloud runs the whole model."""

MAX_NAME_CHARS = 128
"""Longest edge id, session, model id and split point."""

MESSAGE_SLACK_BYTES = 4096
"""What a message may have besides its payload."""

RETRYABLE = frozenset({pb.ERROR_CODE_OVERLOADED, pb.ERROR_CODE_DEADLINE_EXCEEDED, pb.ERROR_CODE_SHUTTING_DOWN})
"""Codes after which the same request may succeed."""

_CODEC_TO_WIRE = {"png": pb.IMAGE_CODEC_PNG, "jpeg": pb.IMAGE_CODEC_JPEG, "raw": pb.IMAGE_CODEC_RAW}
_CODEC_FROM_WIRE = {value: name for name, value in _CODEC_TO_WIRE.items()}


class RequestError(MessageError):
    """A request that is refused, with the code that says why.

    Attributes:
        code: one of `ErrorCode`, e.g. `ERROR_CODE_BAD_PAYLOAD`.
        retryable: whether the same request may succeed later.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = code in RETRYABLE

    @property
    def code_name(self) -> str:
        """Short name of the code in lower case, e.g. "bad_payload"."""
        return code_name(self.code)


def code_name(code: int) -> str:
    """Short name of an error code.

    Example:
        >>> code_name(2), code_name(4711)
        ('bad_payload', 'code_4711')
    """
    try:
        return pb.ErrorCode.Name(code).removeprefix("ERROR_CODE_").lower()
    except ValueError:
        return f"code_{code}"


@dataclass(frozen=True)
class ClassList:
    """Classes of a model's logits, in order, with the version that names this list."""

    class_ids: tuple[int, ...]
    version: int = 1
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_ids or min(self.class_ids) < 0 or len(set(self.class_ids)) != len(self.class_ids):
            raise ValueError(f"class_ids is {self.class_ids}; expected different integers >= 0, at least one")
        if self.version < 1:
            raise ValueError(f"class list version is {self.version}; expected at least 1 (0 means any)")
        if self.class_names and len(self.class_names) != len(self.class_ids):
            raise ValueError(f"{len(self.class_names)} class_names for {len(self.class_ids)} class_ids")


@dataclass(frozen=True)
class Answer(Verdict):
    """The cloud's answer to one request: its verdict, and how it came about.

    Attributes:
        class_list: class of each logit.
        model_id: model that answered; empty where the answer was brief, as is the batch size (1).
        queue_ms: time the request waited in the cloud.
        compute_ms: time the batch with this request took.
        batch_size: requests in that batch.
    """

    class_list: ClassList
    model_id: str
    queue_ms: float
    compute_ms: float
    batch_size: int


@dataclass(frozen=True)
class Name:
    """What makes a request unique, and so its answer repeatable."""

    edge_id: str
    session: str
    sequence: int
    timestep: int = 0


@dataclass(frozen=True)
class SplitInfo:
    """A split point that is served.

    Attributes:
        split_point: its name.
        shape: `(C, H, W)` of the spikes, the last two 0 where there are no spatial axes.
        timesteps: most of a sample.
        max_count: largest value of an element.
        codecs: numbers of the spike codecs that are decoded.
        exit_threshold: confidence at which the cloud ends a sample whose request says none.
    """

    split_point: str
    shape: tuple[int, int, int]
    timesteps: int
    max_count: int = 1
    codecs: tuple[int, ...] = (0,)
    exit_threshold: float = float("inf")


@dataclass(frozen=True)
class StreamCounts:
    """Work of a cloud on samples that came timestep by timestep, since it started; see the protocol."""

    samples: int = 0
    packets: int = 0
    timesteps_computed: int = 0
    packets_dropped: int = 0
    samples_abandoned: int = 0

    def __sub__(self, earlier: StreamCounts) -> StreamCounts:
        """What was done between two readings."""
        ours, theirs = asdict(self), asdict(earlier)
        return StreamCounts(**{name: ours[name] - theirs[name] for name in ours})


@dataclass(frozen=True)
class CloudInfo:
    """What a cloud serves."""

    server: str
    model_id: str
    class_list: ClassList
    image_shape: tuple[int, int, int] | None = None
    max_message_bytes: int = 0
    max_image_pixels: int = 0
    image_codecs: tuple[str, ...] = field(default=images.CODECS)
    splits: tuple[SplitInfo, ...] = ()
    counts: StreamCounts = StreamCounts()


def image_request(
    name: Name,
    data: bytes,
    codec: str,
    *,
    shape: tuple[int, int, int] | None = None,
    model_id: str = "",
    class_list_version: int = 0,
    brief: bool = False,
) -> pb.InferRequest:
    """A request that carries one encoded image.

    Args:
        name: edge id, session and sequence.
        data: bytes from `encode_image`.
        codec: "png", "jpeg" or "raw".
        shape: `(C, H, W)`, required for raw; PNG of channels other than 1 or 3 needs it, too.
        model_id: model that is meant; empty: the one served.
        class_list_version: class list that the edge knows; 0: any.
        brief: ask for the class and the confidence alone.

    Raises:
        ValueError: unknown codec, or raw without a shape.
    """
    if codec not in _CODEC_TO_WIRE:
        raise ValueError(f"image codec is {codec!r}; expected one of {', '.join(images.CODECS)}")
    payload = pb.ImagePayload(codec=_CODEC_TO_WIRE[codec], data=data)
    if codec == "raw":
        if shape is None:
            raise ValueError("a raw image needs its shape (channels, height, width)")
        payload.channels, payload.height, payload.width = shape
    elif codec == "png" and shape is not None and shape[0] not in (1, 3):
        payload.channels, payload.height, payload.width = shape
    return pb.InferRequest(
        edge_id=name.edge_id,
        session=name.session,
        sequence=name.sequence,
        timestep=name.timestep,
        last=True,
        model_id=model_id,
        split_point=INPUT_SPLIT_POINT,
        class_list_version=class_list_version,
        brief=brief,
        image=payload,
    )


def parse_request(raw: bytes) -> pb.InferRequest:
    """Parse a request; `check_request` says whether it can be served.

    Raises:
        RequestError: not an InferRequest.
    """
    try:
        return pb.InferRequest.FromString(raw)
    except DecodeError as error:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED, f"{len(raw)} bytes are no {SERVICE} request ({error}); send an InferRequest"
        ) from error


def check_request(request: pb.InferRequest) -> None:
    """Check everything but the payload's own bytes, which are decoded later.

    Raises:
        RequestError: a field is missing or out of range, or the payload is of a kind that is not served.
    """
    for what, text in (("edge_id", request.edge_id), ("session", request.session)):
        if not 1 <= len(text) <= MAX_NAME_CHARS:
            raise RequestError(
                pb.ERROR_CODE_MALFORMED, f"{what} has {len(text)} characters; expected 1 to {MAX_NAME_CHARS}"
            )
    for what, text in (("model_id", request.model_id), ("split_point", request.split_point)):
        if len(text) > MAX_NAME_CHARS:
            raise RequestError(
                pb.ERROR_CODE_MALFORMED, f"{what} has {len(text)} characters; expected at most {MAX_NAME_CHARS}"
            )
    kind = request.WhichOneof("payload")
    if kind is None:
        raise RequestError(pb.ERROR_CODE_MALFORMED, "the request has no payload this server knows; expected an image")
    if kind != "image":
        raise RequestError(
            pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
            f"payload {kind!r} is not served here; send the raw input as an image, or spikes on InferStream",
        )
    if request.split_point not in ("", INPUT_SPLIT_POINT):
        raise RequestError(
            pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
            f"split point {request.split_point!r} does not take an image; expected {INPUT_SPLIT_POINT!r} or nothing",
        )
    if request.timestep != 0 or not request.last:
        raise RequestError(
            pb.ERROR_CODE_MALFORMED,
            f"an image came with timestep {request.timestep}, last {request.last}; expected timestep 0 and last set",
        )
    if request.image.codec not in _CODEC_FROM_WIRE:
        raise RequestError(
            pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
            f"image codec {request.image.codec} is unknown; expected one of {', '.join(images.CODECS)}",
        )


def name_of(request: pb.InferRequest) -> Name:
    """What makes this request unique."""
    return Name(request.edge_id, request.session, request.sequence, request.timestep)


def decode_payload(
    payload: pb.ImagePayload, *, image_shape: tuple[int, int, int] | None, max_pixels: int, max_bytes: int
) -> images.ImageArray:
    """Decode the image of a request, uint8 `[C, H, W]`.

    Raises:
        RequestError: it does not decode, is above a limit, or is not of `image_shape`.
    """
    raw_shape = (payload.channels, payload.height, payload.width)
    try:
        image = images.decode_image(
            payload.data,
            _CODEC_FROM_WIRE[payload.codec],
            shape=raw_shape,
            max_pixels=max_pixels,
            max_bytes=max_bytes,
        )
    except MessageError as error:
        raise RequestError(pb.ERROR_CODE_BAD_PAYLOAD, str(error)) from error
    if image_shape is not None and image.shape != image_shape:
        raise RequestError(
            pb.ERROR_CODE_SHAPE_MISMATCH,
            f"image is {list(image.shape)}; the model takes {list(image_shape)} (channels, height, width)",
        )
    return image


def error_response(request: pb.InferRequest | None, error: RequestError, model_id: str = "") -> pb.InferResponse:
    """The answer that says why there is none; `request` is None when it could not be parsed."""
    response = pb.InferResponse(
        model_id=model_id,
        last=True,
        error=pb.ErrorDetail(code=error.code, message=str(error), retryable=error.retryable),  # type: ignore[arg-type]
    )
    if request is not None:
        response.session, response.sequence, response.timestep = request.session, request.sequence, request.timestep
    return response


def parse_answer(raw: bytes, name: Name, expected: ClassList | None, *, brief: bool = False) -> Answer:
    """Parse the cloud's answer and check that it belongs to the request.

    Args:
        raw: bytes of an InferResponse.
        name: of the request.
        expected: the class list that the answer must use; None: any that is valid in itself.
        brief: the answer was asked to be brief; logits are taken all the same. Needs `expected`.

    Raises:
        RequestError: the cloud refused the request.
        MessageError: the bytes are no answer, or an answer to another request, over other classes, or with impossible
            numbers.
    """
    try:
        response = pb.InferResponse.FromString(raw)
    except DecodeError as error:
        raise MessageError(f"{len(raw)} bytes are no {SERVICE} answer ({error})") from error
    outcome = response.WhichOneof("outcome")
    if outcome == "error":
        detail = response.error
        text = f"the cloud refused the request ({code_name(detail.code)}): {detail.message}"
        refused = RequestError(detail.code, text)
        refused.retryable = detail.retryable
        raise refused
    answer = response.answer
    short = is_brief(answer)
    session = name.session if short and not response.session else response.session
    given = (session, response.sequence, response.timestep)
    if given != (name.session, name.sequence, name.timestep):
        raise MessageError(f"the answer is for session, sequence, timestep {given}; expected {name}")
    if outcome is None:
        raise MessageError("the answer holds neither logits nor an error; is the cloud newer than this edge?")
    ids = expected.class_ids if short and expected is not None else tuple(answer.class_ids)
    verdict = read_answer(answer, ids, brief=brief)
    try:
        classes = ClassList(ids, answer.class_list_version)
    except ValueError as error:
        raise MessageError(f"the answer's class list is not valid: {error}") from error
    if expected is not None and (classes.version, classes.class_ids) != (expected.version, expected.class_ids):
        raise MessageError(
            f"the answer is over class list version {classes.version} with {len(classes.class_ids)} classes; expected "
            f"version {expected.version} with {len(expected.class_ids)}: fetch the cloud's class list again"
        )
    return Answer(
        verdict.label,
        verdict.confidence,
        verdict.logits,
        classes,
        response.model_id,
        response.queue_ms,
        response.compute_ms,
        max(1, response.batch_size),
    )


def info_response(info: CloudInfo) -> pb.GetInfoResponse:
    """The wire form of what a cloud serves."""
    return pb.GetInfoResponse(
        server=info.server,
        model_id=info.model_id,
        class_list=pb.ClassList(
            version=info.class_list.version,
            class_ids=info.class_list.class_ids,
            class_names=info.class_list.class_names,
        ),
        image_shape=info.image_shape or (),
        image_codecs=[_CODEC_TO_WIRE[name] for name in info.image_codecs],
        max_message_bytes=info.max_message_bytes,
        max_image_pixels=info.max_image_pixels,
        split_points=[split.split_point for split in info.splits],
        max_timesteps=max((split.timesteps for split in info.splits), default=0),
        splits=[
            pb.SplitInfo(
                split_point=split.split_point,
                channels=split.shape[0],
                height=split.shape[1],
                width=split.shape[2],
                max_count=split.max_count,
                timesteps=split.timesteps,
                codecs=split.codecs,
                exit_threshold=split.exit_threshold,
            )
            for split in info.splits
        ],
        stream_counts=pb.StreamCounts(**asdict(info.counts)),
    )


def parse_info(raw: bytes) -> CloudInfo:
    """Parse what a cloud says about itself.

    Raises:
        MessageError: not a GetInfoResponse, or one with an impossible class list or image shape.
    """
    try:
        response = pb.GetInfoResponse.FromString(raw)
    except DecodeError as error:
        raise MessageError(f"{len(raw)} bytes are no {SERVICE} information ({error})") from error
    listed = response.class_list
    try:
        classes = ClassList(tuple(listed.class_ids), listed.version, tuple(listed.class_names))
    except ValueError as error:
        raise MessageError(f"the cloud's class list is not valid: {error}") from error
    return CloudInfo(
        server=response.server,
        model_id=response.model_id,
        class_list=classes,
        image_shape=_shape(response.image_shape),
        max_message_bytes=response.max_message_bytes,
        max_image_pixels=response.max_image_pixels,
        image_codecs=tuple(_CODEC_FROM_WIRE[codec] for codec in response.image_codecs if codec in _CODEC_FROM_WIRE),
        splits=tuple(
            SplitInfo(
                split.split_point,
                (split.channels, split.height, split.width),
                split.timesteps,
                split.max_count,
                tuple(split.codecs),
                split.exit_threshold,
            )
            for split in response.splits
        ),
        counts=StreamCounts(**{name: getattr(response.stream_counts, name) for name in asdict(StreamCounts())}),
    )


def _shape(values: Sequence[int]) -> tuple[int, int, int] | None:
    if not values:
        return None
    if len(values) != 3 or min(values) < 1:
        raise MessageError(f"the cloud's image shape is {list(values)}; expected [channels, height, width]")
    return values[0], values[1], values[2]
