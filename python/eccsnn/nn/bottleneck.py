"""Bottleneck units: what makes spikes at a split point few enough for a wire.

Source: the encoders and decoders of SpikeBottleNet (arXiv 2410.08673) and NeuCODEX (arXiv 2509.19156). Neither fixes
the layers, so that these are ours: a convolution to few channels, batch norm and neurons, and their mirror image.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from eccsnn.nn.layers import ConvLIF, Neurons, Pass, name_neurons


class TransposedConvLIF(ConvLIF):
    """Transposed convolution without bias, batch norm and neurons: the mirror image of a strided `ConvLIF`.

    Its input is the small side of a bottleneck, so that it is kept dense for the backward pass.

    Args:
        in_channels, channels, kernel_size, stride: As for a transposed convolution.
        size: Height and width of the result.
        neuron: Configuration of the neurons.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        neuron: Mapping[str, Any] | None,
        kernel_size: int,
        stride: int,
    ) -> None:
        nn.Module.__init__(self)
        padding = (kernel_size - 1) // 2
        # What the strided convolution left over at the far border.
        output_padding = (size + 2 * padding - kernel_size) % stride
        self.conv = nn.ConvTranspose2d(in_channels, channels, kernel_size, stride, padding, output_padding, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.lif = Neurons((channels, size, size), neuron)


class Bottleneck(nn.Module):
    """What stands at a split point.

    Attributes:
        encoder, decoder: Before the wire and behind it.
        codec: None, or what the wire does to it between them where that loses something (JPEG): a module of its own, so
            that a model in two parts leaves it to the wire.
        channels, size: Shape of what is on the wire, [channels, size, size].
    """

    encoder: nn.Module
    decoder: nn.Module
    channels: int
    size: int

    def __init__(self) -> None:
        super().__init__()
        self.codec: nn.Module | None = None


class SpikeBottleneck(Bottleneck):
    """Encoder to few channels and decoder back; binary spikes between and out, binary or sums of spikes in.

    The encoder is a convolution with batch norm and neurons. The decoder mirrors it: a convolution of the same kernel
    where the size stays, a transposed convolution where it changes.

    Args:
        in_channels: Channels C of the spikes at the split point.
        size: Their height and width.
        channels: Channels c on the wire.
        stride: Factor by which height and width shrink.
        kernel_size: Side of both kernels, at least the stride (a smaller one would skip pixels).
        neuron: Configuration of the neurons of both sides; see `eccsnn.nn.complete_neuron_config`.
        norm_gain: First weight of both batch norms. Without one above 1 an untrained unit in front of a threshold
            rarely fires (see `eccsnn.models.base.kaiming_init`).
        of_spikes: Whether what stands at the split point is binary; False for sums of spikes.

    Attributes:
        encoder, decoder: Layers from spikes [T, N, ...] to spikes [T, N, ...], each with a `Pass` besides.

    Raises:
        ValueError: A number is out of its range, or the kernel is larger than the image.

    Example:
        >>> import torch
        >>> unit = SpikeBottleneck(64, 8, channels=4, stride=2, kernel_size=2)
        >>> spikes = torch.ones(3, 2, 64, 8, 8)                            # [T, N, C, H, W]
        >>> unit.encode(spikes).shape, unit(spikes).shape
        (torch.Size([3, 2, 4, 4, 4]), torch.Size([3, 2, 64, 8, 8]))
    """

    def __init__(
        self,
        in_channels: int,
        size: int,
        channels: int,
        stride: int = 1,
        kernel_size: int = 1,
        neuron: Mapping[str, Any] | None = None,
        norm_gain: float = 1.0,
        of_spikes: bool = True,
    ) -> None:
        super().__init__()
        self.size = bottleneck_size(size, channels, stride, kernel_size)
        if not norm_gain > 0:
            raise ValueError(f"bottleneck: norm_gain is {norm_gain}, expected a number above 0")
        self.channels = channels
        self.encoder = ConvLIF(in_channels, channels, self.size, neuron, kernel_size, stride, of_spikes)
        if self.size == size:
            self.decoder = ConvLIF(channels, in_channels, size, neuron, kernel_size)
        else:
            self.decoder = TransposedConvLIF(channels, in_channels, size, neuron, kernel_size, stride)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.weight, norm_gain)
        name_neurons(self)

    def encode(self, x: Tensor, run: Pass | None = None) -> Tensor:
        """Maps spikes or their sums [T, N, C, H, W] at the split point to spikes [T, N, c, h, w] for the wire."""
        return self.encoder(x, run or Pass())

    def decode(self, x: Tensor, run: Pass | None = None) -> Tensor:
        """Maps spikes [T, N, c, h, w] from the wire to spikes [T, N, C, H, W]."""
        return self.decoder(x, run or Pass())

    def forward(self, x: Tensor, run: Pass | None = None) -> Tensor:
        """Encodes and decodes. A `Pass(before=state)` continues from membranes; its `after` then has the new ones."""
        run = run or Pass()
        return self.decode(self.encode(x, run), run)


def bottleneck_size(size: int, channels: int, stride: int, kernel_size: int) -> int:
    """Height and width on the wire.

    Args:
        size: Height and width at the split point.
        channels, stride, kernel_size: Of the encoder.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> bottleneck_size(8, channels=4, stride=2, kernel_size=3)
        4
    """
    for name, value in (("channels", channels), ("stride", stride), ("kernel_size", kernel_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"bottleneck: {name} is {value!r}, expected an integer of at least 1")
    if not stride <= kernel_size <= size:
        raise ValueError(
            f"bottleneck: kernel_size is {kernel_size} at stride {stride} on {size}x{size} pixels, expected "
            f"{stride} (below, pixels would be skipped) to {size}"
        )
    return (size + 2 * ((kernel_size - 1) // 2) - kernel_size) // stride + 1
