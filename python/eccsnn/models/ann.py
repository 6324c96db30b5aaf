"""What ANNs with named sections share: a pass through them, and the bottleneck units of the published baselines."""

from typing import Any

from torch import Tensor, nn

from eccsnn.models.base import INSERTED, Chain, Features, Model, SplitPoint, Through
from eccsnn.nn import ANN_BOTTLENECKS, ANNBottleneck
from eccsnn.nn._hints import nearest


class SpatialMean(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C]."""
        return x.mean((-2, -1))


class ANN(Model):
    """An ANN of named sections, whose layers map [N, ...] to [N, ...].

    An ANN has no time: of event frames [T, N, C, H, W] it takes all timesteps at once, as so many more channels
    [N, T * C, H, W], and is built with `in_channels` = T * C.

    Subclasses set `head`, add their sections, and end their constructor with `self.use_channels_last()`.
    """

    kind = "ann"

    def make_bottleneck(self, point: SplitPoint, options: dict[str, Any]) -> tuple[ANNBottleneck, dict[str, Any]]:
        """Builds the unit for a split point; see `Model.make_bottleneck`."""
        owner = f"{self._spec['name']}: bottleneck at {point.name!r}"
        kind = options.get("kind")
        if kind not in ANN_BOTTLENECKS:
            raise ValueError(f"{owner}: unknown kind {kind!r}: {nearest(kind, ANN_BOTTLENECKS)}")
        unit_type = ANN_BOTTLENECKS[kind]
        for key in options:
            if key not in ("kind", *unit_type.OPTIONS):
                raise ValueError(f"{owner}: unknown option {key!r}: {nearest(key, unit_type.OPTIONS)}")
        if "channels" not in options:
            raise ValueError(f"{owner}: channels is missing, expected the number of channels on the wire")
        full = {**unit_type.OPTIONS, **{key: value for key, value in options.items() if key != "kind"}}
        try:
            return unit_type(point.channels, point.size, **full), {"kind": kind, **full}
        except ValueError as error:
            raise ValueError(f"{self._spec['name']} at {point.name!r}: {error}") from error

    def forward(self, x: Tensor, through: Through = INSERTED) -> Tensor:
        """Classifies images.

        Args:
            x: [N, C, H, W], or event frames [T, N, C, H, W].
            through: The bottleneck units of this pass; see `eccsnn.models.SpikingModel.forward`.

        Returns:
            Logits [N, K].
        """
        return self.head(self.forward_features(x, through).penultimate)

    def forward_features(self, x: Tensor, through: Through = INSERTED) -> Features:
        """Returns the input of the head [N, D] and the named maps [N, C, H, W].

        The map `bottleneck:POINT` of an active unit holds what its encoder sends, as 255ths in [0, 1].
        """
        if isinstance(x, Tensor) and x.ndim == 5:
            x = x.transpose(0, 1).flatten(1, 2)
        self.check_images(x)
        maps: dict[str, Tensor] = {}
        x = run_features(self.chain(through), self.channels_last(x), maps)
        return Features(x, {name: maps[name] for name in self.feature_maps if name in maps})


def run_features(sections: Chain, x: Tensor, maps: dict[str, Tensor] | None = None) -> Tensor:
    """Runs sections on [N, ...], one after the other, and collects what comes out of each in `maps`."""
    for name, layers in sections.items():
        for layer in layers:
            x = layer(x)
        if maps is not None:
            maps[name] = x
    return x
