"""What every model shares: the uniform interface, its description, and the checks on its input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eccsnn.nn import TaskHeads

SMALL_IMAGE = 64
"""Largest image size for which residual networks take their stem for small images."""


class FeatureMap(NamedTuple):
    """Description of a named feature map.

    Attributes:
        channels: Number of channels C.
        stride: Image pixels a map pixel, along one side.
        max_count: Largest value of an integer map (1: binary spikes, 2 and more: sums of spikes); None for real values.
    """

    channels: int
    stride: int
    max_count: int | None


class Features(NamedTuple):
    """What `forward_features` returns.

    Attributes:
        penultimate: [N, D], the input of the model's head.
        maps: Named feature maps: [T, N, C, H, W] for an SNN, [N, C, H, W] for an ANN.
    """

    penultimate: Tensor
    maps: dict[str, Tensor]


class Model(nn.Module):
    """A classifier with named feature maps and a head a task.

    Subclasses set `kind`, `head` and `feature_maps` and implement `forward_features`.

    Attributes:
        kind: `snn` or `ann`.
        feature_maps: Description of every entry of `Features.maps`.
        head: `TaskHeads` on the penultimate features.
        in_channels, image_size: Shape of the images, [in_channels, image_size, image_size].
    """

    kind: str
    head: TaskHeads

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self._spec = spec
        self.in_channels: int = spec["in_channels"]
        self.image_size: int = spec["image_size"]
        self.feature_maps: dict[str, FeatureMap] = {}

    @property
    def spec(self) -> dict[str, Any]:
        """Plain values that rebuild the model: `build_model(**model.spec)` loads its state dict.

        It follows the head: after `model.head.add_task(...)` it names the new task, too.
        """
        return {**self._spec, "tasks": [list(classes) for classes in self.head.tasks]}

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits [N, K] in the order of `head.class_ids`."""
        return self.head(self.forward_features(x).penultimate)

    def forward_features(self, x: Tensor) -> Features:
        """Returns the input of the head and the named feature maps."""
        raise NotImplementedError

    def use_channels_last(self) -> None:
        """Puts convolution weights into channels-last memory; loading a state dict keeps them there."""
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def channels_last(x: Tensor) -> Tensor:
        """Brings images [N, C, H, W] into channels-last memory (see `eccsnn.models.spiking` for the reason)."""
        return x.contiguous(memory_format=torch.channels_last)

    def check_images(self, x: Tensor, dimensions: Sequence[int] = (4,)) -> None:
        """Checks that x holds images that this model takes.

        Args:
            x: Images [..., C, H, W].
            dimensions: Numbers of dimensions that are welcome.

        Raises:
            ValueError: Wrong shape or device, or NaN or infinite values (not looked for while torch compiles or a CUDA
                graph is captured).
            TypeError: Not a tensor, not floating point, or (outside autocast) not of the weights' dtype.
        """
        image = f"{self.in_channels}, {self.image_size}, {self.image_size}"
        layouts = {4: f"images [N, {image}]", 5: f"event frames [T, N, {image}]"}
        expected = " or ".join(layouts[n] for n in dimensions)
        owner = self._spec["name"]
        if not isinstance(x, Tensor):
            raise TypeError(f"{owner}: input is a {type(x).__name__}, expected a tensor: {expected}")
        if x.ndim not in dimensions:
            raise ValueError(f"{owner}: input has shape {list(x.shape)}, expected {expected}")
        if x.shape[-3] != self.in_channels:
            raise ValueError(
                f"{owner}: input has shape {list(x.shape)}, so {x.shape[-3]} channels, expected {expected}; "
                f"build the model with in_channels={x.shape[-3]} or convert the images"
            )
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"{owner}: input has shape {list(x.shape)}, expected {expected}; "
                "build the model with another image_size or resize the images"
            )
        if not x.is_floating_point():
            raise TypeError(
                f"{owner}: input has dtype {x.dtype}, expected floating point; scale and normalise it first"
            )
        weights = next(self.head.parameters())
        device = weights.device
        if x.dtype != weights.dtype and not torch.is_autocast_enabled(device.type):
            raise TypeError(f"{owner}: input has dtype {x.dtype}, the model {weights.dtype}; convert one with .to(...)")
        if x.device != device:
            raise ValueError(f"{owner}: input is on {x.device}, the model on {device}; move one to the other's device")
        # Neurons do not fire on NaN, so that a spiking model would answer as if it had seen nothing.
        looked_for = not torch.compiler.is_compiling() and not (x.is_cuda and torch.cuda.is_current_stream_capturing())
        if looked_for and not bool(torch.isfinite(x).all()):
            bad = int((~torch.isfinite(x)).sum())
            raise ValueError(
                f"{owner}: {bad} of {x.numel()} input values are NaN or infinite, expected finite numbers; "
                "look at what made the images (a division by a standard deviation of 0, for example)"
            )


def check_finite(model: nn.Module, what: str) -> None:
    """Refuses a model that has diverged: spikes hide NaN weights, since neurons do not fire on NaN.

    Args:
        model: Its parameters and buffers are looked at.
        what: What to call it in the error.

    Raises:
        ValueError: A parameter or buffer holds NaN or infinite values; the first is named.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"{what}: {name} holds NaN or infinite values, so the training has diverged; lower the learning rate"
            )


def scale_channels(channels: int, width: float) -> int:
    """Scales a number of channels to the nearest multiple of 8, at least 8.

    Example:
        >>> [scale_channels(c, 0.125) for c in (64, 100, 1024)]
        [8, 16, 128]
    """
    return max(8, round(channels * width / 8) * 8)


def kaiming_init(module: nn.Module, norm_gain: float = 1.0) -> None:
    """He-initialises every convolution (fan out), from torch's global generator, and sets batch norms to a gain.

    Args:
        module: The model.
        norm_gain: First weight of every batch norm, 1 as usual. A neuron with `decay_input` charges x / tau in its
            first step, so that a normalised current rarely reaches the threshold in a few timesteps; a gain of tau
            makes up for it, and a deep SNN learns sooner at the price of more spikes. (Zheng et al., AAAI 2021, scale
            the normalised current by the threshold for the same reason.)

    Raises:
        ValueError: The gain is not positive.
    """
    if not norm_gain > 0:
        raise ValueError(f"norm_gain is {norm_gain}, expected a number above 0")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, norm_gain)
            nn.init.zeros_(layer.bias)
