"""Early exit over a link: the ways to decide when to stop, the edge's part of a network, and what a sample took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from eccsnn.services.edge import Source


class ExitMode(StrEnum):
    """How a sample is answered; named in every result.

    EDGE_EXIT_HEAD: the edge's own head decides after each timestep. LOCK_STEP: the edge decides by the cloud's running
    logits and waits for them after each timestep. SPECULATIVE: the edge sends on without waiting until the cloud's stop
    reaches it. The other two are for comparison: EDGE_ONLY sends nothing, UPLOAD_IMAGE the image.

    Source: the first two are NeuCODEX's (ICMLA 2025, arXiv 2509.19156) "edge-side termination", which the paper does
    not define further; speculation is ours.
    """

    EDGE_EXIT_HEAD = "edge_exit_head"
    LOCK_STEP = "lock_step"
    SPECULATIVE = "speculative"
    EDGE_ONLY = "edge_only"
    UPLOAD_IMAGE = "upload_image"


@dataclass(frozen=True)
class EdgeStep:
    """What a timestep gave on the edge.

    Attributes:
        packet: its spikes, encoded.
        logits: f32 `[K]` of the exit head for this timestep alone; None: there is no exit head.
    """

    packet: bytes
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EdgeSplit:
    """The edge's part of a split network.

    Attributes:
        start: image uint8 `[C, H, W]` to a function that computes and encodes the next timestep, given its number. It
            is called for 0, 1, 2, ... as far as they are needed.
        split_point: where the network is cut.
        timesteps: most of a sample.
        codec: number of the packets' codec.
        class_ids: class of each logit of the exit head and of `local`; empty where there is neither.
        exit_head: whether the steps have logits.
        local: a network of the edge alone, image uint8 `[C, H, W]` to logits `[K]`: it answers in mode `edge_only`, and
            when the cloud is gone and there is no exit head. It is counted as all `timesteps`.

    Raises:
        ValueError: a value is out of range, or classes are missing.
    """

    start: Callable[[NDArray[np.uint8]], Callable[[int], EdgeStep]]
    split_point: str
    timesteps: int
    codec: int = 0
    class_ids: tuple[int, ...] = ()
    exit_head: bool = False
    local: Callable[[NDArray[np.uint8]], NDArray[np.floating]] | None = None

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise ValueError(f"timesteps is {self.timesteps}; expected at least 1")
        if (self.exit_head or self.local is not None) and not self.class_ids:
            raise ValueError("class_ids is empty; an exit head and a local network need the class of each logit")


@dataclass(frozen=True)
class StreamResult:
    """The answer for one image, and what it took.

    Attributes:
        mode: how it was answered.
        label: the class, by its id; None when nobody could answer.
        confidence: largest softmax behind it, in [0, 1]; None when nobody could answer.
        logits: f32 `[K]` behind it: the running mean; None where they did not travel, or nobody could answer.
        class_ids: class of each logit.
        source: who answered.
        latency_ms: from the image to the label, on the edge's clock.
        compute_ms: what of it a link without delay would leave: the timesteps that were needed, on the edge and in the
            cloud, which overlap where the edge does not wait (`pipeline_ms`).
        edge_ms: computing and encoding on the edge, all timesteps.
        cloud_ms: computing in the cloud, as far as it was needed.
        timesteps: that the answer needs; 0 for an uploaded image.
        edge_timesteps: computed on the edge.
        sent_timesteps: sent, in all attempts.
        answered_timesteps: that the cloud has computed and answered before the edge was done, in all attempts.
        payload_bytes_up: packets or the image as sent, in all attempts.
        message_bytes_up: their protobuf messages.
        message_bytes_down: of the answers that came before the edge was done.
        wasted_payload_bytes: part of the payload that the answer did not need: timesteps after the stop, and all of a
            lost attempt.
        wasted_message_bytes: the same for messages; the message that ends a sample is not among them.
        attempts: how often the sample was begun with the cloud.
        reason: why the answer is not the one that was wanted, in one word, or why there was a second attempt; None when
            all went well.
        error: the same as a sentence.
    """

    mode: ExitMode
    label: int | None
    confidence: float | None
    logits: NDArray[np.float32] | None
    class_ids: tuple[int, ...]
    source: Source
    latency_ms: float
    compute_ms: float
    edge_ms: float
    cloud_ms: float
    timesteps: int
    edge_timesteps: int
    sent_timesteps: int
    answered_timesteps: int
    payload_bytes_up: int
    message_bytes_up: int
    message_bytes_down: int
    wasted_payload_bytes: int
    wasted_message_bytes: int
    attempts: int
    reason: str | None = None
    error: str | None = None


def pipeline_ms(edge_ms: Sequence[float], cloud_ms: Sequence[float], *, lock_step: bool) -> float:
    """Time from the image to the cloud's last logits over a link without delay.

    Args:
        edge_ms: time of each timestep on the edge.
        cloud_ms: time of each in the cloud.
        lock_step: the edge begins a timestep when the one before is answered; otherwise both work at once.

    Example:
        >>> pipeline_ms([5, 5, 5], [2, 2, 2], lock_step=True), pipeline_ms([5, 5, 5], [2, 2, 2], lock_step=False)
        (21.0, 17.0)
    """
    edge_free = cloud_free = 0.0
    for edge, cloud in zip(edge_ms, cloud_ms, strict=True):
        edge_free = (cloud_free if lock_step else edge_free) + edge
        cloud_free = max(edge_free, cloud_free) + cloud
    return cloud_free
