"""MobileNet V1 as an ANN, layer for layer the counterpart of the spiking one.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017. Up to
64 px the stem has stride 1 instead of 2 (ours).
"""

from typing import Any

from torch import nn

from eccsnn.models.ann import ANN, SpatialMean
from eccsnn.models.base import kaiming_init, scale_channels
from eccsnn.models.spiking_mobilenet import BLOCKS, STEM_CHANNELS, check_mobilenet_size
from eccsnn.nn import TaskHeads


class MobileNet(ANN):
    """MobileNet V1. Feature maps and split points: `stem` and `block1` ... `block13`.

    Args:
        spec: The resolved arguments of `build_model`.
        stem_stride: See `eccsnn.models.base.stem_stride_for`.
    """

    def __init__(self, spec: dict[str, Any], stem_stride: int | None = None) -> None:
        super().__init__(spec)
        width = spec["width"]
        stride = check_mobilenet_size(spec["name"], self.image_size, stem_stride)
        size, channels = self.image_size // stride, scale_channels(STEM_CHANNELS, width)
        self.stem = nn.Sequential(*_conv(self.in_channels, channels, 3, stride))
        self.add_section("stem", self.stem, channels=channels, size=size, max_count=None)
        self.blocks = nn.ModuleList()
        for index, (base_channels, stride) in enumerate(BLOCKS, start=1):
            in_channels, channels, size = channels, scale_channels(base_channels, width), size // stride
            block = nn.Sequential(
                *_conv(in_channels, in_channels, 3, stride, groups=in_channels), *_conv(in_channels, channels, 1)
            )
            self.blocks.append(block)
            self.add_section(f"block{index}", block, channels=channels, size=size, max_count=None)
        self.sections["mean"] = (SpatialMean(),)
        kaiming_init(self)
        self.head = TaskHeads(channels, spec["tasks"])
        self.use_channels_last()


def _conv(in_channels: int, channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = (kernel_size - 1) // 2
    return [
        nn.Conv2d(in_channels, channels, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
