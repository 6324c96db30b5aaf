"""One row of the comparison."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eccsnn.services.early_exit import ExitMode, StreamResult
from eccsnn.services.edge import Source
from eccsnn.services.stream_summary import summarize_stream
from eccsnn.transport.messages import StreamCounts
from eccsnn.transport.shaping import LinkShape, WireBytes

RESULT = StreamResult(
    mode=ExitMode.SPECULATIVE,
    label=3,
    confidence=0.25,
    logits=np.zeros(4, dtype=np.float32),
    class_ids=(0, 1, 2, 3),
    source=Source.CLOUD,
    latency_ms=130.0,
    compute_ms=20.0,
    edge_ms=40.0,
    cloud_ms=5.0,
    timesteps=2,
    edge_timesteps=4,
    sent_timesteps=3,
    answered_timesteps=2,
    payload_bytes_up=30,
    message_bytes_up=60,
    message_bytes_down=50,
    wasted_payload_bytes=10,
    wasted_message_bytes=20,
    attempts=1,
)
ALONE = replace(
    RESULT,
    label=1,
    source=Source.EDGE_FALLBACK,
    reason="timeout",
    error="the cloud did not answer",
    timesteps=4,
    answered_timesteps=0,
    latency_ms=1000.0,
    payload_bytes_up=40,
    wasted_payload_bytes=40,
)


def test_a_row() -> None:
    row = summarize_stream(
        [RESULT, RESULT, ALONE, RESULT],
        mode=ExitMode.SPECULATIVE,
        threshold=0.9,
        labels=[3, 0, 1, 3],
        transport="a wire",
        shape=LinkShape(50, 10, 10),
        wire=WireBytes(400, 200),
        counts=StreamCounts(samples=4, packets=12, timesteps_computed=10, packets_dropped=2),
    )
    assert json.loads(json.dumps(row)) == row
    assert (row["mode"], row["images"], row["lost"], row["failures"]) == ("speculative", 4, 1, {"timeout": 1})
    assert row["sources"] == {"cloud": 3, "edge_fallback": 1}
    assert row["failure_error"] == "the cloud did not answer"
    assert row["accuracy"] == 0.75
    assert row["latency_ms"]["median"] == 130.0
    assert row["round_trips"]["median"] == pytest.approx(110 / 50)
    assert row["timesteps"] == {"needed": 2.5, "edge": 4.0, "sent": 3.0, "cloud": 2.5}
    assert row["bytes"]["wire_up"] == 100.0
    assert row["bytes"]["payload_up"] == pytest.approx(32.5)
    # Needed by answers of the cloud were 6 timesteps of the 12 sent and 10 computed there.
    assert row["wasted"]["edge_timesteps"] == 1.5
    assert row["wasted"]["sent_timesteps"] == 1.5
    assert row["wasted"]["cloud_timesteps"] == 1.0
    assert row["wasted"]["payload_bytes"] == pytest.approx(17.5)


def test_without_link_labels_or_counts() -> None:
    row = summarize_stream([RESULT], mode=ExitMode.EDGE_ONLY, threshold=float("inf"), transport="none")
    assert row["round_trips"] is row["accuracy"] is row["threshold"] is None
    assert row["bytes"]["wire_up"] is row["timesteps"]["cloud"] is row["wasted"]["cloud_timesteps"] is None
    assert row["failures"] == {}
    assert json.loads(json.dumps(row)) == row


def test_no_results_are_an_error() -> None:
    with pytest.raises(ValueError, match="no results"):
        summarize_stream([], mode=ExitMode.LOCK_STEP, threshold=0.5, transport="none")
