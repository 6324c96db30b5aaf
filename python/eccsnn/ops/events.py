"""Events of a camera as tensors that a network takes: frames, packed frames, voxel grids, time surfaces.

Every op takes a flat stream of events and `bounds`, int64 `[..., 2]`: the positions where slices begin and end, as
`eccsnn.ops.event_slices` computes them. For a batch `[T, N, 2]`, put recordings one behind the other and add where each
begins to its bounds. Slices may overlap. No op is differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eccsnn.ops import _library

__all__ = ["events_to_frames", "events_to_packed_frames", "events_to_time_surfaces", "events_to_voxel_grid"]


def events_to_frames(
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    *,
    sensor_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Counts the events of each slice, pixel and polarity.

    Args:
        x: uint16 `[E]`, columns in px, 0 at the left.
        y: uint16 `[E]`, rows in px, 0 at the top.
        polarity: uint8 `[E]`, 0 or 1.
        bounds: int64 `[..., 2]`, the slices.
        sensor_size: height and width of the sensor in px.
        size: height and width of the frames, at most the sensor's; None: the sensor's. The event at column x is counted
            in column `x * width // sensor width`, and rows likewise: counts are summed, none is lost.

    Returns:
        int32 `[..., 2, height, width]`, channel 0 darker, channel 1 brighter.

    Raises:
        TypeError: a dtype is not as above.
        ValueError: the shapes or sizes do not fit together, or the tensors are on several devices.
        RuntimeError: on the CPU, a slice is no range of the events, or an event lies outside the sensor; the message
            names it. On CUDA nothing waits to look: such events are left out.
        BuildError: the tensors are on CUDA and the CUDA op library is not loaded.

    Source:
        SpikingJelly's `integrate_events_segment_to_frame` and tonic's `ToFrame` count the same.

    Example:
        >>> x, y = (torch.tensor(v, dtype=torch.uint16) for v in ([0, 0, 1], [0, 0, 0]))
        >>> polarity = torch.tensor([1, 1, 0], dtype=torch.uint8)
        >>> events_to_frames(x, y, polarity, torch.tensor([[0, 2], [2, 3]]), sensor_size=(1, 2)).tolist()
        [[[[0, 0]], [[2, 0]]], [[[0, 1]], [[0, 0]]]]
    """
    sizes = _check("events_to_frames", x, y, polarity, bounds, sensor_size, size)
    return torch.ops.eccsnn.events_to_frames(x, y, polarity, bounds, *sizes)


