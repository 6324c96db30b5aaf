"""Integrate-and-fire neurons, leaky or not, as modules without hidden state.

With x the input current, v the membrane potential after a step and h before the reset:

    h = v + (x - (v - v_reset)) / tau        decay_input=True
    h = v - (v - v_reset) / tau + x          decay_input=False
    h = v + x                                leak=False: integrate and fire
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
from eccsnn.nn.norm import BatchNorm, check_norm, is_fusible, statistics_for, update_running
from eccsnn.nn.surrogates import ATan, Rect, Sigmoid, Surrogate, make_surrogate
from eccsnn.nn.time import over_time
from eccsnn.ops._checks import check_neuron, check_repeats

NEURON_KEYS = (
    "tau",
    "v_threshold",
    "v_reset",
    "decay_input",
    "leak",
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

    A neuron does not fire on NaN, so that NaN in the weights before it does not show in spikes, logits or the loss. A
    training loop of your own finds a model that has diverged with `eccsnn.models.check_finite`, once an epoch, say.

    Args:
        tau: Membrane time constant in timesteps, at least 1.
        v_threshold: Membrane potential at which the neuron fires.
        v_reset: Potential after a spike (hard reset), below the threshold; None subtracts the threshold (soft reset).
        decay_input: Whether the input, too, is divided by tau.
        leak: Whether the membrane decays; without it tau and decay_input count for nothing.
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
        leak: bool = True,
        detach_reset: bool = True,
        surrogate: Surrogate = ATan(2.0),  # noqa: B008 - frozen
        learn_tau: bool = False,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        tau = _number(owner, "tau", tau)
        if tau < 1 or (learn_tau and tau == 1):
            bound = "above 1 when learn_tau is set" if learn_tau else "at least 1"
            raise ValueError(f"{owner}: tau is {tau}, expected {bound} (it is a time constant in timesteps)")
        self.v_threshold = _number(owner, "v_threshold", v_threshold)
        self.v_reset = None if v_reset is None else _number(owner, "v_reset", v_reset)
        rest = 0.0 if self.v_reset is None else self.v_reset
        if rest >= self.v_threshold:
            raise ValueError(
                f"{owner}: v_threshold is {self.v_threshold}, expected above the resting potential {rest} "
                "(v_reset, or 0 with soft reset), else silent neurons fire for ever"
            )
        if not isinstance(surrogate, ATan | Sigmoid | Rect):
            raise TypeError(
                f"{owner}: surrogate is {surrogate!r}, expected ATan(...), Sigmoid(...) or Rect(...); "
                "make_surrogate(name) builds one from its name"
            )
        self.decay_input = _flag(owner, "decay_input", decay_input)
        self.leak = _flag(owner, "leak", leak)
        self.detach_reset = _flag(owner, "detach_reset", detach_reset)
        self.learn_tau = _flag(owner, "learn_tau", learn_tau)
        if learn_tau and not leak:
            raise ValueError(f"{owner}: learn_tau is set, but without a leak there is no tau to learn")
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
        self,
        x: Tensor,
        state: Tensor | None = None,
        return_state: bool = False,
        *,
        norm: BatchNorm | None = None,
        timesteps: int | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs all timesteps.

        Args:
            x: Input current [T, N, ...], floating point; a stride-0 time dimension (`expand`) is not copied. A neuron
                does not fire on NaN, but its membrane becomes NaN; models refuse NaN in images.
            state: Membranes [N, ...] before the first step (float32, float64 for float64 input); None is at rest.
            return_state: Whether to return the membranes after the last step, too.
            norm: Batch norm over the channels of x [T, N, C, ...], computed together with the neurons: in training x
                alone is kept for the backward pass. Its running statistics are updated as if it had been called on
                all timesteps folded into the batch.
            timesteps: T, for an x [1, N, ...] that is the same at every timestep; an x of T timesteps is welcome, too.

        Returns:
            Spikes in {0, 1} of x's shape and dtype; with `return_state` the pair (spikes, membranes [N, ...]).

        Raises:
            TypeError, ValueError, NotImplementedError, BuildError: As for `eccsnn.ops.lif`, before anything is changed;
                also where norm is no batch norm or does not suit x, timesteps is no integer of at least 1, or x has
                neither one timestep nor `timesteps`.
        """
        owner = type(self).__name__
        if norm is not None:
            check_norm(norm, x, owner)
        neuron: dict[str, Any] = {
            "tau": self.tau,
            "v_threshold": self.v_threshold,
            "v_reset": self.v_reset,
            "decay_input": self.decay_input,
            "leak": self.leak,
            "detach_reset": self.detach_reset,
            "surrogate": self.surrogate.kind,
            "surrogate_alpha": self.surrogate.alpha,
            "return_state": return_state,
        }
        if norm is not None and is_fusible(norm, x):
            mean, variance, own = statistics_for(norm, x)
            spikes, membranes = ops.batch_norm_lif(
                x,
                mean,
                variance,
                norm.weight,
                norm.bias,
                state,
                eps=norm.eps,
                batch_statistics=own,
                timesteps=timesteps,
                **neuron,
            )
            if own:  # last, so that a call that is refused changes nothing
                update_running(norm, x, mean, variance)
        else:
            if norm is not None:  # the checks come first, since the call changes the batch norm
                flags = {"return_state": return_state}
                alpha, kind = self.surrogate.alpha, self.surrogate.kind
                check_neuron(x, state, neuron["tau"], self.v_threshold, self.v_reset, kind, alpha, flags)
            if timesteps is not None:
                check_repeats(x, timesteps, owner)
            if norm is not None:
                x = over_time(norm, x)
            if timesteps is not None:
                x = x.expand(timesteps, *x.shape[1:])
            spikes, membranes = ops.lif(x, state, **neuron)
        return (spikes, membranes) if return_state else spikes

    def extra_repr(self) -> str:
        tau = "tau=learnt" if self.learn_tau else f"tau={self._tau}"
        charge = f"{tau}, decay_input={self.decay_input}" if self.leak else "leak=False"
        return (
            f"{charge}, v_threshold={self.v_threshold}, v_reset={self.v_reset}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate}"
        )


class IF(LIF):
    """Integrate-and-fire neurons: `LIF` without a leak.

    Example:
        >>> import torch
        >>> IF()(torch.full([4, 1], 0.5)).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: Surrogate = ATan(2.0),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(
            v_threshold=v_threshold, v_reset=v_reset, leak=False, detach_reset=detach_reset, surrogate=surrogate
        )


class PLIF(LIF):
    """Parametric LIF neurons (Fang et al., ICCV 2021): `LIF` with a tau that is learnt, one a layer.

    Args:
        tau: Its initial value, above 1.
        **neuron: As for `LIF`, without learn_tau.

    Raises:
        ValueError, TypeError: An argument is out of its range, or learn_tau is among them.

    Example:
        >>> round(PLIF(tau=3.0).tau.item(), 4)
        3.0
    """

    def __init__(self, tau: float = 2.0, **neuron: Any) -> None:
        if "learn_tau" in neuron:
            raise TypeError(
                f"PLIF: learn_tau is {neuron['learn_tau']!r}, but tau is always learnt here; leave it out, or use "
                "LIF(learn_tau=...)"
            )
        super().__init__(tau=tau, learn_tau=True, **neuron)


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
        "leak": True,
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


def _number(owner: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{owner}: {name} is {value!r}, expected a finite number")
    return float(value)


def _flag(owner: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name} is {value!r}, expected true or false")
    return value
