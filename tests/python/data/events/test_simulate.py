"""The event simulator: against its reference event for event, and what it must do by physics."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from eccsnn import _core
from eccsnn.data.events import simulate_reference
from eccsnn.data.events.camera_path import CameraPath
from eccsnn.data.events.sensor import SensorModel
from eccsnn.data.events.simulate import simulate

NOISY = SensorModel(threshold_on=0.12, threshold_off=0.16, shot_noise_rate_hz=40.0, leak_rate_hz=8.0)
QUIET = SensorModel(threshold_sigma=0.0)


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def core_arguments(sensor: SensorModel, height: int, width: int, *, video: bool, seed: int) -> tuple:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 4081, (5 if video else 1, height + 6, width + 6), dtype=np.uint16)
    times = np.concatenate([[0], np.cumsum(random.integers(1, 9000, 11))])
    shown = random.integers(0, len(frames), len(times))
    place = random.integers(0, 5 * 64, (len(times), 2))
    return (
        frames,
        np.column_stack([times, shown, place]).astype(np.int64),
        sensor.log_intensity(),
        *sensor.thresholds(height, width),
    )


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("refractory_us", [0, 700])
@pytest.mark.parametrize("sensor", [NOISY, QUIET, SensorModel(gamma=2.2, shot_noise_rate_hz=300.0)])
@pytest.mark.parametrize("size", [(3, 5), (1, 66)])
def test_core_equals_the_reference_event_for_event(sensor, refractory_us, video, size):
    arguments = core_arguments(sensor, *size, video=video, seed=3)
    settings = {
        "refractory_us": refractory_us,
        "shot_noise_rate_hz": sensor.shot_noise_rate_hz,
        "leak_rate_hz": sensor.leak_rate_hz,
        "seed": 2**63 + 12345,
    }
    given = _core.simulate_events(*arguments, **settings, threads=1)
    expected = simulate_reference.simulate_events(*arguments, **settings)
    assert len(given[0]) > 0
    for name, array, truth in zip(("t", "x", "y", "polarity"), given, expected, strict=True):
        np.testing.assert_array_equal(array, truth, err_msg=name)


def test_philox_gives_the_authors_known_answers():
    # The zero and the all-ones vector of the Random123 distribution.
    assert simulate_reference.philox(0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 2**64 - 1
    assert simulate_reference.philox(ones, ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_do_not_change_the_events(threads):
    arguments = {"path": CameraPath.saccades(), "sensor": NOISY, "seed": 5}
    image = random_image(37, 41)
    assert simulate(image, **arguments, threads=threads) == simulate(image, **arguments, threads=1)


def test_instruction_sets_do_not_change_the_events():
    program = (
        "import numpy as np; from eccsnn.data.events.simulate import simulate;"
        "from eccsnn.data.events.camera_path import CameraPath; from eccsnn.data.events.sensor import SensorModel;"
        "image = np.random.default_rng(0).integers(0, 256, (20, 90), dtype=np.uint8);"
        "sensor = SensorModel(shot_noise_rate_hz=20.0, leak_rate_hz=5.0);"
        "print(simulate(image, CameraPath.saccades(), sensor).checksum())"
    )
    sums = set()
    for isa in ("baseline", _core.isa()["supported"]):
        environment = {**os.environ, "ECCSNN_ISA": isa}
        command = [sys.executable, "-c", program]
        sums.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(sums) == 1


def test_seed_changes_the_noise_and_nothing_else():
    image = random_image(16, 16)
    first = simulate(image, CameraPath.saccades(), NOISY, seed=0)
    assert first == simulate(image, CameraPath.saccades(), NOISY, seed=0)
    assert first != simulate(image, CameraPath.saccades(), NOISY, seed=1)
    quiet = SensorModel()
    assert simulate(image, CameraPath.saccades(), quiet, seed=0) == simulate(
        image, CameraPath.saccades(), quiet, seed=1
    )


def test_events_lie_where_the_ramp_crosses_the_threshold():
    # From 100 to 200 in 10 ms is ln 2 = 0.693 upwards: crossings of 0.2 at 2885, 5771 and 8656 us.
    video = np.array([[[100]], [[200]]], dtype=np.uint8)
    events = simulate(video, sensor=QUIET, frame_times_us=[0, 10_000])
    assert events.polarity.tolist() == [1, 1, 1]
    np.testing.assert_allclose(events.t, np.array([0.2, 0.4, 0.6]) / np.log(2) * 10_000, atol=1)
    back = simulate(video[::-1], sensor=QUIET, frame_times_us=[0, 10_000])
    assert back.polarity.tolist() == [0, 0, 0]


def test_refractory_time_bounds_the_rate_of_a_pixel():
    video = np.array([[[20]], [[250]]], dtype=np.uint8)
    assert len(simulate(video, sensor=QUIET, frame_times_us=[0, 1000])) == 12
    slow = SensorModel(threshold_sigma=0.0, refractory_us=400)
    events = simulate(video, sensor=slow, frame_times_us=[0, 1000])
    assert 2 <= len(events) <= 3
    assert (np.diff(events.t) >= 400).all()


def test_leak_gives_on_events_at_its_rate_and_shot_noise_falls_with_intensity():
    still = CameraPath.line(2_000_000)
    grey = np.full((32, 32), 128, dtype=np.uint8)
    leak = simulate(grey, still, SensorModel(leak_rate_hz=5.0))
    assert leak.polarity.all()
    assert len(leak) == pytest.approx(1024 * 5 * 2, rel=0.15)

    def noise(value: int) -> int:
        sensor = SensorModel(shot_noise_rate_hz=10.0)
        return len(simulate(np.full((32, 32), value, dtype=np.uint8), still, sensor))

    expected = 1024 * 10 * 2  # a Poisson number: 1% is well over its standard deviation
    assert noise(0) == pytest.approx(expected, rel=0.03)
    assert noise(255) == pytest.approx(expected / 4, rel=0.05)


def test_mismatch_belongs_to_the_camera():
    on, off = SensorModel(threshold_on=0.3, threshold_sigma=0.05).thresholds(100, 100)
    assert on.mean() == pytest.approx(0.3, abs=0.002)
    assert on.std() == pytest.approx(0.05, rel=0.03)
    assert abs(np.corrcoef(on.ravel(), off.ravel())[0, 1]) < 0.05
    wide, _ = SensorModel(threshold_sigma=1.0).thresholds(50, 50)
    assert wide.min() == np.float32(0.01)
    other, _ = SensorModel(threshold_on=0.3, threshold_sigma=0.05, mismatch_seed=1).thresholds(100, 100)
    assert (on != other).any()


def test_colour_is_weighted_and_an_image_is_scaled_to_the_sensor():
    colour = np.stack([random_image(8, 8)] * 3, axis=-1)
    path = CameraPath.saccades()
    grey = simulate(colour[..., 0], path, QUIET, size=(30, 20))
    assert (grey.width, grey.height) == (20, 30)
    assert simulate(colour, path, QUIET, size=(30, 20)) == grey


def test_a_video_moves_along_a_path():
    still = np.repeat(random_image(9, 9)[None], 5, axis=0)
    times = [0, 1000, 2000, 3000, 4000]
    assert len(simulate(still, sensor=QUIET, frame_times_us=times)) == 0
    assert len(simulate(still, CameraPath.line(4000, dx=3.0), QUIET, frame_times_us=times)) > 0


def test_paths_close_and_have_the_originals_lengths():
    loops = CameraPath.closed_loops(side_px=4.0, side_us=50_000)
    assert loops.duration_us == 6 * 4 * 50_000
    assert (loops.x[0], loops.y[0]) == (loops.x[-1], loops.y[-1])
    assert {abs(a - b) for a, b in zip(loops.x[1:], loops.x, strict=False)} == {4.0}
    assert {abs(a - b) for a, b in zip(loops.y[1:], loops.y, strict=False)} == {4.0}
    saccades = CameraPath.saccades()
    assert saccades.duration_us == 300_000
    assert (saccades.x[0], saccades.y[0]) == (saccades.x[-1], saccades.y[-1])
    times = loops.times(max_step_px=0.5, max_step_us=10_000)
    assert np.abs(np.diff(loops.at(times), axis=0)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((4, 4))}, "expected uint8"),
        ({"image": np.zeros((4, 4), dtype=np.uint8)}, "needs a path"),
        ({"image": np.zeros((4,), dtype=np.uint8), "path": CameraPath.saccades()}, r"expected \[H, W\]"),
        ({"image": np.zeros((0, 4), dtype=np.uint8), "path": CameraPath.saccades()}, "at least one"),
        ({"image": np.zeros((2, 4, 4), dtype=np.uint8), "frame_times_us": [0, 0]}, "grow from 0"),
        ({"image": np.zeros((2, 4, 4), dtype=np.uint8), "frame_times_us": [0]}, "2 whole numbers"),
        ({"image": np.zeros((4, 4), dtype=np.uint8), "path": CameraPath.saccades(), "seed": -1}, "seed"),
        ({"image": np.zeros((4, 4), dtype=np.uint8), "path": CameraPath.saccades(), "threads": 0}, "threads is 0"),
        ({"image": np.zeros((4, 4), dtype=np.uint8), "path": CameraPath.saccades(), "size": (0, 4)}, "size"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        simulate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold_on": 0.0}, "threshold_on is 0.0"),
        ({"threshold_off": float("nan")}, "threshold_off is nan"),
        ({"refractory_us": 0.5}, "expected an integer"),
        ({"leak_rate_hz": "1"}, "expected a number"),
    ],
)
def test_bad_sensors_are_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SensorModel(**arguments)


@pytest.mark.parametrize("times", [[0], [0, 0], [1, 2], [0, 0.5], [0, 2**31]])
def test_bad_paths_are_refused(times):
    with pytest.raises(ValueError, match=r"path|t_us"):
        CameraPath(times, [0.0] * len(times), [0.0] * len(times))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 4081, "a frame holds 4081; expected less than 4081"),
        (3, 0.0, r"threshold_on holds 0\.0+; expected at least 0\.001"),
        (4, float("nan"), "threshold_off holds nan"),
        (4, float("inf"), "threshold_off holds inf"),
    ],
)
def test_core_refuses_values_out_of_range(place, value, message):
    arguments = list(core_arguments(QUIET, 3, 3, video=False, seed=0))
    arguments[place] = arguments[place].copy()
    arguments[place].flat[-1] = value
    with pytest.raises(ValueError, match=message):
        _core.simulate_events(*arguments, refractory_us=0, shot_noise_rate_hz=0.0, leak_rate_hz=0.0, seed=0, threads=1)


@pytest.mark.parametrize(
    ("step", "message"),
    [((5, 0, 0, -1), "edge"), ((5, 0, 7 * 64, 0), "edge"), ((5, 1, 0, 0), "frame 1"), ((0, 0, 0, 0), "grow")],
)
def test_core_refuses_steps_that_leave_the_frame(step, message):
    frames, steps, *rest = core_arguments(QUIET, 3, 3, video=False, seed=0)
    steps = np.array([steps[0], step])
    with pytest.raises(ValueError, match=message):
        _core.simulate_events(
            frames, steps, *rest, refractory_us=0, shot_noise_rate_hz=0.0, leak_rate_hz=0.0, seed=0, threads=1
        )
