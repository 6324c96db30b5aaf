"""The edge of a split network: timesteps out, running logits in, and an answer whatever becomes of the link."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from eccsnn.errors import CloudUnavailableError, MessageError
from eccsnn.offload.exits import NEVER
from eccsnn.services.breaker import CircuitBreaker
from eccsnn.services.client import CloudClient, CloudTimeoutError
from eccsnn.services.cloud_stream import CloudStream
from eccsnn.services.early_exit import EdgeSplit, ExitMode, StreamResult
from eccsnn.services.edge import Source
from eccsnn.services.stream_sample import Attempt, Decision, Sample
from eccsnn.transport import images, messages
from eccsnn.transport.messages import CloudInfo, Name, RequestError, SplitInfo
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.spike_messages import SampleRefusedError, StepAnswer, end_request, parse_step, spike_request

AnswerAt = Literal["edge", "cloud"]
Answers = Literal["brief", "logits"]
OnBreak = Literal["finish", "resend"]
Taken = TypeVar("Taken")


class SampleLateError(CloudTimeoutError):
    """The sample's deadline passed; the stream may be well."""


class StreamAgent:
    """Answers images one by one over one stream that stays open.

    When the stream breaks in mid-sample, stalls, or carries an answer that cannot be, the sample is finished with what
    is there: the cloud's last answer (source "cloud_partial"), else the exit head or the local network
    ("edge_fallback"); or it is sent again from timestep 0, without computing anything twice. The result has the reason.

    Args:
        edge: the edge's part of the network.
        client: connection to the cloud; closed by whoever made it.
        mode: who decides to stop, and what is sent.
        threshold: confidence at which the cloud's running logits are good enough (alpha); rounded to float32, as it
            travels.
        edge_threshold: the same for the exit head; None: `threshold`.
        answer_at: with an exit head: "edge" answers with its logits once it is sure; "cloud" only stops, and asks the
            cloud.
        answers: what the cloud is asked for: "brief", a class and its confidence, or "logits". The same is decided by
            either; results have logits only where they travelled.
        on_break: "finish" or "resend".
        resends: further attempts with "resend".
        timeout_s: how long to wait for anything from the cloud.
        deadline_s: how long a sample may take before the edge finishes it; None: as long as it takes.
        breaker: when to stop asking; None: the defaults.
        image_codec: of uploads: "png", "jpeg" or "raw".
        quality: of JPEG.
        model_id: the cloud model that is meant; empty: any.
        edge_id: name of this edge.
        session: name of this run; None: a random one.
        clock: time in seconds that never goes back.

    Raises:
        ValueError: a number is out of range, or the mode needs what `edge` does not have.
    """

    def __init__(
        self,
        edge: EdgeSplit,
        client: CloudClient,
        mode: ExitMode,
        threshold: float = NEVER,
        *,
        edge_threshold: float | None = None,
        answer_at: AnswerAt = "cloud",
        answers: Answers = "brief",
        on_break: OnBreak = "finish",
        resends: int = 1,
        timeout_s: float = 2.0,
        deadline_s: float | None = None,
        breaker: CircuitBreaker | None = None,
        image_codec: str = "png",
        quality: int = 90,
        model_id: str = "",
        edge_id: str = "edge",
        session: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.mode = ExitMode(mode)
        self.threshold = float(np.float32(threshold))
        self.edge_threshold = self.threshold if edge_threshold is None else float(edge_threshold)
        if np.isnan(self.threshold) or np.isnan(self.edge_threshold):
            raise ValueError("a threshold is NaN; expected a confidence, or a number above 1 for never")
        if not timeout_s > 0 or resends < 0 or (deadline_s is not None and not deadline_s > 0):
            raise ValueError(
                f"timeout_s is {timeout_s}, resends {resends}, deadline_s {deadline_s}; expected > 0, >= 0, > 0 or None"
            )
        if answer_at not in ("edge", "cloud") or on_break not in ("finish", "resend"):
            raise ValueError(
                f"answer_at is {answer_at!r}, on_break {on_break!r}; expected 'edge' or 'cloud', 'finish' or 'resend'"
            )
        if answers not in ("brief", "logits"):
            raise ValueError(f"answers is {answers!r}; expected 'brief' or 'logits'")
        if image_codec not in images.CODECS:
            raise ValueError(f"image codec is {image_codec!r}; expected one of {', '.join(images.CODECS)}")
        if self.mode is ExitMode.EDGE_EXIT_HEAD and not edge.exit_head:
            raise ValueError("mode edge_exit_head needs an edge with an exit head")
        if self.mode is ExitMode.EDGE_ONLY and not edge.exit_head and edge.local is None:
            raise ValueError("mode edge_only needs an edge with a local network or an exit head")
        self._edge, self._client = edge, client
        self.answers, self._brief = answers, answers == "brief"
        self._answer_at, self._resends = answer_at, resends if on_break == "resend" else 0
        self.timeout_s, self._deadline_s = timeout_s, deadline_s
        self._breaker = breaker or CircuitBreaker()
        self._image_codec, self._quality = image_codec, quality
        self._model_id, self._edge_id = model_id, edge_id
        self._session = session if session is not None else secrets.token_hex(8)
        self._clock = clock
        self._sequence = 0
        self._stream: CloudStream | None = None
        self._introduced = False  # whether the stream knows who sends
        self._due = 0  # answers that may still come
        self.cloud: CloudInfo | None = None

    def connect(self) -> CloudInfo:
        """Ask the cloud what it serves; called by the first sample that needs it.

        Raises:
            CloudUnavailableError: the cloud is not there or too slow.
            MessageError: it serves another model, or not this split point, or its answer is not valid.
        """
        info = self._client.get_info(self.timeout_s)
        if self._model_id not in ("", info.model_id):
            raise MessageError(f"the cloud serves {info.model_id!r}; expected {self._model_id!r}")
        if self.mode is not ExitMode.UPLOAD_IMAGE:
            self._check_split(info.splits)
        self.cloud = info
        return info

    def process(self, image: NDArray[np.uint8]) -> StreamResult:
        """Answer one image.

        Args:
            image: uint8 `[C, H, W]`.

        Raises:
            EccsnnError: the edge's own network returned a wrong shape, or values that are not finite.
            ValueError: the codec cannot carry this image.
        """
        sample = Sample(self._edge, image, self._clock)
        decision: Decision | None = None
        if self.mode is ExitMode.EDGE_ONLY:
            decision = sample.alone(Source.EDGE, self.edge_threshold)
        elif self._breaker.allows():
            decision = self._ask(sample)
        else:
            sample.reason, sample.error = "circuit_open", self._breaker.why_open
        return sample.result(self.mode, decision or sample.make_do(self.edge_threshold))

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._introduced, self._due = None, False, 0

    def __enter__(self) -> StreamAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- with the cloud ----

    def _ask(self, sample: Sample) -> Decision | None:
        """Work with the cloud until it has answered, or not."""
        ways = {
            ExitMode.EDGE_EXIT_HEAD: self._with_exit_head,
            ExitMode.LOCK_STEP: self._in_lock_step,
            ExitMode.SPECULATIVE: self._speculating,
            ExitMode.UPLOAD_IMAGE: self._uploading,
        }
        usable = False
        decision: Decision | None = None
        for _ in range(1 if self._breaker.is_open else 1 + self._resends):
            sample.attempts.append(Attempt(self._sequence))
            self._sequence += 1
            try:
                decision = ways[self.mode](sample)
            except SampleLateError as error:
                self._failed(sample, "deadline", error)
                with contextlib.suppress(CloudUnavailableError, MessageError):
                    self._send_end(sample)
                break
            except CloudTimeoutError as error:
                self._failed(sample, "timeout", error, broken=True)
            except CloudUnavailableError as error:
                self._failed(sample, "unavailable", error, broken=True)
            except RequestError as error:
                self._failed(sample, f"refused_{error.code_name}", error)
                if not error.retryable:
                    usable = True  # the cloud is well
                    break
            except MessageError as error:
                self._failed(sample, "bad_answer", error, broken=True)
                break
            except BaseException:
                self.close()  # the sample is half sent
                raise
            else:
                usable = True
                break
        if usable:
            self._breaker.succeeded()
        else:
            self._breaker.failed(sample.error)
        return decision

    def _failed(self, sample: Sample, reason: str, error: Exception, *, broken: bool = False) -> None:
        sample.reason, sample.error = reason, str(error)
        if broken:
            self.close()

    def _with_exit_head(self, sample: Sample) -> Decision:
        for timestep in range(self._edge.timesteps):
            sample.compute(timestep)
            sure = sample.sure(self.edge_threshold)
            if sure and self._answer_at == "edge":
                if sample.attempt.packets:
                    self._send_end(sample)
                return sample.by_head(Source.EDGE)
            self._send_step(sample, timestep, last=sure)
            if sure:
                break
        return self._until_last(sample)

    def _in_lock_step(self, sample: Sample) -> Decision:
        while True:
            timestep = len(sample.attempt.packets)
            sample.compute(timestep)
            self._send_step(sample, timestep)
            answer = self._wait_step(sample)
            if answer.last:
                return self._by_cloud(sample, answer)
            if answer.confidence >= self.threshold:
                self._send_end(sample)
                return self._by_cloud(sample, answer)

    def _speculating(self, sample: Sample) -> Decision:
        for timestep in range(self._edge.timesteps):
            sample.compute(timestep)
            while (raw := self._opened().poll()) is not None:
                answer = self._take(sample, raw)
                if answer is not None and answer.last:
                    return self._by_cloud(sample, answer)  # this timestep was computed in vain, but is not sent
            self._send_step(sample, timestep)
        return self._until_last(sample)

    def _uploading(self, sample: Sample) -> Decision:
        data = images.encode_image(sample.image, self._image_codec, quality=self._quality)
        name = Name(self._edge_id, self._session, sample.attempt.sequence)
        shape = (sample.image.shape[0], sample.image.shape[1], sample.image.shape[2])
        cloud, stream = self._known(), self._opened()
        request = messages.image_request(
            name,
            data,
            self._image_codec,
            shape=shape,
            model_id=self._model_id,
            class_list_version=cloud.class_list.version,
            brief=self._brief,
        )
        self._send(stream, sample, request, len(data))
        answer = self._wait(sample, lambda raw: self._take_image(sample, name, raw))
        return Decision(Source.CLOUD, answer, answer.class_list.class_ids, cloud_ms=(answer.compute_ms,))

    def _until_last(self, sample: Sample) -> Decision:
        while not (answer := self._wait_step(sample)).last:
            pass
        return self._by_cloud(sample, answer)

    def _by_cloud(self, sample: Sample, answer: StepAnswer) -> Decision:
        classes = self._known().class_list.class_ids
        return Decision(Source.CLOUD, answer, classes, answer.timestep + 1, tuple(sample.attempt.cloud_ms))

    # ---- messages ----

    def _known(self) -> CloudInfo:
        return self.cloud if self.cloud is not None else self.connect()

    def _opened(self) -> CloudStream:
        self._known()
        if self._stream is None:
            self._stream = self._client.open_stream()
        return self._stream

    def _send_step(self, sample: Sample, timestep: int, *, last: bool = False) -> None:
        stream, cloud = self._opened(), self._known()
        new = not self._introduced
        packet = sample.steps[timestep].packet
        last = last or timestep == self._edge.timesteps - 1
        request = spike_request(
            # What the stream knows already is not said again.
            Name(self._edge_id if new else "", self._session if new else "", sample.attempt.sequence, timestep),
            packet,
            codec=self._edge.codec,
            last=last,
            split_point=self._edge.split_point if new else "",
            model_id=self._model_id if new else "",
            class_list_version=cloud.class_list.version if new else 0,
            brief=self._brief and timestep == 0,
        )
        if timestep == 0:
            request.exit_threshold = self.threshold if self.mode is ExitMode.SPECULATIVE else NEVER
        self._introduced = True
        sample.attempt.ending = timestep if last else None
        self._send(stream, sample, request, len(packet))

    def _send_end(self, sample: Sample) -> None:
        if self._stream is not None and sample.attempt.packets and self.mode is not ExitMode.UPLOAD_IMAGE:
            message = end_request(sample.attempt.sequence).SerializeToString()
            self._stream.send(message, self.timeout_s)
            sample.end_bytes += len(message)

    def _send(self, stream: CloudStream, sample: Sample, request: pb.InferRequest, payload_bytes: int) -> None:
        message = request.SerializeToString()
        stream.send(message, self._time_left(sample))
        sample.attempt.packets.append((payload_bytes, len(message)))
        self._due += 1

    def _wait_step(self, sample: Sample) -> StepAnswer:
        return self._wait(sample, lambda raw: self._take(sample, raw))

    def _wait(self, sample: Sample, take: Callable[[bytes], Taken | None]) -> Taken:
        """The sample's next answer; those to earlier samples are passed over."""
        until_s = self._clock() + self.timeout_s
        while True:
            try:
                raw = self._opened().wait(min(self._time_left(sample), until_s - self._clock()))
            except CloudTimeoutError:
                self._time_left(sample)  # was it the sample's own deadline?
                raise CloudTimeoutError(f"the cloud did not answer within {self.timeout_s:g} s") from None
            answer = take(raw)
            if answer is not None:
                return answer

    def _time_left(self, sample: Sample) -> float:
        if self._deadline_s is None:
            return self.timeout_s
        left_s = sample.start_s + self._deadline_s - self._clock()
        if left_s <= 0:
            raise SampleLateError(f"the sample was not answered within its {self._deadline_s:g} s")
        return min(self.timeout_s, left_s)

    def _count(self, sample: Sample, raw: bytes) -> None:
        """Count an answer, before anything else is made of it: no more may come than was asked for."""
        sample.bytes_down += len(raw)
        self._due -= 1
        if self._due < 0:
            raise MessageError("the cloud sent more answers than it was asked for")

    def _take(self, sample: Sample, raw: bytes) -> StepAnswer | None:
        """An answer to this sample; None for one to an earlier sample, which came too late to be of use.

        Raises:
            RequestError: the cloud has refused this sample.
            MessageError: it cannot be the answer to anything that was sent.
        """
        self._count(sample, raw)
        try:
            answer = parse_step(raw, self._session, self._known().class_list, brief=self._brief)
        except SampleRefusedError as error:
            if error.sequence < sample.attempt.sequence:
                return None
            raise
        if answer.sequence < sample.attempt.sequence:
            return None
        sent, due = len(sample.attempt.packets), len(sample.attempt.cloud_ms)
        if answer.sequence != sample.attempt.sequence or not answer.timestep == due < sent:
            raise MessageError(
                f"the answer is for sequence {answer.sequence}, timestep {answer.timestep}; expected sequence "
                f"{sample.attempt.sequence}, timestep {due} of the {sent} sent"
            )
        if answer.exit and self.mode is not ExitMode.SPECULATIVE:
            raise MessageError(f"the cloud ended the sample at timestep {answer.timestep} although the edge decides")
        if answer.last != (answer.exit or answer.timestep == sample.attempt.ending):
            raise MessageError(f"the answer to timestep {answer.timestep} has last {answer.last}, exit {answer.exit}")
        sample.answered += 1
        sample.attempt.cloud_ms.append(answer.compute_ms)
        if sample.best is None or sample.best.timesteps <= answer.timestep:
            sample.best = replace(self._by_cloud(sample, answer), source=Source.CLOUD_PARTIAL)
        return answer

    def _take_image(self, sample: Sample, name: Name, raw: bytes) -> messages.Answer | None:
        self._count(sample, raw)
        with contextlib.suppress(DecodeError):
            if pb.InferResponse.FromString(raw).sequence < name.sequence:
                return None
        return messages.parse_answer(raw, name, self._known().class_list, brief=self._brief)

    def _check_split(self, splits: tuple[SplitInfo, ...]) -> None:
        edge = self._edge
        served = {split.split_point: split for split in splits}.get(edge.split_point)
        if served is None:
            names = [split.split_point for split in splits]
            raise MessageError(f"the cloud does not serve split point {edge.split_point!r}, but {names}")
        if edge.codec not in served.codecs or edge.timesteps > served.timesteps:
            raise MessageError(
                f"the cloud decodes codecs {list(served.codecs)} and {served.timesteps} timesteps at "
                f"{edge.split_point!r}; "
                f"this edge sends codec {edge.codec} and up to {edge.timesteps}"
            )
