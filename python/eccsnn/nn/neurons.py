"""The leaky integrate-and-fire neuron as a module without hidden state.

With x the input current, v the membrane potential after a step and h before the reset:

    h = v + (x - (v - v_reset)) / tau        decay_input=True
    h = v - (v - v_reset) / tau + x          decay_input=False
    s = h >= v_threshold
    v = s v_reset + (1 - s) h                hard reset
    v = h - s v_threshold                    soft reset (v_reset=None; v_reset counts as 0 in h)
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eccsnn import ops
from eccsnn.nn._hints import nearest
from eccsnn.nn.surrogates import ATan, Rect, Sigmoid, Surrogate, make_surrogate

NEURON_KEYS = (
    "tau",
    "v_threshold",
    "v_reset",
    "decay_input",
    "detach_reset",
    "surrogate",
    "surrogate_alpha",
    "learn_tau",
)
"""The keys of a neuron's configuration, as in YAML."""


class LIF(nn.Module):
    """A layer of leaky integrate-and-fire neurons over all timesteps at once.

    The module holds parameters only. Membranes are values that go in and come out: `lif(x)` starts at rest and forgets,
    `lif(x, state, return_state=True)` continues from `state`. All T steps at once give the same bits as T calls.

    Args:
        tau: Membrane time constant in timesteps, at least 1.
        v_threshold: Membrane potential at which the neuron fires.
        v_reset: Potential after a spike (hard reset), below the threshold; None subtracts the threshold (soft reset).
        decay_input: Whether the input, too, is divided by tau.
        detach_reset: Whether the gradient ignores the spike inside the reset.
        surrogate: Stand-in for the derivative of the step: `ATan`, `Sigmoid` or `Rect`.
        learn_tau: Trains tau = 1 + exp(-w), one w a layer (the parametric LIF of Fang et al., ICCV 2021: their
            1/tau = sigmoid(w)); needs an initial tau above 1.

    Raises:
        ValueError, TypeError: An argument is out of its range.

    Example:
        >>> import torch
        >>> lif = LIF(tau=2.0)
        >>> x = torch.full([3, 1], 1.5)                          # [T, N]
        >>> lif(x).flatten().tolist()
        [0.0, 1.0, 0.0]
        >>> state = None
        >>> for x_t in x:
        ...     spikes, state = lif(x_t.unsqueeze(0), state, return_state=True)
        >>> state.tolist()
        [0.75]
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = True,
        surrogate: Surrogate = ATan(2.0),  # noqa: B008 - frozen
        learn_tau: bool = False,
    ) -> None:
        super().__init__()
        tau = _number("tau", tau)
        if tau < 1 or (learn_tau and tau == 1):
            bound = "above 1 when learn_tau is set" if learn_tau else "at least 1"
            raise ValueError(f"LIF: tau is {tau}, expected {bound} (it is a time constant in timesteps)")
        self.v_threshold = _number("v_threshold", v_threshold)
        self.v_reset = None if v_reset is None else _number("v_reset", v_reset)
        rest = 0.0 if self.v_reset is None else self.v_reset
        if rest >= self.v_threshold:
            raise ValueError(
                f"LIF: v_threshold is {self.v_threshold}, expected above the resting potential {rest} "
                "(v_reset, or 0 with soft reset), else silent neurons fire for ever"
            )
        if not isinstance(surrogate, ATan | Sigmoid | Rect):
            raise TypeError(
                f"LIF: surrogate is {surrogate!r}, expected ATan(...), Sigmoid(...) or Rect(...); "
                "make_surrogate(name) builds one from its name"
            )
        self.decay_input = _flag("decay_input", decay_input)
        self.detach_reset = _flag("detach_reset", detach_reset)
        self.learn_tau = _flag("learn_tau", learn_tau)
        self.surrogate = surrogate
        if learn_tau:
            self.w = nn.Parameter(torch.tensor(-math.log(tau - 1.0)))
        else:
            self._tau = tau

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None = None) -> "LIF":
        """Builds a layer from plain keys as in YAML: see `lif_arguments`.

        Example:
            >>> LIF.from_config({"surrogate": "rect", "surrogate_alpha": 0.5}).surrogate
            Rect(width=0.5)
        """
        return cls(**lif_arguments(config))

    @property
    def tau(self) -> float | Tensor:
        """Time constant in timesteps: a float, or a 0-dim tensor that carries a gradient when it is learnt."""
        return 1.0 + torch.exp(-self.w) if self.learn_tau else self._tau

    @property
    def rest(self) -> float:
        """Membrane potential before the first input: v_reset, or 0 with soft reset."""
        return 0.0 if self.v_reset is None else self.v_reset

    def forward(
        self, x: Tensor, state: Tensor | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs all timesteps.

        Args:
            x: Input current [T, N, ...], floating point; a stride-0 time dimension (`expand`) is not copied. A neuron
                does not fire on NaN, but its membrane becomes NaN; models refuse NaN in images.
            state: Membranes [N, ...] before the first step (float32, float64 for float64 input); None is at rest.
            return_state: Whether to return the membranes after the last step, too.

        Returns:
            Spikes in {0, 1} of x's shape and dtype; with `return_state` the pair (spikes, membranes [N, ...]).
        """
        spikes, membranes = ops.lif(
            x,
            state,
            tau=self.tau,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            decay_input=self.decay_input,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate.kind,
            surrogate_alpha=self.surrogate.alpha,
            return_state=return_state,
        )
        return (spikes, membranes) if return_state else spikes

    def extra_repr(self) -> str:
        tau = "tau=learnt" if self.learn_tau else f"tau={self._tau}"
        return (
            f"{tau}, v_threshold={self.v_threshold}, v_reset={self.v_reset}, decay_input={self.decay_input}, "
            f"detach_reset={self.detach_reset}, surrogate={self.surrogate}"
        )


