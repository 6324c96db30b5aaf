"""Costs of single timesteps in each mode, against the totals that the other models give."""

from __future__ import annotations

import numpy as np
import pytest

from eccsnn.costs import (
    FRAMING,
    bytes_on_air,
    cloud_energy_mj,
    edge_energy_mj,
    edge_latency_ms,
    load_profile,
    network_latency_ms,
    radio_energy_mj,
    timestep_costs,
)
from eccsnn.costs.timesteps import MODES

PROFILE = load_profile("edge_45nm_wifi")
EDGE = {"synops": [1e6, 1.8e6, 2.5e6], "macs": [4e5, 4e5, 4e5]}
CLOUD = {"dense": [5e6, 9e6, 14e6]}
PACKETS = np.array([[30, 40], [10, 20], [5, 5]])
SENT = ("all_timesteps", "edge_exit_head", "lock_step", "speculative")
# An edge so slow that the stop always comes before the next timestep is ready, but not before it is begun.
SLOW = {"synops": [1e12, 2e12, 3e12], "macs": [0.0, 0.0, 0.0]}


def costs_of(mode, **changes):
    return timestep_costs(PROFILE, **{"mode": mode, "edge": EDGE, "cloud": CLOUD, "payload_bytes": PACKETS} | changes)


def at(costs, name, stop, sample=0):
    """What a sample that stops after so many timesteps costs."""
    return costs[name][:stop, sample].sum()


def air_up(mode, packets):
    """Bytes on the air of a sample's packets."""
    framing = FRAMING[mode]
    around = [framing.first_up.value] + [framing.further_up.value] * (len(packets) - 1)
    return sum(packet + one + 40 for packet, one in zip(packets, around, strict=True))


def test_an_edge_alone_pays_its_operations():
    costs = timestep_costs(PROFILE, mode="edge_only", edge=EDGE)
    assert costs["device_energy_mj"].sum() == pytest.approx(edge_energy_mj(PROFILE, synops=2.5e6, macs=4e5).value)
    assert costs["latency_ms"].sum() == pytest.approx(edge_latency_ms(PROFILE, synops=2.5e6, macs=4e5).value)
    assert "payload_bytes" not in costs


def test_an_exit_head_runs_at_every_timestep():
    without, costs = (costs_of("edge_exit_head", precision="int8", exit_head_macs=macs) for macs in (0.0, 1e5))
    more = [edge_energy_mj(PROFILE, synops=0, macs=macs, precision="int8").value for macs in (1e5, 2e5, 3e5)]
    for name in ("device_energy_mj", "energy_mj"):
        np.testing.assert_allclose((costs[name] - without[name]).cumsum(axis=0)[:, 1], more, rtol=1e-9)
    later = edge_latency_ms(PROFILE, synops=0, macs=1e5).value
    np.testing.assert_allclose(costs["latency_ms"] - without["latency_ms"], np.full((3, 2), later), rtol=1e-9)


@pytest.mark.parametrize(("mode", "answers"), [("edge_exit_head", 2), ("lock_step", 2)])
def test_a_split_adds_radio_and_cloud(mode, answers):
    costs = costs_of(mode, answer_bytes=9)
    edge = edge_energy_mj(PROFILE, synops=1.8e6, macs=4e5).value
    framing = FRAMING[mode]
    end = framing.end_up.value + 40 if mode == "lock_step" else 0
    up, down = air_up(mode, [40, 20]) + end, answers * (9 + framing.answer_down.value + 40)
    radio = radio_energy_mj(PROFILE, bytes_up=up, bytes_down=down).value
    assert at(costs, "radio_energy_mj", 2, 1) == pytest.approx(radio)
    assert at(costs, "payload_energy_mj", 2, 1) == pytest.approx(radio_energy_mj(PROFILE, bytes_up=60).value)
    assert at(costs, "device_energy_mj", 2, 1) == pytest.approx(edge + radio)
    cloud = cloud_energy_mj(PROFILE, macs=9e6).value
    assert cloud == pytest.approx(9e6 * 4.6e-9)
    assert at(costs, "energy_mj", 2, 1) == pytest.approx(edge + radio + cloud)
    np.testing.assert_array_equal(costs["payload_bytes"], PACKETS)


def test_a_sample_that_takes_all_timesteps_needs_no_message_that_ends_it():
    costs, framing = costs_of("lock_step"), FRAMING["lock_step"]
    up, down = air_up("lock_step", PACKETS[:, 0]), 3 * (framing.answer_down.value + 40)
    assert at(costs, "radio_energy_mj", 3) == pytest.approx(
        radio_energy_mj(PROFILE, bytes_up=up, bytes_down=down).value
    )


