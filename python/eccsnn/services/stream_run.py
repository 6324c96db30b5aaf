"""Images in one mode over one link: answered, counted, summarised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import CloudUnavailableError, EccsnnError
from eccsnn.services.client import CloudClient, address_of
from eccsnn.services.early_exit import EdgeSplit, ExitMode, StreamResult
from eccsnn.services.stream_edge import StreamAgent
from eccsnn.services.stream_summary import summarize_stream
from eccsnn.transport.messages import StreamCounts
from eccsnn.transport.shaping import LinkShape, WireBytes, shaped_link


@dataclass(frozen=True)
class StreamRun:
    """Results of a run, in the order of the images, and the summary made from them."""

    results: tuple[StreamResult, ...]
    summary: dict[str, Any]


def run_stream(
    images: Iterable[NDArray[np.uint8]],
    *,
    edge: EdgeSplit,
    mode: ExitMode,
    threshold: float,
    host: str,
    port: int,
    labels: Sequence[int] | None = None,
    shape: LinkShape | None = None,
    tls_root: str | Path | None = None,
    warm_up: int = 3,
    **agent: Any,
) -> StreamRun:
    """Answer images in one mode against a cloud that runs elsewhere, through a link shaper that counts.

    Args:
        images: uint8 `[C, H, W]` each.
        edge: the edge's part of the network.
        mode: who decides to stop, and what is sent.
        threshold: confidence at which the cloud's running logits are good enough (alpha); the exit head's, where that
            is another, is `edge_threshold` among the arguments of the agent.
        host: of the cloud.
        port: its port.
        labels: true class of each image, for the accuracy.
        shape: delay and rate of the link; None: as it is.
        tls_root: PEM file with the certificates to trust; None: no TLS.
        warm_up: how often the first image is answered before anything is counted.
        agent: further arguments of `StreamAgent`.

    Raises:
        EccsnnError: the edge's own network failed, there are no images, or there is another number of labels.
        ConfigError: the TLS file does not load.
        ValueError: a number is out of range.
    """
    with (
        shaped_link(host, port, shape) as link,
        CloudClient(link.host, link.port, tls_root=tls_root, tls_name=host, cloud=address_of(host, port)) as client,
        StreamAgent(edge, client, mode, threshold, **agent) as stream,
    ):
        pictures = list(images)
        if labels is not None and len(labels) != len(pictures):
            raise EccsnnError(f"{len(labels)} labels for {len(pictures)} images; expected one an image")
        if not pictures:
            raise EccsnnError("there are no images to answer; give one at least")
        for _ in range(warm_up):
            stream.process(pictures[0])
        readings: list[tuple[WireBytes, StreamCounts]] = []

        def read() -> None:
            # Behind all that was sent on this connection: the cloud has it when it answers.
            with contextlib.suppress(CloudUnavailableError):
                counts = client.get_info(stream.timeout_s).counts
                readings.append((link.wire, counts))

        if mode is not ExitMode.EDGE_ONLY:
            read()
            read()
        results = tuple(stream.process(image) for image in pictures)
        if mode is not ExitMode.EDGE_ONLY:
            read()
    wire, counts = None, None
    if len(readings) == 3:
        (first, _), (before, counts_before), (after, counts_after) = readings
        reading = before - first
        wire, counts = after - before - reading, counts_after - counts_before
    summary = summarize_stream(
        results,
        mode=stream.mode,
        threshold=stream.edge_threshold if stream.mode is ExitMode.EDGE_EXIT_HEAD else threshold,
        answers=stream.answers,
        labels=labels,
        transport=f"one gRPC stream over {'TLS over ' if tls_root is not None else ''}TCP, through a counting proxy",
        shape=shape,
        wire=wire,
        counts=counts,
    )
    return StreamRun(results, summary)
