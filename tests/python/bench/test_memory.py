"""The count of saved bytes, against networks of which it is known."""

import pytest
import torch
from torch import nn

from eccsnn.bench.memory import count_saved, kind_of
from eccsnn.errors import BenchmarkError
from eccsnn.nn import LIF

BATCH, CHANNELS, SIZE = 2, 8, 4
MAP_BYTES = BATCH * CHANNELS * SIZE * SIZE * 4


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(CHANNELS)
        self.lif = LIF()

    def forward(self, x):
        return self.lif(self.bn(self.conv(x)).unsqueeze(0)).sum()


def test_conv_bn_and_neurons_keep_their_inputs():
    network, x = Network(), torch.randn(BATCH, CHANNELS, SIZE, SIZE)
    saved = count_saved(network, lambda: network(x))
    assert saved.by_kind["conv"] == MAP_BYTES
    assert saved.by_kind["bn"] == MAP_BYTES + 2 * CHANNELS * 4  # and a mean and a deviation a channel
    assert saved.by_kind["neuron"] == MAP_BYTES
    assert saved.total == sum(saved.by_kind.values())
    buffers = 2 * CHANNELS * 4
    assert saved.weights == sum(p.numel() for p in (network.conv.weight, network.bn.weight)) * 4 + buffers


def test_a_storage_that_two_keep_counts_once():
    network, x = Network(), torch.randn(BATCH, CHANNELS, SIZE, SIZE)
    once = count_saved(network, lambda: network(x))
    twice = count_saved(network, lambda: network(x) + nn.functional.conv2d(x, network.conv.weight).sum())
    assert twice.by_kind["conv"] == once.by_kind["conv"]


def test_nothing_to_count():
    network = nn.Linear(2, 2)
    with pytest.raises(BenchmarkError, match="is it a training step"):
        count_saved(network, lambda: network(torch.ones(1, 2)).sum())


def test_kinds():
    assert kind_of("ConvolutionBackward0") == "conv"
    assert kind_of("CudnnBatchNormBackward0") == "bn"
    assert kind_of("_EagerLifBackward") == "neuron"
