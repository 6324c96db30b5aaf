import pytest

from eccsnn.costs import image_costs, load_profile


def costs(name: str = "edge_45nm_wifi", **changes):
    arguments = {
        "edge_synops": 1e8,
        "edge_macs": 1e6,
        "cloud_macs": 1e9,
        "bytes_up": 2360.0,
        "image_size": 32,
        **changes,
    }
    return image_costs(load_profile(name), **arguments)


def test_an_uploaded_image_costs_edge_link_and_cloud():
    c = costs()
    edge, radio, cloud = 0.0946, 2360 * 2.3217e-3, 4.6
    assert c.energy_mj(0.0).value == pytest.approx(edge)
    assert c.energy_mj(1.0).value == pytest.approx(edge + radio + cloud)
    assert c.energy_mj(0.25).value == pytest.approx(edge + 0.25 * (radio + cloud))
    assert c.device_energy_mj(0.25).value == pytest.approx(edge + 0.25 * radio)
    assert c.cloud_only_energy.value == pytest.approx(radio + cloud)
    edge_ms, network_ms, cloud_ms = 3.25, 11.0, 1e9 / 1.01e12 * 1e3 + 1.0
    assert c.latency_ms(0.5).value == pytest.approx(edge_ms + 0.5 * (network_ms + cloud_ms))
    assert c.cloud_only_latency.value == pytest.approx(network_ms + cloud_ms)


def test_curve_agrees_with_the_points():
    c = costs()
    curve = c.curve([0.0, 0.3])
    assert curve["energy_mj"] == [c.energy_mj(0.0).value, c.energy_mj(0.3).value]
    assert curve["latency_ms"][1] == c.latency_ms(0.3).value
    assert curve["device_energy_mj"][1] == c.device_energy_mj(0.3).value


def test_published_latency_floor():
    # 2.5 ms on the edge against 1.6 + 4.3 ms: no threshold can save more than 57.6% of the latency.
    c = costs("ecc_snn_published")
    rows = {row["name"]: row for row in c.rows(upload_rate=0.0)}
    assert rows["latency against cloud-only at upload rate 0"]["value"] == pytest.approx(-0.576, abs=5e-4)


def test_mixed_provenance_is_visible_in_the_rows():
    rows = {row["name"]: row for row in costs("ecc_snn_published").rows(upload_rate=0.5)}
    assert rows["radio energy per uploaded image"]["provenance"] == "published"
    assert rows["cloud energy per uploaded image"]["provenance"] == "modelled"
    assert rows["cloud-only energy per image"]["provenance"] == "modelled + published"
    assert rows["energy per image at upload rate 0.5"]["provenance"] == "modelled + published"


def test_every_row_is_complete():
    for row in costs().rows(upload_rate=0.1):
        assert set(row) == {"name", "value", "unit", "provenance", "source"}
        assert row["provenance"] == "modelled"
        assert row["unit"] in ("mJ", "ms", "1")
        assert row["source"]


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_bad_upload_rate(rate):
    with pytest.raises(ValueError, match="upload_rate"):
        costs().energy_mj(rate)
