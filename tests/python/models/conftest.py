import pytest
import torch
from torch import nn

from eccsnn.models import Model, build_model


@pytest.fixture
def build():
    """Builds a tiny seeded model whose neurons fire in evaluation mode, too."""

    def make(name: str, **options) -> Model:
        torch.manual_seed(0)
        if "tasks" not in options:
            options.setdefault("num_classes", 5)
        model = build_model(name, **{"width": 0.125, **options})
        norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.constant_(norm.weight, 2.0)
            nn.init.constant_(norm.bias, 0.3)
            norm.momentum = 1.0  # one pass sets the statistics; without them, deep layers are silent in evaluation
        with torch.no_grad():
            images = torch.randn(2, model.in_channels, model.image_size, model.image_size)
            model(images, **({"through": model.inserted} if model.inserted else {}))
        for norm in norms:
            norm.momentum = 0.1
        return model

    return make


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
