"""Brief answers: the same decisions as by logits, at the threshold itself, and with a cloud that cannot be brief."""

from dataclasses import replace

import numpy as np
import pytest
from fake_cloud import EARLY, agent, cloud_of, slow_edge
from split_net import image_of, running_logits

from eccsnn.offload.exits import confidence
from eccsnn.services.early_exit import ExitMode
from eccsnn.services.stream_edge import StreamAgent


@pytest.mark.parametrize("mode", [ExitMode.LOCK_STEP, ExitMode.SPECULATIVE, ExitMode.EDGE_EXIT_HEAD])
def test_brief_answers_decide_as_logits_do_and_so_does_a_cloud_that_does_not_know_them(mode: ExitMode) -> None:
    found = {}
    for name, options in {"brief": {}, "logits": {"answers": "logits"}, "old cloud": {}}.items():
        cloud = cloud_of(knows_brief=name != "old cloud")
        with agent(cloud, mode, edge={"exit_head": True}, edge_threshold=0.8, **options) as edge:
            found[name] = [edge.process(image_of(value)) for value in range(12)]
        asked = [request.brief for request in cloud.sent() if request.timestep == 0 and request.HasField("spikes")]
        assert asked == [name != "logits"] * 12
    for brief, full, old in zip(*found.values(), strict=True):
        assert (brief.label, brief.confidence, brief.timesteps) == (full.label, full.confidence, full.timesteps)
        np.testing.assert_array_equal(old.logits, full.logits)
        assert replace(brief, message_bytes_down=0) == replace(
            old, message_bytes_down=0, logits=None, latency_ms=brief.latency_ms, compute_ms=brief.compute_ms
        )
        assert brief.logits is None
        assert brief.message_bytes_down < full.message_bytes_down
    assert len({result.timesteps for result in found["brief"]}) > 1


def test_a_confidence_at_the_threshold_stops_at_both_ends_of_the_wire() -> None:
    # Thresholds at, just below and just above a confidence, where float32 could round across.
    exact = float(confidence(running_logits(EARLY)[0]))
    assert exact != float(np.float32(exact))
    nearest = np.float32(exact)
    for threshold in (nearest, np.nextafter(nearest, np.float32(0)), np.nextafter(nearest, np.float32(1))):
        stops = set()
        for mode in (ExitMode.LOCK_STEP, ExitMode.SPECULATIVE):
            for answers in ("brief", "logits"):
                cloud = cloud_of()
                edge = StreamAgent(
                    slow_edge(cloud.clock),
                    cloud,
                    mode,
                    float(threshold),
                    answers=answers,
                    session="s",
                    clock=cloud.clock,
                )
                stops.add(edge.process(image_of(EARLY)).timesteps)
        assert len(stops) == 1
        assert (stops == {1}) == (exact >= float(threshold))
