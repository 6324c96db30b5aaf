"""ResNet-18, 34 and 50 as cloud ANNs, made of torchvision's blocks.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Up to 64 px the stem is one 3x3
convolution without pooling, as their CIFAR networks have it. Weights trained on ImageNet come with
`torchvision/resnet18` and so on.
"""

import math
from typing import Any

from torch import nn

from eccsnn.models.ann import ANN, SpatialMean
from eccsnn.models.base import SMALL_IMAGE, kaiming_init, scale_channels, stem_stride_for
from eccsnn.nn import TaskHeads

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNet(ANN):
    """ResNet-18, 34 (basic blocks) or 50 (bottlenecks). Feature maps: `stem` and `stage1` ... `stage4`.

    Split points besides: every block within a stage, `stage2.0` (a stage's last block is the stage's end).

    Args:
        spec: The resolved arguments of `build_model`.
        depth: 18, 34 or 50.
        stem_stride: See `eccsnn.models.base.stem_stride_for`.
    """

    def __init__(self, spec: dict[str, Any], depth: int, stem_stride: int | None = None) -> None:
        # Imported here, so that spiking models work where torchvision does not fit the torch that is installed.
        from torchvision.models.resnet import BasicBlock, Bottleneck

        super().__init__(spec)
        block_type = Bottleneck if depth >= 50 else BasicBlock
        width = spec["width"]
        in_channels = scale_channels(64, width)
        kernel_size = 3 if self.image_size <= SMALL_IMAGE else 7
        stride = stem_stride_for(spec["name"], self.image_size, stem_stride)
        self.stem = nn.Sequential(
            nn.Conv2d(self.in_channels, in_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
        )
        if self.image_size > SMALL_IMAGE:
            stride *= 2
            self.stem.append(nn.MaxPool2d(3, stride=2, padding=1))
        size = math.ceil(self.image_size / stride)  # padding makes every halving round up
        self.add_section("stem", self.stem, channels=in_channels, size=size, max_count=None, stride=stride)
        self.stages = nn.ModuleDict()
        for index, blocks in enumerate(BLOCKS[depth]):
            channels = scale_channels(64 * 2**index, width)
            layers: list[nn.Module] = []
            for position in range(blocks):
                step = 2 if index > 0 and position == 0 else 1
                out_channels = channels * block_type.expansion
                shortcut: nn.Module | None = None
                if step != 1 or in_channels != out_channels:
                    shortcut = nn.Sequential(
                        nn.Conv2d(in_channels, out_channels, 1, stride=step, bias=False), nn.BatchNorm2d(out_channels)
                    )
                layers.append(block_type(in_channels, channels, step, shortcut))
                in_channels, stride, size = out_channels, stride * step, math.ceil(size / step)
                last = position == blocks - 1
                name = f"stage{index + 1}" if last else f"stage{index + 1}.{position}"
                self.add_section(
                    name, layers[-1], channels=in_channels, size=size, max_count=None, stride=stride, is_map=last
                )
            self.stages[f"stage{index + 1}"] = nn.Sequential(*layers)
        kaiming_init(self)
        self.sections["mean"] = (SpatialMean(),)
        self.head = TaskHeads(in_channels, spec["tasks"])
        self.use_channels_last()
