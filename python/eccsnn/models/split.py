"""A model cut in two at a split point: what runs on the edge, and what runs in the cloud.

The parts share their layers with the model (parameters, buffers and mode), under the same names: their state dicts are
those parts of the model's. Nothing is computed differently: both run the model's own sections, the edge up to the wire
and the cloud behind it.
"""

from collections.abc import Iterable, Sequence
from typing import cast, overload

import torch
from torch import Tensor, nn

from eccsnn.models.ann import ANN, run_features
from eccsnn.models.base import Chain, Model, SplitPoint, Through, check_images
from eccsnn.models.spiking import (
    SpikingModel,
    at_least_float32,
    frame_of,
    frames_of,
    mean_over_time,
    run_layers,
    run_sections,
)
from eccsnn.nn import ExitHead, State, TaskHeads, over_time
from eccsnn.nn.ann_bottleneck import LEVELS, from_bytes, to_bytes
from eccsnn.nn.layers import Pass, Prepared, Stem, check_state, neurons_of, state_at_rest

AT_POINT = "point"
"""Stands for the unit at the split point itself, where one is inserted."""


class Part(nn.Module):
    """Some consecutive sections of a model, whose layers it shares.

    Args:
        model: The model.
        sections: The sections.
        wire: What crosses between the parts.

    Attributes:
        wire: Name, channels, size, `max_count` and `bits` of the tensor on the wire; packs and unpacks it.
        sections: The layers by section, as in the model.
    """

    def __init__(self, model: Model, sections: Chain, wire: SplitPoint) -> None:
        super().__init__()
        self.owner: str = model.spec["name"]
        self.wire = wire
        self.sections = sections
        share(model, self, (layer for layers in sections.values() for layer in layers))
        self.training = model.training


class SpikingPart(Part):
    """A part of a spiking model."""

    def __init__(self, model: SpikingModel, sections: Chain, wire: SplitPoint) -> None:
        super().__init__(model, sections, wire)
        self._neurons = neurons_of(layer for layers in sections.values() for layer in layers)

    def init_state(self, batch: int) -> State:
        """Returns this part's membranes at rest; see `SpikingModel.init_state`."""
        return state_at_rest(self._neurons, batch, next(self.parameters()))


class EdgePart(SpikingPart):
    """From the images to the wire.

    Attributes:
        timesteps: T of the model.
        exit_head: None, or the `ExitHead` that `add_exit_head` made.
    """

    def __init__(self, model: SpikingModel, sections: Chain, wire: SplitPoint) -> None:
        super().__init__(model, sections, wire)
        self.timesteps = model.timesteps
        self.exit_head: ExitHead | None = None
        self._image = (model.in_channels, model.image_size)

    def add_exit_head(self, tasks: Sequence[Sequence[int]]) -> ExitHead:
        """Attaches a new head on the wire's spikes, by which the edge can decide to stop; this part's state dict and
        parameters then hold it, the model's do not.

        Args:
            tasks: As for `eccsnn.nn.TaskHeads`.
        """
        like = next(self.parameters())
        self.exit_head = ExitHead(self.wire.channels, tasks).to(like.device, like.dtype).train(self.training)
        return self.exit_head

    def forward(self, x: Tensor, timesteps: int | None = None) -> Tensor:
        """Returns the spikes [T, N, c, h, w] for the wire.

        Args:
            x: Images [N, C, H, W] or event frames [T, N, C, H, W].
            timesteps: T; None: that of the model.

        Raises:
            ValueError, TypeError: As for the model.
        """
        check_images(x, self.owner, self._image, next(self.parameters()), (4, 5))
        frames, steps = frames_of(x, self.timesteps if timesteps is None else timesteps, self.owner)
        return run_layers(self.sections, frames, Pass(timesteps=steps))

    def prepare(self, images: Tensor) -> Prepared:
        """Runs the first convolution on static images [N, C, H, W], once for all timesteps; `step` takes the result.

        Raises:
            ValueError, TypeError: As for the model.
        """
        check_images(images, self.owner, self._image, next(self.parameters()))
        (stem, *_), *_ = self.sections.values()
        return cast(Stem, stem).prepare(Model.channels_last(images).unsqueeze(0))

    def step(self, x_t: Tensor | Prepared, state: State) -> tuple[Tensor, State]:
        """Runs one timestep.

        Args:
            x_t: Images or an event frame [N, C, H, W], or static images from `prepare`, which gives the same bits.
            state: From `init_state` or the step before; it is not changed.

        Returns:
            The spikes [N, c, h, w] for the wire and the new state.

        Raises:
            ValueError, TypeError: As for the model's `step`.
        """
        if not isinstance(x_t, Prepared):
            check_images(x_t, self.owner, self._image, next(self.parameters()))
        check_state(state, self._neurons, x_t.batch if isinstance(x_t, Prepared) else x_t.shape[0])
        run = Pass(before=state, timesteps=1)
        spikes = run_layers(self.sections, frame_of(x_t), run)
        return spikes.squeeze(0), {key: run.after[key] for key in state}


