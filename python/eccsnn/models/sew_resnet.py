"""Spike-element-wise ResNet with ADD.

Source: Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021: the neurons stand before the
residual sum, so that the sum of two spike trains is an integer, and a block whose residual is silent is the identity.
SEW-ResNet-10 is one basic block a stage (ours). The stem for small images is a 3x3 convolution without pooling.
"""

from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import SMALL_IMAGE, FeatureMap, kaiming_init, scale_channels
from eccsnn.models.spiking import ConvLIF, Pass, SpikingModel, max_pool
from eccsnn.nn import TaskHeads

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class SEWBlock(nn.Module):
    """Convolutions with neurons, plus the block's input: spikes(x) + x.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the inner convolutions.
        size: Height and width of the result.
        stride: Stride of the block.
        bottleneck: Three convolutions (1x1, 3x3, 1x1 to four times the channels) instead of two 3x3.
        neuron: Configuration of the neurons.
        of_spikes: Whether the input is binary, and not a sum of spikes.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        stride: int,
        bottleneck: bool,
        neuron: dict[str, Any],
        of_spikes: bool,
    ) -> None:
        super().__init__()
        self.out_channels = 4 * channels if bottleneck else channels
        if bottleneck:
            self.convs = nn.ModuleList(
                [
                    ConvLIF(in_channels, channels, size * stride, neuron, kernel_size=1, of_spikes=of_spikes),
                    ConvLIF(channels, channels, size, neuron, stride=stride),
                    ConvLIF(channels, self.out_channels, size, neuron, kernel_size=1),
                ]
            )
        else:
            self.convs = nn.ModuleList(
                [
                    ConvLIF(in_channels, channels, size, neuron, stride=stride, of_spikes=of_spikes),
                    ConvLIF(channels, channels, size, neuron),
                ]
            )
        self.shortcut: ConvLIF | None = None
        if stride != 1 or in_channels != self.out_channels:
            self.shortcut = ConvLIF(
                in_channels, self.out_channels, size, neuron, kernel_size=1, stride=stride, of_spikes=of_spikes
            )

    def max_count(self, of_input: int) -> int:
        """Largest sum of spikes in the result, given the input's."""
        return 1 + (of_input if self.shortcut is None else 1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps [T, N, C, H, W] to integers: spikes plus the shortcut."""
        shortcut = x if self.shortcut is None else self.shortcut(x, run)
        for layer in self.convs:
            x = layer(x, run)
        return x + shortcut


class SEWResNet(SpikingModel):
    """SEW-ResNet-10, 18, 34 (basic blocks) or 50 (bottlenecks).

    Feature maps: `stem` (binary spikes) and `stage1` ... `stage4` (sums of spikes, see their `max_count`).

    Args:
        spec: The resolved arguments of `build_model`.
        depth: 10, 18, 34 or 50.
        norm_gain: See `eccsnn.models.base.kaiming_init`.
    """

    def __init__(self, spec: dict[str, Any], depth: int, norm_gain: float = 1.0) -> None:
        super().__init__(spec)
        width, neuron = spec["width"], spec["neuron"]
        self.small = self.image_size <= SMALL_IMAGE
        total_stride = 8 if self.small else 32
        if self.image_size % total_stride:
            raise ValueError(
                f"{spec['name']}: image_size is {self.image_size}, expected a multiple of {total_stride} "
                f"(up to {SMALL_IMAGE} px a multiple of 8, above of 32)"
            )
        channels = scale_channels(64, width)
        size = self.image_size if self.small else self.image_size // 2
        self.stem = ConvLIF(
            self.in_channels,
            channels,
            size,
            neuron,
            kernel_size=3 if self.small else 7,
            stride=1 if self.small else 2,
            of_spikes=False,
        )
        self.feature_maps["stem"] = FeatureMap(channels, self.image_size // size, max_count=1)
        if not self.small:
            size //= 2
        self.blocks = nn.ModuleList()
        self.stage_ends: dict[int, str] = {}
        in_channels, max_count = channels, 1
        for index, blocks in enumerate(BLOCKS[depth]):
            stride = 1 if index == 0 else 2
            size //= stride
            for _ in range(blocks):
                block = SEWBlock(
                    in_channels,
                    scale_channels(64 * 2**index, width),
                    size,
                    stride,
                    depth >= 50,
                    neuron,
                    of_spikes=max_count == 1,
                )
                max_count = block.max_count(max_count)
                in_channels, stride = block.out_channels, 1
                self.blocks.append(block)
            name = f"stage{index + 1}"
            self.stage_ends[len(self.blocks) - 1] = name
            self.feature_maps[name] = FeatureMap(in_channels, self.image_size // size, max_count)
        kaiming_init(self, norm_gain)
        self.head = TaskHeads(in_channels, spec["tasks"])
        self.finish()

    def hidden_spikes(self, x: Tensor, run: Pass) -> Tensor:
        run.keep("stem", x)
        if not self.small:
            x = max_pool(x, 3, stride=2, padding=1)
        for index, block in enumerate(self.blocks):
            x = block(x, run)
            if index in self.stage_ends:
                run.keep(self.stage_ends[index], x)
        return x.mean((-2, -1))
