"""Integer features of spiking networks: how often each neuron fired, and what checks them.

The mean over T timesteps that a head sees is a count divided by T (and by the number of places where the last map is
averaged over space). As an integer it is exact, one byte wide, and sums of it do not depend on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eccsnn.data import ImageSet, batches
from eccsnn.models import SpikingModel
from eccsnn.nn._hints import nearest

PENULTIMATE = "penultimate"
MAX_COUNT = 32767

CountArray = npt.NDArray[np.uint8] | npt.NDArray[np.int16]
Labels = npt.NDArray[np.int64]


def as_counts(features: Any, max_count: int, columns: int | None = None) -> CountArray:
    """Features as a contiguous array of counts.

    Args:
        features: `[N, D]`, array or tensor: integers, or floats with integer values, in 0..max_count.
        max_count: Largest count.
        columns: D that is expected.

    Returns:
        uint8 `[N, D]` for a max_count to 255, else int16.

    Raises:
        TypeError: `features` are neither integers nor floats.
        ValueError: Not two dimensions, another D, or a value that is negative, above max_count or not an integer.

    Example:
        >>> as_counts([[0.0, 4.0]], 4)
        array([[0, 4]], dtype=uint8)
    """
    array = features.detach().cpu().numpy() if isinstance(features, Tensor) else np.asarray(features)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(
            f"features have shape {list(array.shape)}, expected [N, {'D' if columns is None else columns}]: one row of "
            "counts for each sample"
        )
    dtype = np.uint8 if max_count <= 255 else np.int16
    if array.dtype == dtype:
        return np.ascontiguousarray(array)  # its range is checked where it is added up, or by check_range
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(f"features have dtype {array.dtype}, expected integers, or floats with integer values")
    good = (array >= 0) & (array <= max_count)
    if np.issubdtype(array.dtype, np.floating):
        good &= array == np.floor(array)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"feature {column} of sample {row} is {array[row, column]}, expected an integer count in 0..{max_count}; "
            "a mean over timesteps has to be multiplied by their number (see count_features)"
        )
    return np.ascontiguousarray(array.astype(dtype))


def check_integers(**arguments: Any) -> None:
    """Checks arguments by their names.

    Raises:
        TypeError: One is no integer.
    """
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} is {value!r}, expected an integer")


def check_threads(threads: int) -> None:
    """Checks a number of threads.

    Raises:
        TypeError, ValueError: It is no integer of at least 1.
    """
    check_integers(threads=threads)
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1")


def check_range(counts: CountArray, max_count: int) -> None:
    """Checks what `as_counts` leaves to whoever adds the counts up: the range of an array that has its type already.

    Raises:
        ValueError: A count is negative or above max_count.
    """
    low = 0 if counts.dtype == np.uint8 or not counts.size else counts.min()
    if counts.size and not 0 <= low <= counts.max() <= max_count:
        raise ValueError(f"features span {counts.min()}..{counts.max()}, expected counts in 0..{max_count}")


def as_labels(labels: Any, count: int) -> Labels:
    """Class ids as int64 `[N]`.

    Raises:
        TypeError: They are no integers.
        ValueError: Not one for each of `count` samples, or one below 0 or above 2^63 - 1.
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.shape != (count,):
        raise ValueError(f"labels have shape {list(array.shape)}, expected [{count}]: one for each sample")
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels have dtype {array.dtype}, expected integer class ids")
    ids = np.ascontiguousarray(array, dtype=np.int64)  # of uint64, what is too large becomes negative
    if count and ids.min() < 0:
        if array.dtype == np.uint64:
            raise ValueError(f"labels contain {array.max()}, expected class ids of at most {np.iinfo(np.int64).max}")
        raise ValueError(f"labels contain {array.min()}, expected class ids of at least 0")
    return ids


def count_bound(model: SpikingModel, layers: Sequence[str] = (PENULTIMATE,)) -> int:
    """Largest count that `count_features` of these layers can return.

    Raises:
        ValueError: An unknown layer, one of real values, or one whose counts do not fit into int16.
    """
    bounds = []
    for layer in layers:
        if layer == PENULTIMATE:
            last = next(reversed(model.sections))
            known = last in model.feature_maps  # otherwise hidden neurons on a flattened map: binary, without space
            bounds.append(_map_bound(model, last) if known else model.timesteps)
        elif layer in model.feature_maps:
            bounds.append(_map_bound(model, layer))
        else:
            raise ValueError(f"unknown layer {layer!r}: {nearest(layer, [PENULTIMATE, *model.feature_maps])}")
    if not bounds:
        raise ValueError(f"no layer is named, expected one or more of {[PENULTIMATE, *model.feature_maps]}")
    if max(bounds) > MAX_COUNT:
        raise ValueError(
            f"counts of {list(layers)} go up to {max(bounds)}, expected at most {MAX_COUNT}; take later layers or "
            "fewer timesteps"
        )
    return max(bounds)


def _map_bound(model: SpikingModel, name: str) -> int:
    described = model.feature_maps[name]
    if described.max_count is None:
        raise ValueError(f"layer {name!r} has real values, expected spikes or sums of spikes; choose another layer")
    return model.timesteps * described.max_count * (model.image_size // described.stride) ** 2


def count_features(
    model: SpikingModel,
    images: ImageSet,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    layers: Sequence[str] = (PENULTIMATE,),
    batch_size: int = 128,
    device: str = "cpu",
) -> CountArray:
    """Spike counts of named layers for every image, summed over time and space, side by side.

    Args:
        model: Spiking network; it runs in evaluation mode and fp32, and its mode is restored.
        images: N images.
        mean, std: Per channel, for normalisation.
        layers: `penultimate` (what the head sees) and names of feature maps.
        batch_size: Images a step.
        device: Where to compute.

    Returns:
        `[N, D]` in 0..`count_bound(model, layers)`: uint8 where that is at most 255, else int16.

    Raises:
        ValueError: See `count_bound`; or the penultimate features are no integer multiples of what they should be.
    """
    bound = count_bound(model, layers)
    was_training = model.training
    model.eval()
    parts = []
    try:
        with torch.inference_mode():
            for batch in batches(images, batch_size, mean=mean, std=std, device=device):
                features = model.forward_features(batch.images)
                columns = [
                    _whole(features.penultimate, count_bound(model), model)
                    if layer == PENULTIMATE
                    else features.maps[layer].sum((0, -2, -1), dtype=torch.float64)
                    for layer in layers
                ]
                parts.append(torch.cat(columns, dim=1).cpu().numpy())
    finally:
        model.train(was_training)
    if not parts:
        raise ValueError("there are no images to take features of; expected at least one")
    return as_counts(np.concatenate(parts), bound)


def _whole(penultimate: Tensor, bound: int, model: SpikingModel) -> Tensor:
    """Counts from means: the mean of many spikes in float32 is rounded, its multiple is not."""
    last = next(reversed(model.sections))
    described = model.feature_maps.get(last)
    places = 1 if described is None else (model.image_size // described.stride) ** 2
    scaled = penultimate.double() * (model.timesteps * places)
    counts = scaled.round()
    if bool(((scaled - counts).abs() > 1 / 16).any()) or bool((counts > bound).any()):
        raise ValueError(
            f"the penultimate features of {type(model).__name__} are no means of integer counts up to {bound}; take "
            "them from feature maps instead"
        )
    return counts
