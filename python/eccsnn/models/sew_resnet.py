"""Spike-element-wise ResNet with ADD or IAND.

Source: Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021: the neurons stand before the
element-wise function that joins residual and shortcut. ADD is their sum, an integer; IAND, (1 - residual) * shortcut,
lets the residual only silence spikes, so that everything stays binary. With both, a block whose residual is silent is
the identity.
SEW-ResNet-10 is one basic block a stage (ours). The stem for small images is a 3x3 convolution without pooling.
"""

from typing import Any, Literal, get_args

from torch import Tensor, nn

from eccsnn.models.base import SMALL_IMAGE, kaiming_init, scale_channels, stem_stride_for
from eccsnn.models.spiking import SpikingModel
from eccsnn.nn import TaskHeads
from eccsnn.nn._hints import nearest
from eccsnn.nn.layers import ConvLIF, Pass, Pool, Stem

Connect = Literal["add", "iand"]
"""How a block joins its residual with its shortcut."""

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class SEWBlock(nn.Module):
    """Convolutions with neurons, joined with the block's input x: spikes(x) + x, or (1 - spikes(x)) * x.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the inner convolutions.
        size: Height and width of the result.
        stride: Stride of the block.
        bottleneck: Three convolutions (1x1, 3x3, 1x1 to four times the channels) instead of two 3x3.
        neuron: Configuration of the neurons.
        of_spikes: Whether the input is binary, and not a sum of spikes.
        connect: `add` or `iand`.
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
        connect: Connect = "add",
    ) -> None:
        super().__init__()
        self.connect = connect
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
        """Largest value in the result, given the input's."""
        if self.connect == "iand":
            return of_input if self.shortcut is None else 1
        return 1 + (of_input if self.shortcut is None else 1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps [T, N, C, H, W] to integers: residual spikes and shortcut, joined."""
        shortcut = x if self.shortcut is None else self.shortcut(x, run)
        for layer in self.convs:
            x = layer(x, run)
        return x + shortcut if self.connect == "add" else (1 - x) * shortcut


class SEWResNet(SpikingModel):
    """SEW-ResNet-10, 18, 34 (basic blocks) or 50 (bottlenecks).

    Feature maps: `stem` (binary spikes) and `stage1` ... `stage4` (with ADD sums of spikes, see their `max_count`).
    Split points besides: `pool` behind the stem for large images, and every block within a stage, `stage2.0` (a stage's
    last block is the stage's end).

    Args:
        spec: The resolved arguments of `build_model`.
        depth: 10, 18, 34 or 50.
        norm_gain: See `eccsnn.models.base.kaiming_init`.
        connect: `add`, or `iand` for binary spikes everywhere.
        stem_stride: See `eccsnn.models.base.stem_stride_for`.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        depth: int,
        norm_gain: float = 1.0,
        connect: Connect = "add",
        stem_stride: int | None = None,
    ) -> None:
        super().__init__(spec)
        if connect not in get_args(Connect):
            raise ValueError(f"{spec['name']}: unknown connect {connect!r}: {nearest(connect, get_args(Connect))}")
        width, neuron = spec["width"], spec["neuron"]
        small = self.image_size <= SMALL_IMAGE
        stride = stem_stride_for(spec["name"], self.image_size, stem_stride)
        total_stride = stride * (8 if small else 16)
        if self.image_size % total_stride:
            raise ValueError(
                f"{spec['name']}: image_size is {self.image_size}, expected a multiple of {total_stride} "
                f"(up to {SMALL_IMAGE} px of 8 times the stem's stride, above of 16 times)"
            )
        channels = scale_channels(64, width)
        size = self.image_size // stride
        self.stem = Stem(self.in_channels, channels, size, neuron, 3 if small else 7, stride, of_spikes=False)
        self.add_section("stem", self.stem, channels=channels, size=size, max_count=1)
        if not small:
            size //= 2
            self.add_section("pool", Pool(3, 2, 1), channels=channels, size=size, max_count=1, is_map=False)
        self.blocks = nn.ModuleList()
        in_channels, max_count = channels, 1
        for index, blocks in enumerate(BLOCKS[depth]):
            stride = 1 if index == 0 else 2
            size //= stride
            for position in range(blocks):
                block = SEWBlock(
                    in_channels,
                    scale_channels(64 * 2**index, width),
                    size,
                    stride,
                    depth >= 50,
                    neuron,
                    of_spikes=max_count == 1,
                    connect=connect,
                )
                max_count = block.max_count(max_count)
                in_channels, stride = block.out_channels, 1
                self.blocks.append(block)
                last = position == blocks - 1
                name = f"stage{index + 1}" if last else f"stage{index + 1}.{position}"
                self.add_section(name, block, channels=in_channels, size=size, max_count=max_count, is_map=last)
        kaiming_init(self, norm_gain)
        self.head = TaskHeads(in_channels, spec["tasks"])
        self.finish()
