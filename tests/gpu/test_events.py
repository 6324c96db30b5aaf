"""The event ops on CUDA against the CPU, bit for bit."""

import numpy as np
import pytest
import torch

from eccsnn import ops
from eccsnn.ops import _library

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.load_cuda().loaded), reason="needs a CUDA GPU and the CUDA op library"
)


def events(count: int) -> tuple[torch.Tensor, ...]:
    random = np.random.default_rng(0)
    return (
        torch.from_numpy(np.sort(random.integers(0, 10**6, count))),
        torch.from_numpy(random.integers(0, 128, count).astype(np.uint16)),
        torch.from_numpy(random.integers(0, 128, count).astype(np.uint16)),
        torch.from_numpy(random.integers(0, 2, count).astype(np.uint8)),
    )


@pytest.mark.parametrize("count", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("size", [(128, 128), (48, 48), (1, 1)])
def test_has_the_bits_of_the_cpu(count: int, size: tuple[int, int]) -> None:
    t, x, y, polarity = events(count)
    bounds = ops.slice_by_number(t, 10).view(5, 2, 2)
    at = t[(bounds[..., 1] - 1).clamp(min=0)] if count else torch.zeros(5, 2, dtype=torch.int64)
    space = {"sensor_size": (128, 128), "size": size}
    results, surfaces = [], []
    for device in ("cpu", "cuda"):
        t_, x_, y_, p_, b_ = (tensor.to(device) for tensor in (t, x, y, polarity, bounds))
        results.append(
            (
                ops.events_to_frames(x_, y_, p_, b_, **space).cpu(),
                ops.events_to_packed_frames(x_, y_, p_, b_, **space).cpu(),
                ops.events_to_voxel_grid(t_, x_, y_, p_, b_, 5, **space).cpu(),
                torch.ops.eccsnn.latest_event_times(t_, x_, y_, p_, b_, 128, 128, *size).cpu(),
            )
        )
        surfaces.append(ops.events_to_time_surfaces(t_, x_, y_, p_, b_, at.to(device), tau_us=1e5, **space).cpu())
    for cpu, cuda in zip(*results, strict=True):
        assert torch.equal(cpu, cuda)
    assert surfaces[0].shape == (5, 2, 2, *size)
    torch.testing.assert_close(surfaces[1], surfaces[0])  # an exponential, which may round otherwise


def test_events_outside_the_sensor_are_left_out() -> None:
    _, x, y, polarity = (tensor.cuda() for tensor in events(1000))
    bounds = torch.tensor([[0, 2000]]).cuda()
    frames = ops.events_to_frames(x, y, polarity, bounds, sensor_size=(64, 128))
    assert int(frames.sum()) == int((y.int() < 64).sum())
