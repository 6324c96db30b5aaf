from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageCodec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_CODEC_UNSPECIFIED: _ClassVar[ImageCodec]
    IMAGE_CODEC_PNG: _ClassVar[ImageCodec]
    IMAGE_CODEC_JPEG: _ClassVar[ImageCodec]
    IMAGE_CODEC_RAW: _ClassVar[ImageCodec]

class ElementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ELEMENT_TYPE_UNSPECIFIED: _ClassVar[ElementType]
    ELEMENT_TYPE_FLOAT32: _ClassVar[ElementType]
    ELEMENT_TYPE_FLOAT16: _ClassVar[ElementType]
    ELEMENT_TYPE_BFLOAT16: _ClassVar[ElementType]
    ELEMENT_TYPE_UINT8: _ClassVar[ElementType]

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CODE_UNSPECIFIED: _ClassVar[ErrorCode]
    ERROR_CODE_MALFORMED: _ClassVar[ErrorCode]
    ERROR_CODE_BAD_PAYLOAD: _ClassVar[ErrorCode]
    ERROR_CODE_UNSUPPORTED_PAYLOAD: _ClassVar[ErrorCode]
    ERROR_CODE_SHAPE_MISMATCH: _ClassVar[ErrorCode]
    ERROR_CODE_MODEL_MISMATCH: _ClassVar[ErrorCode]
    ERROR_CODE_CLASS_LIST_MISMATCH: _ClassVar[ErrorCode]
    ERROR_CODE_SEQUENCE_CONFLICT: _ClassVar[ErrorCode]
    ERROR_CODE_OVERLOADED: _ClassVar[ErrorCode]
    ERROR_CODE_DEADLINE_EXCEEDED: _ClassVar[ErrorCode]
    ERROR_CODE_SHUTTING_DOWN: _ClassVar[ErrorCode]
    ERROR_CODE_INTERNAL: _ClassVar[ErrorCode]
IMAGE_CODEC_UNSPECIFIED: ImageCodec
IMAGE_CODEC_PNG: ImageCodec
IMAGE_CODEC_JPEG: ImageCodec
IMAGE_CODEC_RAW: ImageCodec
ELEMENT_TYPE_UNSPECIFIED: ElementType
ELEMENT_TYPE_FLOAT32: ElementType
ELEMENT_TYPE_FLOAT16: ElementType
ELEMENT_TYPE_BFLOAT16: ElementType
ELEMENT_TYPE_UINT8: ElementType
ERROR_CODE_UNSPECIFIED: ErrorCode
ERROR_CODE_MALFORMED: ErrorCode
ERROR_CODE_BAD_PAYLOAD: ErrorCode
ERROR_CODE_UNSUPPORTED_PAYLOAD: ErrorCode
ERROR_CODE_SHAPE_MISMATCH: ErrorCode
ERROR_CODE_MODEL_MISMATCH: ErrorCode
ERROR_CODE_CLASS_LIST_MISMATCH: ErrorCode
ERROR_CODE_SEQUENCE_CONFLICT: ErrorCode
ERROR_CODE_OVERLOADED: ErrorCode
ERROR_CODE_DEADLINE_EXCEEDED: ErrorCode
ERROR_CODE_SHUTTING_DOWN: ErrorCode
ERROR_CODE_INTERNAL: ErrorCode

