import pytest

from eccsnn.costs import PROVENANCES, list_profiles, load_profile
from eccsnn.costs.profiles import parse_profile
from eccsnn.errors import ConfigError

MINIMAL = """
name: mine
description: one figure
model: per_image
image_sizes: [32]
constants:
  edge_energy_32px: {value: 1, unit: mJ, provenance: measured, source: meter}
  radio_energy_32px: {value: 2, unit: mJ, provenance: measured, source: meter}
  edge_latency_32px: {value: 3, unit: ms, provenance: measured, source: clock}
  network_latency_32px: {value: 4, unit: ms, provenance: measured, source: clock}
  cloud_latency_32px: {value: 5, unit: ms, provenance: measured, source: clock}
  mac_energy_fp32: {value: 4.6, unit: pJ, provenance: published, source: table}
"""


@pytest.mark.parametrize("name", list_profiles())
def test_shipped_profiles_load_and_every_constant_has_its_source(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.constants
    for constant in profile.constants.values():
        assert constant.provenance in PROVENANCES
        assert len(constant.source) > 10


def test_published_constants_are_those_of_the_official_evaluation():
    profile = load_profile("ecc_snn_published")
    expected = {
        "edge_energy": (0.69, 2.03),
        "radio_energy": (8.77, 352.9),
        "edge_latency": (2.5, 11.0),
        "network_latency": (1.6, 64.4),
        "cloud_latency": (4.3, 14.1),
    }
    for name, figures in expected.items():
        for size, figure in zip((32, 64), figures, strict=True):
            constant = profile.per_image(name, size)
            assert constant.value == figure
            assert constant.provenance == "published"
    assert "cloud_energy_32px" not in profile.constants
    assert any("1000" in note for note in profile.notes)


def test_radio_energy_follows_from_the_power_model_and_agrees_with_the_official_figures():
    profile = load_profile("edge_45nm_wifi")
    rate = profile["rate_up"].value
    watts = (283.17 * rate + 132.86) * 1e-3
    assert profile["radio_energy_up"].value == pytest.approx(watts / (rate * 1e6 / 8) * 1e6, rel=1e-4)
    published = load_profile("ecc_snn_published")
    for size in (32, 64):
        power = published.per_image("radio_energy", size).value / published.per_image("network_latency", size).value
        assert power == pytest.approx(watts, rel=1e-3)
    down = profile["rate_down"].value
    watts_down = (137.01 * down + 132.86) * 1e-3
    assert profile["radio_energy_down"].value == pytest.approx(watts_down / (down * 1e6 / 8) * 1e6, rel=1e-4)


def test_45nm_arithmetic():
    profile = load_profile("edge_45nm_wifi")
    values = [
        profile[name].value for name in ("mac_energy_fp32", "ac_energy_fp32", "mac_energy_int8", "ac_energy_int8")
    ]
    assert values == [4.6, 0.9, 0.23, 0.03]


def test_size_without_published_figure():
    with pytest.raises(ConfigError, match=r"32, 64 pixels, given image_size=224"):
        load_profile("ecc_snn_published").per_image("edge_energy", 224)


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'edge_45nm_wifi'"):
        load_profile("edge_45nm_wif")


def test_unknown_constant():
    with pytest.raises(ConfigError, match="has no constant 'warp'"):
        load_profile("edge_45nm_wifi")["warp"]


def test_own_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_profile(path).per_image("cloud_latency", 32).value == 5.0
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: per_image", "model: magic", "expected one of per_operation, per_image"),
        ("image_sizes: [32]", "image_size: [32]", "did you mean 'image_sizes'"),
        ("image_sizes: [32]", "image_sizes: [big]", "sizes in pixels"),
        ("image_sizes: [32]", "image_sizes: []", "needs image_sizes"),
        ("image_sizes: [32]", "image_sizes: [32, 64]", "lacks the constant 'edge_energy_64px'"),
        ("value: 4.6, unit: pJ", "value: 4.6, unit: nJ", "has the unit 'nJ'"),
        ("value: 4.6", "value: -4.6", "expected a number >= 0"),
        ("value: 4.6", "value: many", "expected a number"),
        ("provenance: published", "provenance: guessed", "provenance"),
        (", source: table", "", "lacks source"),
        ("source: table", "src: table", "unknown key 'src'"),
        ("name: mine\n", "", "lacks the key 'name'"),
        ("name: mine", "name: [", "not valid YAML"),
    ],
)
def test_malformed_profile(old, new, message):
    assert old in MINIMAL
    with pytest.raises(ConfigError, match=message):
        parse_profile(MINIMAL.replace(old, new), origin="mine.yaml")


@pytest.mark.parametrize("text", ["", "- a list", "just text"])
def test_profile_that_is_no_mapping(text):
    with pytest.raises(ConfigError, match="expected a mapping"):
        parse_profile(text, origin="mine.yaml")
