"""VGG-16 with batch norm, the cloud's ANN beside a spiking VGG-9.

Source: Simonyan & Zisserman, "Very Deep Convolutional Networks...", ICLR 2015, configuration D. For small images, the
two hidden layers have 512 features instead of 4096 (Liu & Deng, ACPR 2015) and global average pooling stands before
them, which at 32 px leaves the single pixel as it is.
"""

from typing import Any

from torch import nn

from eccsnn.models.ann import ANN, SpatialMean
from eccsnn.models.base import kaiming_init, scale_channels
from eccsnn.nn import TaskHeads

LAYOUT = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]
HIDDEN_FEATURES = 512


class VGG(ANN):
    """VGG-16 with batch norm. Feature maps: `pool1` ... `pool5`, after each pooling. Split points are those of a
    `spiking_vgg16`: the convolutions without pooling besides.

    Args:
        spec: The resolved arguments of `build_model`.
        dropout: Probability of dropping a feature before each hidden layer, in [0, 1).
    """

    def __init__(self, spec: dict[str, Any], dropout: float = 0.0) -> None:
        super().__init__(spec)
        if not 0 <= dropout < 1:
            raise ValueError(f"{spec['name']}: dropout is {dropout}, expected 0 <= dropout < 1")
        if self.image_size < 2 ** len(LAYOUT):
            raise ValueError(f"{spec['name']}: image_size is {self.image_size}, expected at least {2 ** len(LAYOUT)}")
        width, in_channels = spec["width"], self.in_channels
        self.pools = nn.ModuleDict()
        conv = 0
        for index, row in enumerate(LAYOUT):
            layers: list[nn.Module] = []
            for channels in row:
                channels = scale_channels(channels, width)
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                in_channels = channels
            block = nn.Sequential(*layers, nn.MaxPool2d(2))
            self.pools[f"pool{index + 1}"] = block
            size = self.image_size // 2**index
            for position in range(len(row)):
                conv += 1
                last = position == len(row) - 1
                name, end = (f"pool{index + 1}", None) if last else (f"conv{conv}", 3 * position + 3)
                self.add_section(
                    name,
                    *block[3 * position : end],
                    channels=in_channels,
                    size=size // 2 if last else size,
                    max_count=None,
                    stride=2 ** (index + last),
                    is_map=last,
                )
        hidden = scale_channels(HIDDEN_FEATURES, width)
        self.hidden = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(in_channels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        kaiming_init(self)
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.sections["hidden"] = (SpatialMean(), self.hidden)
        self.head = TaskHeads(hidden, spec["tasks"])
        self.use_channels_last()
