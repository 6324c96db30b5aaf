"""`eccsnn bench events`: event files and frames beside tonic and SpikingJelly, and the simulator.

Recordings are made up; their files lie in the disk's cache, so that no disk is measured. Readers and frames run on one
thread. Peers have to give the same events and the same counts, else they are not timed.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.bench.event_frames import frame_rows, simulator_row
from eccsnn.bench.peers import TITLES, Absent, in_short
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.settings import SizedSettings
from eccsnn.bench.timing import Candidate, Observer, Timing, ignore, measure, ratio, within
from eccsnn.data.events import Events, iterate_events, read_events, write_events

COUNTS = {"full": 200_000, "tiny": 2_000}  # full: the order of one recording of CIFAR10-DVS
SENSORS = {"aedat2": (128, 128), "atis": (240, 180)}
SUFFIXES = {"aedat2": ".aedat", "atis": ".bin"}
TITLE = {"aedat2": "AEDAT 2.0 (CIFAR10-DVS)", "atis": "ATIS, 40 bits (N-Caltech101)"}

BAR_EVENTS = 200.0  # million events a second, or
BAR_OF_COPY = 0.8  # this part of what a copy of the file would be, whichever is lower

_Columns = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True)
class EventSettings(SizedSettings):
    """What is measured; see `eccsnn bench events --help`."""


def run(
    settings: EventSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures all rows."""
    rows, results, absent = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for format in SENSORS:
            row, found, missing = _reading(format, Path(folder), settings, peers, observer)
            rows.append(row)
            results += found if settings.size == "full" else []
            absent += missing
    is_full = settings.size == "full"
    recording = random_recording(COUNTS[settings.size], SENSORS["aedat2"])
    framed, found, missing = frame_rows(recording, settings.budget, peers, observer)
    simulated, speed = simulator_row(8 if is_full else 1, settings.budget, observer)
    if is_full:
        results += [*found, *speed]
    return [*rows, *framed, simulated], results, [*absent, *missing]


