"""What the ops' autograd formulas share."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

# An op called within an autograd.Function need not pass by its own registered formula. Not a public name of torch: it
# saves microseconds and may be missing.
below_autograd = getattr(torch._C, "_AutoDispatchBelowAutograd", contextlib.nullcontext)

_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)  # no public name either


def needs_grad(*tensors: Tensor | None) -> bool:
    """Whether autograd will want the gradient of one of them."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def refuse_forward_mode(name: str, *values: Any) -> None:
    """Without this a tangent would be lost, as if the result did not depend on the input."""
    for value in values:
        if isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None:
            raise NotImplementedError(f"eccsnn.ops.{name} has no forward-mode derivative: use backward.")


def refuse_transforms(name: str) -> None:
    """Without this torch would name a method that an autograd.Function lacks, and not what to do."""
    if not torch.compiler.is_compiling() and _transforms_active():
        raise NotImplementedError(
            f"eccsnn.ops.{name} has no rule for the transforms of torch.func (grad, vjp, vmap of a gradient): use "
            "backward or torch.autograd.grad."
        )


def refuse_second_derivative(name: str) -> None:
    """Without this a second derivative would silently miss what is recomputed or kept as bits."""
    # While torch compiles, gradients may be on although no graph of them is asked for.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            f"eccsnn.ops.{name} has no second derivative: call backward or grad without create_graph=True."
        )
