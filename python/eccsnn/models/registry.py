"""The models by name."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from eccsnn.models.ann_mobilenet import MobileNet
from eccsnn.models.ann_resnet import ResNet
from eccsnn.models.ann_vgg import VGG
from eccsnn.models.base import Model
from eccsnn.models.pretrained import PretrainedANN
from eccsnn.models.sew_resnet import SEWResNet
from eccsnn.models.spikformer import Spikformer
from eccsnn.models.spiking_mobilenet import SpikingMobileNet
from eccsnn.models.spiking_vgg import SpikingVGG
from eccsnn.nn import complete_neuron_config
from eccsnn.nn._hints import nearest


@dataclass(frozen=True)
class ModelInfo:
    """A model that `build_model` knows.

    Attributes:
        name: Its name; `<name>` stands for any name of that library.
        kind: `snn` or `ann`.
        description: One line.
        extra: The extra of this package that it needs, or None.
    """

    name: str
    kind: str
    description: str
    extra: str | None = None


_Builder = Callable[..., Model]

_BUILT_IN: dict[str, tuple[ModelInfo, _Builder]] = {
    info.name: (info, builder)
    for info, builder in (
        (
            ModelInfo("spiking_vgg9", "snn", "7 convolutions and a hidden layer; the edge SNN of ECC-SNN"),
            partial(SpikingVGG, depth=9),
        ),
        (ModelInfo("spiking_vgg16", "snn", "13 convolutions and two hidden layers"), partial(SpikingVGG, depth=16)),
        (
            ModelInfo("sew_resnet10", "snn", "SEW-ResNet (ADD or IAND), one basic block a stage"),
            partial(SEWResNet, depth=10),
        ),
        (ModelInfo("sew_resnet18", "snn", "SEW-ResNet (ADD or IAND), basic blocks"), partial(SEWResNet, depth=18)),
        (ModelInfo("sew_resnet34", "snn", "SEW-ResNet (ADD or IAND), basic blocks"), partial(SEWResNet, depth=34)),
        (ModelInfo("sew_resnet50", "snn", "SEW-ResNet (ADD or IAND), bottlenecks"), partial(SEWResNet, depth=50)),
        (
            ModelInfo("spiking_mobilenet", "snn", "MobileNet V1: no residual sums, so that every split is binary"),
            SpikingMobileNet,
        ),
        (ModelInfo("spikformer", "snn", "Spikformer-4-384, a vision transformer of spikes"), Spikformer),
        (ModelInfo("vgg16", "ann", "VGG-16 with batch norm"), VGG),
        (ModelInfo("resnet18", "ann", "ResNet, basic blocks"), partial(ResNet, depth=18)),
        (ModelInfo("resnet34", "ann", "ResNet, basic blocks"), partial(ResNet, depth=34)),
        (ModelInfo("resnet50", "ann", "ResNet, bottlenecks"), partial(ResNet, depth=50)),
        (ModelInfo("mobilenet", "ann", "MobileNet V1"), MobileNet),
        (ModelInfo("vit_b16", "ann", "ViT-B/16 at 224 px with a new head", "pretrained"), PretrainedANN),
    )
}

_LIBRARIES = (
    ModelInfo("torchvision/<name>", "ann", "any classifier of torchvision, with a new head"),
    ModelInfo("timm/<name>", "ann", "any model of timm, with a new head", "pretrained"),
)


def list_models() -> list[ModelInfo]:
    """Lists the models that `build_model` knows."""
    return [info for info, _ in _BUILT_IN.values()] + list(_LIBRARIES)


def build_model(
    name: str,
    *,
    num_classes: int | None = None,
    tasks: Sequence[Sequence[int]] | None = None,
    in_channels: int = 3,
    image_size: int = 32,
    width: float = 1.0,
    timesteps: int = 4,
    neuron: Mapping[str, Any] | None = None,
    pretrained: bool = False,
    bottlenecks: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Model:
    """Builds a model with fresh weights, drawn from torch's global generator.

    Args:
        name: A name from `list_models()`, `torchvision/<name>` or `timm/<name>`.
        num_classes: One head for the classes 0 ... num_classes - 1; or give `tasks`.
        tasks: Class ids of every head.
        in_channels: Channels C of the images.
        image_size: Height and width of the images.
        width: Factor on all hidden channels (multiples of 8, at least 8).
        timesteps: T of an SNN; an ANN has none and ignores it.
        neuron: Keys of `eccsnn.nn.NEURON_KEYS` for the neurons of an SNN; see `eccsnn.nn.complete_neuron_config`.
        pretrained: Whether torchvision or timm downloads the weights of the trunk.
        bottlenecks: Split point -> options of the bottleneck unit that is inserted there; see
            `eccsnn.models.Model.add_bottlenecks`. They leave the weights of the rest as they would be without.
        options: What single models take besides: `norm_gain` (SNNs); `connect` (SEW-ResNets); `stem_stride`
            (SEW-ResNets, resnet18, 34 and 50, MobileNets); `depthwise_neurons` (spiking_mobilenet); `dropout` (vgg16);
            `freeze_trunk`, `input_mean` and `input_std` (vit_b16, torchvision/..., timm/...).

    Returns:
        The model in training mode, on the CPU.

    Raises:
        ValueError: An unknown name, neuron key or option (the nearest known one is named), or a value out of its range.
        EccsnnError: A library is missing or its weights cannot be loaded.

    Example:
        >>> import torch
        >>> model = build_model("spiking_vgg9", num_classes=10, width=0.125)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    info, builder = _find(name)
    spec: dict[str, Any] = {
        "name": name,
        "tasks": _tasks(name, num_classes, tasks),
        "in_channels": _at_least_one(name, "in_channels", in_channels),
        "image_size": _at_least_one(name, "image_size", image_size),
        "width": width,
    }
    if isinstance(width, bool) or not isinstance(width, int | float) or not math.isfinite(width) or width <= 0:
        raise ValueError(f"{name}: width is {width!r}, expected a number above 0")
    if info.kind == "snn":
        spec["timesteps"] = _at_least_one(name, "timesteps", timesteps)
        spec["neuron"] = complete_neuron_config(neuron)
    elif neuron is not None:
        raise ValueError(f"{name} is an ANN without spiking neurons, expected neuron=None, got {dict(neuron)}")
    known = [key for key in inspect.signature(builder).parameters if key not in ("spec", "depth", "pretrained")]
    for key in options:
        if key not in known:
            hint = nearest(key, known) if known else "it takes none"
            raise ValueError(f"{name}: unknown option {key!r}: {hint}")
    spec.update(options)
    if pretrained:
        if builder is not PretrainedANN:
            raise ValueError(
                f"{name} has no pretrained weights; use torchvision/<name> or timm/<name> for a pretrained trunk "
                f"(such as torchvision/resnet18), or pretrained=False"
            )
        options = {**options, "pretrained": True}
    model = builder(spec, **options)
    if bottlenecks:
        model.add_bottlenecks(bottlenecks)
    return model


