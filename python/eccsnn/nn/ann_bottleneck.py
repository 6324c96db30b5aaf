"""Bottleneck units of ANNs, the baselines of spiking ones: BottleNet and BottleNet++.

Source: Eshratifar et al., "BottleNet: A Deep Learning Architecture for Intelligent Mobile Cloud Computing Services",
2019, and Shao & Zhang, "BottleNet++: An End-to-End Approach for Feature Compression in Device-Edge Co-Inference
Systems", 2020. One strided convolution with batch norm on each side (BottleNet has two, over channels and over space).

Both send values in [0, 1] as bytes, v = round(255 y), and let gradients pass the rounding (and JPEG) as if it were the
identity ("straight-through").
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from eccsnn.nn.bottleneck import Bottleneck, bottleneck_size

LEVELS = 255
CLIP = 6.0
"""Where BottleNet's ReLU is cut off, so that a byte has a fixed meaning and no range travels along (ours)."""


def to_bytes(x: Tensor) -> Tensor:
    """Maps 255ths in [0, 1] to uint8.

    Example:
        >>> to_bytes(torch.tensor([0.0, 0.2, 1.0]))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (x.detach() * LEVELS).round().to(torch.uint8)


def from_bytes(features: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Maps uint8 to 255ths in [0, 1]."""
    return features.to(dtype) / LEVELS


class _StraightThrough(torch.autograd.Function):
    """Applies a function in the forward pass and the identity in the backward pass; x + (f(x) - x) would round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Quantise(nn.Module):
    """Rounds values in [0, 1] to 255ths; the gradient passes as if nothing were rounded."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [*] to [*], float32 or wider: bfloat16 has no 255ths."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return _StraightThrough.apply(x, lambda y: (y * LEVELS).round() / LEVELS)


class ClippedReLU(nn.Module):
    """ReLU up to `CLIP`, scaled to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [*] to [*]."""
        return x.clamp(0, CLIP) / CLIP


class JPEGCodec(nn.Module):
    """JPEG over the channels of a sample, tiled into one grey picture.

    Args:
        channels, size: Shape of a sample's features, [channels, size, size].
        quality: As Pillow counts it, 1 to 95.

    Raises:
        ValueError: The quality is out of its range.

    Example:
        >>> codec = JPEGCodec(channels=3, size=8, quality=90)
        >>> (payload,) = codec.encode(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8))
        >>> codec.decode([payload]).unique()
        tensor([7], dtype=torch.uint8)
    """

    def __init__(self, channels: int, size: int, quality: int) -> None:
        super().__init__()
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 95:
            raise ValueError(f"bottleneck: jpeg_quality is {quality!r}, expected an integer from 1 to 95")
        self.channels, self.size, self.quality = channels, size, quality
        self.columns = math.ceil(channels**0.5)
        self.rows = math.ceil(channels / self.columns)

    def encode(self, features: Tensor) -> list[bytes]:
        """Encodes uint8 features [N, c, h, w], a file a sample.

        Raises:
            TypeError: They are not uint8.
            ValueError: They have another shape.
        """
        if features.dtype != torch.uint8:
            raise TypeError(f"JPEGCodec: features are {features.dtype}, expected uint8 (see to_bytes)")
        if features.ndim != 4 or features.shape[1:] != (self.channels, self.size, self.size):
            raise ValueError(
                f"JPEGCodec: features have shape {list(features.shape)}, expected "
                f"[N, {self.channels}, {self.size}, {self.size}]"
            )
        tiles = features.new_zeros((features.shape[0], self.rows * self.columns, self.size, self.size))
        tiles[:, : self.channels] = features
        pictures = tiles.unflatten(1, (self.rows, self.columns)).transpose(2, 3).flatten(3).flatten(1, 2)
        payloads = []
        for picture in pictures.cpu().numpy():
            out = io.BytesIO()
            Image.fromarray(picture).save(out, "JPEG", quality=self.quality)
            payloads.append(out.getvalue())
        return payloads

    def decode(self, payloads: Sequence[bytes]) -> Tensor:
        """Decodes what `encode` returned: uint8 features [N, c, h, w] on the CPU.

        Raises:
            ValueError: A payload is no JPEG file of the right size. Its declared size is checked before any decoding.
        """
        size = (self.columns * self.size, self.rows * self.size)
        pictures = np.empty((len(payloads), size[1], size[0]), dtype=np.uint8)
        for index, payload in enumerate(payloads):
            try:
                with Image.open(io.BytesIO(payload), formats=["JPEG"]) as picture:
                    if picture.size != size or picture.mode != "L":
                        raise ValueError(f"it is {picture.size} in mode {picture.mode}, expected {size} in mode L")
                    pictures[index] = np.asarray(picture)
            except Exception as error:  # Pillow raises many kinds on files that are damaged
                raise ValueError(f"JPEGCodec: payload {index} of {len(payloads)} cannot be decoded: {error}") from error
        tiles = torch.from_numpy(pictures).unflatten(1, (self.rows, self.size)).unflatten(3, (self.columns, self.size))
        return tiles.transpose(2, 3).flatten(1, 2)[:, : self.channels].contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """What arrives of 255ths [N, c, h, w]; the gradient passes as if nothing were lost."""
        return _StraightThrough.apply(
            x, lambda y: from_bytes(self.decode(self.encode(to_bytes(y))).to(y.device), y.dtype)
        )


