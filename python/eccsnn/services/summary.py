"""Numbers of a run over a link: the `link` section of a run's results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eccsnn.transport.shaping import LinkShape, WireBytes

if TYPE_CHECKING:
    from eccsnn.services.edge import EdgeResult


def summarize_link(
    results: Sequence[EdgeResult],
    *,
    labels: Sequence[int] | None,
    image_codec: str,
    transport: str,
    shape: LinkShape | None = None,
    wire: WireBytes | None = None,
) -> dict[str, Any]:
    """The `link` section.

    Args:
        results: of every image, in order.
        labels: true class of each image; None: no accuracy.
        image_codec: of the uploads, with its quality where it has one.
        transport: in words.
        shape: of the link; None: not shaped.
        wire: bytes of the whole connection, with its set-up and warm-up; None: not counted.

    Returns:
        A dict ready for JSON. `requests` images were answered; `uploaded` of them by the cloud; for `fallbacks` the
        edge had to answer itself although it was not sure, with `fallback_reasons`. Byte counts are means over the
        images answered by the cloud. Latencies of an empty group are None.
    """
    cloud = [result for result in results if result.source == "cloud"]
    edge = [result for result in results if result.source == "edge"]
    fallbacks = [result for result in results if result.source == "edge_fallback"]
    pairs = zip(results, labels, strict=True) if labels is not None else ()
    correct = [result.label == label for result, label in pairs]
    return {
        "provenance": "measured",
        "transport": transport,
        "shape": (shape or LinkShape()).describe(),
        "image_codec": image_codec,
        "requests": len(results),
        "uploaded": len(cloud),
        "fallbacks": len(fallbacks),
        "fallback_reasons": dict(Counter(result.reason for result in fallbacks)),
        "fallback_error": next((result.error for result in fallbacks), None),
        "payload_bytes_up": _mean([r.payload_bytes_up for r in cloud]),
        "message_bytes_up": _mean([r.message_bytes_up for r in cloud]),
        "message_bytes_down": _mean([r.message_bytes_down for r in cloud]),
        "wire_bytes_up": _mean([r.wire_bytes_up for r in cloud]),
        "wire_bytes_down": _mean([r.wire_bytes_down for r in cloud]),
        "wire_total_bytes_up": wire.up if wire is not None else None,
        "wire_total_bytes_down": wire.down if wire is not None else None,
        "latency_ms": {
            "edge_median": _percentile([r.latency_ms for r in edge], 50),
            "edge_p95": _percentile([r.latency_ms for r in edge], 95),
            "cloud_median": _percentile([r.latency_ms for r in cloud], 50),
            "cloud_p95": _percentile([r.latency_ms for r in cloud], 95),
            "fallback_median": _percentile([r.latency_ms for r in fallbacks], 50),
            "all_mean": _mean([r.latency_ms for r in results]),
        },
        "edge_ms": _percentile([r.edge_ms for r in results], 50),
        "queue_ms": _percentile([r.queue_ms for r in cloud], 50),
        "compute_ms": _percentile([r.compute_ms for r in cloud], 50),
        "accuracy": float(np.mean(correct)) if correct else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percentile(values: Sequence[float | None], percent: float) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.percentile(known, percent)) if known else None