def insert_bottlenecks(model: Model, bottlenecks: Mapping[str, Mapping[str, Any]]) -> Model:
    """Inserts bottleneck units into a copy of a model, such as a trained backbone.

    Args:
        model: It stays as it is.
        bottlenecks: As for `build_model`.

    Returns:
        A model of its own, weights and all: training it does not change the other. The units' weights are drawn from
        torch's global generator.

    Raises:
        ValueError: See `eccsnn.models.Model.add_bottlenecks`.

    Example:
        >>> backbone = build_model("spiking_vgg9", num_classes=10, width=0.125)
        >>> cut = insert_bottlenecks(backbone, {"pool2": {"channels": 2, "stride": 2, "kernel_size": 2}})
        >>> cut.feature_maps["bottleneck:pool2"]
        FeatureMap(channels=2, stride=8, max_count=1)
    """
    changed = copy.deepcopy(model)
    changed.add_bottlenecks(bottlenecks)
    return changed


def _find(name: str) -> tuple[ModelInfo, _Builder]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for info in _LIBRARIES:
        if isinstance(name, str) and name.startswith(info.name.removesuffix("<name>")):
            return info, PretrainedANN
    raise ValueError(f"unknown model {name!r}: {nearest(name, [info.name for info in list_models()])}")


def _tasks(name: str, num_classes: int | None, tasks: Sequence[Sequence[int]] | None) -> list[list[int]]:
    if (num_classes is None) == (tasks is None):
        raise ValueError(
            f"{name}: num_classes is {num_classes} and tasks is {tasks}, expected exactly one of them "
            "(a number of classes for one head, or the class ids of every head)"
        )
    if tasks is not None:
        return [[int(class_id) for class_id in classes] for classes in tasks]
    return [list(range(_at_least_one(name, "num_classes", num_classes)))]


def _at_least_one(name: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {key} is {value!r}, expected an integer of at least 1")
    return value
