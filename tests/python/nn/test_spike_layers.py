"""Spike layers as modules: torch's layers with the same parameters, and bits kept for the backward pass."""

import pytest
import torch
from torch import nn

from eccsnn.nn import SpikeConv2d, SpikeLinear, SpikeMaxPool2d

PAIRS = [
    (SpikeConv2d, nn.Conv2d, {"in_channels": 6, "out_channels": 4, "kernel_size": 3}, (2, 6, 8, 8)),
    (
        SpikeConv2d,
        nn.Conv2d,
        {
            "in_channels": 6,
            "out_channels": 4,
            "kernel_size": (3, 1),
            "stride": (1, 2),
            "padding": 1,
            "dilation": 2,
            "groups": 2,
            "bias": False,
        },
        (2, 6, 8, 8),
    ),
    (SpikeConv2d, nn.Conv2d, {"in_channels": 6, "out_channels": 4, "kernel_size": 3, "padding": "same"}, (6, 8, 8)),
    (SpikeLinear, nn.Linear, {"in_features": 9, "out_features": 4}, (3, 5, 9)),
    (SpikeLinear, nn.Linear, {"in_features": 9, "out_features": 4, "bias": False}, (5, 9)),
    (SpikeMaxPool2d, nn.MaxPool2d, {"kernel_size": 2}, (2, 6, 8, 8)),
    (SpikeMaxPool2d, nn.MaxPool2d, {"kernel_size": 3, "stride": (2, 1), "padding": 1}, (6, 8, 8)),
]


@pytest.mark.parametrize(("ours", "theirs", "arguments", "shape"), PAIRS)
def test_the_layer_is_torchs(ours, theirs, arguments, shape):
    layer, plain = ours(**arguments), theirs(**arguments)
    assert isinstance(layer, theirs)
    assert layer.state_dict().keys() == plain.state_dict().keys()
    layer.load_state_dict(plain.state_dict())
    spikes = (torch.rand(shape) < 0.3).float()
    results = []
    for module in (layer, plain):
        x = spikes.clone().requires_grad_()
        module.zero_grad()
        out = module(x)
        out.square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("ours", "theirs", "arguments", "shape"), PAIRS)
def test_the_layer_keeps_bits(ours, theirs, arguments, shape):
    spikes = (torch.rand(shape) < 0.3).float().requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ours(**arguments)(spikes)
    kept = [t for t in kept if not isinstance(t, nn.Parameter)]
    assert [(t.dtype, t.numel()) for t in kept] == [(torch.uint8, -(-spikes.numel() // 8))]


def test_other_padding_is_refused():
    with pytest.raises(ValueError, match="padding_mode is 'reflect', expected 'zeros'"):
        SpikeConv2d(3, 4, 3, padding=1, padding_mode="reflect")


@pytest.mark.parametrize(("ours", "theirs", "arguments", "shape"), PAIRS)
def test_inputs_that_are_no_spikes_are_refused_in_training(ours, theirs, arguments, shape):
    layer = ours(**arguments)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        layer(torch.full(shape, 0.5).requires_grad_())
    with torch.no_grad():
        layer(torch.full(shape, 0.5))
