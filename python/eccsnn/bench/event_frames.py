"""Rows of `eccsnn bench events` about frames of events and about the simulator.

Frames are made of a recording as busy as one of CIFAR10-DVS; peers have to give the same counts, else they are not
timed. The simulator has no peer that runs here: its bar is a speed, with as many threads as cores, two at most, either
within a recording or with a recording a thread, as data sets are made; the faster of them is held against it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from eccsnn import ops
from eccsnn.bench.peers import TITLES, Absent, in_short
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Budget, Candidate, Observer, Timing, measure, ratio, within
from eccsnn.data.events import Events
from eccsnn.data.events.frames import event_tensors
from eccsnn.data.events.presets import PRESETS

TIMESTEPS = 10
BARS = {"tonic": 10.0, "spikingjelly": 5.0}
BAR_SIMULATION = 20.0  # million events a second on two cores


def frame_rows(
    events: Events, budget: Budget, peers: Sequence[str], observer: Observer
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures frames of ten slices, by number and by time, on one thread."""
    rows, results, absent = [], [], []
    for split_by in ("number", "time"):
        row, found, missing = _frames(events, split_by, budget, peers, observer)
        rows.append(row)
        results += found
        absent += missing
    return rows, results, absent


def simulator_row(images: int, budget: Budget, observer: Observer) -> tuple[Row, list[Result]]:
    """Measures recordings as those of CIFAR10-DVS, of made-up images of 32 px, with noise."""
    preset = PRESETS["cifar10_dvs"]
    pictures = _pictures(images)
    most = min(2, os.cpu_count() or 1)
    total = sum(len(preset.record(picture, seed=i)) for i, picture in enumerate(pictures))

    def record(threads: int) -> int:
        return sum(len(preset.record(picture, seed=i, threads=threads)) for i, picture in enumerate(pictures))

    def record_many() -> int:
        with ThreadPoolExecutor(most) as pool:
            return sum(pool.map(lambda i: len(preset.record(pictures[i], seed=i)), range(images)))

    candidates = [
        Candidate(f"eccsnn, {threads} thread{'s'[: threads - 1]}", partial(record, threads))
        for threads in sorted({1, most})
    ]
    if most > 1:
        candidates.append(Candidate(f"eccsnn, {most} recordings at a time", record_many))
    title = f"simulate {images} recordings of CIFAR10-DVS's kind, {total:,} events"
    timings = measure(candidates, budget, observer=within(title, observer))
    best = min(timings, key=lambda name: timings[name].median_s)
    ours = timings[best]
    result = Result(
        name="simulate: CIFAR10-DVS's kind",
        value=total / ours.median_s / 1e6,
        unit="M events/s",
        bar=BAR_SIMULATION,
        aim=f"{BAR_SIMULATION:.0f} M events/s on two cores; fastest: {best.removeprefix('eccsnn, ')}",
        spread=ours.spread,
    )
    return Row(name=title, measurements=_speeds(timings, total), ratios={}, ratio_ranges={}), [result]


def _frames(
    events: Events, split_by: str, budget: Budget, peers: Sequence[str], observer: Observer
) -> tuple[Row, list[Result], list[Absent]]:
    t, x, y, polarity = event_tensors(events)
    size = (events.height, events.width)
    cut = ops.slice_by_number if split_by == "number" else ops.slice_by_time

    def ours(last: str) -> torch.Tensor:
        return ops.events_to_frames(x, y, polarity, cut(t, TIMESTEPS, last=last), sensor_size=size)

    def packed() -> torch.Tensor:
        return ops.events_to_packed_frames(x, y, polarity, cut(t, TIMESTEPS).unsqueeze(1), sensor_size=size)

    candidates = [
        Candidate("eccsnn events_to_frames", lambda: ours("keep")),
        Candidate("eccsnn events_to_packed_frames", packed),
    ]
    title = f"{len(events):,} events to {TIMESTEPS} frames of {size[1]} x {size[0]} px by {split_by}"
    absent = []
    for peer in peers:
        try:
            call = _PEERS[peer](events, split_by)
            if not np.array_equal(call(), ours("drop" if peer == "tonic" else "keep").numpy()):
                raise ValueError("its counts are others")
        except Exception as error:  # a library that breaks must not end the measurement of the others
            absent.append(Absent(f"{TITLES[peer]} frames: by {split_by}", in_short(error)))
        else:
            candidates.append(Candidate(f"{TITLES[peer]} frames", call))
    timings = measure(candidates, budget, observer=within(title, observer))
    ratios, ranges, results = {}, {}, []
    for peer in peers:
        name = f"{TITLES[peer]} frames"
        if name not in timings:
            continue
        compared = ratio([timings[name]], [timings["eccsnn events_to_frames"]])
        ratios[name], ranges[name] = compared.value, (compared.low, compared.high)
        results.append(
            Result(
                name=f"events to frames by {split_by} against {TITLES[peer]}",
                value=compared.value,
                unit="x",
                bar=BARS[peer],
                aim=f"{BARS[peer]:.0f} times as fast, one thread",
                spread=(compared.high - compared.low) / compared.value,
            )
        )
    return (
        Row(name=title, measurements=_speeds(timings, len(events)), ratios=ratios, ratio_ranges=ranges),
        results,
        absent,
    )


def _speeds(timings: dict[str, Timing], count: int) -> list[Measurement]:
    measurements = []
    for name, timing in timings.items():
        speed = count / timing.median_s / 1e6
        measurements.append(
            Measurement(
                name=name,
                owner="eccsnn" if name.startswith("eccsnn") else name.split()[0].lower(),
                value=speed,
                spread=speed * timing.spread,
                unit="M events/s",
                rounds=timing.rounds,
            )
        )
    return measurements


def _pictures(count: int) -> list[np.ndarray]:
    """Smooth random images, uint8 `[32, 32]`: as much contrast as photographs of that size have."""
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return list((255 * smooth[:, 0]).to(torch.uint8).numpy())


# ---- peers ----


def _tonic(events: Events, split_by: str) -> Callable[[], Any]:
    transforms = importlib.import_module("tonic.transforms")
    record = importlib.import_module("tonic.io").make_structured_array(events.x, events.y, events.t, events.polarity)
    number = {"n_event_bins" if split_by == "number" else "n_time_bins": TIMESTEPS}
    transform = transforms.ToFrame(sensor_size=(events.width, events.height, 2), **number)
    return lambda: transform(record)


def _spikingjelly(events: Events, split_by: str) -> Callable[[], Any]:
    integrate = importlib.import_module("spikingjelly.datasets.utils").integrate_events_by_fixed_frames_number
    record = {"t": events.t, "x": events.x, "y": events.y, "p": events.polarity}
    return lambda: integrate(record, split_by, TIMESTEPS, events.height, events.width)


_PEERS: dict[str, Callable[[Events, str], Callable[[], Any]]] = {"tonic": _tonic, "spikingjelly": _spikingjelly}
