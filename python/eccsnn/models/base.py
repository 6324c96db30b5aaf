"""What every model shares: the uniform interface, its description, and the checks on its input.

A model is an ordered mapping of named sections and a head. Behind some sections it can be cut (`split_points`), and
bottleneck units can be inserted there; which of them run is said for each pass (`through`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from eccsnn import ops
from eccsnn.nn import Bottleneck, TaskHeads
from eccsnn.nn._hints import nearest

Through = str | Sequence[str] | None
"""Which bottleneck units are active in a pass: one, several, or (None or an empty sequence) the uncut network.

`INSERTED`, the default, is the one that is inserted; of several, the caller must name one.
"""
INSERTED = "inserted"
Chain = dict[str, tuple[nn.Module, ...]]
"""Sections by name, in order: the layers between images and head."""

SMALL_IMAGE = 64
"""Largest image size for which residual networks take their stem for small images."""


def stem_stride_for(name: str, image_size: int, stem_stride: int | None) -> int:
    """Stride of the first convolution of residual networks and MobileNets.

    Args:
        name: The model's name, for the error.
        image_size: Height and width.
        stem_stride: None chooses by the size: 1 up to `SMALL_IMAGE`, 2 above. A stride of 2 for small images quarters
            the work of everything behind the stem.

    Raises:
        ValueError: It is not 1, 2 or 4.
    """
    if stem_stride not in (None, 1, 2, 4) or isinstance(stem_stride, bool):
        raise ValueError(
            f"{name}: stem_stride is {stem_stride!r}, expected 1, 2 or 4 (or none, which chooses by the image's size)"
        )
    if stem_stride is not None:
        return stem_stride
    return 1 if image_size <= SMALL_IMAGE else 2


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


class SplitPoint(NamedTuple):
    """A place where a model can be cut, and the tensor [(T,) N, channels, size, size] that is sent there.

    Attributes:
        name: Its name, that of the section before it; `bottleneck:NAME` between an encoder and its decoder.
        channels: Number of channels C.
        size: Height and width.
        max_count: Largest value of integers (1: binary spikes, 2 and more: sums of spikes); None for real values.

    Example:
        >>> SplitPoint("stage2", channels=128, size=16, max_count=1).bits
        32768
    """

    name: str
    channels: int
    size: int
    max_count: int | None

    @property
    def bits(self) -> int:
        """Bits of one sample (and timestep) without coding: bit planes for integers, 32 for a real value."""
        depth = 32 if self.max_count is None else self.max_count.bit_length()
        return self.channels * self.size**2 * depth

    def check(self, x: Tensor, time: bool) -> None:
        """Checks the shape of a tensor that comes over the wire.

        Raises:
            ValueError: It is not [N, channels, size, size], or with `time` [T, N, channels, size, size].
        """
        shape = f"{self.channels}, {self.size}, {self.size}"
        if x.ndim != (5 if time else 4) or x.shape[-3:] != (self.channels, self.size, self.size):
            expected = f"[T, N, {shape}]" if time else f"[N, {shape}]"
            raise ValueError(f"{self.name}: the wire's tensor has shape {list(x.shape)}, expected {expected}")

    def pack(self, spikes: Tensor) -> Tensor:
        """Packs binary spikes [T, N, C, H, W] into uint8 [T, N, H, W, ceil(C / 8)]; see `eccsnn.ops.pack_spikes`.

        Raises:
            ValueError: The point's values are not binary, or the shape is another one.
        """
        if self.max_count != 1:
            raise ValueError(f"{self.name}: max_count is {self.max_count}, expected 1; only binary spikes are packed")
        self.check(spikes, time=True)
        return ops.pack_spikes(spikes)

    def unpack(self, packed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Unpacks what `pack` returned: spikes [T, N, C, H, W].

        Raises:
            ValueError, TypeError: These are no packed spikes of this shape.
        """
        spikes = ops.unpack_spikes(packed, self.channels, dtype)
        self.check(spikes, time=True)
        return spikes


class Features(NamedTuple):
    """What `forward_features` returns.

    Attributes:
        penultimate: [N, D], the input of the model's head.
        maps: Named feature maps: [T, N, C, H, W] for an SNN, [N, C, H, W] for an ANN.
    """

    penultimate: Tensor
    maps: dict[str, Tensor]


