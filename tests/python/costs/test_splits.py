import pytest

from eccsnn.costs import count_macs, split_costs
from eccsnn.models import build_model, split

IMAGE = (3, 32, 32)


@pytest.mark.parametrize(
    "name", ["spiking_vgg9", "sew_resnet18", "spiking_mobilenet", "spikformer", "resnet18", "mobilenet", "vgg16"]
)
def test_the_share_is_that_of_the_edge_part(name):
    model = build_model(name, num_classes=10, width=0.125)
    costs = split_costs(model)
    assert [point for point, _ in costs] == list(model.split_points.values())
    shares = [share for _, share in costs]
    assert shares == sorted(shares)
    total = sum(count_macs(model, IMAGE).values())
    for point, share in (costs[0], costs[len(costs) // 2], costs[-1]):
        edge, _ = split(model, point.name)
        assert share == sum(count_macs(edge, IMAGE).values()) / total
    assert 0 < shares[0] < shares[-1] < 1


def test_bottlenecks_do_not_count():
    units = {"pool1": {"channels": 2}, "pool2": {"channels": 2}}
    plain = build_model("spiking_vgg9", num_classes=10, width=0.125)
    cut = build_model("spiking_vgg9", num_classes=10, width=0.125, bottlenecks=units)
    assert split_costs(cut) == split_costs(plain)


def test_a_model_without_split_points_has_none():
    assert split_costs(build_model("torchvision/resnet18", num_classes=2)) == []
