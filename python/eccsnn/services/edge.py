"""The edge side: answer locally, upload what is ambiguous, and go on when the cloud does not."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import CloudUnavailableError, EccsnnError, MessageError
from eccsnn.services.breaker import CircuitBreaker
from eccsnn.services.client import CloudClient, CloudTimeoutError, address_of
from eccsnn.services.summary import summarize_link
from eccsnn.transport import images as codecs
from eccsnn.transport import messages
from eccsnn.transport.messages import Answer, ClassList, CloudInfo, Name, RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.shaping import LinkShape, LinkShaper, WireBytes, shaped_link

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""uint8 images `[N, C, H, W]` to logits `[N, K]`."""

Measure = Callable[[NDArray[np.floating]], Any]
"""Logits `[N, K]` to ambiguities `[N]`, larger is more ambiguous."""

_UNUSABLE_CLOUD = (pb.ERROR_CODE_MODEL_MISMATCH, pb.ERROR_CODE_CLASS_LIST_MISMATCH)


class Source(StrEnum):
    """Who answered."""

    EDGE = "edge"
    CLOUD = "cloud"
    EDGE_FALLBACK = "edge_fallback"
    CLOUD_PARTIAL = "cloud_partial"  # its last answer before it went away in mid-sample
    NOBODY = "nobody"


@dataclass(frozen=True)
class EdgeResult:
    """The answer for one image, and what it took.

    Attributes:
        label: the class, by its id.
        logits: f32 `[K]` of whoever answered.
        class_ids: class of each logit.
        source: who answered.
        ambiguity: of the edge's own logits.
        latency_ms: from the image to the label, on the edge's clock: edge model, encoding, link, cloud, repeats.
        edge_ms: the edge model's part of it.
        queue_ms: waiting in the cloud, as the cloud says; None without its answer.
        compute_ms: computing in the cloud, as the cloud says; None without its answer.
        attempts: requests sent.
        payload_bytes_up: encoded image; 0 when nothing was sent.
        message_bytes_up: the request's protobuf message, in all attempts.
        message_bytes_down: the answer's protobuf message.
        wire_bytes_up: what crossed the TCP connection for it; None when nobody counts.
        wire_bytes_down: the other direction.
        reason: why the cloud's answer was not used, in one word; None when it was, or was not needed.
        error: the same as a sentence.
    """

    label: int
    logits: NDArray[np.float32]
    class_ids: tuple[int, ...]
    source: Source
    ambiguity: float
    latency_ms: float
    edge_ms: float
    queue_ms: float | None = None
    compute_ms: float | None = None
    attempts: int = 0
    payload_bytes_up: int = 0
    message_bytes_up: int = 0
    message_bytes_down: int = 0
    wire_bytes_up: int | None = None
    wire_bytes_down: int | None = None
    reason: str | None = None
    error: str | None = None


@dataclass
class _Upload:
    """How one upload went."""

    answer: Answer | None = None
    attempts: int = 0
    bytes_down: int = 0
    reason: str | None = None
    error: str | None = None

    def failed(self, reason: str, error: Exception | str) -> None:
        self.reason, self.error = reason, str(error)


