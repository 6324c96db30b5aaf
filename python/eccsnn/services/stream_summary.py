"""Numbers of a run over a stream: one row of a comparison of modes and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eccsnn.services.early_exit import ExitMode, StreamResult
from eccsnn.transport.messages import StreamCounts
from eccsnn.transport.shaping import LinkShape, WireBytes

BY_CLOUD = ("cloud", "cloud_partial")


def summarize_stream(
    results: Sequence[StreamResult],
    *,
    mode: ExitMode,
    threshold: float,
    answers: str = "brief",
    labels: Sequence[int] | None = None,
    transport: str,
    shape: LinkShape | None = None,
    wire: WireBytes | None = None,
    counts: StreamCounts | None = None,
) -> dict[str, Any]:
    """What a mode took over a link.

    Args:
        results: of every image, in order.
        mode: of all of them.
        threshold: confidence at which a sample stops (alpha), of whoever decides.
        answers: what the cloud was asked for, "brief" or "logits"; see `StreamAgent`.
        labels: true class of each image; None: no accuracy.
        transport: in words.
        shape: of the link; None: not shaped.
        wire: bytes that crossed it for these images; None: not counted.
        counts: the cloud's work on them; None: not asked.

    Returns:
        A dict ready for JSON; figures are means an image, where they are not said to be medians or 95th percentiles.
        `round_trips` is (latency - compute) / RTT, with the computing that a link without delay would leave; None
        without an RTT. `lost` counts the images for which the cloud's final answer was wanted and did not come,
        `failures` why. `wasted` is what the answers did not need.
    """
    if not results:
        raise ValueError("there are no results; expected those of one image at least")
    rtt_ms = shape.rtt_ms if shape is not None else 0.0
    link_ms = [result.latency_ms - result.compute_ms for result in results]
    needed = _mean(results, lambda r: r.timesteps)
    by_cloud = sum(r.timesteps for r in results if r.source in BY_CLOUD) / len(results)
    computed = counts.timesteps_computed / len(results) if counts is not None else None
    pairs = zip(results, labels, strict=True) if labels is not None else ()
    correct = [result.label == label for result, label in pairs]
    return {
        "provenance": "measured",
        "mode": str(mode),
        "threshold": threshold if np.isfinite(threshold) else None,
        "answers": answers,
        "transport": transport,
        "shape": (shape or LinkShape()).describe(),
        "images": len(results),
        "sources": dict(Counter(str(result.source) for result in results)),
        "lost": sum(result.source not in ("cloud", "edge") for result in results),
        "failures": dict(Counter(result.reason for result in results if result.reason is not None)),
        "failure_error": next((result.error for result in results if result.error is not None), None),
        "attempts": _mean(results, lambda r: r.attempts),
        "accuracy": float(np.mean(correct)) if correct else None,
        "latency_ms": _spread([result.latency_ms for result in results]),
        "compute_ms": _spread([result.compute_ms for result in results]),
        "link_ms": _spread(link_ms),
        "round_trips": _spread([ms / rtt_ms for ms in link_ms]) if rtt_ms > 0 else None,
        "timesteps": {
            "needed": needed,
            "edge": _mean(results, lambda r: r.edge_timesteps),
            "sent": _mean(results, lambda r: r.sent_timesteps),
            "cloud": computed,
        },
        "bytes": {
            "payload_up": _mean(results, lambda r: r.payload_bytes_up),
            "message_up": _mean(results, lambda r: r.message_bytes_up),
            "message_down": _mean(results, lambda r: r.message_bytes_down),
            "wire_up": wire.up / len(results) if wire is not None else None,
            "wire_down": wire.down / len(results) if wire is not None else None,
        },
        "wasted": {
            "edge_timesteps": _mean(results, lambda r: r.edge_timesteps - r.timesteps),
            "sent_timesteps": _mean(results, lambda r: r.sent_timesteps) - by_cloud,
            "cloud_timesteps": computed - by_cloud if computed is not None else None,
            "payload_bytes": _mean(results, lambda r: r.wasted_payload_bytes),
            "message_bytes": _mean(results, lambda r: r.wasted_message_bytes),
        },
    }


def _mean(results: Sequence[StreamResult], figure: Callable[[StreamResult], float]) -> float:
    return float(np.mean([figure(result) for result in results]))


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}
