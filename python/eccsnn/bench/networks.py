"""The same spiking VGG-9 twice: eccsnn's, and one made of SpikingJelly's layers with the same weights.

Both run the stem's convolution and batch norm once on a static image and repeat the result over time, keep
channels-last memory, and take the mean of the last hidden spikes. So what differs is what the libraries do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eccsnn.bench.peers import Absent, in_short
from eccsnn.errors import BenchmarkError, ConfigError, EccsnnError
from eccsnn.models import build_model
from eccsnn.models.base import scale_channels
from eccsnn.models.spiking_vgg import HIDDEN_FEATURES, LAYOUTS
from eccsnn.nn._hints import nearest

CLASSES = 10
IMAGE_SIZE = 32
SURROGATES = {"atan": 2.0, "sigmoid": 4.0, "rect": 1.0}
DTYPES = ("fp32", "bf16")
SIZES = {"full": (0.5, 64, 4), "tiny": (0.125, 2, 2)}
"""Width, batch and T."""


@dataclass(frozen=True)
class NetworkSettings:
    """What network, on what; see `eccsnn bench train-step --help`. 0 takes the value of the size."""

    size: str = "full"
    width: float = 0.0
    batch: int = 0
    timesteps: int = 0
    dtype: str = "fp32"
    surrogate: str = "atan"
    device: str = "cpu"
    compiled: bool = True
    budget_s: float = 30.0

    def __post_init__(self) -> None:
        for name, known in (("size", SIZES), ("dtype", DTYPES), ("surrogate", SURROGATES)):
            if getattr(self, name) not in known:
                raise ConfigError(f"--{name}: unknown {getattr(self, name)!r}: {nearest(getattr(self, name), known)}")
        width, batch, timesteps = SIZES[self.size]
        object.__setattr__(self, "width", self.width or width)
        object.__setattr__(self, "batch", self.batch or batch)
        object.__setattr__(self, "timesteps", self.timesteps or timesteps)

    def row_name(self) -> str:
        """Network, batch and precision in a few words."""
        return (
            f"spiking VGG-9 x{self.width:g}, T = {self.timesteps}, batch {self.batch} of 3x{IMAGE_SIZE}x{IMAGE_SIZE}, "
            f"{self.dtype}{' autocast' if self.dtype != 'fp32' else ''}"
        )


def own_network(settings: NetworkSettings) -> Any:
    """eccsnn's network, in training mode; the same weights at each call."""
    torch.manual_seed(0)
    neuron = {"surrogate": settings.surrogate, "surrogate_alpha": SURROGATES[settings.surrogate]}
    model = build_model(
        "spiking_vgg9",
        num_classes=CLASSES,
        image_size=IMAGE_SIZE,
        width=settings.width,
        timesteps=settings.timesteps,
        neuron=neuron,
        norm_gain=2.0,  # so that the deep layers fire, as they do in a trained network
    )
    return model.to(settings.device)


def spikingjelly_network(settings: NetworkSettings) -> nn.Module:
    """The network of SpikingJelly's layers, with the weights of `own_network`."""
    from spikingjelly.activation_based import layer, neuron, surrogate

    alpha = SURROGATES[settings.surrogate]

    def fire() -> nn.Module:
        function = {
            "atan": lambda: surrogate.ATan(alpha=alpha),
            "sigmoid": lambda: surrogate.Sigmoid(alpha=alpha),
            "rect": lambda: surrogate.Rect(alpha=1 / alpha),  # theirs is the height
        }[settings.surrogate]()
        return neuron.LIFNode(tau=2.0, surrogate_function=function, detach_reset=True, step_mode="m")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts: list[nn.Module] = []
            channels, size = 3, IMAGE_SIZE
            for row in LAYOUTS[9]:
                for base in row:
                    width = scale_channels(base, settings.width)
                    mode = "m" if channels != 3 else "s"
                    conv = layer.Conv2d(channels, width, 3, padding=1, bias=False, step_mode=mode)
                    norm = layer.BatchNorm2d(width, step_mode=mode)
                    if mode == "s":
                        self.stem = nn.Sequential(conv, norm)
                        parts.append(fire())
                    else:
                        parts += [conv, norm, fire()]
                    channels = width
                parts.append(layer.MaxPool2d(2, 2, step_mode="m"))
                size //= 2
            hidden = scale_channels(HIDDEN_FEATURES, settings.width)
            parts += [layer.Flatten(step_mode="m"), layer.Linear(channels * size * size, hidden, step_mode="m"), fire()]
            self.layers = nn.Sequential(*parts)
            self.head = nn.Linear(hidden, CLASSES)
            self.timesteps = settings.timesteps
            self.to(memory_format=torch.channels_last)

        def forward(self, x: Tensor) -> Tensor:
            current = self.stem(x.contiguous(memory_format=torch.channels_last))
            current = current.unsqueeze(0).expand(self.timesteps, *current.shape)
            return self.head(self.layers(current).mean(0, dtype=torch.float32))

    network = Network()
    ours, theirs = own_network(settings).state_dict(), network.state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in theirs.values()]:
        raise BenchmarkError(
            "the networks have other parameters: eccsnn's VGG-9 has changed, and bench/networks.py has to follow it."
        )
    weights = dict(zip(theirs, ours.values(), strict=True))
    first_linear = next(name for name, value in theirs.items() if name.startswith("layers") and value.dim() == 2)
    weights[first_linear] = _columns_of_maps(weights[first_linear], scale_channels(LAYOUTS[9][-1][-1], settings.width))
    network.load_state_dict(weights)
    return network.to(settings.device)


