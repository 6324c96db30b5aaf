"""What a cloud does with one request: parse, look up, queue, predict, answer; independent of gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import eccsnn
from eccsnn.errors import EccsnnError
from eccsnn.services.batching import Batched, ItemExpiredError, MicroBatcher, QueueFullError
from eccsnn.services.split import Packet, SplitModel, Step, advance
from eccsnn.transport import images, messages
from eccsnn.transport.answers import make_answer
from eccsnn.transport.messages import ClassList, CloudInfo, Name, RequestError, StreamCounts
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

_LOG = logging.getLogger(__name__)

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""uint8 images `[N, C, H, W]` to logits `[N, K]`."""

Result = NDArray[np.float32] | Step | RequestError | None
"""Logits of an image; a step of a sample, or None when it is not needed any more; or why there is neither."""


@dataclass(frozen=True)
class CloudModel:
    """The model that a cloud serves.

    Attributes:
        predict: uint8 `[N, C, H, W]` to logits `[N, K]`; called from one thread, never concurrently.
        classes: class of each logit, with the version of the list.
        model_id: name of the model, 1 to 128 characters.
        image_shape: `(C, H, W)` that the model takes; None: any, and images of one shape are batched together.
        splits: what is served at split points besides.
    """

    predict: Predict
    classes: ClassList
    model_id: str
    image_shape: tuple[int, int, int] | None = None
    splits: tuple[SplitModel, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.model_id) <= messages.MAX_NAME_CHARS:
            raise ValueError(f"model_id is {self.model_id!r}; expected 1 to {messages.MAX_NAME_CHARS} characters")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape is {self.image_shape}; expected (channels, height, width)")
        names = [split.split_point for split in self.splits]
        if len(set(names)) != len(names) or messages.INPUT_SPLIT_POINT in names:
            raise ValueError(f"split points are {names}; expected different names, none of them 'input'")


@dataclass(frozen=True)
class CloudLimits:
    """Bounds on what a cloud accepts, holds and remembers.

    Attributes:
        max_batch: most requests that share one call of the model.
        max_wait_ms: how long a batch waits for company; 0: not at all (see `MicroBatcher`).
        max_queue: most requests waiting.
        max_message_bytes: largest message in either direction.
        max_image_pixels: largest height x width that is decoded.
        remembered_answers: answers kept for repeated requests; the oldest goes first.
        max_samples: most samples under way timestep by timestep, each with its state, on all streams together.
        max_stream_samples: most of them on one stream.
    """

    max_batch: int = 32
    max_wait_ms: float = 0.0
    max_queue: int = 256
    max_message_bytes: int = images.MAX_BYTES
    max_image_pixels: int = images.MAX_PIXELS
    remembered_answers: int = 4096
    max_samples: int = 1024
    max_stream_samples: int = 8

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "max_wait_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


@dataclass(eq=False)
class _Remembered:
    digest: bytes
    deadline_s: float  # monotonic time until which somebody waits
    task: asyncio.Task[bytes | None] | None = None


