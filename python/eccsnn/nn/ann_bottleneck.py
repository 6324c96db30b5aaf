"""Bottleneck units of ANNs, the baselines of spiking ones: BottleNet and BottleNet++.

Source: Eshratifar et al., "BottleNet: A Deep Learning Architecture for Intelligent Mobile Cloud Computing Services",
2019, and Shao & Zhang, "BottleNet++: An End-to-End Approach for Feature Compression in Device-Edge Co-Inference
Systems", 2020. One strided convolution with batch norm on each side (BottleNet has two, over channels and over space).

Both send values in [0, 1] as bytes, v = round(255 y), and let gradients pass the rounding (and JPEG) as if it were the
identity ("straight-through"). BottleNet's JPEG travels without what both ends know, or lossless where that is shorter
(ours): a JPEG file of so few values would be longer than the values, and training simulates exactly what arrives.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eccsnn import _core
from eccsnn.nn.bottleneck import Bottleneck, bottleneck_size
from eccsnn.nn.grey_jpeg import GreyJPEG

LEVELS = 255
CLIP = 6.0
"""Where BottleNet's ReLU is cut off, so that a byte has a fixed meaning and no range travels along (ours)."""
_RAW, _LOSSLESS, _JPEG = 0, 1, 2


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
    """JPEG over the channels of a sample, tiled into one grey picture, or lossless where that is shorter.

    A payload is one byte and a body. The byte has the body's form in its upper two bits and a check of form and body in
    the others, as a packet of the spike codec has. The forms: 0, the bytes as they are; 1, `encode_bytes` of the core,
    without loss; 2 and 3, a `GreyJPEG` with the standard Huffman tables or its own. The shortest body travels; nothing
    that both ends know (sizes, quality, standard tables) does.

    Args:
        channels, size: Shape of a sample's features, [channels, size, size].
        quality: As Pillow counts it, 1 to 95.

    Raises:
        ValueError: The quality is out of its range.

    Example:
        >>> codec = JPEGCodec(channels=3, size=8, quality=90)
        >>> (payload,) = codec.encode(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8))
        >>> len(payload), codec.decode([payload]).unique()
        (3, tensor([7], dtype=torch.uint8))
    """

    def __init__(self, channels: int, size: int, quality: int) -> None:
        super().__init__()
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 95:
            raise ValueError(f"bottleneck: jpeg_quality is {quality!r}, expected an integer from 1 to 95")
        self.channels, self.size, self.quality = channels, size, quality
        self.columns = math.ceil(channels**0.5)
        self.rows = math.ceil(channels / self.columns)
        self._jpeg = GreyJPEG(self.rows * size, self.columns * size, quality)

    def encode(self, features: Tensor) -> list[bytes]:
        """Encodes uint8 features [N, c, h, w], a payload a sample.

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
        return [self._encode(sample) for sample in features.contiguous().cpu().numpy()]

    def _encode(self, sample: NDArray[np.uint8]) -> bytes:
        tiles = np.zeros((self.rows * self.columns, self.size, self.size), np.uint8)
        tiles[: self.channels] = sample
        grid = tiles.reshape(self.rows, self.columns, self.size, self.size).swapaxes(1, 2)
        own_tables, jpeg = self._jpeg.encode(grid.reshape(self.rows * self.size, self.columns * self.size))
        forms = ((_RAW, sample.tobytes()), (_LOSSLESS, _core.encode_bytes(sample)), (_JPEG + own_tables, jpeg))
        form, body = min(forms, key=lambda one: len(one[1]))  # of equals the first
        return bytes([form << 6 | _check(form, body)]) + body

    def decode(self, payloads: Sequence[bytes]) -> Tensor:
        """Decodes what `encode` returned: uint8 features [N, c, h, w] on the CPU.

        Raises:
            ValueError: A payload does not have its check (one damaged payload in 61 passes it, none with one flipped
                bit), or its body is none of its form. What is allocated follows from the shape, not from the payload.
        """
        samples = np.empty((len(payloads), self.channels, self.size, self.size), dtype=np.uint8)
        for index, payload in enumerate(payloads):
            try:
                samples[index] = self._decode(payload)
            except ValueError as error:
                raise ValueError(f"JPEGCodec: payload {index} of {len(payloads)} cannot be decoded: {error}") from error
        return torch.from_numpy(samples)

    def _decode(self, payload: bytes) -> NDArray[np.uint8]:
        values = self.channels * self.size**2
        if not 1 <= len(payload) <= 1 + values:
            raise ValueError(f"it has {len(payload)} bytes, expected 1 to {1 + values}: raw values are never exceeded")
        form, body = payload[0] >> 6, payload[1:]
        if payload[0] & 63 != _check(form, body):
            raise ValueError("it does not have its check: it is corrupt or truncated")
        if form == _RAW:
            if len(body) != values:
                raise ValueError(f"raw values have {len(body)} bytes, expected {values}")
            return np.frombuffer(body, np.uint8).reshape(self.channels, self.size, self.size)
        if form == _LOSSLESS:
            return _core.decode_bytes(body, self.channels, self.size, self.size)
        grid = self._jpeg.decode(form == _JPEG + 1, body).reshape(self.rows, self.size, self.columns, self.size)
        return grid.swapaxes(1, 2).reshape(-1, self.size, self.size)[: self.channels]

    def forward(self, x: Tensor) -> Tensor:
        """What arrives of 255ths [N, c, h, w]; the gradient passes as if nothing were lost."""
        return _StraightThrough.apply(
            x, lambda y: from_bytes(self.decode(self.encode(to_bytes(y))).to(y.device), y.dtype)
        )


def _check(form: int, body: bytes) -> int:
    # The body's length counts, and a flipped bit is a power of two, which 61 never divides.
    return int.from_bytes(bytes([1 + form]) + body, "big") % 61


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
    """Convolution, batch norm and ReLU to bytes, with JPEG on the wire (`JPEGCodec`).

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