class InferRequest(_message.Message):
    __slots__ = ("edge_id", "session", "sequence", "model_id", "split_point", "class_list_version", "timestep", "last", "exit_threshold", "brief", "image", "spikes", "features", "end")
    EDGE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SPLIT_POINT_FIELD_NUMBER: _ClassVar[int]
    CLASS_LIST_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    EXIT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SPIKES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    edge_id: str
    session: str
    sequence: int
    model_id: str
    split_point: str
    class_list_version: int
    timestep: int
    last: bool
    exit_threshold: float
    brief: bool
    image: ImagePayload
    spikes: SpikePacket
    features: FeaturePacket
    end: EndSample
    def __init__(self, edge_id: _Optional[str] = ..., session: _Optional[str] = ..., sequence: _Optional[int] = ..., model_id: _Optional[str] = ..., split_point: _Optional[str] = ..., class_list_version: _Optional[int] = ..., timestep: _Optional[int] = ..., last: bool = ..., exit_threshold: _Optional[float] = ..., brief: bool = ..., image: _Optional[_Union[ImagePayload, _Mapping]] = ..., spikes: _Optional[_Union[SpikePacket, _Mapping]] = ..., features: _Optional[_Union[FeaturePacket, _Mapping]] = ..., end: _Optional[_Union[EndSample, _Mapping]] = ...) -> None: ...

