"""Layers on binary spikes that keep one bit a spike for the backward pass (see `eccsnn.ops.spike_conv2d`).

They are torch's layers with the same parameters, results and state dicts, for inputs of 0 and 1: the output of a LIF
layer, or of pooling one. A sum of spikes (SEW ADD), a batch-normalised current or an image is not.

Whether an input is binary is looked at in training alone, and on the CPU alone, where its bits are packed: without
gradients (`torch.no_grad()`, evaluation) the layers compute what torch's would on any input, and say nothing.
"""

from typing import Any

from torch import Tensor, nn

from eccsnn import ops


class SpikeConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` of spikes.

    Args:
        As for `torch.nn.Conv2d`; padding_mode "zeros" alone.

    Raises:
        ValueError: If padding_mode is another, or, in training on the CPU, if an input is neither 0 nor 1. Without
            gradients the input is not checked, and another value is convolved as by torch's layer.

    Example:
        >>> import torch
        >>> layer = SpikeConv2d(2, 4, kernel_size=3, padding=1)
        >>> layer(torch.ones(1, 2, 5, 5)).shape
        torch.Size([1, 4, 5, 5])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.padding_mode != "zeros":
            raise ValueError(
                f"SpikeConv2d: padding_mode is {self.padding_mode!r}, expected 'zeros'; use torch.nn.Conv2d for others"
            )

    def forward(self, input: Tensor) -> Tensor:
        """Convolves spikes `[N, C, H, W]` or `[C, H, W]`."""
        return ops.spike_conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class SpikeLinear(nn.Linear):
    """`torch.nn.Linear` of spikes.

    Args:
        As for `torch.nn.Linear`.

    Raises:
        ValueError: In training on the CPU, if an input is neither 0 nor 1; without gradients it is not checked.

    Example:
        >>> import torch
        >>> SpikeLinear(3, 2)(torch.ones(4, 3)).shape
        torch.Size([4, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps spikes `[..., in_features]` to `[..., out_features]`."""
        return ops.spike_linear(input, self.weight, self.bias)


class SpikeMaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` of spikes, which are spikes again: 1 where one fired.

    Args:
        kernel_size: Window.
        stride: Step; None is the window's size.
        padding: Positions without spikes around the image, at most half the window.

    Raises:
        ValueError: In training on the CPU, if an input is neither 0 nor 1; without gradients it is not checked.

    Example:
        >>> import torch
        >>> SpikeMaxPool2d(2)(torch.eye(4).view(1, 1, 4, 4)).tolist()
        [[[[1.0, 0.0], [0.0, 1.0]]]]
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__(kernel_size, stride, padding)

    def forward(self, input: Tensor) -> Tensor:
        """Pools spikes `[N, C, H, W]` or `[C, H, W]`."""
        return ops.spike_max_pool2d(input, self.kernel_size, self.stride, self.padding)
