import pytest
import torch

from eccsnn.models import build_model
from eccsnn.nn import LIF, Sigmoid, firing_rates


def parameters(name: str, **options) -> int:
    return sum(p.numel() for p in build_model(name, num_classes=10, **options).parameters())


def test_vgg9_has_the_published_layers():
    convolutions = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256)
    batch_norms = 2 * (2 * 64 + 2 * 128 + 3 * 256)
    hidden = 256 * 4 * 4 * 1024 + 1024
    assert parameters("spiking_vgg9") == convolutions + batch_norms + hidden + 1024 * 10 + 10 == 5_942_218


def test_vgg16_has_thirteen_convolutions_and_two_hidden_layers():
    first = 3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256
    convolutions = 9 * (first + 256 * 512 + 5 * 512 * 512)
    batch_norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    hidden = 512 * 1024 + 1024 + 1024 * 1024 + 1024
    assert parameters("spiking_vgg16") == convolutions + batch_norms + hidden + 10_250 == 16_304_074


def test_the_neurons_are_the_published_ones():
    model = build_model("spiking_vgg9", num_classes=2, width=0.1)
    neurons = [layer for layer in model.modules() if isinstance(layer, LIF)]
    assert len(neurons) == 8
    for lif in neurons:
        assert (lif.tau, lif.v_threshold, lif.v_reset, lif.detach_reset) == (2.0, 1.0, 0.0, True)
        assert lif.surrogate == Sigmoid(4.0)


def test_the_last_map_stands_before_the_last_pooling():
    model = build_model("spiking_vgg9", num_classes=2)
    assert list(model.feature_maps) == ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv_last"]
    assert model.feature_maps["conv_last"] == (256, 4, 1)


def test_split_points_are_pooled_where_pooling_follows():
    points = build_model("spiking_vgg9", num_classes=2).split_points
    assert [tuple(point) for point in points.values()] == [
        ("conv1", 64, 32, 1),
        ("pool1", 64, 16, 1),
        ("conv3", 128, 16, 1),
        ("pool2", 128, 8, 1),
        ("conv5", 256, 8, 1),
        ("conv6", 256, 8, 1),
        ("pool3", 256, 4, 1),
    ]


def test_width_scales_every_hidden_layer():
    model = build_model("spiking_vgg9", num_classes=2, width=0.25)
    assert [fmap.channels for fmap in model.feature_maps.values()] == [16, 16, 32, 32, 64, 64, 64]
    assert model.head.in_features == 256


@pytest.mark.parametrize("name", ["spiking_vgg9", "spiking_vgg16"])
def test_every_layer_fires_from_the_start(name):
    torch.manual_seed(0)
    model = build_model(name, num_classes=2, width=0.25)
    with torch.no_grad(), firing_rates(model) as rates:
        model(torch.randn(4, 3, 32, 32))
    assert min(rates.values()) > 0.003


def test_a_larger_norm_gain_gives_more_spikes():
    def rate(**options) -> float:
        torch.manual_seed(0)
        model = build_model("spiking_vgg9", num_classes=2, width=0.125, **options)
        with torch.no_grad(), firing_rates(model) as rates:
            model(torch.randn(4, 3, 32, 32))
        return rates["convs.conv_last.lif"]

    assert rate(norm_gain=2.0) > 2 * rate()
    with pytest.raises(ValueError, match="norm_gain is 0"):
        rate(norm_gain=0)


def test_an_image_that_does_not_pool_evenly_is_refused():
    with pytest.raises(ValueError, match="image_size is 28, expected a multiple of 8"):
        build_model("spiking_vgg9", num_classes=2, image_size=28)
