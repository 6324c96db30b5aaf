"""The configuration of a network that is cut in two (NeuCODEX, SpikeBottleNet, BottleNet, BottleNet++), and of what it
is compared with (edge only, cloud only)."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from eccsnn.experiments.ecc_snn_schema import Cloud
from eccsnn.experiments.sections import Experiment, Fraction, Neuron, Positive, Section, Training

SplitSystem = Literal["neucodex", "spikebottlenet", "bottlenet", "bottlenet_pp", "edge_only", "cloud_only"]
SPLIT_SYSTEMS: tuple[str, ...] = get_args(SplitSystem)
CUT_SYSTEMS = ("neucodex", "spikebottlenet", "bottlenet", "bottlenet_pp")
SPIKING_SYSTEMS = ("neucodex", "spikebottlenet", "edge_only")
EXIT_TRAINED_SYSTEMS = ("neucodex", "edge_only")


class NetworkModel(Section):
    """A network of `eccsnn list models`: spiking, or artificial for BottleNet and BottleNet++."""

    name: str = "sew_resnet18"
    width: Positive = 1.0
    timesteps: int = Field(4, ge=1, description="T of a spiking network")
    norm_gain: Positive = Field(
        1.0, description="spiking: first weight of every batch norm; 2 (= tau) makes a small, deep SNN learn sooner"
    )
    connect: Literal["add", "iand"] | None = Field(
        None, description="sew_resnet: how spikes join the shortcut: as a sum, or by iand, which keeps them binary"
    )
    depthwise_neurons: bool | None = Field(
        None, description="spiking_mobilenet: false leaves out the neurons between a block's two convolutions"
    )
    stem_stride: Literal[1, 2, 4] | None = Field(
        None, description="residual networks and MobileNets: of the first convolution; 2 halves small images"
    )
    neuron: Neuron = Neuron()


class Network(Section):
    """The network before it is cut, and its training."""

    model: NetworkModel = NetworkModel()
    training: Training = Training()


class Unit(Section):
    """The bottleneck unit at the split point, and the training in which all else stays as it is."""

    point: str = Field("stage2", description="a split point of `eccsnn list splits MODEL`")
    channels: int = Field(4, ge=1, description="channels on the wire")
    stride: int = Field(1, ge=1, description="factor by which height and width shrink")
    kernel_size: int = Field(1, ge=1, description="of the encoder and the decoder, at least the stride")
    training: Training = Training(epochs=3)


class Finetune(Section):
    """The training of the whole cut network, and the loss of it and of the unit's training."""

    training: Training = Training(epochs=5, lr=3e-4)
    exit_weight: Fraction = Field(0.0, description="of the loss at every timestep, against that at the last")
    logit_weight: float = Field(
        0.5, ge=0, description="of the distillation from the teacher's logits; 0 switches it off"
    )
    temperature: Positive = Field(3.0, description="of the teacher's logits")
    teacher: Literal["uncut", "cloud"] = Field(
        "uncut", description="the uncut network with all its epochs, or the ANN of `cloud`"
    )
    rate_weight: float = Field(0.0, ge=0, description="of the bits a wire element that the codec's model estimates")


class Exit(Section):
    """Early exit over timesteps: who decides to stop, and how the threshold is chosen (on validation data only)."""

    enabled: bool = Field(True, description="false: every image takes all timesteps")
    decide: Literal["cloud_logits", "edge_head"] = Field(
        "cloud_logits", description="by the cloud's running logits, or by a head on the edge's spikes"
    )
    tolerance: Fraction = Field(0.005, description="validation accuracy given up for fewer timesteps")


class Wire(Section):
    """What crosses between the parts."""

    tables: bool = Field(True, description="spikes: starts the codec from tables learnt on training images")
    jpeg_quality: int = Field(90, ge=1, le=95, description="BottleNet: of the features' JPEG")


class Upload(Section):
    """Uploaded images, for cloud only and as a yardstick for all."""

    jpeg_quality: int = Field(90, ge=1, le=95)


class StreamLink(Section):
    """The measurement of early exit over a real link: two processes that speak gRPC over TCP on this machine."""

    enabled: bool = True
    images: int = Field(50, ge=1, description="test images a row")
    rtt_ms: tuple[float, ...] = Field((20.0,), description="round trips of the link shaper")
    rate_mbit: tuple[Positive, ...] = Field((10.0,), description="rates of the link shaper, both directions")
    timeout_s: Positive = Field(10.0, description="an image whose cloud takes longer is answered by the edge")


class SplitConfig(Experiment):
    """A network cut in two at a split point, or the same network uncut on the edge, or an ANN in the cloud."""

    system: SplitSystem
    network: Network = Network()
    unit: Unit | None = Field(None, description="null where nothing is cut")
    finetune: Finetune = Finetune()
    exit: Exit = Exit()
    wire: Wire = Wire()
    upload: Upload = Upload()
    cloud: Cloud = Cloud()
    link: StreamLink = StreamLink()

    @model_validator(mode="after")
    def _fits_its_system(self) -> SplitConfig:
        cut = self.system in CUT_SYSTEMS
        if cut and self.unit is None:
            raise ValueError(f"{self.system} cuts its network; add a unit with point and channels")
        if not cut and self.unit is not None:
            raise ValueError(f"{self.system} cuts nothing; remove unit")
        if self.exit.decide == "edge_head" and self.system != "neucodex":
            raise ValueError(
                f"exit.decide is edge_head, which neucodex alone trains and stops by; {self.system} takes cloud_logits"
            )
        if self.finetune.exit_weight > 0 and self.system not in EXIT_TRAINED_SYSTEMS:
            raise ValueError(
                f"finetune.exit_weight is for {' and '.join(EXIT_TRAINED_SYSTEMS)}; {self.system} is trained without "
                "the loss at every timestep: set it to 0"
            )
        if self.finetune.rate_weight > 0 and not (cut and self.spiking):
            raise ValueError(f"finetune.rate_weight is for spikes on a wire; {self.system} sends none: set it to 0")
        if self.spiking:
            self.data.check_timesteps(self.network.model.timesteps, "network.model.timesteps")
        return self

    @property
    def spiking(self) -> bool:
        """Whether the network is one of spiking neurons."""
        return self.system in SPIKING_SYSTEMS

    @property
    def exits(self) -> bool:
        """Whether images may stop before the last timestep."""
        return self.exit.enabled and self.spiking

    def network_arguments(self) -> dict[str, Any]:
        """Arguments of `eccsnn.models.build_model` for the network."""
        given = self.network.model.model_dump(exclude_none=True)
        if not self.spiking:
            for key in ("timesteps", "norm_gain", "neuron", "connect", "depthwise_neurons"):
                given.pop(key, None)
        return given