class ANNBottleneck(Bottleneck):
    """Encoder to few channels of bytes and decoder back.

    Attributes:
        encoder: Maps [N, C, H, W] to 255ths in [0, 1], [N, c, h, w].
        decoder: Maps 255ths back to [N, C, H, W].
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"channels": None, "stride": 1, "kernel_size": 1}
    """Options of a configuration and their defaults."""

    def __init__(
        self, in_channels: int, size: int, channels: int, stride: int, kernel_size: int, activation: nn.Module
    ) -> None:
        super().__init__()
        self.size = bottleneck_size(size, channels, stride, kernel_size)
        self.channels = channels
        padding = (kernel_size - 1) // 2
        narrow = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False)
        # The output padding is what the strided convolution left over at the far border.
        left_over = (size + 2 * padding - kernel_size) % stride
        widen = nn.ConvTranspose2d(channels, in_channels, kernel_size, stride, padding, left_over, bias=False)
        for conv in (narrow, widen):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.encoder = nn.Sequential(narrow, nn.BatchNorm2d(channels), activation, Quantise())
        self.decoder = nn.Sequential(widen, nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Maps features [N, C, H, W] to what the other side makes of them."""
        x = self.encoder(x)
        return self.decoder(x if self.codec is None else self.codec(x))


class BottleNet(ANNBottleneck):
    """Convolution, batch norm and ReLU to bytes, with JPEG on the wire.

    Args:
        in_channels, size, channels, stride, kernel_size: As for `eccsnn.nn.SpikeBottleneck`.
        jpeg_quality: 1 to 95.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> unit = BottleNet(16, 8, channels=4, stride=2, kernel_size=2)
        >>> unit(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    OPTIONS: ClassVar[dict[str, Any]] = {**ANNBottleneck.OPTIONS, "jpeg_quality": 90}

    def __init__(
        self,
        in_channels: int,
        size: int,
        channels: int,
        stride: int = 1,
        kernel_size: int = 1,
        jpeg_quality: int = 90,
    ) -> None:
        super().__init__(in_channels, size, channels, stride, kernel_size, ClippedReLU())
        self.codec = JPEGCodec(channels, self.size, jpeg_quality)


class BottleNetPP(ANNBottleneck):
    """BottleNet++: strided convolution, batch norm and sigmoid to bytes, which arrive as they are.

    Args:
        in_channels, size, channels, stride, kernel_size: As for `eccsnn.nn.SpikeBottleneck`.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> unit = BottleNetPP(16, 8, channels=4, stride=2, kernel_size=2)
        >>> to_bytes(unit.encoder(torch.rand(2, 16, 8, 8))).shape
        torch.Size([2, 4, 4, 4])
    """

    def __init__(self, in_channels: int, size: int, channels: int, stride: int = 1, kernel_size: int = 1) -> None:
        super().__init__(in_channels, size, channels, stride, kernel_size, nn.Sigmoid())


ANN_BOTTLENECKS: dict[str, type[BottleNet] | type[BottleNetPP]] = {"bottlenet": BottleNet, "bottlenet++": BottleNetPP}
"""The units by the `kind` of a configuration."""