class ImagePayload(_message.Message):
    __slots__ = ("codec", "data", "channels", "height", "width")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    codec: ImageCodec
    data: bytes
    channels: int
    height: int
    width: int
    def __init__(self, codec: _Optional[_Union[ImageCodec, str]] = ..., data: _Optional[bytes] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class SpikePacket(_message.Message):
    __slots__ = ("codec", "data", "timesteps", "channels", "height", "width", "max_count")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    codec: int
    data: bytes
    timesteps: int
    channels: int
    height: int
    width: int
    max_count: int
    def __init__(self, codec: _Optional[int] = ..., data: _Optional[bytes] = ..., timesteps: _Optional[int] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., max_count: _Optional[int] = ...) -> None: ...

class FeaturePacket(_message.Message):
    __slots__ = ("codec", "data", "element_type", "shape", "scale", "zero_point")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ZERO_POINT_FIELD_NUMBER: _ClassVar[int]
    codec: int
    data: bytes
    element_type: ElementType
    shape: _containers.RepeatedScalarFieldContainer[int]
    scale: float
    zero_point: int
    def __init__(self, codec: _Optional[int] = ..., data: _Optional[bytes] = ..., element_type: _Optional[_Union[ElementType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., scale: _Optional[float] = ..., zero_point: _Optional[int] = ...) -> None: ...

class EndSample(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InferResponse(_message.Message):
    __slots__ = ("session", "sequence", "timestep", "last", "exit", "model_id", "queue_ms", "compute_ms", "batch_size", "answer", "error")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    session: str
    sequence: int
    timestep: int
    last: bool
    exit: bool
    model_id: str
    queue_ms: float
    compute_ms: float
    batch_size: int
    answer: Answer
    error: ErrorDetail
    def __init__(self, session: _Optional[str] = ..., sequence: _Optional[int] = ..., timestep: _Optional[int] = ..., last: bool = ..., exit: bool = ..., model_id: _Optional[str] = ..., queue_ms: _Optional[float] = ..., compute_ms: _Optional[float] = ..., batch_size: _Optional[int] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("logits", "class_ids", "class_list_version", "class_id", "confidence")
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    CLASS_LIST_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    logits: _containers.RepeatedScalarFieldContainer[float]
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    class_list_version: int
    class_id: int
    confidence: float
    def __init__(self, logits: _Optional[_Iterable[float]] = ..., class_ids: _Optional[_Iterable[int]] = ..., class_list_version: _Optional[int] = ..., class_id: _Optional[int] = ..., confidence: _Optional[float] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("code", "message", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: ErrorCode
    message: str
    retryable: bool
    def __init__(self, code: _Optional[_Union[ErrorCode, str]] = ..., message: _Optional[str] = ..., retryable: bool = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClassList(_message.Message):
    __slots__ = ("version", "class_ids", "class_names")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    version: int
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., class_ids: _Optional[_Iterable[int]] = ..., class_names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("server", "model_id", "class_list", "image_shape", "image_codecs", "split_points", "max_timesteps", "max_message_bytes", "max_image_pixels", "splits", "stream_counts")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CLASS_LIST_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_CODECS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_POINTS_FIELD_NUMBER: _ClassVar[int]
    MAX_TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    STREAM_COUNTS_FIELD_NUMBER: _ClassVar[int]
    server: str
    model_id: str
    class_list: ClassList
    image_shape: _containers.RepeatedScalarFieldContainer[int]
    image_codecs: _containers.RepeatedScalarFieldContainer[ImageCodec]
    split_points: _containers.RepeatedScalarFieldContainer[str]
    max_timesteps: int
    max_message_bytes: int
    max_image_pixels: int
    splits: _containers.RepeatedCompositeFieldContainer[SplitInfo]
    stream_counts: StreamCounts
    def __init__(self, server: _Optional[str] = ..., model_id: _Optional[str] = ..., class_list: _Optional[_Union[ClassList, _Mapping]] = ..., image_shape: _Optional[_Iterable[int]] = ..., image_codecs: _Optional[_Iterable[_Union[ImageCodec, str]]] = ..., split_points: _Optional[_Iterable[str]] = ..., max_timesteps: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., splits: _Optional[_Iterable[_Union[SplitInfo, _Mapping]]] = ..., stream_counts: _Optional[_Union[StreamCounts, _Mapping]] = ...) -> None: ...

class SplitInfo(_message.Message):
    __slots__ = ("split_point", "channels", "height", "width", "max_count", "timesteps", "codecs", "exit_threshold")
    SPLIT_POINT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    EXIT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    split_point: str
    channels: int
    height: int
    width: int
    max_count: int
    timesteps: int
    codecs: _containers.RepeatedScalarFieldContainer[int]
    exit_threshold: float
    def __init__(self, split_point: _Optional[str] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., max_count: _Optional[int] = ..., timesteps: _Optional[int] = ..., codecs: _Optional[_Iterable[int]] = ..., exit_threshold: _Optional[float] = ...) -> None: ...

class StreamCounts(_message.Message):
    __slots__ = ("samples", "packets", "timesteps_computed", "packets_dropped", "samples_abandoned")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    TIMESTEPS_COMPUTED_FIELD_NUMBER: _ClassVar[int]
    PACKETS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_ABANDONED_FIELD_NUMBER: _ClassVar[int]
    samples: int
    packets: int
    timesteps_computed: int
    packets_dropped: int
    samples_abandoned: int
    def __init__(self, samples: _Optional[int] = ..., packets: _Optional[int] = ..., timesteps_computed: _Optional[int] = ..., packets_dropped: _Optional[int] = ..., samples_abandoned: _Optional[int] = ...) -> None: ...

class PushStatisticsRequest(_message.Message):
    __slots__ = ("edge_id", "sequence", "statistics")
    EDGE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    edge_id: str
    sequence: int
    statistics: bytes
    def __init__(self, edge_id: _Optional[str] = ..., sequence: _Optional[int] = ..., statistics: _Optional[bytes] = ...) -> None: ...

class PushStatisticsResponse(_message.Message):
    __slots__ = ("sequence", "version", "error")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    version: int
    error: ErrorDetail
    def __init__(self, sequence: _Optional[int] = ..., version: _Optional[int] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class FetchStatisticsRequest(_message.Message):
    __slots__ = ("edge_id", "known_sha256")
    EDGE_ID_FIELD_NUMBER: _ClassVar[int]
    KNOWN_SHA256_FIELD_NUMBER: _ClassVar[int]
    edge_id: str
    known_sha256: bytes
    def __init__(self, edge_id: _Optional[str] = ..., known_sha256: _Optional[bytes] = ...) -> None: ...

class FetchStatisticsResponse(_message.Message):
    __slots__ = ("version", "edges", "sha256", "statistics", "error")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    version: int
    edges: int
    sha256: bytes
    statistics: bytes
    error: ErrorDetail
    def __init__(self, version: _Optional[int] = ..., edges: _Optional[int] = ..., sha256: _Optional[bytes] = ..., statistics: _Optional[bytes] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...
