"""What each split point of a model costs: the bits on the wire, and how much of the work lies before it."""

from typing import NamedTuple

from torch import Tensor, nn

from eccsnn.costs.counting import count_macs
from eccsnn.models import Model, SplitPoint


class SplitCosts(NamedTuple):
    """A split point and what it costs.

    Attributes:
        point: Name, shape and bits of what crosses.
        macs_before: Share of the uncut model's multiply-accumulates before it, in [0, 1] (dense, without bottlenecks).
    """

    point: SplitPoint
    macs_before: float


def split_costs(model: Model) -> list[SplitCosts]:
    """Counts the work before each split point of a model.

    Args:
        model: Any model; one without split points gives an empty list. It runs once, in evaluation mode, on zeros. A
            spiking model's first layer counts once for a static image, the others at each of its timesteps.

    Returns:
        The split points from input to output.

    Example:
        >>> from eccsnn.models import build_model
        >>> costs = split_costs(build_model("spiking_vgg9", num_classes=10, width=0.125))
        >>> [(point.name, point.bits, round(share, 2)) for point, share in costs][:2]
        [('conv1', 8192, 0.02), ('pool1', 2048, 0.21)]
    """
    if not model.split_points:
        return []
    names = {id(module): name for name, module in model.named_modules()}
    section_of = {
        names[id(inner)]: section
        for section, layers in model.sections.items()
        for layer in layers
        for inner in layer.modules()
        if id(inner) in names
    }
    macs = dict.fromkeys(model.sections, 0)
    total = 0
    counted = count_macs(_Uncut(model), (model.in_channels, model.image_size, model.image_size))
    for name, count in counted.items():
        section = section_of.get(name.removeprefix("model.").partition("#")[0])
        total += count
        if section is not None:
            macs[section] += count
    costs, before = [], 0
    for section, count in macs.items():
        before += count
        if section in model.split_points:
            costs.append(SplitCosts(model.split_points[section], before / total))
    return costs


class _Uncut(nn.Module):
    """A model without its bottleneck units."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, through=None)
