"""Spiking MobileNet V1: depthwise separable convolutions, with neurons behind both parts or behind the pointwise one.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, as a
spiking network for SpikeBottleNet (arXiv 2410.08673), which does not say which version. V1 is taken because it has no
residual sums: every block ends in binary spikes and can be a split point. Up to 64 px the stem has stride 1 instead of
2 (ours).
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import SMALL_IMAGE, kaiming_init, scale_channels, stem_stride_for
from eccsnn.models.spiking import SpikingModel
from eccsnn.nn import SpikeConv2d, TaskHeads, over_time
from eccsnn.nn.layers import ConvLIF, Pass, Stem

STEM_CHANNELS = 32
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
"""Channels and stride of the separable blocks."""


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with batch norm, and with neurons behind both or the second.

    Args:
        in_channels, channels: Of input and result.
        size: Height and width of the result.
        stride: Of the depthwise convolution.
        neuron: Configuration of the neurons.
        depthwise_neurons: Whether the depthwise convolution fires, too.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        stride: int,
        neuron: dict[str, Any],
        depthwise_neurons: bool = True,
    ) -> None:
        super().__init__()
        self.fires = depthwise_neurons
        if depthwise_neurons:
            self.depthwise: nn.Module = ConvLIF(
                in_channels, in_channels, size, neuron, stride=stride, groups=in_channels
            )
        else:
            conv = SpikeConv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
            self.depthwise = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(in_channels)))
        self.pointwise = ConvLIF(in_channels, channels, size, neuron, kernel_size=1, of_spikes=depthwise_neurons)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps spikes [T, N, C, H, W] to spikes."""
        x = self.depthwise(x, run) if self.fires else over_time(self.depthwise, x)
        return self.pointwise(x, run)


class SpikingMobileNet(SpikingModel):
    """Spiking MobileNet V1. Feature maps and split points: `stem` and `block1` ... `block13`.

    Args:
        spec: The resolved arguments of `build_model`.
        norm_gain: See `eccsnn.models.base.kaiming_init`; 27 layers without a shortcut need one above 1 to fire.
        depthwise_neurons: False leaves out the neurons between a block's two convolutions: 14 layers of neurons instead
            of 27 without a shortcut (configs/neucodex/recipe_trials.json compares them); the pointwise convolutions
            then multiply real values, which costs more energy than adding spikes.
        stem_stride: See `eccsnn.models.base.stem_stride_for`.

    Raises:
        ValueError: `depthwise_neurons` is not a bool, or the blocks cannot halve the image.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        norm_gain: float = 1.0,
        depthwise_neurons: bool = True,
        stem_stride: int | None = None,
    ) -> None:
        super().__init__(spec)
        if not isinstance(depthwise_neurons, bool):
            raise ValueError(f"{spec['name']}: depthwise_neurons is {depthwise_neurons!r}, expected true or false")
        width, neuron = spec["width"], spec["neuron"]
        stride = check_mobilenet_size(spec["name"], self.image_size, stem_stride)
        size, channels = self.image_size // stride, scale_channels(STEM_CHANNELS, width)
        self.stem = Stem(self.in_channels, channels, size, neuron, stride=stride, of_spikes=False)
        self.add_section("stem", self.stem, channels=channels, size=size, max_count=1)
        self.blocks = nn.ModuleList()
        for index, (base_channels, stride) in enumerate(BLOCKS, start=1):
            in_channels, channels, size = channels, scale_channels(base_channels, width), size // stride
            block = SeparableBlock(in_channels, channels, size, stride, neuron, depthwise_neurons)
            self.blocks.append(block)
            self.add_section(f"block{index}", block, channels=channels, size=size, max_count=1)
        kaiming_init(self, norm_gain)
        self.head = TaskHeads(channels, spec["tasks"])
        self.finish()


def check_mobilenet_size(name: str, image_size: int, stem_stride: int | None) -> int:
    """Checks that the blocks can halve an image evenly.

    Args:
        name: The model's name, for the error.
        image_size: Height and width.
        stem_stride: See `eccsnn.models.base.stem_stride_for`.

    Returns:
        The stem's stride.

    Raises:
        ValueError: They cannot, or the stride is not valid.
    """
    stride = stem_stride_for(name, image_size, stem_stride)
    if image_size % (16 * stride):
        raise ValueError(
            f"{name}: image_size is {image_size}, expected a multiple of {16 * stride} "
            f"(16 times the stem's stride, which is 1 up to {SMALL_IMAGE} px and 2 above unless it is given)"
        )
    return stride