def random_recording(count: int, sensor: tuple[int, int], seed: int = 0) -> Events:
    """Events anywhere on the sensor, half a microsecond after each other on average, as busy as cameras get."""
    random = np.random.default_rng(seed)
    return Events(
        np.sort(random.integers(0, count // 2 + 1, count)),
        random.integers(0, sensor[0], count, np.uint16),
        random.integers(0, sensor[1], count, np.uint16),
        random.integers(0, 2, count, np.uint8),
        width=sensor[0],
        height=sensor[1],
    )


def _reading(
    format: str, folder: Path, settings: EventSettings, peers: Sequence[str], observer: Observer
) -> tuple[Row, list[Result], list[Absent]]:
    sensor, count = SENSORS[format], COUNTS[settings.size]
    events = random_recording(count, sensor)
    path = folder / f"recording{SUFFIXES[format]}"
    write_events(path, events)
    buffer = bytearray(path.stat().st_size)

    def copy() -> None:
        with path.open("rb", buffering=0) as file:
            file.readinto(buffer)

    def in_blocks() -> int:
        return sum(map(len, iterate_events(path, sensor=sensor)))

    candidates = [
        Candidate("copy of the file", copy),
        Candidate("eccsnn read_events", lambda: read_events(path, sensor=sensor)),
        Candidate("eccsnn iterate_events", in_blocks),
    ]
    absent = []
    for peer in peers:
        name = f"{TITLES[peer]} read"
        try:
            call, columns = _PEER_READERS[peer, format](path)
            if not all(np.array_equal(a, b) for a, b in zip(columns(call()), _columns(events), strict=True)):
                raise ValueError("its events are not those that were written")
        except Exception as error:  # a library that breaks must not end the measurement of the others
            absent.append(Absent(f"{name}: {TITLE[format]}", in_short(error)))
        else:
            candidates.append(Candidate(name, call))
    title = f"read {TITLE[format]}, {count:,} events"
    timings = measure(candidates, settings.budget, observer=within(title, observer))
    row = _row(title, timings, count, len(buffer) / count)
    ours = timings["eccsnn read_events"]
    copied = count / timings["copy of the file"].median_s / 1e6
    result = Result(
        name=f"read_events: {TITLE[format]}",
        value=count / ours.median_s / 1e6,
        unit="M events/s",
        bar=min(BAR_EVENTS, BAR_OF_COPY * copied),
        aim=f"{BAR_OF_COPY:.0%} of a copy of the file ({copied:.0f} M events/s) or {BAR_EVENTS:.0f} M, the lower",
        spread=ours.spread,
    )
    return row, [result], absent


def _row(title: str, timings: dict[str, Timing], count: int, bytes_per_event: float) -> Row:
    """A row of speeds in million events a second, and of how many times faster eccsnn is than each peer."""
    measurements, ratios, ranges = [], {}, {}
    ours = timings["eccsnn read_events"]
    for name, timing in timings.items():
        speed = count / timing.median_s / 1e6
        owner = "bound" if name == "copy of the file" else name.split()[0].lower()
        measurements.append(
            Measurement(
                name=name,
                owner=owner,
                value=speed,
                spread=speed * timing.spread,
                unit="M events/s",
                rounds=timing.rounds,
                bytes_per_item=bytes_per_event,
            )
        )
        if owner not in ("eccsnn", "bound"):
            compared = ratio([timing], [ours])
            ratios[name] = compared.value
            ranges[name] = (compared.low, compared.high)
    return Row(name=title, measurements=measurements, ratios=ratios, ratio_ranges=ranges)


# ---- peers ----
# Each makes a call that reads the file, which is timed, and a function of its result that gives columns to compare.

_Reader = tuple[Callable[[], Any], Callable[[Any], _Columns]]


def _columns(events: Events) -> _Columns:
    return events.t, events.x, events.y, events.polarity


def _record_columns(record: Any) -> _Columns:
    return tuple(np.asarray(record[name]) for name in ("t", "x", "y", "p"))


def _tonic_aedat2(path: Path) -> _Reader:
    """What tonic's `read_dvs_128` does; as of 1.7 that fails itself, on its own header reader's third value."""
    io = importlib.import_module("tonic.io")

    def call() -> Any:
        version, start, *_ = io.read_aedat_header_from_file(str(path))
        raw = io.get_aer_events_from_file(str(path), version, start)
        address = raw["address"]
        return io.make_structured_array((address >> 8) & 0x7F, (address >> 1) & 0x7F, raw["timeStamp"], address & 0x1)

    def columns(record: Any) -> _Columns:  # tonic leaves coordinates and polarity as they are in the address
        return record["t"], 127 - record["x"], 127 - record["y"], ~record["p"]

    return call, columns


def _tonic_atis(path: Path) -> _Reader:
    read = importlib.import_module("tonic.io").read_mnist_file
    dtype = importlib.import_module("tonic.datasets").NCALTECH101.dtype
    return partial(read, str(path), dtype=dtype), _record_columns


def _spikingjelly_aedat2(path: Path) -> _Reader:
    read = importlib.import_module("spikingjelly.datasets.cifar10_dvs")._load_origin_data
    return partial(read, str(path)), _record_columns


def _spikingjelly_atis(path: Path) -> _Reader:
    read = importlib.import_module("spikingjelly.datasets.utils").load_ATIS_bin
    return partial(read, str(path)), _record_columns


_PEER_READERS: dict[tuple[str, str], Callable[[Path], _Reader]] = {
    ("tonic", "aedat2"): _tonic_aedat2,
    ("tonic", "atis"): _tonic_atis,
    ("spikingjelly", "aedat2"): _spikingjelly_aedat2,
    ("spikingjelly", "atis"): _spikingjelly_atis,
}
