"""Cholesky solves in fp64 for the analytic learners, with their condition, and updates of a factor by a few samples."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32
"""Columns that `update_factor` takes at a time."""


def factor_macs(features: int) -> int:
    """Multiply-accumulates of `factorize`."""
    return features**3 // 6


def update_macs(features: int, rows: int) -> int:
    """Multiply-accumulates of `update_factor`: worth it for a few rows and many features."""
    return features**2 * (BLOCK + rows) ** 2 // (2 * BLOCK)


def factorize(matrix: Tensor, ridge: float) -> Tensor:
    """Lower Cholesky factor of `matrix + ridge * I`.

    Args:
        matrix: float64 `[D, D]`, symmetric, positive semi-definite.
        ridge: Added to the diagonal.

    Raises:
        ValueError: The sum is not positive definite in fp64.

    Example:
        >>> factorize(torch.eye(2, dtype=torch.float64), 3.0)[0, 0].item()
        2.0
    """
    shifted = matrix.clone()
    shifted.diagonal().add_(ridge)
    factor, info = torch.linalg.cholesky_ex(shifted)
    if int(info) or not bool(torch.isfinite(factor.diagonal()).all()):
        raise ValueError(
            f"the matrix of {len(matrix)} features with ridge {ridge:g} on its diagonal is not positive definite (at "
            f"row {int(info)}); raise the ridge: features that never fire or always agree need it"
        )
    return factor


def update_factor(factor: Tensor, rows: Tensor, block: int = BLOCK) -> Tensor:
    """Cholesky factor of L L^T + X^T X from L, in O(D^2 k) for k rows instead of O(D^3).

    Block after block of columns, an orthogonal matrix takes the rows into the factor: [L_jj X_j] Q = [L'_jj 0], and Q
    also turns what lies below. Orthogonal steps do not amplify rounding.

    Args:
        factor: float64 `[D, D]`, lower.
        rows: float64 `[k, D]`, the samples X.
        block: Columns a step.

    Returns:
        float64 `[D, D]`, lower, a new tensor.

    Source: block form of the rank-one updates of Gill, Golub, Murray and Saunders 1974.

    Example:
        >>> update_factor(torch.eye(1, dtype=torch.float64), torch.full((3, 1), 1.0, dtype=torch.float64)).item()
        2.0
    """
    result = factor.clone()
    rest = rows.T.contiguous().clone()  # [D, k]
    for begin in range(0, len(factor), block):
        end = min(begin + block, len(factor))
        size = end - begin
        joined = torch.cat((result[begin:, begin:end], rest[begin:]), dim=1)
        turn, upper = torch.linalg.qr(joined[:size].T, mode="complete")
        # Cholesky factors have a positive diagonal; QR may give a negative one.
        signs = torch.where(upper.diagonal() < 0, -1.0, 1.0).to(turn)
        turned = joined @ turn
        result[begin:, begin:end] = turned[:, :size] * signs
        rest[begin:] = turned[:, size:]
        rest[begin:end] = 0.0
    return result.tril_()


def condition(factor: Tensor, steps: int = 20) -> float:
    """Condition number of L L^T in the 2-norm, estimated from below by power iterations.

    About log10 of it digits are lost of the 16 that fp64 has.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(factor), 1, generator=generator, dtype=factor.dtype).to(factor.device)
    large = small = start / start.norm()
    largest = smallest = 1.0
    for _ in range(steps):
        large = factor @ (factor.T @ large)
        largest = float(large.norm())
        large = large / largest
        small = torch.cholesky_solve(small, factor)
        smallest = float(small.norm())
        small = small / smallest
    return largest * smallest
