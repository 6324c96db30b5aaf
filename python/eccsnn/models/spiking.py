"""What every spiking model shares: time and state over its sections."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from eccsnn.models.base import INSERTED, Chain, Features, Model, SplitPoint, Through
from eccsnn.nn import SpikeBottleneck, State, complete_neuron_config, over_time
from eccsnn.nn._hints import nearest
from eccsnn.nn.layers import Neurons, Pass, Prepared, Stem, check_state, name_neurons, neurons_of, state_at_rest
from eccsnn.ops._checks import check_timesteps

BOTTLENECK_KEYS = ("channels", "stride", "kernel_size", "neuron", "norm_gain")


def run_sections(sections: Chain, x: Tensor | Prepared, run: Pass) -> Tensor:
    """Runs sections on [T, N, ...] (a static image: [1, N, ...]), one after the other; a map becomes its mean in space.

    Returns:
        [T, N, D] behind the last section of a model, which is where a head follows.
    """
    x = run_layers(sections, x, run)
    return x.mean((-2, -1)) if x.ndim == 5 else x


def run_layers(sections: Chain, x: Tensor | Prepared, run: Pass) -> Tensor:
    """Like `run_sections`, but leaves the result as it is: for a part of a model that ends at a split point."""
    for name, layers in sections.items():
        for layer in layers:
            x = layer(x, run)
        x = run.keep(name, cast(Tensor, x))
    return cast(Tensor, x)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a mean of spikes: that of many bfloat16 spikes would be rounded to 8 bits."""
    return torch.promote_types(dtype, torch.float32)


def mean_over_time(hidden: Tensor) -> Tensor:
    """Maps [T, N, D] to the input of the head, [N, D]."""
    return hidden.mean(0, dtype=at_least_float32(hidden.dtype))


