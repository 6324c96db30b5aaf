import math

import pytest

from eccsnn.costs import arithmetic_energy_mj, cloud_energy_mj, edge_energy_mj, load_profile, radio_energy_mj
from eccsnn.errors import ConfigError

PROFILE = load_profile("edge_45nm_wifi")
PUBLISHED = load_profile("ecc_snn_published")


def test_arithmetic_fp32():
    # 2e6 * 4.6 pJ + 1e8 * 0.9 pJ = 99.2e6 pJ
    energy = arithmetic_energy_mj(PROFILE, macs=2e6, synops=1e8)
    assert energy.value == pytest.approx(0.0992)
    assert (energy.unit, energy.provenance) == ("mJ", "modelled")
    assert "edge_45nm_wifi" in energy.source


def test_arithmetic_int8():
    assert arithmetic_energy_mj(PROFILE, macs=1e6, synops=1e6, precision="int8").value == pytest.approx(0.26e-3)


def test_memory_is_a_separate_term():
    without = arithmetic_energy_mj(PROFILE, macs=1e6, synops=1e6)
    with_memory = arithmetic_energy_mj(PROFILE, macs=1e6, synops=1e6, memory=True)
    assert with_memory.value - without.value == pytest.approx(2e6 * 5.0 * 1e-9)
    assert "weight read" in with_memory.source
    assert "weight read" not in without.source


def test_accumulates_are_not_priced_as_multiply_accumulates():
    assert cloud_energy_mj(PROFILE, macs=1e9).value == pytest.approx(4.6)
    assert edge_energy_mj(PROFILE, synops=1e9).value == pytest.approx(0.9)


def test_radio_energy_counts_both_directions():
    # 3000 B * 2.3217 uJ + 100 B * 1.1154 uJ
    energy = radio_energy_mj(PROFILE, bytes_up=3000, bytes_down=100)
    assert energy.value == pytest.approx(7.07664)


def test_published_figures_ignore_the_counts():
    assert edge_energy_mj(PUBLISHED, synops=1e12, image_size=32).value == 0.69
    assert radio_energy_mj(PUBLISHED, bytes_up=1, image_size=64).value == 352.9
    assert edge_energy_mj(PUBLISHED, image_size=32).provenance == "published"
    # The official cloud figure is wrong by a factor of 1000, so the cloud's energy is modelled from its MACs.
    assert cloud_energy_mj(PUBLISHED, macs=1e9).provenance == "modelled"


def test_published_figures_need_a_size():
    with pytest.raises(ConfigError, match="image_size=None"):
        edge_energy_mj(PUBLISHED, synops=1.0)
    with pytest.raises(ValueError, match="memory=False"):
        edge_energy_mj(PUBLISHED, image_size=32, memory=True)


@pytest.mark.parametrize("count", [-1.0, math.nan, math.inf])
def test_bad_counts(count):
    with pytest.raises(ValueError, match="macs"):
        arithmetic_energy_mj(PROFILE, macs=count)
    with pytest.raises(ValueError, match="bytes_up"):
        radio_energy_mj(PROFILE, bytes_up=count)


def test_unknown_precision():
    with pytest.raises(ValueError, match="fp32, int8"):
        arithmetic_energy_mj(PROFILE, macs=1.0, precision="bf16")
