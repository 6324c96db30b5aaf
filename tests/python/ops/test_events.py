"""Event ops against their references, SpikingJelly and tonic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn import ops
from eccsnn.ops import reference_events as reference


def events(count: int, height: int = 7, width: int = 9, seed: int = 0, longest_us: int = 5000) -> dict:
    random = np.random.default_rng(seed)
    return {
        "t_us": torch.from_numpy(np.sort(random.integers(0, longest_us, count))),
        "x": torch.from_numpy(random.integers(0, width, count).astype(np.uint16)),
        "y": torch.from_numpy(random.integers(0, height, count).astype(np.uint16)),
        "polarity": torch.from_numpy(random.integers(0, 2, count).astype(np.uint8)),
    }


def untimed(stream: dict) -> dict:
    return {name: tensor for name, tensor in stream.items() if name != "t_us"}


def structured(stream: dict) -> np.ndarray:
    """A recording as tonic has it."""
    record = np.zeros(len(stream["x"]), dtype=[("x", "i8"), ("y", "i8"), ("t", "i8"), ("p", "i8")])
    for name, key in (("x", "x"), ("y", "y"), ("t", "t_us"), ("p", "polarity")):
        record[name] = stream[key].numpy()
    return record


SIZES = [(7, 9), (3, 4), (1, 1)]


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(0, 60),
    edges=st.lists(st.integers(0, 60), min_size=8, max_size=8),
    size=st.sampled_from(SIZES),
    seed=st.integers(0, 99),
)
def test_every_op_agrees_with_its_reference(count: int, edges: list[int], size: tuple[int, int], seed: int) -> None:
    stream = events(count, seed=seed)
    bounds = torch.tensor(edges).clamp(max=count).view(2, 2, 2).sort(dim=-1).values  # [T, N, 2], also overlapping
    space = {"sensor_size": (7, 9), "size": size}
    frames = ops.events_to_frames(**untimed(stream), bounds=bounds, **space)
    assert frames.dtype == torch.int32
    assert torch.equal(frames, reference.events_to_frames(**untimed(stream), bounds=bounds, **space))
    packed = ops.events_to_packed_frames(**untimed(stream), bounds=bounds, **space)
    assert torch.equal(packed, reference.events_to_packed_frames(**untimed(stream), bounds=bounds, **space))
    assert torch.equal(ops.unpack_spikes(packed, 2, torch.bool), frames > 0)
    voxels = ops.events_to_voxel_grid(**stream, bounds=bounds, bins=5, **space)
    expected = reference.events_to_voxel_grid(**stream, bounds=bounds, bins=5, **space)
    torch.testing.assert_close(voxels, expected.float(), rtol=1e-6, atol=1e-6)
    latest = torch.ops.eccsnn.latest_event_times(*stream.values(), bounds, 7, 9, *size)
    assert torch.equal(latest, reference.latest_event_times(**stream, bounds=bounds, **space))


def test_recordings_of_a_batch_have_clocks_of_their_own() -> None:
    first, second = events(40, seed=5), events(60, seed=6, longest_us=300)
    batch = {name: torch.cat([first[name], second[name]]) for name in first}
    voxels = ops.events_to_voxel_grid(**batch, bounds=torch.tensor([[0, 40], [40, 100]]), bins=4, sensor_size=(7, 9))
    for volume, stream in zip(voxels, (first, second), strict=True):
        alone = torch.tensor([0, len(stream["x"])])
        assert torch.equal(volume, ops.events_to_voxel_grid(**stream, bounds=alone, bins=4, sensor_size=(7, 9)))


@pytest.mark.parametrize("timesteps", [1, 4, 10])
@pytest.mark.parametrize("split_by", ["number", "time"])
def test_frames_are_those_of_spikingjelly(timesteps: int, split_by: str) -> None:
    from spikingjelly.datasets.utils import integrate_events_by_fixed_frames_number

    stream = events(4003, seed=timesteps)
    theirs = {"t": stream["t_us"], "x": stream["x"], "y": stream["y"], "p": stream["polarity"]}
    theirs = {name: tensor.numpy() for name, tensor in theirs.items()}
    expected = integrate_events_by_fixed_frames_number(theirs, split_by, timesteps, 7, 9)
    cut = ops.slice_by_number if split_by == "number" else ops.slice_by_time
    frames = ops.events_to_frames(**untimed(stream), bounds=cut(stream["t_us"], timesteps), sensor_size=(7, 9))
    np.testing.assert_array_equal(frames.numpy(), expected)


@pytest.mark.parametrize("window_us", [333, 5000, 10_000])
def test_windows_are_those_of_spikingjelly(window_us: int) -> None:
    from spikingjelly.datasets.utils import integrate_events_by_fixed_duration

    stream = events(500)
    theirs = {"t": stream["t_us"], "x": stream["x"], "y": stream["y"], "p": stream["polarity"]}
    theirs = {name: tensor.numpy() for name, tensor in theirs.items()}
    expected = integrate_events_by_fixed_duration(theirs, window_us, 7, 9)
    bounds = ops.slice_by_window(stream["t_us"], window_us)
    frames = ops.events_to_frames(**untimed(stream), bounds=bounds, sensor_size=(7, 9))
    np.testing.assert_array_equal(frames.numpy(), expected)


@pytest.mark.parametrize(
    ("arguments", "cut"),
    [
        ({"n_time_bins": 7}, lambda t: ops.slice_by_time(t, 7, last="drop")),
        ({"n_event_bins": 7}, lambda t: ops.slice_by_number(t, 7, last="drop")),
        ({"time_window": 700}, lambda t: ops.slice_by_window(t, 700, last="drop")),
        ({"event_count": 64}, lambda t: ops.slice_by_count(t, 64, last="drop")),
        ({"event_count": 64, "include_incomplete": True}, lambda t: ops.slice_by_count(t, 64)),
    ],
)
def test_frames_are_those_of_tonic(arguments: dict, cut) -> None:
    from tonic.transforms import ToFrame

    stream = events(1000, seed=2)
    expected = ToFrame(sensor_size=(9, 7, 2), **arguments)(structured(stream))
    frames = ops.events_to_frames(**untimed(stream), bounds=cut(stream["t_us"]), sensor_size=(7, 9))
    assert frames.shape == expected.shape
    np.testing.assert_array_equal(frames.numpy(), expected)


def test_voxel_grid_is_that_of_tonic_with_one_more_bin() -> None:
    from tonic.transforms import ToVoxelGrid

    stream = events(1000, seed=3)
    expected = ToVoxelGrid(sensor_size=(9, 7, 2), n_time_bins=6)(structured(stream))
    bounds = torch.tensor([0, 1000])
    voxels = ops.events_to_voxel_grid(**stream, bounds=bounds, bins=7, sensor_size=(7, 9))
    np.testing.assert_allclose(voxels[:6].numpy(), expected[:, 0], atol=1e-5)


def test_time_surfaces_are_those_of_tonic() -> None:
    from tonic.transforms import ToTimesurface

    stream = events(300, seed=4)
    expected = ToTimesurface(sensor_size=(9, 7, 2), dt=800, tau=500.0)(structured(stream))
    bounds = ops.slice_by_window(stream["t_us"], 800, last="drop")
    at = stream["t_us"][0] + 800 * torch.arange(1, len(bounds) + 1)
    surfaces = ops.events_to_time_surfaces(**stream, bounds=bounds, at_us=at, tau_us=500.0, sensor_size=(7, 9))
    np.testing.assert_allclose(surfaces.numpy(), expected, atol=1e-6)


def test_a_scaled_frame_loses_no_event() -> None:
    stream = events(2000, height=128, width=128)
    bounds = ops.slice_by_number(stream["t_us"], 4)
    frames = ops.events_to_frames(**untimed(stream), bounds=bounds, sensor_size=(128, 128), size=(48, 48))
    assert int(frames.sum()) == 2000
    halves = ops.events_to_frames(**untimed(stream), bounds=bounds, sensor_size=(128, 128), size=(64, 64))
    whole = ops.events_to_frames(**untimed(stream), bounds=bounds, sensor_size=(128, 128))
    assert torch.equal(halves, whole.view(4, 2, 64, 2, 64, 2).sum(dim=(3, 5)).int())


def test_slices_without_events_are_empty() -> None:
    t = torch.tensor([0, 1, 2, 999])
    assert ops.slice_by_time(t, 3).tolist() == [[0, 3], [3, 3], [3, 4]]
    assert ops.slice_by_number(t, 8).tolist() == [[0, 0]] * 7 + [[0, 4]]
    none = torch.zeros(0, dtype=torch.int64)
    for cut in (ops.slice_by_time, ops.slice_by_number, ops.slice_by_window, ops.slice_by_count):
        assert int(cut(none, 3).sum()) == 0
    stream = events(0)
    frames = ops.events_to_frames(**untimed(stream), bounds=ops.slice_by_number(none, 3), sensor_size=(7, 9))
    assert frames.shape == (3, 2, 7, 9)
    assert int(frames.sum()) == 0


def test_packed_frames_feed_spiking_layers() -> None:
    stream = events(400, height=8, width=8)
    bounds = ops.slice_by_number(stream["t_us"], 4).unsqueeze(1)
    packed = ops.events_to_packed_frames(**untimed(stream), bounds=bounds, sensor_size=(8, 8))
    assert packed.shape == (4, 1, 8, 8, 1)
    binary = ops.events_to_frames(**untimed(stream), bounds=bounds, sensor_size=(8, 8)) > 0
    # Three times the spikes: at tau = 2 a pixel fires in the timestep of its event, not where there was none.
    spikes, _ = ops.lif(3 * ops.unpack_spikes(packed, 2, torch.float16), tau=2.0)
    expected, _ = ops.lif(3 * binary.to(torch.float16), tau=2.0)
    assert torch.equal(spikes, expected)
    assert torch.equal(spikes > 0, binary)
    assert 0 < spikes.mean() < 1


def test_opcheck() -> None:
    stream = events(50)
    bounds = torch.tensor([[[0, 20]], [[20, 50]]])
    for name, timed, extra in (
        ("events_to_frames", False, ()),
        ("events_to_packed_frames", False, ()),
        ("latest_event_times", True, ()),
        ("sum_event_voxels", True, (4,)),
    ):
        given_events = stream if timed else untimed(stream)
        op = getattr(torch.ops.eccsnn, name).default
        torch.library.opcheck(op, (*given_events.values(), bounds, *extra, 7, 9, 3, 4))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(5, dtype=torch.int64)}, TypeError, "x is torch.int64"),
        ({"x": torch.zeros(4, dtype=torch.uint16)}, ValueError, "same length"),
        ({"bounds": torch.zeros(3, dtype=torch.int64)}, ValueError, r"expected \[\.\.\., 2\]"),
        ({"size": (8, 9)}, ValueError, "size is"),
        ({"bounds": torch.tensor([[0, 6]])}, RuntimeError, r"slice 0 is \[0, 6\) of 5"),
        ({"bounds": torch.tensor([[3, 1]])}, RuntimeError, "slice 0"),
        ({"y": torch.tensor([0, 0, 0, 7, 0], dtype=torch.uint16)}, RuntimeError, r"event 3 is at \(\d, 7\)"),
        ({"polarity": torch.tensor([0, 2, 0, 1, 0], dtype=torch.uint8)}, RuntimeError, "polarity 2"),
    ],
)
def test_bad_input_is_refused(change: dict, error: type[Exception], message: str) -> None:
    arguments = {**untimed(events(5)), "bounds": torch.tensor([[0, 5]]), "sensor_size": (7, 9), **change}
    with pytest.raises(error, match=message):
        ops.events_to_frames(**arguments)


def test_bad_input_of_the_timed_ops_and_slices_is_refused() -> None:
    stream = events(5)
    space = {"bounds": torch.tensor([[0, 5]]), "sensor_size": (7, 9)}
    back = {**stream, "t_us": torch.tensor([5, 4, 6, 7, 8])}
    with pytest.raises(RuntimeError, match="time goes back at event 1"):
        ops.events_to_voxel_grid(**back, bins=3, **space)
    with pytest.raises(ValueError, match="bins is 1"):
        ops.events_to_voxel_grid(**stream, bins=1, **space)
    with pytest.raises(ValueError, match="tau_us is 0"):
        ops.events_to_time_surfaces(**stream, at_us=torch.tensor([1]), tau_us=0, **space)
    with pytest.raises(ValueError, match="at_us is"):
        ops.events_to_time_surfaces(**stream, at_us=torch.tensor([1, 2]), tau_us=1.0, **space)
    for bad in ({"timesteps": 0}, {"timesteps": 2, "last": "all"}, {"timesteps": True}):
        with pytest.raises(ValueError, match=r"timesteps is|last is"):
            ops.slice_by_number(stream["t_us"], **bad)
    with pytest.raises(TypeError, match="expected int64"):
        ops.slice_by_time(stream["x"], 3)
