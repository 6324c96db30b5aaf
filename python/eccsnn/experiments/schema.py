"""The configuration of an experiment: every key a YAML file may have, its type, its default and what it means.

Keys are spelled as the arguments they end in, all the way down to the kernels. Unknown keys are errors that name the
nearest known one. Objects are frozen: what a run was started with cannot change under it.
"""

from __future__ import annotations

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eccsnn import offload
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


class Data(Section):
    """Which images, and how they are split. The validation part is cut from the training data."""

    name: str = Field("digits", description="a name of `eccsnn list datasets`")
    root: str | None = Field(None, description="folder of the data set; not needed for digits")
    display_name: str | None = Field(None, description="how tables and plots call the data")
    image_size: int = Field(32, ge=8, description="height and width in pixels; images are cut and scaled to it")
    val_fraction: Fraction = Field(0.1, description="part of the training data that is kept for validation")
    test_fraction: Fraction | None = Field(None, description="for data sets that have no test part")
    subset: Subset | None = None
    split_seed: int = Field(0, ge=0, description="of the splits and subsets; runs with other seeds share one split")
    download: bool = Field(False, description="fetches the data into root where torchvision can")
    augment: Literal["crop_flip", "flip"] | None = None


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


class Costs(Section):
    """The model of energy and latency."""

    profile: str = Field("edge_45nm_wifi", description="device profile: constants with their sources")
    precision: Literal["fp32", "int8"] = Field("fp32", description="of the operations that are priced")
    memory: bool = Field(
        False, description="adds the energy of one weight read an operation; not with published edge figures"
    )


class Link(Section):
    """The measurement over a real link: two processes that speak gRPC over TCP on this machine."""

    enabled: bool = True
    images: int = Field(200, ge=1, description="test images that are sent through the pair")
    codec: Literal["png", "jpeg", "raw"] = "png"
    jpeg_quality: int = Field(90, ge=1, le=95, description="for jpeg")
    timeout_s: Positive = Field(5.0, description="the edge answers itself when the cloud takes longer")
    rtt_ms: float = Field(0.0, ge=0, description="added by the link shaper; 0 leaves the link as it is")
    rate_mbit: Positive | None = Field(None, description="limit of the link shaper; null leaves the link as it is")


class EccSnnConfig(Section):
    """ECC-SNN: set up a cloud ANN and an edge SNN, run them together, update the edge."""

    system: Literal["ecc_snn"] = "ecc_snn"
    name: str = Field(
        pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$", description="folder of its runs, such as ecc_snn/digits_small"
    )
    description: str = Field("", description="a line for lists and reports")
    seed: int = Field(0, ge=0)
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_seconds: Positive = Field(120.0, description="a killed training loses at most about as much")
    data: Data = Data()
    scenario: str = Field("B5-Inc5", description="B-u, Inc-v: u classes first, then v a task")
    class_order_seed: int | None = Field(None, description="null keeps the classes' natural order")
    cloud: Cloud = Cloud()
    edge: Edge = Edge()
    execution: Execution = Execution()
    update: Update = Update()
    link: Link = Link()
    costs: Costs = Costs()


def shipped_configs() -> dict[str, Path]:
    """Name to file of every configuration that comes with the package, such as `ecc_snn/digits_debug`."""
    root = Path(str(resources.files("eccsnn"))) / "configs"
    if not root.is_dir():  # a checkout whose package is used in place
        root = Path(__file__).resolve().parents[3] / "configs"
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def find_config(name: str) -> Path:
    """Path of a configuration, given as a file or as the name of a shipped one.

    Raises:
        ConfigError: There is none; the nearest names are given.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(
        f"no configuration {name!r}: neither a YAML file nor a shipped name.{hint} `eccsnn list configs` shows all."
    )


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """Turns `["edge.training.epochs=3"]` into nested dicts; values are read as YAML.

    Raises:
        ConfigError: An entry is not `key=value`.

    >>> parse_overrides(["edge.training.epochs=3", "data.root=null"])
    {'edge': {'training': {'epochs': 3}}, 'data': {'root': None}}
    """
    result: dict[str, Any] = {}
    for entry in overrides:
        key, separator, text = entry.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {entry!r} is not of the form key=value, for example edge.training.epochs=3.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of override {entry!r} is not valid YAML: {error}") from error
        node = result
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"override {entry!r} goes below {parent!r}, which another override sets to a plain value."
                )
        node[leaf] = value
    return result


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def load_config(name: str, overrides: list[str] | None = None) -> EccSnnConfig:
    """Reads, overrides and validates a configuration.

    Args:
        name: Path of a YAML file, or the name of a shipped configuration.
        overrides: `key.sub=value` strings.

    Raises:
        ConfigError: The file is no valid YAML, or does not fit the schema; every problem is listed.
    """
    path = find_config(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected a mapping of keys such as data, cloud, edge.")
    source = f"{path} with {' '.join(overrides)}" if overrides else str(path)
    return validate(_merge(raw, parse_overrides(overrides or [])), source)


def validate(raw: dict[str, Any], source: str) -> EccSnnConfig:
    """Checks a mapping against the schema.

    Raises:
        ConfigError: With one line for every problem.
    """
    try:
        return EccSnnConfig.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{source} is not a valid configuration:\n  " + "\n  ".join(lines)) from error


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location) or "(top)"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.4)
        hint = (
            f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else f"known keys here: {', '.join(known)}"
        )
        return f"{where}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: missing; add this key"
    return f"{where}: {problem['msg']} (given: {problem['input']!r})"


def _keys_at(location: list[str]) -> list[str]:
    section: Any = EccSnnConfig
    for part in location:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, Section))
    return list(section.model_fields)


def dump_config(config: EccSnnConfig) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def describe_keys(
    section: type[Section] = EccSnnConfig, prefix: str = "", defaults: Section | None = None
) -> list[tuple[str, str, str]]:
    """Every key of a configuration as (key, default, meaning), for `eccsnn list keys`.

    Args:
        section: Part of the schema.
        prefix: What stands before its keys.
        defaults: Its default where it stands; None takes the defaults of its class.
    """
    rows = []
    for name, field in section.model_fields.items():
        default = field.default if defaults is None else getattr(defaults, name)
        below = [c for c in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_section(c)]
        if below:
            rows += describe_keys(below[0], f"{prefix}{name}.", default)
            continue
        shown = "(required)" if field.is_required() else json.dumps(default)
        choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
        meaning = field.description or " | ".join(choice for choice in choices if isinstance(choice, str))
        rows.append((prefix + name, shown, meaning))
    return rows


def _is_section(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Section)