def complete_neuron_config(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Checks a neuron's configuration and fills in what it leaves out.

    The defaults are those of the published spiking VGG-9: tau 2, threshold 1, hard reset to 0, reset detached, sigmoid
    surrogate with alpha 4. A `surrogate` without `surrogate_alpha` takes that surrogate's own default.

    Args:
        config: Some of `NEURON_KEYS`, or None.

    Returns:
        All of `NEURON_KEYS`, plain values.

    Raises:
        ValueError: A key is unknown (the nearest known key is named) or a value is out of its range.
        TypeError: A flag is not a bool.

    Example:
        >>> complete_neuron_config({"surrogate": "atan"})["surrogate_alpha"]
        2.0
    """
    given = dict(config or {})
    for key in given:
        if key not in NEURON_KEYS:
            raise ValueError(f"unknown neuron key {key!r}: {nearest(key, NEURON_KEYS)}")
    surrogate = make_surrogate(given.get("surrogate", "sigmoid"), given.get("surrogate_alpha"))
    full = {
        "tau": 2.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "decay_input": True,
        "detach_reset": True,
        "learn_tau": False,
        **given,
        "surrogate": surrogate.kind,
        "surrogate_alpha": surrogate.alpha,
    }
    LIF(**_arguments(full))  # refuses values out of their range
    return {key: full[key] for key in NEURON_KEYS}


def lif_arguments(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Turns a neuron's configuration into the arguments of `LIF`; see `complete_neuron_config`."""
    return _arguments(complete_neuron_config(config))


def _arguments(full: dict[str, Any]) -> dict[str, Any]:
    arguments = {key: value for key, value in full.items() if key != "surrogate_alpha"}
    return {**arguments, "surrogate": make_surrogate(full["surrogate"], full["surrogate_alpha"])}


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"LIF: {name} is {value!r}, expected a finite number")
    return float(value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"LIF: {name} is {value!r}, expected true or false")
    return value
