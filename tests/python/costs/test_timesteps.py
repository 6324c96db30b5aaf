"""Costs of single timesteps, against the totals that the other models give."""

from __future__ import annotations

import numpy as np
import pytest

from eccsnn.costs import (
    edge_energy_mj,
    edge_latency_ms,
    load_profile,
    network_latency_ms,
    radio_energy_mj,
    timestep_costs,
)

PROFILE = load_profile("edge_45nm_wifi")
EDGE = {"synops": [1e6, 1.8e6, 2.5e6], "macs": [4e5, 4e5, 4e5]}
CLOUD = {"synops": [5e6, 9e6, 14e6], "macs": [0.0, 0.0, 0.0]}
PACKETS = np.array([[30, 40], [10, 20], [5, 5]])


def test_an_edge_alone_pays_its_operations():
    costs = timestep_costs(PROFILE, edge=EDGE)
    assert costs["device_energy_mj"].sum() == pytest.approx(edge_energy_mj(PROFILE, synops=2.5e6, macs=4e5).value)
    assert costs["latency_speculative_ms"].sum() == pytest.approx(
        edge_latency_ms(PROFILE, synops=2.5e6, macs=4e5).value
    )
    assert "payload_bytes" not in costs


def test_an_exit_head_runs_at_every_timestep():
    options = {"cloud": CLOUD, "payload_bytes": PACKETS, "precision": "int8"}
    without, costs = (
        timestep_costs(PROFILE, edge=EDGE, **options),
        timestep_costs(PROFILE, edge=EDGE, exit_head_macs=1e5, **options),
    )
    more = [edge_energy_mj(PROFILE, synops=0, macs=macs, precision="int8").value for macs in (1e5, 2e5, 3e5)]
    for name in ("device_energy_mj", "energy_mj"):
        np.testing.assert_allclose((costs[name] - without[name]).cumsum(axis=0)[:, 1], more, rtol=1e-9)
    later = edge_latency_ms(PROFILE, synops=0, macs=1e5).value
    for name in ("latency_speculative_ms", "latency_lock_step_ms"):
        np.testing.assert_allclose(costs[name] - without[name], np.full((3, 2), later), rtol=1e-9)


def test_a_split_adds_radio_and_cloud():
    costs = timestep_costs(PROFILE, edge=EDGE, cloud=CLOUD, payload_bytes=PACKETS, answer_bytes=40)
    edge = edge_energy_mj(PROFILE, synops=1.8e6, macs=4e5).value
    radio = radio_energy_mj(PROFILE, bytes_up=60, bytes_down=80).value
    assert costs["device_energy_mj"][:2, 1].sum() == pytest.approx(edge + radio)
    cloud = 9e6 * 0.9e-9
    assert costs["energy_mj"][:2, 1].sum() == pytest.approx(edge + radio + cloud)
    np.testing.assert_array_equal(costs["payload_bytes"], PACKETS)


def test_speculation_pays_one_round_trip_and_lock_step_one_a_timestep():
    costs = timestep_costs(PROFILE, edge=EDGE, cloud=CLOUD, payload_bytes=PACKETS)
    edge = edge_latency_ms(PROFILE, synops=2.5e6, macs=4e5).value
    rate, rtt = PROFILE["rate_up"].value, PROFILE["rtt"].value
    wire = network_latency_ms(45, 0, rtt_ms=rtt, rate_up_mbit_s=rate).value
    overhead, last = PROFILE["cloud_overhead"].value, 5e6 / PROFILE["cloud_mac_rate"].value * 1e3
    assert costs["latency_speculative_ms"][:, 0].sum() == pytest.approx(edge + wire + overhead + last)
    every = 14e6 / PROFILE["cloud_mac_rate"].value * 1e3
    assert costs["latency_lock_step_ms"][:, 0].sum() == pytest.approx(edge + wire + 2 * rtt + 3 * overhead + every)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge": {"synops": [1.0], "macs": [1.0, 2.0]}}, "1 and 2 entries"),
        ({"edge": EDGE, "cloud": CLOUD, "payload_bytes": [[1.0]]}, r"\[1, 1\], expected \[T, N\] with T = 3"),
        ({"edge": EDGE, "cloud": {"synops": [1.0], "macs": [1.0]}, "payload_bytes": PACKETS}, "expected 3 each"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        timestep_costs(PROFILE, **options)


def test_published_figures_say_nothing_about_timesteps():
    with pytest.raises(ValueError, match="single timesteps"):
        timestep_costs(load_profile("ecc_snn_published"), edge=EDGE)
