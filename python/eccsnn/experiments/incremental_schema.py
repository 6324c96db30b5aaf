"""The configuration of a comparison of class-incremental learners."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from eccsnn.experiments.ecc_snn_schema import Cloud, Distillation, EdgeModel
from eccsnn.experiments.sections import Experiment, Section, Training
from eccsnn.incremental.registry import learner_info, learner_options, list_learners
from eccsnn.nn._hints import nearest


class Trunk(Section):
    """The network that the device begins with, trained on the first task's classes."""

    model: EdgeModel = EdgeModel()
    training: Training = Training()
    distillation: Distillation = Distillation()
    pretraining: Literal["none", "rotation", "cloud_labels"] = Field(
        "none", description="before the first task; cloud_labels sees images of later classes, without labels"
    )
    pretraining_training: Training = Field(
        Training(),
        description="of the pre-training; `training` and `distillation` on the first task follow it unchanged",
    )
    layers: tuple[str, ...] = Field(
        ("penultimate",), description="whose spike counts are the features: penultimate, or names of feature maps"
    )


class IncrementalConfig(Experiment):
    """Class-incremental learners on one trunk, one scenario and one test set."""

    system: Literal["incremental"] = "incremental"
    scenario: str = Field("B5-Inc1", description="B-u, Inc-v: u classes first, then v a task")
    class_order_seed: int | None = Field(None, description="null keeps the classes' natural order")
    cloud: Cloud = Cloud()
    trunk: Trunk = Trunk()
    learners: tuple[str, ...] = Field(
        tuple(info.name for info in list_learners()), description="names of `eccsnn list learners`"
    )
    options: dict[str, dict[str, Any]] = Field(
        {}, description="arguments of a learner by its name, such as {replay: {exemplars: 100}}"
    )
    training: Training = Field(Training(), description="of a task, for learners that train the network")

    @model_validator(mode="after")
    def _fits_its_data(self) -> IncrementalConfig:
        if self.data.mix is not None:
            raise ValueError(f"data.mix is {self.data.mix}, but learners take one label a sample; remove data.mix")
        self.data.check_scenario(self.scenario)
        self.data.check_timesteps(self.trunk.model.timesteps, "trunk.model.timesteps")
        return self

    @field_validator("learners")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) < len(names):
            raise ValueError(f"learners are {list(names)}; expected at least one, each once")
        for name in names:
            learner_info(name)
        return names

    @field_validator("options")
    @classmethod
    def _options_known(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in options.items():
            known = learner_options(name)
            for key in given:
                if key not in known:
                    hint = nearest(key, list(known)) if known else "it takes none"
                    raise ValueError(f"unknown option {key!r} of {name}: {hint}")
        return options
