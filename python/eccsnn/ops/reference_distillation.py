"""The readable truth of the spike and distillation ops: plain PyTorch, slow, differentiable by autograd, any device.

Each function takes and returns what the op of the same name in :mod:`eccsnn.ops` does; the tests compare the two.
"""

import torch
from torch import Tensor

__all__ = ["logit_distillation", "pack_spikes", "spike_count_pool", "unpack_spikes"]


def pack_spikes(spikes: Tensor) -> Tensor:
    """Packs ``[T, N, C, H, W]`` or ``[T, N, C]`` eight channels to a byte: bit i of byte j is channel 8 j + i."""
    bits = spikes.movedim(2, -1)
    if ((bits != 0) & (bits != 1)).any():
        raise ValueError("spikes hold a value that is neither 0 nor 1")
    channels = bits.shape[-1]
    padded = torch.zeros(*bits.shape[:-1], (channels + 7) // 8 * 8, dtype=torch.int64, device=bits.device)
    padded[..., :channels] = bits.to(torch.int64)
    weights = 2 ** torch.arange(8, device=bits.device)
    return (padded.unflatten(-1, (-1, 8)) * weights).sum(-1).to(torch.uint8)


def unpack_spikes(packed: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of :func:`pack_spikes`."""
    bits = packed.unsqueeze(-1).bitwise_right_shift(torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten(-2)[..., :channels].movedim(-1, 2).to(dtype).contiguous()


def spike_count_pool(spikes: Tensor, kernel_size: int | None, *, mean: bool = False) -> Tensor:
    """Sums ``[T, N, C, H, W]`` over time and windows of k x k to ``[N, C, H/k, W/k]``; ``mean`` divides by T k k."""
    timesteps, _, _, height, width = spikes.shape
    kernel_h, kernel_w = (kernel_size, kernel_size) if kernel_size else (height, width)
    wide = spikes.to(torch.float64 if spikes.dtype == torch.float64 else torch.float32)
    counts = wide.unflatten(3, (-1, kernel_h)).unflatten(5, (-1, kernel_w)).sum(dim=(0, 4, 6))
    return counts / (timesteps * kernel_h * kernel_w) if mean else counts


def logit_distillation(student: Tensor, teacher: Tensor, class_ids: Tensor | None, temperature: float) -> Tensor:
    """Per-sample T^2 KL(teacher || student) over the student's classes, without gradient to the teacher.

    Source: Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2; ECC-SNN (arXiv 2505.20835), L_KD.
    """
    dtype = torch.float64 if torch.float64 in (student.dtype, teacher.dtype) else torch.float32
    teacher = teacher.detach().to(dtype)
    if class_ids is not None:
        teacher = teacher[:, class_ids.to(teacher.device)]
    log_p = (teacher / temperature).log_softmax(dim=1)
    log_q = (student.to(dtype) / temperature).log_softmax(dim=1)
    p = log_p.exp()
    # 0 log 0 = 0: a class that the teacher rules out costs nothing. NaN != 0, so that a NaN is not lost.
    terms = torch.where(p != 0, p * (log_p - log_q), torch.zeros_like(p))
    return temperature**2 * terms.sum(dim=1)