class Model(nn.Module):
    """A classifier with named sections, feature maps, split points, and a head a task.

    Subclasses set `kind` and `head`, call `add_section` in order, and implement `forward_features`.

    Attributes:
        kind: `snn` or `ann`.
        feature_maps: Description of every entry of `Features.maps`.
        sections: The layers between images and head, in order, without bottleneck units. The mapping is no module: the
            layers' names, and so the state dict, are those of the attributes in which a subclass keeps them.
        split_points: Where the model can be cut, from input to output.
        bottlenecks: The units that were inserted, by the name of their point with `_` for `.`.
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
        self.sections: Chain = {}
        self.split_points: dict[str, SplitPoint] = {}
        self.bottlenecks = nn.ModuleDict()

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

    def add_section(
        self,
        name: str,
        *layers: nn.Module,
        channels: int,
        size: int,
        max_count: int | None,
        stride: int | None = None,
        is_map: bool = True,
        is_point: bool = True,
    ) -> None:
        """Appends a section.

        Args:
            name: Its name, and that of its feature map and split point.
            layers: Modules of this model that run one after the other.
            channels, size, max_count: What comes out: [..., channels, size, size]; see `SplitPoint`.
            stride: Image pixels a pixel; None: what the size tells, for images that are halved evenly.
            is_map: Whether that is a feature map.
            is_point: Whether the model can be cut there.
        """
        self.sections[name] = layers
        if is_map:
            self.feature_maps[name] = FeatureMap(channels, stride or self.image_size // size, max_count)
        if is_point:
            self.split_points[name] = SplitPoint(name, channels, size, max_count)

    def split_point(self, name: str) -> SplitPoint:
        """Returns a split point by its name.

        Raises:
            ValueError: The model has no such point; the nearest one is named.
        """
        if name not in self.split_points:
            known = nearest(name, self.split_points) if self.split_points else "it has none"
            raise ValueError(f"{self._spec['name']}: unknown split point {name!r}: {known}")
        return self.split_points[name]

    def bottleneck(self, point: str) -> Bottleneck:
        """Returns the unit at a split point.

        Raises:
            ValueError: None is inserted there.
        """
        if point not in self.inserted:
            raise ValueError(
                f"{self._spec['name']}: no bottleneck at {point!r}, expected one of {list(self.inserted)}; insert it "
                "with build_model(..., bottlenecks={...}) or insert_bottlenecks"
            )
        return cast(Bottleneck, self.bottlenecks[point.replace(".", "_")])

    @property
    def inserted(self) -> tuple[str, ...]:
        """The split points at which bottleneck units stand, from input to output."""
        given = self._spec.get("bottlenecks", {})
        return tuple(point for point in self.split_points if point in given)

    def add_bottlenecks(self, units: Mapping[str, Mapping[str, Any]]) -> None:
        """Inserts bottleneck units with fresh weights, in the order of the split points; the spec then names them.

        Args:
            units: Split point -> the unit's options: for an SNN those of `eccsnn.nn.SpikeBottleneck` (`channels`,
                `stride`, `kernel_size`, `neuron`, `norm_gain`; the last two are the model's if they are left out), for
                an ANN `kind` (`bottlenet` or `bottlenet++`) and those of `eccsnn.nn.BottleNet` or `BottleNetPP`.

        Raises:
            ValueError: An unknown point or option, or a second unit at a point.
        """
        for point in units:
            self.split_point(point)
            if point in self.inserted:
                raise ValueError(f"{self._spec['name']}: {point!r} has a bottleneck already, expected another point")
        like = next(self.head.parameters())
        specs = dict(self._spec.get("bottlenecks", {}))
        for name, place in self.split_points.items():
            if name not in units:
                continue
            unit, specs[name] = self.make_bottleneck(place, dict(units[name]))
            unit.to(like.device, like.dtype).to(memory_format=torch.channels_last)
            unit.train(self.training)
            self.bottlenecks[name.replace(".", "_")] = unit
            max_count = 1 if self.kind == "snn" else None
            # A wire's size need not divide the image's: the stride is rounded.
            stride = round(self.image_size / unit.size)
            self.feature_maps[f"bottleneck:{name}"] = FeatureMap(unit.channels, stride, max_count)
        self._spec = {**self._spec, "bottlenecks": {p: specs[p] for p in self.split_points if p in specs}}

    def make_bottleneck(self, point: SplitPoint, options: dict[str, Any]) -> tuple[Bottleneck, dict[str, Any]]:
        """Builds the unit for a split point, and returns it with all of its options, defaults filled in."""
        raise ValueError(f"{self._spec['name']} takes no bottlenecks")

    def active(self, through: Through = INSERTED) -> tuple[str, ...]:
        """Resolves which bottleneck units run in a pass.

        Args:
            through: See `Through`.

        Returns:
            Their split points.

        Raises:
            ValueError: A point has no unit, or several are inserted and none is named.
        """
        if through == INSERTED:
            inserted = self.inserted
            if len(inserted) > 1:
                raise ValueError(
                    f"{self._spec['name']}: bottlenecks are inserted at {list(inserted)}; name those of this pass with "
                    "through=..., or pass through=None for the uncut network"
                )
            return inserted
        points = () if through is None else (through,) if isinstance(through, str) else tuple(through)
        for point in points:
            self.bottleneck(point)
        return points

    def chain(self, through: Through = INSERTED) -> Chain:
        """The sections of one pass, in order: those of the model, and behind the split points that `through` names
        `bottleneck:POINT` (the encoder), `codec:POINT` (what a wire with losses does) and `decoder:POINT`.

        Raises:
            ValueError: See `active`.
        """
        active = self.active(through)
        chain: Chain = {}
        for name, layers in self.sections.items():
            chain[name] = layers
            if name in active:
                unit = self.bottleneck(name)
                chain[f"bottleneck:{name}"] = (unit.encoder,)
                if unit.codec is not None:
                    chain[f"codec:{name}"] = (unit.codec,)
                chain[f"decoder:{name}"] = (unit.decoder,)
        return chain

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
        check_images(
            x, self._spec["name"], (self.in_channels, self.image_size), next(self.head.parameters()), dimensions
        )


def check_images(
    x: Tensor, owner: str, image: tuple[int, int], weights: Tensor, dimensions: Sequence[int] = (4,)
) -> None:
    """As `Model.check_images`, for an owner of that name, its images' channels and size, and one of its weights."""
    in_channels, image_size = image
    shape = f"{in_channels}, {image_size}, {image_size}"
    layouts = {4: f"images [N, {shape}]", 5: f"event frames [T, N, {shape}]"}
    expected = " or ".join(layouts[n] for n in dimensions)
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner}: input is a {type(x).__name__}, expected a tensor: {expected}")
    if x.ndim not in dimensions:
        raise ValueError(f"{owner}: input has shape {list(x.shape)}, expected {expected}")
    if x.shape[-3] != in_channels:
        raise ValueError(
            f"{owner}: input has shape {list(x.shape)}, so {x.shape[-3]} channels, expected {expected}; "
            f"build the model with in_channels={x.shape[-3]} or convert the images"
        )
    if x.shape[-2:] != (image_size, image_size):
        raise ValueError(
            f"{owner}: input has shape {list(x.shape)}, expected {expected}; "
            "build the model with another image_size or resize the images"
        )
    if not x.is_floating_point():
        raise TypeError(f"{owner}: input has dtype {x.dtype}, expected floating point; scale and normalise it first")
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

    A model with NaN weights gives finite logits and a finite loss. The toolkit's own training calls this after every
    epoch and where a checkpoint is loaded; a loop of one's own does well to do the same. On a GPU it waits for the
    device.

    Args:
        model: Its parameters and buffers are looked at.
        what: What to call it in the error.

    Raises:
        ValueError: A parameter or buffer holds NaN or infinite values; the first is named.

    Example:
        >>> check_finite(nn.Linear(2, 1), "after epoch 1")
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
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            # torch counts the fan-out of all groups together, which makes depthwise weights too small.
            fan_out = layer.weight.numel() / layer.in_channels
            nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, norm_gain)
            nn.init.zeros_(layer.bias)
