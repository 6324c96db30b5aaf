"""One image under way on the edge: what is computed for it, what was sent, and what an answer can be made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import EccsnnError
from eccsnn.offload.exits import confidence
from eccsnn.services.early_exit import EdgeSplit, EdgeStep, ExitMode, StreamResult, pipeline_ms
from eccsnn.services.edge import Source
from eccsnn.transport.answers import Verdict, judge


@dataclass(frozen=True)
class Decision:
    """An answer: who gave it, the verdict over which classes, timesteps behind it, the cloud's time for each."""

    source: Source
    verdict: Verdict | None
    class_ids: tuple[int, ...]
    timesteps: int = 0
    cloud_ms: tuple[float, ...] = ()


@dataclass
class Attempt:
    """One attempt to have a sample answered by the cloud.

    Attributes:
        sequence: number of the sample, a new one for each attempt.
        packets: bytes of payload and of message of each packet sent.
        ending: timestep that was sent with `last`.
        cloud_ms: the cloud's time for each timestep answered.
    """

    sequence: int = 0
    packets: list[tuple[int, int]] = field(default_factory=list)
    ending: int | None = None
    cloud_ms: list[float] = field(default_factory=list)


class Sample:
    """One image under way.

    Args:
        edge: the edge's part of the network.
        image: uint8 `[C, H, W]`.
        clock: time in seconds that never goes back.

    Attributes:
        start_s: when it came.
        steps: timesteps computed on the edge.
        attempts: with the cloud, so far; the last is under way.
        answered: timesteps that the cloud has answered, in all attempts.
        bytes_down: messages of the answers.
        end_bytes: messages that only ended the sample.
        best: what the cloud's answer to the highest timestep so far would be.
        reason: what went wrong, in one word; None: nothing.
        error: the same as a sentence.
    """

    def __init__(self, edge: EdgeSplit, image: NDArray[np.uint8], clock: Callable[[], float]) -> None:
        self.image = image
        self.start_s = clock()
        self.steps: list[EdgeStep] = []
        self.attempts: list[Attempt] = []
        self.answered = self.bytes_down = self.end_bytes = 0
        self.best: Decision | None = None
        self.reason: str | None = None
        self.error: str | None = None
        self._edge, self._clock = edge, clock
        self._next_step: Callable[[int], EdgeStep] | None = None
        self._edge_ms: list[float] = []
        self._local_ms = 0.0
        self._local_timesteps = 0

    @property
    def attempt(self) -> Attempt:
        """The last attempt."""
        return self.attempts[-1]

    def compute(self, timestep: int) -> None:
        """Compute a timestep on the edge, unless a former attempt has.

        Raises:
            EccsnnError: the exit head's logits are of a wrong shape or not finite.
        """
        if timestep < len(self.steps):
            return
        start_s = self._clock()
        if self._next_step is None:
            self._next_step = self._edge.start(self.image)
        step = self._next_step(timestep)
        if self._edge.exit_head:
            self._checked(step.logits, "the exit head")
        self.steps.append(step)
        self._edge_ms.append((self._clock() - start_s) * 1e3)

    def sure(self, threshold: float) -> bool:
        """Whether the exit head's running mean reaches a confidence."""
        return bool(confidence(self._head()) >= threshold)

    def by_head(self, source: Source) -> Decision:
        """What the exit head answers after the timesteps computed."""
        ids = self._edge.class_ids
        return Decision(source, judge(self._head(), ids), ids, len(self.steps))

    def alone(self, source: Source, threshold: float) -> Decision:
        """What the edge answers without a cloud: as `edge_only` its local network, else its exit head once it is sure.

        Raises:
            EccsnnError: logits are of a wrong shape or not finite.
        """
        if self._edge.local is not None and (source is Source.EDGE or not self._edge.exit_head):
            start_s = self._clock()
            logits = self._checked(self._edge.local(self.image), "the local network")
            self._local_ms = (self._clock() - start_s) * 1e3
            self._local_timesteps = self._edge.timesteps
            return Decision(source, judge(logits, self._edge.class_ids), self._edge.class_ids, self._local_timesteps)
        while len(self.steps) < self._edge.timesteps and not (self.steps and self.sure(threshold)):
            self.compute(len(self.steps))
        return self.by_head(source)

    def make_do(self, threshold: float) -> Decision:
        """An answer from what is there, now that the cloud does not give one.

        Raises:
            EccsnnError: logits are of a wrong shape or not finite.
        """
        if self.best is not None:
            return self.best
        if self._edge.exit_head or self._edge.local is not None:
            return self.alone(Source.EDGE_FALLBACK, threshold)
        return Decision(Source.NOBODY, None, ())

    def result(self, mode: ExitMode, decision: Decision) -> StreamResult:
        """The result, now that the answer is known."""
        latency_ms = (self._clock() - self.start_s) * 1e3
        edge_ms, needed = sum(self._edge_ms) + self._local_ms, decision.timesteps
        compute_ms = edge_ms + sum(decision.cloud_ms)
        if decision.cloud_ms and needed:
            lock_step = mode is ExitMode.LOCK_STEP
            compute_ms = pipeline_ms(self._edge_ms[:needed], decision.cloud_ms, lock_step=lock_step)
        verdict = decision.verdict
        packets = [packet for attempt in self.attempts for packet in attempt.packets]
        used = self.attempt.packets[: needed or 1] if decision.source is Source.CLOUD else []
        return StreamResult(
            mode=mode,
            label=None if verdict is None else verdict.label,
            confidence=None if verdict is None else verdict.confidence,
            logits=None if verdict is None else verdict.logits,
            class_ids=decision.class_ids,
            source=decision.source,
            latency_ms=latency_ms,
            compute_ms=compute_ms,
            edge_ms=edge_ms,
            cloud_ms=sum(decision.cloud_ms),
            timesteps=needed,
            edge_timesteps=len(self.steps) + self._local_timesteps,
            sent_timesteps=len(packets) if mode is not ExitMode.UPLOAD_IMAGE else 0,
            answered_timesteps=self.answered,
            payload_bytes_up=sum(payload for payload, _ in packets),
            message_bytes_up=sum(message for _, message in packets) + self.end_bytes,
            message_bytes_down=self.bytes_down,
            wasted_payload_bytes=sum(payload for payload, _ in packets) - sum(payload for payload, _ in used),
            wasted_message_bytes=sum(message for _, message in packets) - sum(message for _, message in used),
            attempts=sum(bool(attempt.packets) for attempt in self.attempts),
            reason=self.reason,
            error=self.error,
        )

    def _head(self) -> NDArray[np.float32]:
        """Running mean of the exit head's logits, f32 `[K]`."""
        every = np.array([step.logits for step in self.steps], dtype=np.float64)
        return np.asarray(every.mean(axis=0), dtype=np.float32)

    def _checked(self, logits: NDArray[np.floating] | None, what: str) -> NDArray[np.float32]:
        values = np.asarray(logits if logits is not None else [], dtype=np.float32)
        expected = (len(self._edge.class_ids),)
        if values.shape != expected or not np.isfinite(values).all():
            raise EccsnnError(
                f"{what} returned logits of shape {list(values.shape)}, finite: {bool(np.isfinite(values).all())}; "
                f"expected finite logits of shape {list(expected)} (classes of the edge)"
            )
        return values
