import pytest

from eccsnn.models import build_model


@pytest.mark.parametrize("image_size", [32, 96])
def test_it_is_the_counterpart_of_the_spiking_one(image_size):
    ann = build_model("mobilenet", num_classes=10, width=0.25, image_size=image_size)
    snn = build_model("spiking_mobilenet", num_classes=10, width=0.25, image_size=image_size)
    assert [tuple(p.shape) for p in ann.parameters()] == [tuple(p.shape) for p in snn.parameters()]
    assert [point[:3] for point in ann.split_points.values()] == [point[:3] for point in snn.split_points.values()]
    assert {point.max_count for point in ann.split_points.values()} == {None}
