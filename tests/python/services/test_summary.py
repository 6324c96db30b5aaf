"""The `link` section from results that are known."""

import json
from dataclasses import replace

import numpy as np

from eccsnn.services.edge import EdgeResult, Source
from eccsnn.services.summary import summarize_link
from eccsnn.transport.shaping import LinkShape, WireBytes

EDGE = EdgeResult(1, np.zeros(2, dtype=np.float32), (0, 1), Source.EDGE, 0.1, latency_ms=2.0, edge_ms=2.0)
CLOUD = replace(
    EDGE,
    source=Source.CLOUD,
    latency_ms=10.0,
    queue_ms=1.0,
    compute_ms=3.0,
    payload_bytes_up=100,
    message_bytes_up=120,
    message_bytes_down=50,
    wire_bytes_up=150,
    wire_bytes_down=70,
)
FALLBACK = replace(
    EDGE, source=Source.EDGE_FALLBACK, latency_ms=50.0, payload_bytes_up=999, reason="timeout", error="e"
)


def test_groups_are_counted_and_averaged_apart() -> None:
    results = [EDGE, CLOUD, replace(CLOUD, latency_ms=20.0, wire_bytes_up=170), FALLBACK]
    link = summarize_link(
        results, labels=[1, 1, 0, 1], image_codec="png", transport="t", shape=LinkShape(10), wire=WireBytes(500, 200)
    )
    assert (link["requests"], link["uploaded"], link["fallbacks"]) == (4, 2, 1)
    assert link["fallback_reasons"] == {"timeout": 1}
    assert link["fallback_error"] == "e"
    assert (link["payload_bytes_up"], link["wire_bytes_up"], link["wire_bytes_down"]) == (100.0, 160.0, 70.0)
    assert (link["wire_total_bytes_up"], link["wire_total_bytes_down"]) == (500, 200)
    latency = link["latency_ms"]
    assert (latency["edge_median"], latency["cloud_median"], latency["fallback_median"]) == (2.0, 15.0, 50.0)
    assert latency["cloud_p95"] == 19.5
    assert latency["all_mean"] == 20.5
    assert link["accuracy"] == 0.75
    assert json.loads(json.dumps(link)) == link


def test_nothing_is_none_and_not_zero() -> None:
    link = summarize_link([], labels=None, image_codec="png", transport="t")
    assert link["accuracy"] is None
    assert link["wire_bytes_up"] is None
    assert set(link["latency_ms"].values()) == {None}
