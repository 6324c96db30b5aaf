"""Firing rates: how often the neurons of each layer spike."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from eccsnn.nn.neurons import LIF


class FiringRates(Mapping[str, float]):
    """Mean firing rate of every LIF layer, collected while the context is open; see `firing_rates`."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = {name or "lif": layer for name, layer in model.named_modules() if isinstance(layer, LIF)}
        if not self._layers:
            raise ValueError(f"firing_rates: {type(model).__name__} has no LIF layer")
        self._handles: list[RemovableHandle] = []
        self._spikes: dict[str, Tensor] = {}
        self._neurons: dict[str, int] = {}

    def __enter__(self) -> "FiringRates":
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, name: str) -> Any:
        def count(layer: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, Tensor]) -> None:
            spikes = output[0] if isinstance(output, tuple) else output
            # Stays on the device, so that counting does not make a GPU wait; float64 counts exactly.
            total = spikes.detach().sum(dtype=torch.float64)
            self._spikes[name] = self._spikes[name] + total if name in self._spikes else total
            self._neurons[name] = self._neurons.get(name, 0) + spikes.numel()

        return count

    def __getitem__(self, name: str) -> float:
        return float(self._spikes[name]) / self._neurons[name] if self._neurons[name] else 0.0

    def __iter__(self) -> Iterator[str]:
        return iter(self._spikes)

    def __len__(self) -> int:
        return len(self._spikes)


def firing_rates(model: nn.Module) -> FiringRates:
    """Collects the mean firing rate of every LIF layer over all forward passes inside a `with` block.

    Args:
        model: Any module that holds `LIF` layers.

    Returns:
        A context manager and mapping from the layer's name in the model to spikes a neuron and timestep, in [0, 1].
        Layers that did not run are missing.

    Raises:
        ValueError: The model has no LIF layer.

    Example:
        >>> import torch
        >>> model = nn.Sequential(LIF(tau=2.0))
        >>> with firing_rates(model) as rates:
        ...     _ = model(torch.full([4, 1, 2], 1.5))
        >>> dict(rates)
        {'0': 0.5}
    """
    return FiringRates(model)
