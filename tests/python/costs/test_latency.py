import math

import pytest

from eccsnn.costs import cloud_latency_ms, edge_latency_ms, link_latency_ms, load_profile, network_latency_ms

PROFILE = load_profile("edge_45nm_wifi")
PUBLISHED = load_profile("ecc_snn_published")


def test_network_latency_by_hand():
    # up: 5 + 2000 B * 8 / 16 Mbit/s = 1 ms; down: 5 + 1000 B * 8 / 80 Mbit/s = 0.1 ms; processing 0.5 ms
    latency = network_latency_ms(2000, 1000, rtt_ms=10.0, rate_up_mbit_s=16.0, rate_down_mbit_s=80.0, processing_ms=0.5)
    assert latency.value == pytest.approx(11.6)
    assert (latency.unit, latency.provenance) == ("ms", "modelled")


def test_rate_down_defaults_to_the_rate_up():
    assert network_latency_ms(0, 1000, rtt_ms=0.0, rate_up_mbit_s=8.0).value == pytest.approx(1.0)


def test_link_of_a_profile():
    # 10 ms rtt + 2360 B * 8 bit / 18.88 Mbit/s = 1 ms
    assert link_latency_ms(PROFILE, bytes_up=2360).value == pytest.approx(11.0)


def test_compute_latency_by_hand():
    # 3.2e8 / 3.2e10 s = 10 ms, 8e6 / 8e9 s = 1 ms
    assert edge_latency_ms(PROFILE, synops=3.2e8, macs=8e6).value == pytest.approx(11.0)
    assert cloud_latency_ms(PROFILE, macs=1.01e9).value == pytest.approx(2.0)


def test_published_figures():
    assert edge_latency_ms(PUBLISHED, image_size=64).value == 11.0
    assert link_latency_ms(PUBLISHED, bytes_up=10, image_size=32).value == 1.6
    assert cloud_latency_ms(PUBLISHED, macs=0, image_size=64).value == 14.1


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes_up": -1},
        {"bytes_down": math.nan},
        {"rtt_ms": -0.1},
        {"rate_up_mbit_s": 0.0},
        {"rate_down_mbit_s": -1.0},
        {"rate_up_mbit_s": math.inf},
        {"processing_ms": -1.0},
    ],
)
def test_bad_arguments(changes):
    arguments = {"bytes_up": 1, "bytes_down": 1, "rtt_ms": 1.0, "rate_up_mbit_s": 1.0, **changes}
    with pytest.raises(ValueError, match=next(iter(changes))):
        network_latency_ms(arguments.pop("bytes_up"), arguments.pop("bytes_down"), **arguments)