class EdgeAgent:
    """Answers images one by one; uploads those whose ambiguity is above a threshold.

    When the cloud is not there, too slow, refuses, or answers over other classes than it announced, the edge's own
    answer stands with the source "edge_fallback" and a reason. A request is repeated under the same sequence number, so
    the cloud computes it once. After some failures in a row the agent stops asking for a while (`CircuitBreaker`).

    Args:
        edge_predict: uint8 `[1, C, H, W]` to logits `[1, K]`.
        measure: logits `[1, K]` to ambiguity `[1]`.
        threshold: an image is uploaded when its ambiguity is above this.
        client: connection to the cloud; closed by whoever made it.
        class_ids: class of each of the edge's logits.
        codec: of uploads: "png", "jpeg" or "raw".
        quality: of JPEG.
        timeout_s: how long to wait for each attempt.
        retries: further attempts after the first has failed.
        backoff_s: pause before the first repeat; doubles with each.
        breaker: when to stop asking; None: the defaults.
        model_id: the cloud model that is meant; empty: any.
        known_classes: name of each class id that the cloud may answer with; None: any classes.
        edge_id: name of this edge.
        session: name of this run; None: a random one.
        wire: reads how many bytes crossed the link so far; None: not counted.
        sleep: pauses between attempts.

    Raises:
        ValueError: a number is out of range or a codec unknown.
    """

    def __init__(
        self,
        edge_predict: Predict,
        measure: Measure,
        threshold: float,
        client: CloudClient,
        *,
        class_ids: Sequence[int],
        codec: str = "png",
        quality: int = 90,
        timeout_s: float = 2.0,
        retries: int = 1,
        backoff_s: float = 0.05,
        breaker: CircuitBreaker | None = None,
        model_id: str = "",
        known_classes: Mapping[int, str] | None = None,
        edge_id: str = "edge",
        session: str | None = None,
        wire: Callable[[], WireBytes] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if math.isnan(threshold):
            raise ValueError("threshold is NaN; expected a number, usually between 0 and 1")
        if not timeout_s > 0 or retries < 0 or not backoff_s >= 0:
            raise ValueError(
                f"timeout_s is {timeout_s}, retries {retries}, backoff_s {backoff_s}; expected > 0, >= 0, >= 0"
            )
        if codec not in codecs.CODECS:
            raise ValueError(f"image codec is {codec!r}; expected one of {', '.join(codecs.CODECS)}")
        self._edge_predict = edge_predict
        self._measure = measure
        self.threshold = threshold
        self._client = client
        self._class_ids = tuple(int(c) for c in class_ids)
        self._codec, self._quality = codec, quality
        self._timeout_s, self._retries, self._backoff_s = timeout_s, retries, backoff_s
        self._breaker = breaker or CircuitBreaker()
        self._model_id = model_id
        self._known_classes = known_classes
        self._edge_id = edge_id
        self._session = session if session is not None else secrets.token_hex(8)
        self._wire = wire
        self._sleep = sleep
        self._sequence = 0
        self.cloud: CloudInfo | None = None

    def connect(self) -> CloudInfo:
        """Ask the cloud what it serves; its class list is the one that answers must use from now on.

        Called by the first upload; call it again to accept a cloud whose classes have changed.

        Raises:
            CloudUnavailableError: the cloud is not there or too slow.
            MessageError: it serves another model or other classes, or its answer is not valid.
        """
        info = self._client.get_info(self._timeout_s)
        if self._model_id not in ("", info.model_id):
            raise MessageError(f"the cloud serves {info.model_id!r}; expected {self._model_id!r}")
        if self._known_classes is not None:
            self._check_classes(info.class_list, self._known_classes)
        self.cloud = info
        return info

    @staticmethod
    def _check_classes(served: ClassList, known: Mapping[int, str]) -> None:
        """Refuses a cloud of other data: its answers would be read as classes that they do not mean."""
        names = served.class_names or tuple(known.get(class_id, "") for class_id in served.class_ids)
        for class_id, name in zip(served.class_ids, names, strict=True):
            if known.get(class_id) != name or class_id not in known:
                raise MessageError(
                    f"the cloud's class {class_id} is {name!r}, this edge's is {known.get(class_id)!r}: it serves a "
                    "model of other data; serve the run that this edge belongs to"
                )

    def process(self, image: NDArray[np.uint8], *, force_upload: bool = False) -> EdgeResult:
        """Answer one image.

        Args:
            image: uint8 `[C, H, W]`.
            force_upload: upload it whatever its ambiguity.

        Raises:
            EccsnnError: the edge's own model or measure failed: wrong shape, or values that are not finite.
            ValueError: the codec cannot carry this image.
        """
        start_s = time.perf_counter()
        logits = np.asarray(self._edge_predict(image[None]), dtype=np.float32)
        if logits.shape != (1, len(self._class_ids)) or not np.isfinite(logits).all():
            raise EccsnnError(
                f"edge_predict returned shape {list(logits.shape)}, finite: {bool(np.isfinite(logits).all())}; "
                f"expected finite logits of shape {[1, len(self._class_ids)]} (one image, classes of the edge)"
            )
        ambiguity = float(np.asarray(self._measure(logits)).reshape(-1)[0])
        if math.isnan(ambiguity):
            raise EccsnnError("the ambiguity measure returned NaN; expected a number")
        edge_ms = (time.perf_counter() - start_s) * 1e3
        if ambiguity <= self.threshold and not force_upload:
            return self._edge_result(logits[0], ambiguity, edge_ms, start_s, Source.EDGE)

        before = self._wire() if self._wire is not None else None
        data = codecs.encode_image(image, self._codec, quality=self._quality)
        name = Name(self._edge_id, self._session, self._sequence)
        self._sequence += 1
        request = messages.image_request(
            name, data, self._codec, shape=(image.shape[0], image.shape[1], image.shape[2]), model_id=self._model_id
        )
        upload, message_bytes = self._upload(request, name)
        used = self._wire() - before if self._wire is not None and before is not None else None
        sizes: dict[str, Any] = {
            "attempts": upload.attempts,
            "payload_bytes_up": len(data) if upload.attempts else 0,
            "message_bytes_up": message_bytes * upload.attempts,
            "message_bytes_down": upload.bytes_down,
            "wire_bytes_up": used.up if used is not None else None,
            "wire_bytes_down": used.down if used is not None else None,
        }
        answer = upload.answer
        if answer is None:
            sizes |= {"reason": upload.reason, "error": upload.error}
            return self._edge_result(logits[0], ambiguity, edge_ms, start_s, Source.EDGE_FALLBACK, **sizes)
        assert answer.logits is not None  # a brief answer was not asked for
        return EdgeResult(
            label=answer.label,
            logits=answer.logits,
            class_ids=answer.class_list.class_ids,
            source=Source.CLOUD,
            ambiguity=ambiguity,
            latency_ms=(time.perf_counter() - start_s) * 1e3,
            edge_ms=edge_ms,
            queue_ms=answer.queue_ms,
            compute_ms=answer.compute_ms,
            **sizes,
        )

    def _edge_result(
        self, logits: NDArray[np.float32], ambiguity: float, edge_ms: float, start_s: float, source: Source, **more: Any
    ) -> EdgeResult:
        return EdgeResult(
            label=self._class_ids[int(logits.argmax())],
            logits=logits,
            class_ids=self._class_ids,
            source=source,
            ambiguity=ambiguity,
            latency_ms=(time.perf_counter() - start_s) * 1e3,
            edge_ms=edge_ms,
            **more,
        )

    def _upload(self, request: pb.InferRequest, name: Name) -> tuple[_Upload, int]:
        """Send a request until it is answered or given up; also the size of its message."""
        upload = _Upload()
        if not self._breaker.allows():
            upload.failed("circuit_open", self._breaker.why_open)
            return upload, 0
        tries = 1 if self._breaker.is_open else 1 + self._retries
        message = b""
        usable = False
        for attempt in range(tries):
            if attempt:
                self._sleep(self._backoff_s * 2 ** (attempt - 1))
            try:
                cloud = self.cloud if self.cloud is not None else self.connect()
                if not message:
                    request.class_list_version = cloud.class_list.version
                    message = request.SerializeToString()
                upload.attempts += 1
                raw = self._client.infer(message, self._timeout_s)
                upload.bytes_down += len(raw)
                upload.answer = messages.parse_answer(raw, name, cloud.class_list)
            except CloudTimeoutError as error:
                upload.failed("timeout", error)
            except CloudUnavailableError as error:
                upload.failed("unavailable", error)
            except RequestError as error:
                upload.failed(f"refused_{error.code_name}", error)
                if not error.retryable:
                    usable = error.code not in _UNUSABLE_CLOUD  # the fault is in this image, not in the cloud
                    break
            except MessageError as error:
                upload.failed("bad_answer", error)
                break
            else:
                usable = True
                break
        if usable:
            self._breaker.succeeded()
        else:
            self._breaker.failed(upload.error)
        return upload, len(message)


@dataclass(frozen=True)
class EdgeRun:
    """Results of a run, in the order of the images, and the `link` section made from them."""

    results: tuple[EdgeResult, ...]
    link: dict[str, Any]


def run_edge(
    images: Iterable[NDArray[np.uint8]],
    *,
    edge_predict: Predict,
    measure: Measure,
    threshold: float,
    class_ids: Sequence[int],
    host: str,
    port: int,
    labels: Sequence[int] | None = None,
    tls_root: str | Path | None = None,
    codec: str = "png",
    quality: int = 90,
    timeout_s: float = 2.0,
    retries: int = 1,
    breaker: CircuitBreaker | None = None,
    model_id: str = "",
    known_classes: Mapping[int, str] | None = None,
    edge_id: str = "edge",
    shape: LinkShape | None = None,
    count_wire: bool = True,
    warm_up: int = 1,
    on_result: Callable[[int, EdgeResult], None] | None = None,
) -> EdgeRun:
    """Answer images against a cloud that runs elsewhere, and measure the link.

    A cloud that is not there is no error: every image is answered, and the fallbacks are counted with their reasons.

    Args:
        images: uint8 `[C, H, W]` each.
        edge_predict: uint8 `[1, C, H, W]` to logits `[1, K]`.
        measure: logits `[1, K]` to ambiguity `[1]`.
        threshold: an image is uploaded when its ambiguity is above this.
        class_ids: class of each of the edge's logits.
        host: host of the cloud.
        port: its port.
        labels: true class of each image, for the accuracy.
        tls_root: PEM file with the certificates to trust; None: no TLS.
        codec: of uploads: "png", "jpeg" or "raw".
        quality: of JPEG.
        timeout_s: how long to wait for each attempt.
        retries: further attempts after the first has failed.
        breaker: when to stop asking; None: the defaults.
        model_id: the cloud model that is meant; empty: any.
        known_classes: name of each class id that the cloud may answer with; None: any classes.
        edge_id: name of this edge.
        shape: delay and rate to put on the link; None: as it is.
        count_wire: count the bytes on the TCP connection, through a proxy on this machine; the latencies then include
            the proxy, about half a millisecond a request.
        warm_up: how often the first image is uploaded before anything is counted; 0: not at all.
        on_result: called after each image with its index and result.

    Raises:
        EccsnnError: the edge's own model failed, or the number of labels is not that of the images.
        ConfigError: the TLS file does not load.
        ValueError: a number is out of range.
    """
    results: list[EdgeResult] = []
    with contextlib.ExitStack() as stack:
        shaper: LinkShaper | None = None
        target = (host, port)
        if count_wire or (shape is not None and shape != LinkShape()):
            shaper = stack.enter_context(shaped_link(host, port, shape))
            target = (shaper.host, shaper.port)
        cloud = address_of(host, port)
        client = stack.enter_context(CloudClient(*target, tls_root=tls_root, tls_name=host, cloud=cloud))
        agent = EdgeAgent(
            edge_predict,
            measure,
            threshold,
            client,
            class_ids=class_ids,
            codec=codec,
            quality=quality,
            timeout_s=timeout_s,
            retries=retries,
            breaker=breaker,
            model_id=model_id,
            known_classes=known_classes,
            edge_id=edge_id,
            wire=(lambda: shaper.wire) if shaper is not None else None,
        )
        for index, image in enumerate(images):
            if index == 0:
                for _ in range(warm_up):
                    agent.process(image, force_upload=True)
            result = agent.process(image)
            results.append(result)
            if on_result is not None:
                on_result(index, result)
        wire = shaper.wire if shaper is not None else None
    if labels is not None and len(labels) != len(results):
        raise EccsnnError(f"{len(labels)} labels for {len(results)} images; expected one an image")
    link = summarize_link(
        results,
        labels=labels,
        image_codec=codec if codec != "jpeg" else f"jpeg (quality {quality})",
        transport=f"gRPC over {'TLS over ' if tls_root is not None else ''}TCP, {_place(host)}"
        + (", through a counting proxy" if shaper is not None else ""),
        shape=shape or LinkShape(),
        wire=wire,
    )
    return EdgeRun(tuple(results), link)


def _place(host: str) -> str:
    return "loopback" if host in ("127.0.0.1", "localhost", "::1") else host
