"""The cloud's part of a split network: what is served at a split point, and how samples advance through it together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import EccsnnError, MessageError
from eccsnn.offload.exits import NEVER, confidence
from eccsnn.transport.messages import MAX_NAME_CHARS, RequestError, SplitInfo
from eccsnn.transport.packed_spikes import MAX_COUNT, PACKED, PackedDecoder
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

_LOG = logging.getLogger(__name__)


class Decoder(Protocol):
    """Decodes the packets of one sample, in the order of the timesteps."""

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Spikes uint8 `[C, H, W]` of the next timestep; a `MessageError` when the bytes are no such packet."""


@dataclass(frozen=True)
class SplitModel:
    """What a cloud serves at one split point.

    Attributes:
        split_point: its name, 1 to 128 characters.
        shape: `(C, H, W)` of the spikes, the last two 0 where there are no spatial axes.
        timesteps: most of a sample.
        start: makes the state of a sample that has seen nothing.
        step: spikes uint8 `[N, C, H, W]` and N states to the logits `[N, K]` of this timestep alone and N new states.
            It is called from one thread, never concurrently, with samples of any timesteps together; the old states are
            not used again.
        exit_threshold: confidence (largest softmax of the running mean of the logits) at which a sample ends, where the
            request says none.
        max_count: largest value of an element.
        decoders: makes a sample's decoder, by the number of the codec; None: packed bits alone.

    Raises:
        ValueError: a value is out of range.
    """

    split_point: str
    shape: tuple[int, int, int]
    timesteps: int
    start: Callable[[], Any]
    step: Callable[[NDArray[np.uint8], Sequence[Any]], tuple[NDArray[np.floating], Sequence[Any]]]
    exit_threshold: float = NEVER
    max_count: int = 1
    decoders: Mapping[int, Callable[[], Decoder]] | None = None

    def __post_init__(self) -> None:
        channels, height, width = self.shape
        if channels < 1 or min(height, width) < 0 or (height == 0) != (width == 0):
            raise ValueError(f"shape is {self.shape}; expected (channels, height, width), or (channels, 0, 0)")
        if not 1 <= len(self.split_point) <= MAX_NAME_CHARS or self.timesteps < 1 or np.isnan(self.exit_threshold):
            raise ValueError(
                f"split_point is {self.split_point!r}, timesteps {self.timesteps}, exit_threshold "
                f"{self.exit_threshold}; "
                f"expected 1 to {MAX_NAME_CHARS} characters, at least 1, and a number"
            )
        if not 1 <= self.max_count <= MAX_COUNT:
            raise ValueError(f"max_count is {self.max_count}; expected 1 to {MAX_COUNT}")
        if self.decoders is None:
            packed = {PACKED: lambda: PackedDecoder(self.shape, self.max_count)}
            object.__setattr__(self, "decoders", packed)

    @property
    def info(self) -> SplitInfo:
        """What an edge has to know of it."""
        codecs = tuple(self.decoders or ())
        return SplitInfo(
            self.split_point, self.shape, self.timesteps, self.max_count, codecs, float(self.exit_threshold)
        )

    @property
    def spikes_shape(self) -> tuple[int, ...]:
        """Of decoded spikes: `(C, H, W)`, or `(C,)`."""
        return self.shape if self.shape[1] else self.shape[:1]


@dataclass(eq=False)
class Sample:
    """One sample under way in the cloud.

    Attributes:
        split: where it enters the network.
        codec: of all its packets.
        threshold: confidence at which it ends.
        brief: its answers say the class and the confidence alone.
        admitted: packets let in so far, which is the next timestep; like the next two, written by the event loop.
        complete: a packet with `last` was let in.
        closed: nobody waits for it any more.
        ended: no further packet is computed: it has exited, failed, or had its last timestep. Like all that follow,
            written by the model's thread.
        steps: timesteps computed.
        state: after them.
        decoder: of its packets.
        total: sum of the logits of all timesteps, f64 `[K]`.
    """

    split: SplitModel
    codec: int
    threshold: float
    brief: bool = False
    admitted: int = 0
    complete: bool = False
    closed: bool = False
    ended: bool = False
    steps: int = 0
    state: Any = None
    decoder: Decoder | None = None
    total: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Packet:
    """Spikes of a sample's next timestep, as they came."""

    sample: Sample
    data: bytes
    last: bool


@dataclass(frozen=True)
class Step:
    """What a timestep gave: the running mean of the logits f32 `[K]`, and whether the sample ends with it."""

    logits: NDArray[np.float32]
    exits: bool
    ends: bool
    compute_ms: float


