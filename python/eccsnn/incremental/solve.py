"""Cholesky solves in fp64 for the analytic learners, with their condition, and solutions after a few more samples."""

from __future__ import annotations

import torch
from torch import Tensor


def factor_macs(features: int) -> int:
    """Multiply-accumulates of `factorize`."""
    return features**3 // 6


def rows_macs(features: int, rows: int) -> int:
    """Multiply-accumulates of `FewRows.add`."""
    return 2 * features**2 * rows


def factorize(matrix: Tensor, ridge: float, option: str = "ridge") -> Tensor:
    """Lower Cholesky factor of `matrix + ridge * I`.

    Args:
        matrix: float64 `[D, D]`, symmetric, positive semi-definite.
        ridge: Added to the diagonal.
        option: What the caller has to raise where `ridge` is too small.

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
            f"the matrix of {len(matrix)} features with {ridge:g} added to its diagonal is not positive definite (at "
            f"row {int(info)}); raise the {option}: features that never fire or always agree need it"
        )
    return factor


class FewRows:
    """Solutions of (A + X^T X) W = S + X^T Y from the solved A W = S, while few rows X come in.

    With U = A^-1 X^T and V = W + U Y, the new solution is V - U (I + X U)^-1 X V (Woodbury). A row costs two triangular
    solves, O(D^2), whatever the number of classes; nothing of size D^2 is written. The start is always A's own
    solution, so that rounding does not add up from step to step.

    Args:
        factor: Of A, from `factorize`, float64 `[D, D]`.

    Example:
        >>> few = FewRows(torch.eye(1, dtype=torch.float64))
        >>> few.add(torch.full((1, 1), 3.0, dtype=torch.float64))
        >>> weight, target = torch.full((2, 1, 1), 1.0, dtype=torch.float64)
        >>> round(few.solve(5 * weight, target).item(), 12)  # (5 + 3) / (1 + 9)
        0.8
    """

    def __init__(self, factor: Tensor) -> None:
        self._factor = factor
        self._rows = factor.new_zeros(0, len(factor))
        self._turned = factor.new_zeros(len(factor), 0)
        self._inner = factor.new_zeros(0, 0)  # X U

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Tensor) -> None:
        """Takes rows float64 `[k, D]` in."""
        if not len(rows):
            return
        turned = torch.cholesky_solve(rows.T.contiguous(), self._factor)
        across = self._rows @ turned
        right = torch.cat((across, rows @ turned))
        self._inner = torch.cat((torch.cat((self._inner, across.T)), right), dim=1)
        self._rows = torch.cat((self._rows, rows))
        self._turned = torch.cat((self._turned, turned), dim=1)

    def solve(self, weight: Tensor, targets: Tensor) -> Tensor:
        """The solution `[D, K]`, from that of A `[D, K]` and the rows' targets Y `[len(self), K]`."""
        if not len(self):
            return weight
        moved = weight + self._turned @ targets
        inner = factorize(self._inner, 1.0)
        return moved - self._turned @ torch.cholesky_solve(self._rows @ moved, inner)


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