class CloudPart(SpikingPart):
    """From the wire to the logits.

    Attributes:
        head: The model's head.
    """

    def __init__(self, model: SpikingModel, sections: Chain, wire: SplitPoint) -> None:
        super().__init__(model, sections, wire)
        self.head: TaskHeads = model.head

    def forward(self, spikes: Tensor) -> Tensor:
        """Maps spikes [T, N, c, h, w] from the wire to logits [N, K], as the model's `forward` does.

        Raises:
            ValueError: The spikes have another shape than `wire` says.
        """
        return self.head(mean_over_time(self._hidden(spikes)))

    def forward_timesteps(self, spikes: Tensor) -> Tensor:
        """Maps spikes [T, N, c, h, w] from the wire to the logits [T, N, K] of every timestep.

        Raises:
            ValueError: The spikes have another shape than `wire` says.
        """
        hidden = self._hidden(spikes)
        return self.head(hidden.to(at_least_float32(hidden.dtype)))

    def step(self, spikes_t: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs one timestep on spikes [N, c, h, w] from the wire.

        Returns:
            The logits [N, K] of this step and the new state.

        Raises:
            ValueError: The spikes have another shape than `wire` says, or the state is another part's or batch's.
        """
        self.wire.check(spikes_t, time=False)
        check_state(state, self._neurons, spikes_t.shape[0])
        run = Pass(before=state, timesteps=1)
        hidden = run_sections(self.sections, Model.channels_last(spikes_t).unsqueeze(0), run)
        return self.head(mean_over_time(hidden)), {key: run.after[key] for key in state}

    def _hidden(self, spikes: Tensor) -> Tensor:
        self.wire.check(spikes, time=True)
        return run_sections(self.sections, over_time(Model.channels_last, spikes), Pass())


class ANNEdgePart(Part):
    """From the images to the wire, of an ANN.

    Attributes:
        codec: None, or the `eccsnn.nn.JPEGCodec` with which the wire's features travel.
    """

    def __init__(self, model: ANN, sections: Chain, wire: SplitPoint, codec: nn.Module | None) -> None:
        super().__init__(model, sections, wire)
        self.codec = codec
        self._image = (model.in_channels, model.image_size)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features [N, c, h, w] for the wire: uint8 behind an encoder, else real values.

        Raises:
            ValueError, TypeError: As for the model.
        """
        check_images(x, self.owner, self._image, next(self.parameters()))
        x = run_features(self.sections, Model.channels_last(x))
        return x if self.wire.max_count is None else to_bytes(x)


class ANNCloudPart(Part):
    """From the wire to the logits, of an ANN.

    Attributes:
        head: The model's head.
        codec: As that of the edge; features that travel as they are must not pass it again.
    """

    def __init__(self, model: ANN, sections: Chain, wire: SplitPoint, codec: nn.Module | None) -> None:
        super().__init__(model, sections, wire)
        self.codec = codec
        self.head: TaskHeads = model.head

    def forward(self, features: Tensor) -> Tensor:
        """Maps features [N, c, h, w] from the wire to logits [N, K].

        Raises:
            ValueError: The features have another shape than `wire` says.
            TypeError: They are not uint8, but the wire carries bytes.
        """
        self.wire.check(features, time=False)
        if self.wire.max_count is not None:
            if features.dtype != torch.uint8:
                raise TypeError(
                    f"{self.wire.name}: features are {features.dtype}, expected uint8 as the edge sends them"
                )
            weights = next(self.head.parameters())
            features = from_bytes(features, torch.promote_types(weights.dtype, torch.float32))
        return self.head(run_features(self.sections, Model.channels_last(features)))


@overload
def split(model: SpikingModel, point: str, through: Through = ...) -> tuple[EdgePart, CloudPart]: ...
@overload
def split(model: ANN, point: str, through: Through = ...) -> tuple[ANNEdgePart, ANNCloudPart]: ...
def split(model: SpikingModel | ANN, point: str, through: Through = AT_POINT) -> tuple[Part, Part]:
    """Cuts a model at a split point.

    Args:
        model: The model; its parts share its parameters and buffers.
        point: A name of `model.split_points`.
        through: The bottleneck units that are active, as for the model's `forward`. Left out, it is the unit at this
            point if one is inserted, else none.

    Returns:
        The part before the wire and the part behind it. Where the unit at the point is active, the encoder is the last
        layer of the edge and the decoder the first of the cloud; else the point's own values cross. What a codec loses
        (BottleNet's JPEG) belongs to the wire: neither part applies it, while the whole model simulates it.

    Raises:
        ValueError: An unknown point, or a point of `through` without a unit.
        TypeError: The model has no sections (pretrained trunks).

    Example:
        >>> import torch
        >>> from eccsnn.models import build_model
        >>> model = build_model("spiking_vgg9", num_classes=10, width=0.125, bottlenecks={"pool2": {"channels": 2}})
        >>> edge, cloud = split(model.eval(), "pool2")
        >>> edge.wire
        SplitPoint(name='bottleneck:pool2', channels=2, size=8, max_count=1)
        >>> x = torch.randn(1, 3, 32, 32)
        >>> torch.equal(cloud(edge(x)), model(x))
        True
    """
    if not isinstance(model, SpikingModel | ANN):
        raise TypeError(f"split: {type(model).__name__} cannot be cut, expected a model with split points")
    wire = model.split_point(point)
    if through == AT_POINT:
        through = point if point in model.inserted else None
    chain, codec = model.chain(through), None
    if f"bottleneck:{point}" in chain:
        unit = model.bottleneck(point)
        max_count = LEVELS if wire.max_count is None else 1
        wire = SplitPoint(f"bottleneck:{point}", unit.channels, unit.size, max_count)
        codec = unit.codec
    names = list(chain)
    last = names.index(wire.name) + 1
    before = {name: chain[name] for name in names[:last]}
    behind = {name: chain[name] for name in names[last:] if name != f"codec:{point}"}
    if isinstance(model, SpikingModel):
        return EdgePart(model, before, wire), CloudPart(model, behind, wire)
    return ANNEdgePart(model, before, wire, codec), ANNCloudPart(model, behind, wire, codec)


def share(model: nn.Module, part: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Registers layers of a model in a part under the names that they have in the model.

    Layers that the model does not name (pooling: no parameters) are left out.
    """
    names = {id(module): name for name, module in model.named_modules()}
    for layer in layers:
        if id(layer) not in names:
            continue
        *parents, name = names[id(layer)].split(".")
        owner = part
        for parent in parents:
            if parent not in owner._modules:
                owner.add_module(parent, nn.Module())
            owner = owner.get_submodule(parent)
        owner.add_module(name, layer)
