"""A tiny model and data set for tests of training."""

import numpy as np
import torch
from torch import nn

from eccsnn.data import ImageSet
from eccsnn.nn import TaskHeads

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class TinyNet(nn.Module):
    """One convolution, batch norm, dropout and a head; enough to notice any difference in order or randomness."""

    def __init__(self, tasks=((0, 1, 2),)):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = TaskHeads(8, [list(t) for t in tasks])

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))


def tiny_images(count=50, classes=3, seed=0):
    """Random images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 100, (count, 3, 8, 8)) + 50 * labels[:, None, None, None]
    return ImageSet(images.astype(np.uint8), labels)