class SpikingModel(Model):
    """A model of spiking neurons over `timesteps`.

    Images [N, C, H, W] count as repeated in time: the convolution and the batch norm of the `stem` run once, and its
    neurons take the result at every timestep. Event frames [T, N, C, H, W] run through the same layers at every step.
    Batch norm in training mode sees a static image once instead of T times, which has the same mean and variance.

    Neurons do not fire on NaN, so that NaN in a parameter or buffer shows neither in the loss nor in the logits: see
    `eccsnn.models.check_finite`. Train in 16 bits under `torch.autocast`; a model after `.bfloat16()` or `.half()`
    takes images of that dtype and is meant for inference, since its weights and running statistics are rounded, too.

    Subclasses set `stem` (the layer of the first section) and `head`, add their sections, and end their constructor
    with `self.finish()`. A section's layers map [T, N, ...] and a `Pass` to [T, N, ...].

    Attributes:
        timesteps: T.
        stem: The first layer, the only one that sees real-valued input.
    """

    kind = "snn"
    stem: Stem

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.timesteps: int = spec["timesteps"]
        self._neurons: dict[str, dict[str, Neurons]] = {}

    def finish(self) -> None:
        """Names the neurons and puts convolution weights into channels-last memory; the last line of a constructor."""
        name_neurons(self)
        self._neurons = {name: neurons_of(layers) for name, layers in self.chain(self.inserted).items()}
        self.use_channels_last()

    def add_bottlenecks(self, units: Mapping[str, Mapping[str, Any]]) -> None:
        """Inserts units; see `Model.add_bottlenecks`."""
        super().add_bottlenecks(units)
        self.finish()

    def make_bottleneck(self, point: SplitPoint, options: dict[str, Any]) -> tuple[SpikeBottleneck, dict[str, Any]]:
        """Builds the unit for a split point; see `Model.make_bottleneck`."""
        owner = f"{self._spec['name']}: bottleneck at {point.name!r}"
        for key in options:
            if key not in BOTTLENECK_KEYS:
                raise ValueError(f"{owner}: unknown option {key!r}: {nearest(key, BOTTLENECK_KEYS)}")
        if "channels" not in options:
            raise ValueError(f"{owner}: channels is missing, expected the number of channels on the wire")
        full = {"stride": 1, "kernel_size": 1, "norm_gain": self._spec.get("norm_gain", 1.0), **options}
        full["neuron"] = complete_neuron_config(options.get("neuron", self._spec["neuron"]))
        try:
            return SpikeBottleneck(point.channels, point.size, **full, of_spikes=point.max_count == 1), full
        except ValueError as error:
            raise ValueError(f"{self._spec['name']} at {point.name!r}: {error}") from error

    def forward(self, x: Tensor, timesteps: int | None = None, through: Through = INSERTED) -> Tensor:
        """Classifies images or event frames.

        Args:
            x: [N, C, H, W], or [T, N, C, H, W] with T = `timesteps`.
            timesteps: T for this call; None: that of the model. A compiled model takes any T without compiling again,
                while another `model.timesteps` is another constant to it.
            through: The bottleneck units of this pass: one split point or several, None for the uncut network. Left
                out, it is the one that is inserted; of several, one must be named.

        Returns:
            Logits [N, K]: the head on the mean of the last hidden spikes over time.

        Raises:
            ValueError, TypeError: x is not as `check_images` wants it, timesteps no integer of at least 1 or not that
                of the frames, or a point of `through` has no unit.
        """
        return self.head(mean_over_time(self._hidden(x, timesteps, through)[0]))

    def forward_timesteps(self, x: Tensor, timesteps: int | None = None, through: Through = INSERTED) -> Tensor:
        """Like `forward`, but returns the logits [T, N, K] of every timestep, whose mean over T is `forward`'s result
        up to rounding.
        """
        hidden, _ = self._hidden(x, timesteps, through)
        return self.head(hidden.to(at_least_float32(hidden.dtype)))

    def forward_features(self, x: Tensor, timesteps: int | None = None, through: Through = INSERTED) -> Features:
        """Like `forward`, but returns the input of the head and the spikes [T, N, C, H, W] of named layers.

        The map `bottleneck:POINT` of an active unit holds the spikes on the wire.
        """
        hidden, maps = self._hidden(x, timesteps, through, self.feature_maps)
        return Features(mean_over_time(hidden), maps)

    def init_state(self, batch: int, through: Through = INSERTED) -> State:
        """Returns the state at rest: layer name -> membranes [batch, ...], float32 (float64 in a float64 model).

        Args:
            batch: Number of samples.
            through: As for `forward`; layers of units that are not active have no state.
        """
        return state_at_rest(self._neurons_in(self.chain(through)), batch, next(self.head.parameters()))

    def prepare(self, images: Tensor) -> Prepared:
        """Runs the stem's convolution on static images [N, C, H, W], for `step` to take the result at every timestep:
        the same bits as from the images, and as in `forward` they are convolved once.

        Raises:
            ValueError, TypeError: As for `forward`.
        """
        self.check_images(images)
        return self.stem.prepare(self.channels_last(images).unsqueeze(0))

    def step(self, x_t: Tensor | Prepared, state: State, through: Through = INSERTED) -> tuple[Tensor, State]:
        """Runs one timestep.

        The mean of the logits over all timesteps equals `forward`'s logits up to rounding (in evaluation mode: batch
        norm in training mode sees one step instead of all).

        Args:
            x_t: Images or the event frame of this step, [N, C, H, W], or static images from `prepare`.
            state: From `init_state` or the step before; it is not changed.
            through: As for `forward` and for the `init_state` that the state began with.

        Returns:
            The logits of this step [N, K] and the new state.

        Raises:
            ValueError: x_t has another shape than the model takes, or the state is another model's or batch's.
        """
        if not isinstance(x_t, Prepared):
            self.check_images(x_t)
        chain = self.chain(through)
        check_state(state, self._neurons_in(chain), x_t.batch if isinstance(x_t, Prepared) else x_t.shape[0])
        run = Pass(before=state, timesteps=1)
        hidden = run_sections(chain, frame_of(x_t), run)
        return self.head(mean_over_time(hidden)), {name: run.after[name] for name in state}

    def _neurons_in(self, chain: Chain) -> dict[str, Neurons]:
        return {key: neurons for name in chain for key, neurons in self._neurons[name].items()}

    def _hidden(
        self, x: Tensor, timesteps: int | None, through: Through, keep: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The input of the head at every timestep, [T, N, D], and feature maps."""
        self.check_images(x, (4, 5))
        frames, steps = frames_of(x, self.timesteps if timesteps is None else timesteps, self._spec["name"])
        run = Pass(keep=keep, timesteps=steps)
        return run_sections(self.chain(through), frames, run), run.maps


def frame_of(x_t: Tensor | Prepared) -> Tensor | Prepared:
    """What a first section takes at one timestep: [1, N, C, H, W] of [N, C, H, W], prepared images as they are."""
    return x_t if isinstance(x_t, Prepared) else Model.channels_last(x_t).unsqueeze(0)


def frames_of(x: Tensor, timesteps: int, owner: str) -> tuple[Tensor, int]:
    """Images as a first section takes them: [1, N, C, H, W], or event frames [T, N, C, H, W], in channels-last memory.

    Args:
        x: [N, C, H, W] or [T, N, C, H, W].
        timesteps: T.
        owner: The model's name, for errors.

    Raises:
        TypeError: T is no integer.
        ValueError: T is below 1 or not that of the frames.
    """
    check_timesteps(timesteps, owner)
    if x.ndim == 4:
        return Model.channels_last(x).unsqueeze(0), timesteps
    if x.shape[0] != timesteps:
        raise ValueError(
            f"{owner}: input has T = {x.shape[0]} timesteps (shape {list(x.shape)}), expected "
            f"{timesteps}; pass `timesteps`, build the model with another number or bin the events anew"
        )
    return over_time(Model.channels_last, x), timesteps