def advance(packets: Sequence[Packet], classes: int) -> list[Step | RequestError | None]:
    """Advance samples by their packets, those of different samples together; runs on the model's thread.

    Args:
        packets: in the order of their arrival, several of one sample among them.
        classes: K, the number of logits.

    Returns:
        One result a packet: the step, why its sample has failed, or None for a packet that is not needed any more.
    """
    results: list[Step | RequestError | None] = [None] * len(packets)
    waiting = list(range(len(packets)))
    while waiting:
        # A round takes the oldest packet of every sample; a sample's next packet needs the state after it.
        batches: dict[int, list[tuple[int, NDArray[np.uint8]]]] = {}
        seen: set[int] = set()
        later: list[int] = []
        for index in waiting:
            sample = packets[index].sample
            if id(sample) in seen:
                later.append(index)
            elif not (sample.closed or sample.ended):
                seen.add(id(sample))
                try:
                    spikes = _decode(packets[index])
                except RequestError as error:
                    sample.ended = True
                    results[index] = error
                else:
                    batches.setdefault(id(sample.split), []).append((index, spikes))
        for batch in batches.values():
            _advance_batch(packets, batch, classes, results)
        waiting = later
    return results


def _decode(packet: Packet) -> NDArray[np.uint8]:
    sample, split = packet.sample, packet.sample.split
    try:
        if sample.decoder is None:
            sample.decoder = (split.decoders or {})[sample.codec]()
        spikes = sample.decoder.decode(packet.data)
    except MessageError as error:
        raise RequestError(pb.ERROR_CODE_BAD_PAYLOAD, f"timestep {sample.steps}: {error}") from error
    except Exception as error:  # a fault of the decoder, which must not reach the other samples of the batch
        _LOG.exception("the decoder of codec %d failed", sample.codec)
        raise RequestError(
            pb.ERROR_CODE_INTERNAL, f"the decoder failed ({type(error).__name__}): see the cloud's log"
        ) from error
    if spikes.shape != split.spikes_shape:
        raise RequestError(
            pb.ERROR_CODE_SHAPE_MISMATCH,
            f"spikes are {list(spikes.shape)}; the split point takes {list(split.spikes_shape)}",
        )
    return spikes


def _advance_batch(
    packets: Sequence[Packet],
    batch: Sequence[tuple[int, NDArray[np.uint8]]],
    classes: int,
    results: list[Step | RequestError | None],
) -> None:
    start_s = time.perf_counter()
    samples = [packets[index].sample for index, _ in batch]
    try:
        logits, states = _call(samples, np.stack([spikes for _, spikes in batch]), classes)
    except Exception as error:
        _LOG.exception("the model failed on %d samples", len(batch))
        # The text of an unexpected error may quote what is the server's own; its log has it.
        text = str(error) if isinstance(error, EccsnnError) else "see the cloud's log"
        for index, _ in batch:
            packets[index].sample.ended = True
            results[index] = RequestError(pb.ERROR_CODE_INTERNAL, f"the model failed ({type(error).__name__}): {text}")
        return
    compute_ms = (time.perf_counter() - start_s) * 1e3
    for row, (index, _) in enumerate(batch):
        packet, sample = packets[index], samples[row]
        sample.state = states[row]
        sample.steps += 1
        sample.total = logits[row] if sample.total is None else sample.total + logits[row]
        running = (sample.total / sample.steps).astype(np.float32)
        # Of the rounded logits, which the edge gets: it decides the same, if it decides.
        exits = bool(confidence(running) >= sample.threshold)
        sample.ended = exits or packet.last or sample.steps == sample.split.timesteps
        results[index] = Step(running, exits, sample.ended, compute_ms)


def _call(
    samples: Sequence[Sample], spikes: NDArray[np.uint8], classes: int
) -> tuple[NDArray[np.float64], Sequence[Any]]:
    split = samples[0].split
    states = [split.start() if sample.steps == 0 else sample.state for sample in samples]
    made, after = split.step(spikes, states)
    logits = np.asarray(made, dtype=np.float64)
    expected = (len(samples), classes)
    if logits.shape != expected or len(after) != len(samples):
        raise EccsnnError(
            f"step returned logits {list(logits.shape)} and {len(after)} states; expected {list(expected)} (samples, "
            f"classes) and {len(samples)}"
        )
    if not np.isfinite(logits).all() or np.abs(logits).max(initial=0.0) > np.finfo(np.float32).max:
        raise EccsnnError("step returned logits that are not finite")
    return logits, after