def test_one_answer_comes_where_nothing_stops():
    head, whole = costs_of("edge_exit_head", answer_bytes=9), costs_of("all_timesteps", answer_bytes=9)
    answer = 9 + FRAMING["all_timesteps"].answer_down.value + 40
    saved = radio_energy_mj(PROFILE, bytes_up=0, bytes_down=2 * answer).value
    assert at(head, "radio_energy_mj", 3) - at(whole, "radio_energy_mj", 3) == pytest.approx(saved)
    assert at(head, "latency_ms", 3) == pytest.approx(at(whole, "latency_ms", 3))


def test_an_upload_is_one_message_in_as_many_segments_as_it_needs():
    costs = timestep_costs(
        PROFILE,
        mode="upload",
        edge={"synops": [0.0], "macs": [0.0]},
        cloud={"dense": [1e6]},
        payload_bytes=[[3000]],
        answer_bytes=9,
    )
    up, down = 3000 + FRAMING["upload"].first_up.value, 9 + FRAMING["upload"].answer_down.value
    radio = radio_energy_mj(PROFILE, bytes_up=up + 3 * 40, bytes_down=down + 40).value
    assert costs["device_energy_mj"].sum() == pytest.approx(radio)


def test_speculation_pays_one_round_trip_and_lock_step_one_a_timestep():
    costs = {mode: costs_of(mode) for mode in SENT}
    edge = edge_latency_ms(PROFILE, synops=2.5e6, macs=4e5).value
    rate, rtt = PROFILE["rate_up"].value, PROFILE["rtt"].value
    overhead = PROFILE["cloud_overhead"].value

    def wire(mode, answers):
        up, down = air_up(mode, PACKETS[:, 0]), answers * (FRAMING[mode].answer_down.value + 40)
        options = {"rtt_ms": rtt, "rate_up_mbit_s": rate, "rate_down_mbit_s": PROFILE["rate_down"].value}
        return network_latency_ms(up, down, **options).value

    last, every = (macs / PROFILE["cloud_mac_rate"].value * 1e3 for macs in (5e6, 14e6))
    for mode in ("speculative", "edge_exit_head"):
        assert at(costs[mode], "latency_ms", 3) == pytest.approx(edge + wire(mode, 1) + overhead + last)
    assert at(costs["lock_step"], "latency_ms", 3) == pytest.approx(
        edge + wire("lock_step", 3) + 2 * rtt + 3 * overhead + every
    )


def test_a_fast_edge_that_speculates_pays_for_all_timesteps_whatever_was_needed():
    """It is through with all of them long before a round trip is over."""
    costs, head = costs_of("speculative"), costs_of("edge_exit_head")
    for stop in (1, 2, 3):
        assert at(costs, "payload_bytes", stop) == 45
        assert at(costs, "payload_energy_mj", stop) == pytest.approx(at(head, "payload_energy_mj", 3))
        assert at(costs, "latency_ms", stop) == pytest.approx(at(head, "latency_ms", stop))
    # the answers that were not needed are not sent, and the cloud computes nothing in vain
    answer = radio_energy_mj(PROFILE, bytes_up=0, bytes_down=FRAMING["speculative"].answer_down.value + 40).value
    assert at(costs, "device_energy_mj", 1) == pytest.approx(at(head, "device_energy_mj", 3) - 2 * answer)
    assert at(costs, "energy_mj", 1) - at(costs, "device_energy_mj", 1) == pytest.approx(5e6 * 4.6e-9)


def test_a_slow_edge_that_speculates_has_begun_one_timestep_in_vain_and_not_sent_it():
    costs, head = costs_of("speculative", edge=SLOW), costs_of("edge_exit_head", edge=SLOW)
    a_step = edge_energy_mj(PROFILE, synops=1e12).value
    for stop, begun in ((1, 1), (2, 1), (3, 0)):
        assert at(costs, "payload_bytes", stop) == at(head, "payload_bytes", stop)
        wasted = at(costs, "device_energy_mj", stop) - at(head, "device_energy_mj", stop)
        assert wasted == pytest.approx(begun * a_step)


def test_a_segment_is_started_for_every_1460_bytes():
    np.testing.assert_array_equal(bytes_on_air([1460, 1461, 0], [0, 0, 1]), [1500, 1541, 41])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge": {"synops": [1.0], "macs": [1.0, 2.0]}}, "1 and 2 entries"),
        ({"payload_bytes": [[1.0]]}, r"\[1, 1\], expected \[T, N\] with T = 3"),
        ({"cloud": {"dense": [1.0]}}, "1 entries of dense, expected 3"),
        ({"mode": "lockstep"}, f"'lockstep', expected one of {', '.join(MODES)}"),
        ({"mode": "edge_only"}, "'edge_only' with cloud"),
        ({"cloud": None}, "'lock_step' with cloud None"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        costs_of(**{"mode": "lock_step"} | options)


def test_published_figures_say_nothing_about_timesteps():
    with pytest.raises(ValueError, match="single timesteps"):
        timestep_costs(load_profile("ecc_snn_published"), mode="edge_only", edge=EDGE)