class CloudHandler:
    """Answers requests; every failure becomes a typed answer, and none takes the server down.

    A request is named by edge id, session, sequence and timestep. Its answer is computed once and remembered: a repeat
    gets the same bytes, also while the first is still being computed. Refusals are not remembered, so a repeat may
    succeed where its first attempt met a full queue.

    Attributes:
        counts: work on samples that come timestep by timestep (see `SampleStream`), so far.
        samples: how many of them are under way.
    """

    def __init__(self, model: CloudModel, limits: CloudLimits | None = None) -> None:
        self.model = model
        self.limits = limits or CloudLimits()
        self.closing = False
        self.counts = StreamCounts()
        self.samples = 0
        self._remembered: OrderedDict[Name, _Remembered] = OrderedDict()
        self._batcher: MicroBatcher[pb.InferRequest | Packet, Result] = MicroBatcher(
            self._process,
            max_batch=self.limits.max_batch,
            max_wait_ms=self.limits.max_wait_ms,
            max_queue=self.limits.max_queue,
        )

    def count(self, **more: int) -> None:
        """Add to `counts`."""
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()})

    def start(self) -> None:
        """Start to work, in the running event loop."""
        self._batcher.start()

    async def close(self) -> None:
        """Refuse what still waits."""
        self.closing = True
        await self._batcher.close()
        tasks = [entry.task for entry in self._remembered.values() if entry.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def info(self) -> bytes:
        """Bytes of the GetInfoResponse."""
        info = CloudInfo(
            server=f"eccsnn {eccsnn.__version__}",
            model_id=self.model.model_id,
            class_list=self.model.classes,
            image_shape=self.model.image_shape,
            max_message_bytes=self.limits.max_message_bytes,
            max_image_pixels=self.limits.max_image_pixels,
            splits=tuple(split.info for split in self.model.splits),
            counts=self.counts,
        )
        return messages.info_response(info).SerializeToString()

    async def answer(self, raw: bytes, time_remaining_s: float | None = None) -> bytes:
        """Answer one request.

        Args:
            raw: bytes of an InferRequest, from anyone.
            time_remaining_s: how long the caller will wait; None: for ever.

        Returns:
            Bytes of an InferResponse: an Answer, or an ErrorDetail.
        """
        request: pb.InferRequest | None = None
        try:
            request = messages.parse_request(raw)
            messages.check_request(request)
            self.check_target(request)
            name = messages.name_of(request)
            task = self.recall(name, raw, time_remaining_s)
            if task is None:
                task = self.remember(name, raw, time_remaining_s, partial(self._answer_image, request))
            # Shielded: when this caller gives up, a repeat of the request still finds the work going on.
            answer = await asyncio.shield(task)
            assert answer is not None  # only packets of spikes go without an answer
            return answer
        except RequestError as error:
            return messages.error_response(request, error, self.model.model_id).SerializeToString()

    def recall(
        self, name: Name, raw: bytes, time_remaining_s: float | None = None
    ) -> asyncio.Task[bytes | None] | None:
        """The work on a request that came before, done or not; None when it is new.

        Raises:
            RequestError: its name was used for other bytes, or the cloud is stopping.
        """
        if self.closing:
            raise RequestError(pb.ERROR_CODE_SHUTTING_DOWN, "the cloud is stopping; try again later or elsewhere")
        entry = self._remembered.get(name)
        if entry is None:
            return None
        if entry.digest != _digest(raw):
            raise RequestError(
                pb.ERROR_CODE_SEQUENCE_CONFLICT,
                f"{name} was used for a different request; use a new sequence number, and a new session when the edge "
                "starts again",
            )
        entry.deadline_s = max(entry.deadline_s, _deadline_s(time_remaining_s))
        self._remembered.move_to_end(name)
        return entry.task

    def remember(
        self,
        name: Name,
        raw: bytes,
        time_remaining_s: float | None,
        answer: Callable[[Callable[[], bool]], Coroutine[Any, Any, bytes | None]],
    ) -> asyncio.Task[bytes | None]:
        """Start to work on a new request.

        Args:
            name: of the request.
            raw: its bytes.
            time_remaining_s: how long the caller will wait; None: for ever.
            answer: makes the answer, or None when none is due; is given a function that says whether nobody waits any
                more.
        """
        entry = self._remembered[name] = _Remembered(_digest(raw), _deadline_s(time_remaining_s))
        work = answer(lambda: time.monotonic() > entry.deadline_s)
        entry.task = asyncio.get_running_loop().create_task(work)
        entry.task.add_done_callback(lambda done: self._forget_refusal(name, done))
        while len(self._remembered) > self.limits.remembered_answers:
            self._remembered.popitem(last=False)
        return entry.task

    def _forget_refusal(self, name: Name, task: asyncio.Task[bytes | None]) -> None:
        entry = self._remembered.get(name)
        # Neither a refusal nor an answer that was not due is kept.
        refused = task.cancelled() or task.exception() is not None or task.result() is None
        if refused and entry is not None and entry.task is task:
            del self._remembered[name]

    def check_target(self, request: pb.InferRequest) -> None:
        """Check that a request means the model and the classes that are served.

        Raises:
            RequestError: it means others.
        """
        if request.model_id not in ("", self.model.model_id):
            raise RequestError(
                pb.ERROR_CODE_MODEL_MISMATCH,
                f"model {request.model_id!r} was asked for; {self.model.model_id!r} is served here",
            )
        if request.class_list_version not in (0, self.model.classes.version):
            raise RequestError(
                pb.ERROR_CODE_CLASS_LIST_MISMATCH,
                f"class list version {request.class_list_version} was asked for; version {self.model.classes.version} "
                "is served: fetch it with GetInfo",
            )

    async def compute(self, item: pb.InferRequest | Packet, expired: Callable[[], bool]) -> Batched[Result]:
        """Queue work for the model and wait for it; items are worked on in the order of these calls.

        Raises:
            RequestError: the queue is full, the item has expired, the cloud is stopping, or the work failed.
        """
        try:
            done = await self._batcher.submit(item, expired)
        except QueueFullError as error:
            raise RequestError(pb.ERROR_CODE_OVERLOADED, str(error)) from error
        except ItemExpiredError as error:
            raise RequestError(pb.ERROR_CODE_DEADLINE_EXCEEDED, str(error)) from error
        except asyncio.CancelledError:
            if not self.closing:
                raise
            raise RequestError(pb.ERROR_CODE_SHUTTING_DOWN, "the cloud is stopping; try again later") from None
        except Exception as error:
            _LOG.exception("a batch failed")
            raise RequestError(pb.ERROR_CODE_INTERNAL, f"the batch failed ({type(error).__name__})") from error
        if isinstance(done.result, RequestError):
            raise done.result
        return done

    async def _answer_image(self, request: pb.InferRequest, expired: Callable[[], bool]) -> bytes:
        done = await self.compute(request, expired)
        assert isinstance(done.result, np.ndarray)
        classes = self.model.classes
        response = pb.InferResponse(
            sequence=request.sequence,
            timestep=request.timestep,
            last=True,
            queue_ms=done.queue_ms,
            compute_ms=done.compute_ms,
            answer=make_answer(done.result, classes.class_ids, classes.version, brief=request.brief),
        )
        if not request.brief:
            response.session, response.model_id = request.session, self.model.model_id
            response.batch_size = done.batch_size
        return response.SerializeToString()

    def _process(self, items: list[pb.InferRequest | Packet]) -> list[Result]:
        """Work on a batch, on the batcher's thread."""
        packets = [item for item in items if isinstance(item, Packet)]
        images = [item for item in items if not isinstance(item, Packet)]
        steps = iter(advance(packets, len(self.model.classes.class_ids)))
        logits = iter(self._predict(images))
        return [next(steps) if isinstance(item, Packet) else next(logits) for item in items]

    def _predict(self, requests: list[pb.InferRequest]) -> list[NDArray[np.float32] | RequestError]:
        """Decode images and run the model; a broken image fails alone."""
        results: list[NDArray[np.float32] | RequestError | None] = [None] * len(requests)
        by_shape: dict[tuple[int, ...], list[tuple[int, NDArray[np.uint8]]]] = {}
        shape = self.model.image_shape
        for index, request in enumerate(requests):
            try:
                image = messages.decode_payload(
                    request.image,
                    image_shape=shape,
                    max_pixels=self.limits.max_image_pixels,
                    max_bytes=self.limits.max_message_bytes,
                )
            except RequestError as error:
                results[index] = error
            else:
                by_shape.setdefault(image.shape, []).append((index, image))
        for group in by_shape.values():
            try:
                logits = _logits(self.model, np.stack([image for _, image in group]))
            except Exception as error:
                _LOG.exception("the model failed on %d images", len(group))
                # The text of an unexpected error may quote what is the server's own; its log has it.
                text = str(error) if isinstance(error, EccsnnError) else "see the cloud's log"
                for index, _ in group:
                    results[index] = RequestError(
                        pb.ERROR_CODE_INTERNAL, f"the model failed ({type(error).__name__}): {text}"
                    )
            else:
                for row, (index, _) in enumerate(group):
                    results[index] = logits[row]
        return [result for result in results if result is not None]


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()


def _deadline_s(time_remaining_s: float | None) -> float:
    return time.monotonic() + time_remaining_s if time_remaining_s is not None else float("inf")


def _logits(model: CloudModel, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    logits = np.asarray(model.predict(batch), dtype=np.float32)
    expected = (len(batch), len(model.classes.class_ids))
    if logits.shape != expected:
        raise EccsnnError(f"predict returned shape {list(logits.shape)}; expected {list(expected)} (images, classes)")
    if not np.isfinite(logits).all():
        raise EccsnnError("predict returned logits that are not finite")
    return logits


def class_list(class_ids: Sequence[int], class_names: Sequence[str] = (), version: int = 1) -> ClassList:
    """A `ClassList` from any sequences of integers and names."""
    return ClassList(tuple(int(c) for c in class_ids), version, tuple(class_names))
