"""How unsure the edge is of a sample, as a number in [0, 1] computed from its logits.

Source: ECC-SNN (IJCAI 2025, arXiv 2505.20835), execution stage: the entropy of each task head's softmax, normalised by
log K, and the minimum over heads. The other measures are the filters that the paper compares with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

Measure = Literal["entropy", "max_probability", "margin", "random"]
MEASURES = get_args(Measure)


def ambiguity(
    logits: Any,
    heads: Sequence[int | slice] | None = None,
    measure: str = "entropy",
    *,
    seed: int = 0,
    over: str = "heads",
) -> FloatArray:
    """Ambiguity of every sample; larger means less sure.

    Measures, for the probabilities p of a head with K classes (softmax of its own logits), largest first:

    * ``"entropy"``: H(p) / log K.
    * ``"max_probability"``: (1 - p_1) K / (K - 1), so that a uniform head gives 1.
    * ``"margin"``: 1 - (p_1 - p_2).
    * ``"random"``: uniform in [0, 1), whatever the logits: the baseline of uploading at random.

    A sample's ambiguity is the minimum over its heads. A head of one class has log K = 0 and says nothing about doubt,
    so if any head has one class the measure is taken over the concatenated logits of all heads (ours; the paper leaves
    it open).

    Args:
        logits: `[N, K]`, a torch tensor or an array of floats; all finite.
        heads: for each task head its number of classes, in the order of the logits, or its slice; one head by default.
        measure: one of `MEASURES`.
        seed: of ``"random"`` only; the same seed and number of samples give the same values.
        over: ``"heads"`` as above, or ``"all"`` for the concatenated logits in any case.

    Returns:
        float64 `[N]`.

    Raises:
        TypeError: the logits are not floating point.
        ValueError: a wrong shape, NaN or infinite logits, heads that do not cover the logits, fewer than two classes,
            or an unknown measure.

    Example:
        >>> import math
        >>> ambiguity([[0.0, 0.0], [math.log(3.0), 0.0]], measure="margin").round(3).tolist()
        [1.0, 0.5]
    """
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}, expected one of {', '.join(MEASURES)}")
    if over not in ("heads", "all"):
        raise ValueError(f"over is {over!r}, expected 'heads' (minimum over task heads) or 'all' (concatenated logits)")
    values = _logits(logits)
    slices = _slices(heads, values.shape[1])
    if values.shape[1] < 2:
        raise ValueError("logits have one class; ambiguity needs at least two (a single answer cannot be doubted)")
    if measure == "random":
        return np.random.default_rng(seed).random(size=(len(values),))
    if over == "all" or any(part.stop - part.start == 1 for part in slices):
        slices = [slice(0, values.shape[1])]
    per_head = [_MEASURE[measure](_log_softmax(values[:, part])) for part in slices]
    # Rounding may put a uniform head a hair outside [0, 1], where a threshold of 1 must still mean "upload nothing".
    return np.asarray(np.clip(np.min(per_head, axis=0), 0.0, 1.0), dtype=np.float64)


def _entropy(log_p: FloatArray) -> FloatArray:
    return -(np.exp(log_p) * log_p).sum(axis=1) / np.log(log_p.shape[1])


def _max_probability(log_p: FloatArray) -> FloatArray:
    classes = log_p.shape[1]
    return (1.0 - np.exp(log_p.max(axis=1))) * classes / (classes - 1)


def _margin(log_p: FloatArray) -> FloatArray:
    two = np.exp(np.partition(log_p, -2, axis=1)[:, -2:])
    return 1.0 - (two[:, 1] - two[:, 0])


_MEASURE = {"entropy": _entropy, "max_probability": _max_probability, "margin": _margin}


def _log_softmax(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
    # exp underflows to 0 long before -1e4; a finite floor keeps p log p at 0 where it would be 0 times -infinity.
    shifted = np.maximum(shifted, -1e4)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _logits(logits: Any) -> FloatArray:
    if hasattr(logits, "detach"):
        # Through float64 on the way, since numpy has no bfloat16.
        logits = logits.detach().double().cpu().numpy() if logits.is_floating_point() else logits.cpu().numpy()
    array = np.asarray(logits)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"logits have the dtype {array.dtype}, expected floating point numbers before the softmax")
    if array.ndim != 2:
        raise ValueError(f"logits have the shape {array.shape}, expected [N, K]: a row for each sample")
    array = array.astype(np.float64)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(
            f"logits of {int(bad.sum())} of {array.shape[0]} samples (first: sample {int(bad.argmax())}) hold NaN or "
            "infinite values; expected finite numbers: check the input and the model's weights"
        )
    return array


def _slices(heads: Sequence[int | slice] | None, classes: int) -> list[slice]:
    if heads is None:
        return [slice(0, classes)]
    slices: list[slice] = []
    start = 0
    for head in heads:
        part = head if isinstance(head, slice) else slice(start, start + int(head))
        first, stop, step = part.indices(classes) if isinstance(head, slice) else (part.start, part.stop, 1)
        if step != 1 or first != start or stop <= first:
            raise ValueError(f"heads are {list(heads)}, expected sizes >= 1 or slices that follow one another")
        slices.append(slice(first, stop))
        start = stop
    if start != classes:
        raise ValueError(f"heads {list(heads)} cover {start} classes, expected all {classes} columns of the logits")
    return slices
