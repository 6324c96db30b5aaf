"""The readable truth of the event ops: one event at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def _pixels(x: Tensor, y: Tensor, sensor_size: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    return [
        (row * size[0] // sensor_size[0], column * size[1] // sensor_size[1])
        for row, column in zip(y.tolist(), x.tolist(), strict=True)
    ]


def events_to_frames(
    x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, sensor_size: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """As `eccsnn.ops.events_to_frames`, int32 `[..., 2, height, width]`."""
    slices = bounds.reshape(-1, 2).tolist()
    pixels = _pixels(x, y, sensor_size, size)
    frames = torch.zeros(len(slices), 2, *size, dtype=torch.int32)
    for frame, (first, last) in zip(frames, slices, strict=True):
        for i in range(first, last):
            frame[int(polarity[i])][pixels[i]] += 1
    return frames.reshape(*bounds.shape[:-1], 2, *size)


def events_to_packed_frames(
    x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, sensor_size: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """As `eccsnn.ops.events_to_packed_frames`, uint8 `[..., height, width, 1]`."""
    darker, brighter = (events_to_frames(x, y, polarity, bounds, sensor_size, size) > 0).unbind(-3)
    return (darker + 2 * brighter.to(torch.uint8)).unsqueeze(-1)


def events_to_voxel_grid(
    t_us: Tensor,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    bins: int,
    sensor_size: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """As `eccsnn.ops.events_to_voxel_grid`, in float64."""
    slices = bounds.reshape(-1, 2).tolist()
    pixels = _pixels(x, y, sensor_size, size)
    grid = torch.zeros(len(slices), bins, *size, dtype=torch.float64)
    for volume, (first, last) in zip(grid, slices, strict=True):
        for i in range(first, last):
            start, end = int(t_us[first]), int(t_us[last - 1])
            place = (bins - 1) * (int(t_us[i]) - start) / max(1, end - start)
            for k in range(bins):  # the bilinear kernel max(0, 1 - |distance|)
                volume[k][pixels[i]] += (2 * int(polarity[i]) - 1) * max(0.0, 1 - abs(place - k))
    return grid.reshape(*bounds.shape[:-1], bins, *size)


def latest_event_times(
    t_us: Tensor,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    sensor_size: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """As the op `eccsnn::latest_event_times`: int64 `[..., 2, height, width]`, -1 where a slice has no event."""
    slices = bounds.reshape(-1, 2).tolist()
    pixels = _pixels(x, y, sensor_size, size)
    latest = torch.full((len(slices), 2, *size), -1)
    for surface, (first, last) in zip(latest, slices, strict=True):
        for i in range(first, last):
            plane = surface[int(polarity[i])]
            plane[pixels[i]] = max(int(plane[pixels[i]]), int(t_us[i]))
    return latest.reshape(*bounds.shape[:-1], 2, *size)
