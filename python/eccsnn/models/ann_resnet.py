"""ResNet-18, 34 and 50 as cloud ANNs, made of torchvision's blocks.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Up to 64 px the stem is one 3x3
convolution without pooling, as their CIFAR networks have it. Weights trained on ImageNet come with
`torchvision/resnet18` and so on.
"""

from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import SMALL_IMAGE, FeatureMap, Features, Model, kaiming_init, scale_channels
from eccsnn.nn import TaskHeads

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNet(Model):
    """ResNet-18, 34 (basic blocks) or 50 (bottlenecks). Feature maps: `stem` and `stage1` ... `stage4`.

    Args:
        spec: The resolved arguments of `build_model`.
        depth: 18, 34 or 50.
    """

    kind = "ann"

    def __init__(self, spec: dict[str, Any], depth: int) -> None:
        # Imported here, so that spiking models work where torchvision does not fit the torch that is installed.
        from torchvision.models.resnet import BasicBlock, Bottleneck

        super().__init__(spec)
        block_type = Bottleneck if depth >= 50 else BasicBlock
        width = spec["width"]
        in_channels = scale_channels(64, width)
        if self.image_size <= SMALL_IMAGE:
            stride = 1
            self.stem = nn.Sequential(
                nn.Conv2d(self.in_channels, in_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(in_channels),
                nn.ReLU(inplace=True),
            )
        else:
            stride = 4
            self.stem = nn.Sequential(
                nn.Conv2d(self.in_channels, in_channels, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(in_channels),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
        self.feature_maps["stem"] = FeatureMap(in_channels, stride, max_count=None)
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
                in_channels, stride = out_channels, stride * step
            self.stages[f"stage{index + 1}"] = nn.Sequential(*layers)
            self.feature_maps[f"stage{index + 1}"] = FeatureMap(in_channels, stride, max_count=None)
        kaiming_init(self)
        self.head = TaskHeads(in_channels, spec["tasks"])
        self.use_channels_last()

    def forward_features(self, x: Tensor) -> Features:
        """Returns globally averaged features [N, D] and the maps [N, C, H, W] after the stem and each stage."""
        self.check_images(x)
        x = self.stem(self.channels_last(x))
        maps = {"stem": x}
        for name, stage in self.stages.items():
            x = maps[name] = stage(x)
        return Features(x.mean((-2, -1)), maps)
