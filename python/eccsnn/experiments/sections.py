"""Parts of a configuration that every system has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from eccsnn.data import AUGMENTATIONS, DatasetInfo, list_datasets
from eccsnn.data.events.datasets import DEFAULT_TIMESTEPS
from eccsnn.data.scenario import parse_scenario
from eccsnn.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen part of a configuration that knows its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Subset(Section):
    """Sizes of a stratified part of the data, for debug runs; null keeps everything."""

    train: int | None = Field(None, ge=2, description="training images")
    val: int | None = Field(None, ge=1, description="validation images")
    test: int | None = Field(None, ge=1, description="test images")


class Simulate(Section):
    """Images that a simulated event camera looks at, in place of recordings."""

    images: str = Field("cifar10", description="data set of images, a name of `eccsnn list datasets`")
    root: str | None = Field(None, description="folder of the images; not needed for digits")
    limit: int | None = Field(None, ge=2, description="images to record, the same share of every class; null takes all")
    seed: int = Field(0, ge=0, description="of the choice and of the camera's noise")


_OF_FRAMES = ("mix", "timesteps", "slice_by", "policy", "binary", "simulate")


class Data(Section):
    """Which images or recordings, and how they are split. The validation part is cut from the training data."""

    name: str = Field("digits", description="a name of `eccsnn list datasets`")
    root: str | None = Field(None, description="folder of the data set; not needed for digits")
    display_name: str | None = Field(None, description="how tables and plots call the data")
    image_size: int | None = Field(
        None, ge=8, description="height and width in pixels of images (null: 32) or event frames (null: 48)"
    )
    val_fraction: Fraction = Field(0.1, description="part of the training data that is kept for validation")
    test_fraction: Fraction | None = Field(None, description="for data sets that have no test part")
    subset: Subset | None = None
    split_seed: int = Field(0, ge=0, description="of the splits and subsets; runs with other seeds share one split")
    download: bool = Field(False, description="fetches the data into root where torchvision can")
    augment: Literal["crop_flip", "flip", "flip_shift", "flip_shift_drop", "nda"] | None = Field(
        None, description="crop_flip | flip; event frames: also flip_shift | flip_shift_drop | nda"
    )
    mix: Literal["event_mix"] | None = Field(
        None, description="event frames: mixes a box of another recording into each while training, labels by events"
    )
    timesteps: int | None = Field(None, ge=1, description="event frames: slices of a recording; null is 10")
    slice_by: Literal["count", "time"] | None = Field(
        None, description="event frames: slices of as many events (count, null) or as much time"
    )
    policy: Literal["strict", "skip"] | None = Field(
        None, description="event frames: a bad event is an error (strict, null), or left out and counted"
    )
    binary: bool | None = Field(None, description="event frames: true keeps whether there were events, not how many")
    simulate: Simulate | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Data:
        if any(info.name == self.name and not info.is_frames for info in list_datasets()):
            for key in _OF_FRAMES:
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} is for event frames; {self.name} has images: remove {key}")
            if self.augment is not None and self.augment not in AUGMENTATIONS:
                raise ValueError(
                    f"augment is {self.augment}, which is for event frames; {self.name} has images: use one of "
                    f"{', '.join(AUGMENTATIONS)}"
                )
        if self.simulate is not None and self.root is not None:
            raise ValueError(
                f"root is {self.root} and simulate is given, too: recordings are either read or made; remove one "
                "(simulate: null reads those of root)"
            )
        return self

    def check_timesteps(self, timesteps: int, key: str) -> None:
        """An SNN takes one event frame a timestep, so it has as many as a recording has frames; `key` is its T.

        Raises:
            ValueError: It has not.
        """
        frames = DEFAULT_TIMESTEPS if self.timesteps is None else self.timesteps
        if _info(self.name).is_frames and frames != timesteps:
            raise ValueError(
                f"{key} is {timesteps}, but a recording becomes {frames} frames, one a timestep; set {key} and "
                "data.timesteps to the same number"
            )

    def check_scenario(self, scenario: str) -> None:
        """Checks a scenario as far as it can be without the data.

        Raises:
            ValueError: It is none, or begins with more classes than the data set has.
        """
        of = self.name if self.simulate is None else self.simulate.images
        try:
            parse_scenario(scenario, _info(of).num_classes)
        except ConfigError as error:
            raise ValueError(str(error)) from None


def _info(dataset: str) -> DatasetInfo:
    unknown = DatasetInfo(dataset, dataset, "", None)  # which whoever loads it will say
    return {info.name: info for info in list_datasets()}.get(dataset, unknown)


class Neuron(Section):
    """LIF neuron; the keys are those of `eccsnn.nn.LIF`."""

    tau: float = Field(2.0, ge=1, description="time constant in timesteps")
    v_threshold: Positive = Field(1.0, description="membrane at which a neuron fires")
    v_reset: float | None = Field(0.0, description="membrane after a spike; null is soft reset")
    decay_input: bool = Field(True, description="divides the input by tau, like the membrane")
    leak: bool = Field(True, description="false: integrate and fire; tau and decay_input then count for nothing")
    detach_reset: bool = Field(True, description="lets no gradient pass through the reset")
    surrogate: Literal["atan", "sigmoid", "rect"] = "sigmoid"
    surrogate_alpha: Positive | None = Field(
        None,
        description="steepness (rect: width); null is the surrogate's own: sigmoid 4, atan 2, rect 1",
    )
    learn_tau: bool = Field(False, description="a learnable tau for every layer, as in PLIF")


class Training(Section):
    """One training; the keys are those of `eccsnn.training.fit`."""

    epochs: int = Field(10, ge=0, description="passes over the training images")
    batch_size: int = Field(64, ge=2, description="images a step")
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Positive = Field(1e-3, description="learning rate at the start")
    weight_decay: float = Field(5e-4, ge=0, description="L2 term of the optimizer")
    momentum: Fraction = Field(0.9, description="for sgd")
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    milestones: tuple[Fraction, ...] = Field((0.3, 0.6, 0.8), description="for steps: fractions of the training")
    gamma: Positive = Field(0.2, description="for steps: factor of the learning rate at each milestone")
    select: Literal["last", "best_validation"] = "last"


class Costs(Section):
    """The model of energy and latency."""

    profile: str = Field("edge_45nm_wifi", description="device profile: constants with their sources")
    precision: Literal["fp32", "int8"] = Field("fp32", description="of the operations that are priced")
    memory: bool = Field(
        False, description="adds the energy of one weight read an operation; not with published edge figures"
    )


class Experiment(Section):
    """What the configuration of every system begins with."""

    system: str
    name: str = Field(
        pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$", description="folder of its runs, such as ecc_snn/digits_small"
    )
    description: str = Field("", description="a line for lists and reports")
    seed: int = Field(0, ge=0)
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_seconds: Positive = Field(120.0, description="a killed training loses at most about as much")
    data: Data = Data()
    costs: Costs = Costs()
