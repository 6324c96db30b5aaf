"""Logit distillation: per sample, with p = softmax(teacher[class_ids] / T) and q = softmax(student / T),

    loss = T^2 KL(p || q) = T^2 sum_k p_k (log p_k - log q_k)        d loss / d student_k = T (q_k - p_k)

Source: Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2; ECC-SNN (arXiv 2505.20835), L_KD, where an edge
network that has learnt some classes is taught by a cloud network that knows all. `reference_distillation` says the same
in plain torch.
"""

import math
from typing import Any

import torch
from torch import Tensor

from eccsnn.ops import _library

__all__ = ["logit_distillation"]

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def logit_distillation(student: Tensor, teacher: Tensor, class_ids: Tensor | None, temperature: float) -> Tensor:
    """Per-sample T^2 KL(teacher || student) at a temperature, over the student's classes.

    Args:
        student: Logits ``[N, K]``, K >= 1; float32, float64, float16 or bfloat16.
        teacher: Logits ``[N, M]``. Another dtype than the student's is allowed; both are promoted to the common one.
        class_ids: int64 ``[K]``, the teacher's column of each of the student's classes; the teacher is renormalised
            over them. None when the columns agree (K = M). Best left on the CPU, whatever the logits' device: there
            the ids are checked at every call. Ids on a CUDA device are not, since that would wait for the device; an
            id out of range then gives NaN losses.
        temperature: T > 0.

    Returns:
        Loss ``[N]`` in float32 (float64 for float64 input), differentiable once, in the student only. A student with
        one class has loss 0 and gradient 0. NaN logits give a NaN loss for that sample.

    Raises:
        ValueError: Wrong shapes or devices, no classes, or a temperature that is not a positive number.
        TypeError: Wrong dtypes.
        RuntimeError: A class id is out of range or repeated; from inside the op, so a compiled graph raises it too.
        BuildError: The logits are on CUDA and the CUDA op library is not loaded.

    Example:
        >>> import torch
        >>> from eccsnn.ops import logit_distillation
        >>> teacher = torch.tensor([[9.0, 1.0, 2.0]])
        >>> logit_distillation(torch.tensor([[1.0, 2.0]]), teacher, torch.tensor([1, 2]), temperature=3.0)
        tensor([0.])
    """
    if student.dim() != 2 or teacher.dim() != 2 or student.shape[0] != teacher.shape[0] or student.shape[1] == 0:
        raise ValueError(
            "logit_distillation expects student logits [N, K] with K >= 1 and teacher logits [N, M], got shapes "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if student.dtype not in _DTYPES or teacher.dtype not in _DTYPES:
        raise TypeError(
            "logit_distillation expects float32, float64, float16 or bfloat16 logits, got "
            f"{student.dtype} and {teacher.dtype}"
        )
    if student.device != teacher.device:
        raise ValueError(
            f"logit_distillation got student logits on {student.device} and teacher logits on {teacher.device}; "
            "move one with .to(device)"
        )
    _library.require_kernels_for(student)
    if class_ids is None:
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"logit_distillation got {student.shape[1]} student and {teacher.shape[1]} teacher classes without "
                "class_ids; pass the teacher's column of each of the student's classes"
            )
    elif class_ids.dtype != torch.int64:
        raise TypeError(f"logit_distillation expects class_ids of dtype int64, got {class_ids.dtype}")
    elif class_ids.dim() != 1 or class_ids.shape[0] != student.shape[1]:
        raise ValueError(
            f"logit_distillation expects one class id for each of the {student.shape[1]} student logits, got class_ids "
            f"of shape {tuple(class_ids.shape)}"
        )
    elif not class_ids.is_cpu and class_ids.device != student.device:
        raise ValueError(
            f"logit_distillation got class_ids on {class_ids.device} and logits on {student.device}; "
            "leave class_ids on the CPU"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"logit_distillation expects a positive temperature, got {temperature}")
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    loss, _ = torch.ops.eccsnn.logit_distillation(
        student.to(dtype), teacher.detach().to(dtype), class_ids, float(temperature)
    )
    return loss


def _accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@torch.library.register_fake("eccsnn::logit_distillation")
def _loss_fake(student: Tensor, teacher: Tensor, class_ids: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    dtype = _accumulate_dtype(student.dtype)
    return student.new_empty(student.shape[0], dtype=dtype), student.new_empty(student.shape, dtype=dtype)


@torch.library.register_fake("eccsnn::logit_distillation_backward")
def _loss_backward_fake(grad_loss: Tensor, gradient: Tensor, dtype: torch.dtype) -> Tensor:
    return gradient.new_empty(gradient.shape, dtype=dtype)


def _loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, gradient = output
    ctx.mark_non_differentiable(gradient)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(gradient)
    ctx.dtype = inputs[0].dtype


def _loss_backward(ctx: Any, grad_loss: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_loss is None:
        return None, None, None, None
    if torch.is_grad_enabled():
        # The saved gradient does not know how it depends on the student: better an error than a derivative that
        # silently lacks a term.
        raise NotImplementedError(
            "logit_distillation has no second derivative, but create_graph=True asks for one; "
            "use eccsnn.ops.reference_distillation.logit_distillation"
        )
    (gradient,) = ctx.saved_tensors
    return torch.ops.eccsnn.logit_distillation_backward(grad_loss, gradient, ctx.dtype), None, None, None


torch.library.register_autograd("eccsnn::logit_distillation", _loss_backward, setup_context=_loss_setup)
