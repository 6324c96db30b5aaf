"""Cloud ANNs from torchvision and timm, with a new head.

The trunk is the library's model without its classifier. It sees 3-channel images at its own size and with its own
normalisation; the images of the data set are resized (and re-normalised, where their statistics are given) here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eccsnn.errors import EccsnnError
from eccsnn.models.base import Features, Model
from eccsnn.nn import TaskHeads
from eccsnn.nn._hints import nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PretrainedANN(Model):
    """A torchvision or timm model as trunk, and new task heads. It has no named feature maps.

    Args:
        spec: The resolved arguments of `build_model`; its name is `torchvision/<name>`, `timm/<name>` or `vit_b16`.
        pretrained: Whether the library downloads the trunk's weights.
        freeze_trunk: Whether only the head is trained; the trunk then stays in evaluation mode.
        input_mean, input_std: What the images were normalised with, a value a channel. Where both are given, the images
            are brought to the trunk's own normalisation; otherwise they enter as they are.

    Raises:
        ValueError: The model is unknown, or the arguments contradict each other.
        EccsnnError: timm is missing, or the weights could not be loaded.
    """

    kind = "ann"
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        spec: dict[str, Any],
        pretrained: bool = False,
        freeze_trunk: bool = False,
        input_mean: Sequence[float] | None = None,
        input_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(spec)
        name = spec["name"]
        if self.in_channels not in (1, 3):
            raise ValueError(f"{name}: in_channels is {self.in_channels}, expected 3 (or 1: grey images are repeated)")
        if spec["width"] != 1:
            raise ValueError(f"{name}: width is {spec['width']}, expected 1; only built-in models scale their channels")
        if (input_mean is None) != (input_std is None):
            raise ValueError(f"{name}: one of input_mean and input_std is missing, expected both or neither")
        library, _, trunk_name = ("timm/vit_base_patch16_224" if name == "vit_b16" else name).partition("/")
        load = _timm_trunk if library == "timm" else _torchvision_trunk
        self.trunk, features, self.trunk_size, mean, std = load(trunk_name, pretrained)
        self.freeze_trunk = freeze_trunk
        if freeze_trunk:
            self.trunk.requires_grad_(False)
        # x_trunk = x * scale + shift undoes the data set's normalisation and applies the trunk's.
        scale, shift = torch.ones(3), torch.zeros(3)
        if input_mean is not None and input_std is not None:
            for key, values in (("input_mean", input_mean), ("input_std", input_std)):
                if len(values) != self.in_channels:
                    raise ValueError(
                        f"{name}: {key} is {list(values)}, expected {self.in_channels} values, one a channel"
                    )
            scale = torch.tensor(input_std) / torch.tensor(std)
            shift = (torch.tensor(input_mean) - torch.tensor(mean)) / torch.tensor(std)
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)
        self.head = TaskHeads(features, spec["tasks"])
        self.train()

    def train(self, mode: bool = True) -> "PretrainedANN":
        """Sets training mode; a frozen trunk stays in evaluation mode (its batch norms and dropout, too)."""
        super().train(mode)
        if self.freeze_trunk:
            self.trunk.eval()
        return self

    def forward_features(self, x: Tensor) -> Features:
        """Returns the trunk's pooled features [N, D]; there are no maps."""
        self.check_images(x)
        if self.in_channels == 1:
            x = x.expand(-1, 3, -1, -1)
        x = x * self.scale + self.shift
        if self.image_size != self.trunk_size:
            x = nn.functional.interpolate(
                x, size=(self.trunk_size, self.trunk_size), mode="bicubic", align_corners=False, antialias=True
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_trunk):
            features = self.trunk(x)
        return Features(features, {})


Trunk = tuple[nn.Module, int, int, Sequence[float], Sequence[float]]
"""The trunk, its number of features, its image size, and the mean and std it was trained with."""


def _timm_trunk(name: str, pretrained: bool) -> Trunk:
    try:
        import timm
    except ImportError as error:
        raise EccsnnError(
            f'timm/{name} needs timm, which is not installed: run `pip install "eccsnn[pretrained]"`, '
            "or use a model of torchvision (torchvision/vit_b_16)"
        ) from error
    base_name = name.partition(".")[0]  # timm names weights after a dot: vit_base_patch16_224.augreg_in21k_ft_in1k
    if not timm.is_model(base_name):
        raise ValueError(f"unknown model 'timm/{name}': {_close(base_name, timm.list_models())}")
    trunk = _download(f"timm/{name}", pretrained, lambda: timm.create_model(name, pretrained=pretrained, num_classes=0))
    config = trunk.pretrained_cfg
    return trunk, trunk.num_features, config["input_size"][-1], config["mean"], config["std"]


def _torchvision_trunk(name: str, pretrained: bool) -> Trunk:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"unknown model 'torchvision/{name}': {_close(name, known)}")
    weights = "DEFAULT" if pretrained else None
    trunk = _download(f"torchvision/{name}", pretrained, lambda: models.get_model(name, weights=weights))
    path, classifier = [(path, layer) for path, layer in trunk.named_modules()][-1]
    if not isinstance(classifier, nn.Linear):
        raise ValueError(f"torchvision/{name} does not end with a linear layer, so that it cannot take a new head")
    parent, _, attribute = path.rpartition(".")
    setattr(trunk.get_submodule(parent), attribute, nn.Identity())
    return trunk, classifier.in_features, 224, IMAGENET_MEAN, IMAGENET_STD


def _download(name: str, pretrained: bool, create: Callable[[], nn.Module]) -> Any:
    try:
        return create()
    except Exception as error:  # urllib, requests, huggingface_hub and the disk each have their own
        if not pretrained:
            raise
        raise EccsnnError(
            f"the pretrained weights of {name} could not be loaded: {type(error).__name__}: {error}. Check the network "
            "(or fill the library's cache on a machine that has one), or use pretrained=False for random weights"
        ) from error


def _close(name: str, known: Sequence[str]) -> str:
    """Like `nearest`, without a list of a thousand names."""
    return nearest(name, known).partition(" known: ")[0] if len(known) > 20 else nearest(name, known)
