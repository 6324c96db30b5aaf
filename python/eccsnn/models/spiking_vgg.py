"""Spiking VGG-9 and VGG-16: 3x3 convolutions with batch norm and LIF, max pooling, hidden layers, mean over time.

Source: VGG-9 as the edge SNN of ECC-SNN (IJCAI 2025, arXiv 2505.20835). VGG-16 follows Simonyan & Zisserman
(ICLR 2015), configuration D, with hidden layers of 1024 as in the VGG-9 (ours).
"""

from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import kaiming_init, scale_channels
from eccsnn.models.spiking import SpikingModel
from eccsnn.nn import SpikeLinear, TaskHeads, over_time
from eccsnn.nn.layers import ConvLIF, Neurons, Pass, Pool, Stem

# Channels of the 3x3 convolutions; a row ends with 2x2 max pooling.
LAYOUTS: dict[int, list[list[int]]] = {
    9: [[64, 64], [128, 128], [256, 256, 256]],
    16: [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
}
HIDDEN_LAYERS = {9: 1, 16: 2}
HIDDEN_FEATURES = 1024
ACTIVE_INPUTS = 1 / 8
"""Part of a hidden layer's inputs that is expected to spike when training starts."""


class HiddenLIF(nn.Module):
    """Linear layer and neurons."""

    def __init__(self, in_features: int, features: int, neuron: dict[str, Any]) -> None:
        super().__init__()
        self.linear = SpikeLinear(in_features, features)
        # He's rule is for inputs of which half are active; there is no batch norm here that would lift a current made
        # of one spike in eight to the threshold, and a second hidden layer would never fire.
        nn.init.normal_(self.linear.weight, std=(ACTIVE_INPUTS * in_features) ** -0.5)
        nn.init.zeros_(self.linear.bias)
        self.lif = Neurons((features,), neuron)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps [T, N, D] to spikes."""
        return run.fire(self.lif, over_time(self.linear, x))


class HiddenLayers(nn.ModuleList):
    """Hidden layers on a flattened map."""

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps [T, N, C, H, W] to spikes [T, N, D]."""
        x = x.movedim(2, -1).flatten(2)  # [H, W, C] in that order, as channels-last memory has it: no copy
        for layer in self:
            x = layer(x, run)
        return x


class SpikingVGG(SpikingModel):
    """Spiking VGG.

    Feature maps are the spikes of every convolution before pooling: `conv1`, `conv2`, ... and `conv_last`, the last one
    before the hidden layers (VGG-9 at 32 px: 256 channels of 8x8; 2x2 pooling brings it to a VGG-16's `pool3`). Split
    points are what a wire would carry: a convolution's spikes where no pooling follows, else the pooled ones (`pool1`,
    ...).

    Args:
        spec: The resolved arguments of `build_model`.
        depth: 9 or 16.
        norm_gain: See `eccsnn.models.base.kaiming_init`.
    """

    def __init__(self, spec: dict[str, Any], depth: int, norm_gain: float = 1.0) -> None:
        super().__init__(spec)
        layout, width, neuron = LAYOUTS[depth], spec["width"], spec["neuron"]
        size = self.image_size
        if size % 2 ** len(layout):
            raise ValueError(
                f"{spec['name']}: image_size is {size}, expected a multiple of {2 ** len(layout)} "
                f"({len(layout)} poolings halve it)"
            )
        in_channels, total = self.in_channels, sum(len(row) for row in layout)
        for pool, row in enumerate(layout, start=1):
            for position, base_channels in enumerate(row, start=1):
                index = len(self.feature_maps) + 1
                name = f"conv{index}" if index < total else "conv_last"
                channels = scale_channels(base_channels, width)
                layer: ConvLIF
                if index == 1:
                    layer = self.stem = Stem(in_channels, channels, size, neuron, of_spikes=False)
                    self.convs = nn.ModuleDict()
                else:
                    layer = self.convs[name] = ConvLIF(in_channels, channels, size, neuron)
                pooled = position == len(row)
                self.add_section(name, layer, channels=channels, size=size, max_count=1, is_point=not pooled)
                in_channels = channels
            size //= 2
            self.add_section(f"pool{pool}", Pool(2), channels=channels, size=size, max_count=1, is_map=False)
        kaiming_init(self, norm_gain)
        features = in_channels * size * size
        self.hidden = HiddenLayers()
        for _ in range(HIDDEN_LAYERS[depth]):
            self.hidden.append(HiddenLIF(features, scale_channels(HIDDEN_FEATURES, width), neuron))
            features = scale_channels(HIDDEN_FEATURES, width)
        self.sections["hidden"] = (self.hidden,)
        self.head = TaskHeads(features, spec["tasks"])
        self.finish()
