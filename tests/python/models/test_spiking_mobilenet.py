import pytest
import torch
from torch import nn

from eccsnn.costs import count_synops
from eccsnn.models import build_model
from eccsnn.nn import SpikeConv2d, firing_rates


def test_it_has_the_published_layers():
    model = build_model("spiking_mobilenet", num_classes=10)
    blocks = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 5, (512, 1024)]
    blocks.append((1024, 1024))
    total = 3 * 32 * 9 + 2 * 32 + sum(9 * c + 2 * c + c * d + 2 * d for c, d in blocks) + 1024 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == total == 3_217_226
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convs) == 27
    assert all(isinstance(layer, SpikeConv2d) for layer in convs[1:])
    assert [layer.groups for layer in convs[1::2]] == [c for c, _ in blocks]


@pytest.mark.parametrize(("image_size", "sizes"), [(32, (32, 32, 16, 8, 4, 2)), (96, (48, 48, 24, 12, 6, 3))])
def test_every_block_is_a_binary_split_point(image_size, sizes):
    points = build_model("spiking_mobilenet", num_classes=2, width=0.1, image_size=image_size).split_points
    assert list(points) == ["stem", *(f"block{i}" for i in range(1, 14))]
    assert {point.max_count for point in points.values()} == {1}
    assert tuple(points[name].size for name in ("stem", "block1", "block2", "block4", "block6", "block13")) == sizes


def test_every_layer_fires_from_the_start_with_a_gain():
    torch.manual_seed(0)
    model = build_model("spiking_mobilenet", num_classes=2, width=0.25, norm_gain=2.0)
    with torch.no_grad(), firing_rates(model) as rates:
        model(torch.randn(4, 3, 32, 32))
    assert len(rates) == 27
    assert min(rates.values()) > 0.003


@pytest.mark.parametrize("name", ["spiking_mobilenet", "mobilenet"])
@pytest.mark.parametrize(("size", "multiple"), [(24, 16), (80, 32)])
def test_an_image_that_does_not_halve_evenly_is_refused(name, size, multiple):
    with pytest.raises(ValueError, match=f"image_size is {size}, expected a multiple of {multiple}"):
        build_model(name, num_classes=2, image_size=size)


def test_without_depthwise_neurons_the_same_weights_fire_behind_the_pointwise_layers_alone():
    both = build_model("spiking_mobilenet", num_classes=2, width=0.25)
    fewer = build_model("spiking_mobilenet", num_classes=2, width=0.25, norm_gain=2.0, depthwise_neurons=False)
    assert {k: v.shape for k, v in fewer.state_dict().items()} == {k: v.shape for k, v in both.state_dict().items()}
    with torch.no_grad(), firing_rates(fewer) as rates:
        maps = fewer.forward_features(torch.randn(4, 3, 32, 32)).maps
    assert len(rates) == 14
    assert all(set(spikes.unique().tolist()) <= {0.0, 1.0} for spikes in maps.values())
    report = count_synops(fewer.eval(), torch.randn(2, 3, 32, 32))
    analog = {layer.name for layer in report.layers if layer.input == "analog"}
    assert {f"blocks.{i}.pointwise.conv" for i in range(13)} < analog
    assert not any("depthwise" in name for name in analog)


def test_depthwise_neurons_is_a_bool():
    with pytest.raises(ValueError, match="depthwise_neurons is 'no', expected true or false"):
        build_model("spiking_mobilenet", num_classes=2, depthwise_neurons="no")
