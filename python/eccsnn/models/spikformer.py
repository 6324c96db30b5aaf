"""Spikformer: a vision transformer of spikes.

Source: Zhou et al., "Spikformer: When Spiking Neural Network Meets Transformer", ICLR 2023: spiking patch splitting
(SPS) with a convolutional position embedding, spiking self attention (SSA) without softmax, and an MLP, all with LIF
neurons and residual sums. The size is Spikformer-4-384, their model for CIFAR.
"""

from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import kaiming_init, scale_channels
from eccsnn.models.spiking import SpikingModel
from eccsnn.nn import TaskHeads
from eccsnn.nn.layers import ConvLIF, Neurons, Pass, Pool, Stem

DEPTH = 4
DIM = 384
HEAD_DIM = 32
MLP_RATIO = 4
ATTENTION_SCALE = 0.125


class SpikingSelfAttention(nn.Module):
    """Attention between spikes: scale (Q K^T) V, then neurons, a projection and neurons.

    There is no softmax, so the product is taken in the order with the smaller middle: over the head's dimension
    instead of the tokens.

    Args:
        dim: Channels.
        size: Height and width of the grid of tokens.
        neuron: Configuration of the neurons.
    """

    def __init__(self, dim: int, size: int, neuron: dict[str, Any]) -> None:
        super().__init__()
        self.heads = attention_heads(dim)
        self.q = ConvLIF(dim, dim, size, neuron, kernel_size=1, of_spikes=False)
        self.k = ConvLIF(dim, dim, size, neuron, kernel_size=1, of_spikes=False)
        self.v = ConvLIF(dim, dim, size, neuron, kernel_size=1, of_spikes=False)
        # As published, half the threshold (counted from the resting potential), as the scaled products are small.
        rest = neuron["v_reset"] or 0.0
        self.lif = Neurons((dim, size, size), {**neuron, "v_threshold": rest + 0.5 * (neuron["v_threshold"] - rest)})
        self.proj = ConvLIF(dim, dim, size, neuron, kernel_size=1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        # [T, N, C, H, W] -> [T, N, heads, C / heads, tokens]
        q, k, v = (layer(x, run).flatten(3).unflatten(2, (self.heads, -1)) for layer in (self.q, self.k, self.v))
        attended = (v @ k.transpose(-2, -1)) @ q * ATTENTION_SCALE
        return self.proj(run.fire(self.lif, attended.reshape(x.shape)), run)


class PositionEmbedding(ConvLIF):
    """A convolution with neurons, added to its input: integers up to 2."""

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Maps spikes [T, N, C, H, W] to sums of spikes."""
        return x + super().forward(x, run)


class EncoderBlock(nn.Module):
    """Self attention and MLP, each added to its input: integers up to the input's bound plus 2."""

    def __init__(self, dim: int, size: int, neuron: dict[str, Any]) -> None:
        super().__init__()
        self.attention = SpikingSelfAttention(dim, size, neuron)
        self.fc1 = ConvLIF(dim, MLP_RATIO * dim, size, neuron, kernel_size=1, of_spikes=False)
        self.fc2 = ConvLIF(MLP_RATIO * dim, dim, size, neuron, kernel_size=1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        x = x + self.attention(x, run)
        return x + self.fc2(self.fc1(x, run), run)


class Spikformer(SpikingModel):
    """Spikformer-4-384.

    Patch splitting halves the image twice up to 32 px, three times up to 64 px and four times above (16 px patches, as
    published for 224 px). Feature maps: `patches` (binary spikes), `embedded` and `block1` ... `block4` (sums of
    spikes). Split points besides, within patch splitting: `patch1` ... `patch3`.

    Args:
        spec: The resolved arguments of `build_model`.
        norm_gain: See `eccsnn.models.base.kaiming_init`.
    """

    def __init__(self, spec: dict[str, Any], norm_gain: float = 1.0) -> None:
        super().__init__(spec)
        width, neuron = spec["width"], spec["neuron"]
        poolings = 2 if self.image_size <= 32 else 3 if self.image_size <= 64 else 4
        if self.image_size % 2**poolings:
            raise ValueError(
                f"{spec['name']}: image_size is {self.image_size}, expected a multiple of the patch, {2**poolings}"
            )
        dim = scale_channels(DIM, width)
        size, in_channels = self.image_size, self.in_channels
        for index, divisor in enumerate((8, 4, 2, 1), start=1):
            channels = scale_channels(DIM // divisor, width)
            layer: ConvLIF
            if index == 1:
                layer = self.stem = Stem(in_channels, channels, size, neuron, of_spikes=False)
                self.patch_convs = nn.ModuleList()
            else:
                layer = ConvLIF(in_channels, channels, size, neuron)
                self.patch_convs.append(layer)
            in_channels = channels
            layers: tuple[nn.Module, ...] = (layer,)
            if index > 4 - poolings:  # the last of the four convolutions are pooled
                layers, size = (layer, Pool(2)), size // 2
            name = "patches" if index == 4 else f"patch{index}"
            self.add_section(name, *layers, channels=channels, size=size, max_count=1, is_map=index == 4)
        self.position = PositionEmbedding(dim, dim, size, neuron)
        self.add_section("embedded", self.position, channels=dim, size=size, max_count=2)
        self.blocks = nn.ModuleList([EncoderBlock(dim, size, neuron) for _ in range(DEPTH)])
        for index, block in enumerate(self.blocks):
            self.add_section(f"block{index + 1}", block, channels=dim, size=size, max_count=2 * index + 4)
        kaiming_init(self, norm_gain)
        self.head = TaskHeads(dim, spec["tasks"])
        self.finish()


def attention_heads(dim: int) -> int:
    """Number of heads: as many of about 32 channels as divide dim.

    Example:
        >>> attention_heads(384), attention_heads(96), attention_heads(40)
        (12, 3, 1)
    """
    return max(heads for heads in range(1, max(1, dim // HEAD_DIM) + 1) if dim % heads == 0)
