"""Checks of the arguments that the neurons' ops share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eccsnn.ops import _library
from eccsnn.ops.reference import membrane_dtype

SURROGATES = ("atan", "sigmoid", "rect")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Numbers may be symbols while torch compiles.
_INTEGERS = (int, torch.SymInt)
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def check_neuron(
    x: Tensor,
    v_init: Tensor | None,
    tau: float | Tensor,
    v_threshold: float,
    v_reset: float | None,
    surrogate: str,
    surrogate_alpha: float,
    flags: Mapping[str, bool],
) -> None:
    """Checks the arguments of `eccsnn.ops.lif`; `flags` are those that are true or false, by their names."""
    _check_input(x)
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; expected True or False.")
    if v_init is not None:
        _check_membranes(v_init, x)
    _check_tau(tau, x)
    check_number("v_threshold", v_threshold)
    if v_reset is not None:
        check_number("v_reset", v_reset, "a finite number, or None for soft reset")
        if not v_reset < v_threshold:
            raise ValueError(
                f"v_reset={v_reset}; expected below v_threshold={v_threshold}, else a neuron at rest fires for ever."
            )
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate={surrogate!r}; expected 'atan', 'sigmoid' or 'rect'.")
    check_number("surrogate_alpha", surrogate_alpha, "a finite number above 0", above_zero=True)
    if flags.get("smooth") and x.dtype != torch.float64:
        raise TypeError(f"x is {x.dtype}; smooth=True is for checking gradients and takes float64 alone.")


def check_number(name: str, value: Any, expected: str = "a finite number", above_zero: bool = False) -> None:
    """Checks a plain number.

    Raises:
        TypeError: It is none.
        ValueError: It is not finite, or with `above_zero` not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(f"{name} is {value!r}; expected {expected}.")
    # Comparisons rather than math.isfinite, for symbols.
    if not (0 if above_zero else -math.inf) < value < math.inf:
        raise ValueError(f"{name}={value}; expected {expected}.")


def check_timesteps(timesteps: Any, owner: str = "") -> None:
    """Checks a number of timesteps; `owner` starts the error.

    Raises:
        TypeError: It is no integer.
        ValueError: It is below 1.
    """
    start = f"{owner}: " if owner else ""
    if isinstance(timesteps, bool) or not isinstance(timesteps, _INTEGERS):
        raise TypeError(f"{start}timesteps is {timesteps!r}; expected an integer of at least 1.")
    if timesteps < 1:
        raise ValueError(f"{start}timesteps is {timesteps}; expected at least 1.")


def check_repeats(x: Tensor, timesteps: Any, owner: str = "") -> None:
    """Checks a number of timesteps, and that an input `[T, ...]` has as many or is one that is repeated.

    Raises:
        TypeError, ValueError: See `check_timesteps`; also where x has another T.
    """
    check_timesteps(timesteps, owner)
    if x.shape[0] not in (1, timesteps):
        start = f"{owner}: " if owner else ""
        raise ValueError(
            f"{start}x has {x.shape[0]} timesteps; expected timesteps={timesteps} of them, or 1 that is repeated."
        )


def _check_input(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.dtype not in DTYPES:
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x is {given}; expected a tensor of float32, float64, bfloat16 or float16.")
    if x.layout != torch.strided:
        raise TypeError(f"x is {x.layout}; expected a dense tensor: pass x.to_dense().")
    _library.require_kernels_for(x)
    if x.dim() == 0:
        raise ValueError("x has no dimensions; expected [T, ...] with time first.")
    if x.shape[0] == 0:
        raise ValueError(f"x has T = 0 timesteps (shape {list(x.shape)}); expected at least one.")


def _check_membranes(v_init: Tensor, x: Tensor) -> None:
    if not isinstance(v_init, Tensor):
        raise TypeError(f"v_init is {type(v_init).__name__}; expected a tensor of {membrane_dtype(x.dtype)}.")
    if v_init.shape != x.shape[1:]:
        raise ValueError(
            f"v_init has shape {list(v_init.shape)}; expected that of one timestep of x, {list(x.shape[1:])}."
        )
    if v_init.dtype not in (x.dtype, membrane_dtype(x.dtype)):
        raise TypeError(f"v_init is {v_init.dtype}; expected {membrane_dtype(x.dtype)} for x of {x.dtype}.")
    if v_init.device != x.device:
        raise ValueError(f"v_init is on {v_init.device}, x on {x.device}; move one with .to(...).")


def _check_tau(tau: float | Tensor, x: Tensor) -> None:
    expected = "a finite time constant in timesteps of at least 1"
    if not isinstance(tau, Tensor):
        check_number("tau", tau, expected)
        if not tau >= 1:
            raise ValueError(f"tau={tau}; expected {expected}.")
        return
    if tau.dim() != 0 or not tau.is_floating_point():
        raise ValueError(
            f"tau is a tensor of shape {list(tau.shape)} and {tau.dtype}; expected a number or a floating-point "
            "tensor without dimensions, such as torch.tensor(2.0)."
        )
    if tau.device != x.device:
        raise ValueError(f"tau is on {tau.device}, x on {x.device}; move one with .to(...).")
    # Only a value that lies here: not a symbol, not one of a transform, and none for which a device would be waited.
    has_value = type(tau) in (Tensor, nn.Parameter) and tau.is_cpu and not torch.compiler.is_compiling()
    if has_value and not 1 <= tau.item() < math.inf:
        raise ValueError(
            f"tau is a tensor of value {tau.item()}; expected {expected}. Where it is learnt, the training has "
            "diverged: lower the learning rate."
        )
