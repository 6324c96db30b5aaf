"""The configuration of an ECC-SNN experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from eccsnn import offload
from eccsnn.experiments.sections import Experiment, Fraction, Neuron, Positive, Section, Training


class CloudModel(Section):
    """The cloud's ANN."""

    name: str = "vgg16"
    width: Positive = 1.0
    pretrained: bool = Field(
        False, description="downloads the trunk's weights, for vit_b16, torchvision/<name>, timm/<name>"
    )
    freeze_trunk: bool | None = Field(None, description="for the same: trains the new head only")


class EdgeModel(Section):
    """The edge's SNN."""

    name: str = "spiking_vgg9"
    width: Positive = 1.0
    timesteps: int = Field(4, ge=1, description="T")
    norm_gain: Positive = Field(
        1.0,
        description="first weight of every batch norm; 2 (= tau) makes a small, deep SNN spike and learn sooner (ours)",
    )
    neuron: Neuron = Neuron()


class Distillation(Section):
    """Weights of joint training: CE + logit_weight * T^2 KL + feature_weight * feature term."""

    logit_weight: float = Field(0.5, ge=0, description="of the distillation from the cloud's logits; 0 switches it off")
    temperature: Positive = Field(3.0, description="of the cloud's logits")
    feature_weight: float = Field(0.2, ge=0, description="of the feature term; 0 switches it off")
    feature_order: Literal["time_first", "per_timestep"] = Field(
        "time_first", description="counts spikes over time first (the paper's text), or maps every timestep (its code)"
    )
    student_map: str = Field("conv_last", description="feature map of the edge that is matched")
    teacher_map: str = Field("pool3", description="feature map of the cloud that it is matched with")


class Cloud(Section):
    """The cloud side. It has a seed of its own, so that runs with several seeds share one teacher."""

    seed: int = Field(0, ge=0)
    model: CloudModel = CloudModel()
    training: Training = Training(optimizer="sgd", lr=0.1, schedule="steps")


class Edge(Section):
    """The edge side, before any update."""

    model: EdgeModel = EdgeModel()
    training: Training = Training()
    distillation: Distillation = Distillation()


class Execution(Section):
    """Co-inference: what counts as ambiguous, and how the threshold is chosen (on validation data only)."""

    measure: offload.Measure = "entropy"
    thresholds: int = Field(101, ge=3, description="points of the sweep over [0, 1]")
    rule: offload.Rule = offload.DEFAULT_RULE
    tolerance: Fraction = Field(
        0.005, description="for accuracy_within: validation accuracy given up for fewer uploads"
    )
    upload_rate: Fraction = Field(0.3, description="for target_upload_rate")


class Update(Section):
    """Class-incremental updates on the edge by learning without forgetting (LwF)."""

    enabled: bool = True
    training: Training = Training()
    logit_weight: float = Field(0.5, ge=0, description="of the distillation from the cloud's logits; 0 switches it off")
    temperature: Positive = Field(3.0, description="of the cloud's logits")
    lwf_weight: float = Field(0.5, ge=0, description="of LwF's self-distillation on the old heads; 0 forgets freely")
    lwf_temperature: Positive = Field(2.0, description="of that self-distillation")

    @field_validator("training")
    @classmethod
    def _selects_nothing(cls, training: Training) -> Training:
        if training.select != "last":
            raise ValueError(
                f"select is {training.select!r}, but the device has no images of the earlier classes to validate on "
                "any more; use last"
            )
        return training


class Link(Section):
    """The measurement over a real link: two processes that speak gRPC over TCP on this machine."""

    enabled: bool = True
    images: int = Field(200, ge=1, description="test images that are sent through the pair")
    codec: Literal["png", "jpeg", "raw"] = "png"
    jpeg_quality: int = Field(90, ge=1, le=95, description="for jpeg")
    timeout_s: Positive = Field(5.0, description="the edge answers itself when the cloud takes longer")
    rtt_ms: float = Field(0.0, ge=0, description="added by the link shaper; 0 leaves the link as it is")
    rate_mbit: Positive | None = Field(None, description="limit of the link shaper; null leaves the link as it is")


class EccSnnConfig(Experiment):
    """ECC-SNN: set up a cloud ANN and an edge SNN, run them together, update the edge."""

    system: Literal["ecc_snn"] = "ecc_snn"
    scenario: str = Field("B5-Inc5", description="B-u, Inc-v: u classes first, then v a task")
    class_order_seed: int | None = Field(None, description="null keeps the classes' natural order")
    cloud: Cloud = Cloud()
    edge: Edge = Edge()
    execution: Execution = Execution()
    update: Update = Update()
    link: Link = Link()

    @model_validator(mode="after")
    def _fits_its_data(self) -> EccSnnConfig:
        self.data.check_scenario(self.scenario)
        self.data.check_timesteps(self.edge.model.timesteps, "edge.model.timesteps")
        return self