def events_to_packed_frames(
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    *,
    sensor_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Marks where each slice has events: binary frames as packed spikes.

    Args:
        x: uint16 `[E]`.
        y: uint16 `[E]`.
        polarity: uint8 `[E]`, 0 or 1.
        bounds: int64 `[..., 2]`, for packed spikes `[T, N, 2]`.
        sensor_size: height and width of the sensor in px.
        size: height and width of the frames; see `events_to_frames`.

    Returns:
        uint8 `[..., height, width, 1]`, the layout of `pack_spikes` for two channels: bit 0 darker, bit 1 brighter.
        `unpack_spikes(packed, 2)` gives the frames `events_to_frames(...) > 0`.

    Raises:
        TypeError, ValueError, RuntimeError, BuildError: As `events_to_frames`.

    Example:
        >>> x, y = (torch.tensor(v, dtype=torch.uint16) for v in ([0, 0, 1], [0, 0, 0]))
        >>> polarity = torch.tensor([1, 0, 0], dtype=torch.uint8)
        >>> events_to_packed_frames(x, y, polarity, torch.tensor([[[0, 3]]]), sensor_size=(1, 2)).tolist()
        [[[[[3], [1]]]]]
    """
    sizes = _check("events_to_packed_frames", x, y, polarity, bounds, sensor_size, size)
    return torch.ops.eccsnn.events_to_packed_frames(x, y, polarity, bounds, *sizes)


def events_to_voxel_grid(
    t_us: Tensor,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    bins: int,
    *,
    sensor_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Sums polarities over time bins, each event shared linearly between the two nearest ones.

    Args:
        t_us: int64 `[E]`, in order within a slice.
        x: uint16 `[E]`.
        y: uint16 `[E]`.
        polarity: uint8 `[E]`, 0 counts as -1.
        bounds: int64 `[..., 2]`; a slice is usually a whole recording, `[N, 2]`.
        bins: points in time, at least 2; the first is at the slice's first event, the last at its last.
        sensor_size: height and width of the sensor in px.
        size: height and width of the grid; see `events_to_frames`.

    Returns:
        float32 `[..., bins, height, width]`. Sums are exact integers until the end, so the order of events and threads
        does not matter.

    Raises:
        TypeError, ValueError, RuntimeError, BuildError: As `events_to_frames`; also on the CPU where time goes back.

    Source:
        Zhu et al., "Unsupervised event-based learning of optical flow, depth, and egomotion" (CVPR 2019). tonic's
        `ToVoxelGrid(n)` puts the last event past the last bin: it is the first n bins of this with n + 1.

    Example:
        >>> t = torch.tensor([0, 1, 4])
        >>> zeros, polarity = torch.zeros(3, dtype=torch.uint16), torch.tensor([1, 1, 0], dtype=torch.uint8)
        >>> events_to_voxel_grid(t, zeros, zeros, polarity, torch.tensor([0, 3]), 2, sensor_size=(1, 1)).flatten()
        tensor([ 1.7500, -0.7500])
    """
    sizes = _check("events_to_voxel_grid", x, y, polarity, bounds, sensor_size, size, t_us)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise ValueError(f"events_to_voxel_grid: bins is {bins!r}, expected an integer of at least 2")
    sums = torch.ops.eccsnn.sum_event_voxels(t_us, x, y, polarity, bounds, bins, *sizes)
    if len(t_us) == 0:
        return sums.to(torch.float32)
    first, last = bounds[..., 0].clamp(max=len(t_us) - 1), (bounds[..., 1] - 1).clamp(min=0)
    duration = (t_us[last] - t_us[first]).clamp(min=1)
    return (sums.to(torch.float64) / duration[..., None, None, None]).to(torch.float32)


def events_to_time_surfaces(
    t_us: Tensor,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    at_us: Tensor,
    *,
    tau_us: float,
    sensor_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """How recent each pixel's latest event is, `exp(-(at - t_latest) / tau)`; 0 where there was none.

    Args:
        t_us: int64 `[E]`, at least 0.
        x: uint16 `[E]`.
        y: uint16 `[E]`.
        polarity: uint8 `[E]`, 0 or 1.
        bounds: int64 `[T, ..., 2]`: the slices of time; a surface knows all slices up to its own.
        at_us: int64 `[T, ...]`: when a surface is looked at, usually where its slice ends.
        tau_us: time constant of the decay in µs.
        sensor_size: height and width of the sensor in px.
        size: height and width of the surfaces; see `events_to_frames`.

    Returns:
        float32 `[T, ..., 2, height, width]` in 0..1 (above 1 for an event after `at_us`).

    Raises:
        TypeError, ValueError, RuntimeError, BuildError: As `events_to_frames`; also if `at_us` does not fit `bounds` or
            `tau_us` is not above 0.

    Source:
        Lagorce et al., "HOTS: a hierarchy of event-based time-surfaces for pattern recognition" (2016), over the whole
        sensor as tonic's `ToTimesurface`: slices of `slice_by_window(t, dt, last="drop")`, looked at where they end.

    Example:
        >>> zero, one = torch.zeros(1, dtype=torch.uint16), torch.ones(1, dtype=torch.uint8)
        >>> surface = events_to_time_surfaces(
        ...     torch.tensor([0]), zero, zero, one, torch.tensor([[0, 1]]), torch.tensor([10]),
        ...     tau_us=10.0, sensor_size=(1, 1))
        >>> surface.flatten()
        tensor([0.0000, 0.3679])
    """
    sizes = _check("events_to_time_surfaces", x, y, polarity, bounds, sensor_size, size, t_us)
    if at_us.dtype != torch.int64 or at_us.shape != bounds.shape[:-1] or at_us.dim() < 1:
        raise ValueError(
            f"events_to_time_surfaces: at_us is {at_us.dtype} {list(at_us.shape)}, expected int64 "
            f"{list(bounds.shape[:-1])}, a time for each slice of bounds [T, ..., 2]"
        )
    if not tau_us > 0:
        raise ValueError(f"events_to_time_surfaces: tau_us is {tau_us}, expected a number of µs above 0")
    latest = torch.ops.eccsnn.latest_event_times(t_us, x, y, polarity, bounds, *sizes)
    if len(latest) > 0:
        latest = latest.cummax(dim=0).values
    age = at_us[..., None, None, None] - latest
    return torch.where(latest < 0, 0.0, torch.exp(age.to(torch.float64) / -tau_us)).to(torch.float32)


def _check(
    op: str,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    bounds: Tensor,
    sensor_size: tuple[int, int],
    size: tuple[int, int] | None,
    t_us: Tensor | None = None,
) -> tuple[int, int, int, int]:
    streams = {"x": (x, torch.uint16), "y": (y, torch.uint16), "polarity": (polarity, torch.uint8)}
    if t_us is not None:
        streams["t_us"] = (t_us, torch.int64)
    for name, (tensor, dtype) in {**streams, "bounds": (bounds, torch.int64)}.items():
        if tensor.dtype != dtype:
            raise TypeError(f"{op}: {name} is {tensor.dtype}, expected {dtype}; convert it with .to({dtype})")
        if tensor.device != x.device:
            raise ValueError(f"{op}: {name} is on {tensor.device} and x on {x.device}; move one with .to(...)")
    if any(tensor.dim() != 1 or len(tensor) != len(x) for tensor, _ in streams.values()):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, (tensor, _) in streams.items())
        raise ValueError(f"{op}: the events are {shapes}; expected one dimension and the same length")
    if bounds.dim() < 1 or bounds.shape[-1] != 2:
        raise ValueError(f"{op}: bounds has shape {list(bounds.shape)}, expected [..., 2]: begin and end of each slice")
    height, width = size or sensor_size
    if not (1 <= height <= sensor_size[0] <= 65536 and 1 <= width <= sensor_size[1] <= 65536):
        raise ValueError(
            f"{op}: size is {size}, expected a height and a width from 1 to the sensor's, sensor_size={sensor_size}"
        )
    _library.require_kernels_for(x)
    return sensor_size[0], sensor_size[1], height, width


# `size` is what the schemas end with: the sensor's height and width, then those of the output.


@torch.library.register_fake("eccsnn::events_to_frames")
def _frames_fake(x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, *size: int) -> Tensor:
    return x.new_empty((*bounds.shape[:-1], 2, *size[2:]), dtype=torch.int32)


@torch.library.register_fake("eccsnn::events_to_packed_frames")
def _packed_frames_fake(x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, *size: int) -> Tensor:
    return x.new_empty((*bounds.shape[:-1], *size[2:], 1), dtype=torch.uint8)


@torch.library.register_fake("eccsnn::latest_event_times")
def _latest_fake(t_us: Tensor, x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, *size: int) -> Tensor:
    return x.new_empty((*bounds.shape[:-1], 2, *size[2:]), dtype=torch.int64)


@torch.library.register_fake("eccsnn::sum_event_voxels")
def _voxels_fake(t_us: Tensor, x: Tensor, y: Tensor, polarity: Tensor, bounds: Tensor, bins: int, *size: int) -> Tensor:
    return x.new_empty((*bounds.shape[:-1], bins, *size[2:]), dtype=torch.int64)