def _columns_of_maps(weight: Tensor, channels: int) -> Tensor:
    """Columns in the order [C, H, W] of SpikingJelly's Flatten from that of eccsnn's VGG, [H, W, C]."""
    return weight.unflatten(1, (-1, channels)).movedim(-1, 1).flatten(1)


def reset(network: nn.Module) -> None:
    """Clears the state of SpikingJelly's neurons."""
    from spikingjelly.activation_based import functional

    functional.reset_net(network)


def images_and_labels(settings: NetworkSettings, batch: int | None = None) -> tuple[Tensor, Tensor]:
    """Random images and labels, the same at each call."""
    generator = torch.Generator().manual_seed(1)
    batch = batch or settings.batch
    images = torch.randn((batch, 3, IMAGE_SIZE, IMAGE_SIZE), generator=generator)
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    return images.to(settings.device), labels.to(settings.device)


def loss_of(network: Any, images: Tensor, labels: Tensor, settings: NetworkSettings) -> Tensor:
    """Forward pass and loss, under autocast for bf16."""
    kind = settings.device.partition(":")[0]
    with torch.autocast(kind, torch.bfloat16, enabled=settings.dtype == "bf16"):
        return nn.functional.cross_entropy(network(images), labels)


def training_step(
    network: nn.Module, call: Callable[[Tensor], Tensor], settings: NetworkSettings, *, stateful: bool
) -> Callable[[], Tensor]:
    """A training step without the optimiser's: forward, loss, backward; gradients are dropped before.

    Args:
        network: Whose gradients and, if `stateful`, whose neurons are reset.
        call: The network, or what torch.compile made of it.
    """
    images, labels = images_and_labels(settings)

    def step() -> Tensor:
        network.zero_grad(set_to_none=True)
        if stateful:
            reset(network)
        loss = loss_of(call, images, labels, settings)
        loss.backward()
        return loss.detach()

    return step


def compare(settings: NetworkSettings, peers: Sequence[str]) -> tuple[dict[str, float], list[str], list[Absent]]:
    """Compares both networks, first so that they must agree, then as they are measured.

    Args:
        settings: Of the measurement.
        peers: Without "spikingjelly" there is nothing to compare.

    Returns:
        Facts for a row; the peers that can be measured; and SpikingJelly, if its network cannot be made or run.

    Raises:
        BenchmarkError: The networks do not do the same: see `check_same`.
    """
    if "spikingjelly" not in peers:
        return {}, list(peers), []
    try:
        facts = check_same(settings)
        as_timed = _agreement(settings)
    except EccsnnError:
        raise
    except Exception as error:  # whatever breaks in the other library
        return {}, [], [Absent("spikingjelly", f"its network fails: {in_short(error)}")]
    return facts | _named(as_timed, f"as measured ({settings.dtype}, batch {settings.batch})"), list(peers), []


def check_same(settings: NetworkSettings) -> dict[str, float]:
    """Checks that losses and gradients of both networks agree at the same weights and images.

    That happens in fp32 and on a few images, whatever is measured. Rounding in the convolutions may move single
    membranes over the threshold, so that a few spikes differ; with more images more do, and under bf16 autocast on a
    CPU many, since SpikingJelly's membranes are 16 bits wide and eccsnn's 32.

    Raises:
        BenchmarkError: They differ by more than that: something else than the libraries does.
    """
    settings = replace(settings, dtype="fp32", batch=min(settings.batch, 8))
    found = _agreement(settings)
    enough = 0.9
    if not found["gradient cosine"] >= enough:
        raise BenchmarkError(
            f"the networks do not do the same: losses {found['loss of eccsnn']:.6g} and "
            f"{found['loss of SpikingJelly']:.6g}, cosine of the gradients {found['gradient cosine']:.4f}, expected at "
            f"least {enough}; nothing was measured."
        )
    return _named(found, f"for identity (fp32, batch {settings.batch})")


def gradients(network: nn.Module) -> Tensor:
    """All gradients of a network, one after the other in float32."""
    return torch.cat([p.grad.flatten().float() for p in network.parameters() if p.grad is not None])


def _named(facts: dict[str, float], where: str) -> dict[str, float]:
    return {f"{name} {where}": value for name, value in facts.items()}


def _agreement(settings: NetworkSettings) -> dict[str, float]:
    """Losses of one training step of both, and the cosine between their gradients; 0 where one has none."""
    ours, theirs = own_network(settings), spikingjelly_network(settings)
    loss = training_step(ours, ours, settings, stateful=False)()
    expected = training_step(theirs, theirs, settings, stateful=True)()
    linear = ours.hidden[0].linear.weight
    linear.grad = _columns_of_maps(linear.grad, list(ours.feature_maps.values())[-1].channels)
    found, wanted = gradients(ours), gradients(theirs)
    same_size = found.numel() == wanted.numel()
    return {
        "loss of eccsnn": float(loss),
        "loss of SpikingJelly": float(expected),
        "gradient cosine": float(nn.functional.cosine_similarity(found, wanted, dim=0)) if same_size else 0.0,
    }
