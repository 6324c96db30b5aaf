"""Event files by path: whole recordings or block after block, in the formats of the field's data sets.

| format | suffixes | what |
| --- | --- | --- |
| `aedat2` | .aedat | AEDAT 2.0 of a DVS128: CIFAR10-DVS as published |
| `aedat4` | .aedat4 | AEDAT 4: CIFAR10-DVS as tonic has it |
| `atis` | .bin | 40 bits an event: N-Caltech101, N-MNIST |
| `npz` | .npz | arrays t, x, y, p: SpikingJelly's copies |
| `gesture` | .npy | array [N, 4] of x, y, polarity and t in ms: DVS128 Gesture as tonic has it |

docs/event_formats.md says what each has as origin, polarity and unit; here all become `Events`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eccsnn.data.events import aedat4, arrays, records
from eccsnn.data.events.faults import Faults, check_policy
from eccsnn.data.events.types import Events, concatenate
from eccsnn.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

DEFAULT_BLOCK = 65536
"""Events that `iterate_events` gives at once."""

Sensor = tuple[int, int]


@dataclass(frozen=True)
class _Format:
    """How files of a format are read and written.

    Attributes:
        suffix: of its files.
        magic: what they begin with.
        sensor: (width, height) where neither the caller nor the file says it; None: one of them has to.
        largest: sensor that the format can hold; None: any. For `exact`, the only one.
        exact: whether `largest` is the only one.
    """

    suffix: str
    magic: bytes
    sensor: Sensor | None
    largest: Sensor | None
    exact: bool
    read: Callable[[Path, Sensor | None, int | None, bool, Faults], Iterator[Events]]
    write: Callable[[Path, Iterable[Events]], None]


def _records(format: str) -> tuple[Callable[..., Iterator[Events]], Callable[..., None]]:
    def read(path: Path, sensor: Sensor, block: int | None, skip: bool, faults: Faults) -> Iterator[Events]:
        return records.read(path, format, sensor, block, skip, faults)

    return read, partial(_write_records, format)


def _write_records(format: str, path: Path, blocks: Iterable[Events]) -> None:
    records.write(path, format, blocks)


_DVS128, _ATIS = (128, 128), (256, 240)
_FORMATS = {
    "aedat2": _Format(".aedat", b"#!AER-DAT2", _DVS128, _DVS128, True, *_records("aedat2")),
    "aedat4": _Format(".aedat4", b"#!AER-DAT4", None, None, False, aedat4.read, aedat4.write),
    "atis": _Format(".bin", b"", _ATIS, _ATIS, False, *_records("atis")),
    "npz": _Format(".npz", b"PK", None, None, False, arrays.read_npz, arrays.write_npz),
    "gesture": _Format(".npy", b"\x93NUMPY", _DVS128, _DVS128, True, arrays.read_gesture, arrays.write_gesture),
}
FORMATS = tuple(_FORMATS)
"""Names of the formats."""


def read_events(
    path: str | Path,
    format: str | None = None,
    *,
    sensor: Sensor | None = None,
    policy: str = "strict",
    faults: Faults | None = None,
) -> Events:
    """Reads a whole recording.

    Args:
        path: the file.
        format: one of `FORMATS`; None: guessed, see `guess_format`.
        sensor: (width, height) in px. None: what the file says, else what the format has: 128 x 128 for `aedat2` and
            `gesture`, 256 x 240 (all that fits) for `atis`; SpikingJelly's `npz` need it.
        policy: `strict`: the first fault is an error. `skip`: bad events are left out and counted: in `faults`, or
            in a warning where that is None.
        faults: is added to.

    Returns:
        The events, with the times of the file; a file without events gives none.

    Raises:
        ConfigError: an unknown format or policy, or a sensor that the format does not have.
        DataError: the file is missing, of another format or broken, or an event is bad and the policy is strict; the
            message names file, byte and event.

    Example:
        >>> import tempfile, pathlib
        >>> events = Events(t=[1, 7], x=[5, 127], y=[0, 9], polarity=[1, 0], width=128, height=128)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "recording.aedat"
        ...     write_events(path, events)
        ...     read_events(path) == events
        True
    """
    parts = list(_read(Path(path), format, sensor, None, policy, faults))
    return parts[0] if len(parts) == 1 else concatenate(parts)


def iterate_events(
    path: str | Path,
    format: str | None = None,
    *,
    sensor: Sensor | None = None,
    block: int = DEFAULT_BLOCK,
    policy: str = "strict",
    faults: Faults | None = None,
) -> Iterator[Events]:
    """Reads a recording block after block, in memory that does not depend on its length (but see `npz`, `gesture`).

    Args:
        path: the file.
        format: as for `read_events`.
        sensor: as for `read_events`.
        block: events at once; a block may have fewer, but there is always at least one block.
        policy: as for `read_events`.
        faults: is added to when the file ends.

    Raises:
        ConfigError, DataError: as `read_events`, when the block in question is reached.
        ValueError: `block` is below 1.
    """
    if block < 1:
        raise ValueError(f"block is {block}, expected at least 1 event")
    return _read(Path(path), format, sensor, block, policy, faults)


def write_events(path: str | Path, events: Events | Iterable[Events], format: str | None = None) -> None:
    """Writes a recording, whole or not at all: to a temporary file beside it, which then takes its name.

    Args:
        path: the file; one that is there is replaced.
        events: a recording, or its consecutive blocks, at least one. They are written as they come (`npz` and `gesture`
            collect them).
        format: one of `FORMATS`; None: that of the suffix.

    Raises:
        ConfigError: an unknown format or suffix.
        DataError: the format cannot hold an event or the sensor, blocks do not follow on each other, or the file cannot
            be written.
    """
    path = Path(path)
    name = _of_suffix(path) if format is None else format
    if name is None:
        raise ConfigError(f"the format of {path} is not clear; expected a suffix of {_suffixes()}, or name the format")
    chosen = _find(name)
    blocks = [events] if isinstance(events, Events) else events
    try:
        with replacing(path) as temporary:
            chosen.write(temporary, _consecutive(path, name, chosen, blocks))
    except DataError as error:
        raise DataError(f"{path} is not written: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}; choose another folder or free some space") from error


def guess_format(path: str | Path) -> str:
    """The format of a file: by what it begins with, else by its suffix.

    Raises:
        ConfigError: neither tells.
        DataError: the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; expected an event file") from error
    for name, known in _FORMATS.items():
        if known.magic and head.startswith(known.magic):
            return name
    # All AEDAT go to the reader of AEDAT 2.0, which knows what to say about the others.
    by_suffix = "aedat2" if head.startswith(b"#!AER-DAT") else _of_suffix(path)
    if by_suffix is None:
        raise ConfigError(f"the format of {path} is not clear; expected a suffix of {_suffixes()}, or name the format")
    return by_suffix


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends, and is removed when it fails.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the umask, as any new file
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(
    path: Path, format: str | None, sensor: Sensor | None, block: int | None, policy: str, faults: Faults | None
) -> Iterator[Events]:
    skip = check_policy(policy)
    name = guess_format(path) if format is None else format
    chosen = _find(name)
    _check_sensor(name, chosen, sensor, ConfigError)
    return _blocks(path, chosen, sensor, block, skip, faults)


def _blocks(
    path: Path, chosen: _Format, sensor: Sensor | None, block: int | None, skip: bool, faults: Faults | None
) -> Iterator[Events]:
    found = Faults()
    try:
        yield from chosen.read(path, sensor or chosen.sensor, block, skip, found)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; expected an event file") from error
    if faults is not None:
        faults.add(found)
    elif found.total:
        logger.warning("%s: left out %s", path, found.in_words())


def _consecutive(path: Path, name: str, chosen: _Format, blocks: Iterable[Events]) -> Iterator[Events]:
    first: Events | None = None
    last_t = written = 0
    for events in blocks:
        if first is None:
            first = events
            _check_sensor(name, chosen, (events.width, events.height), DataError)
        if (events.width, events.height) != (first.width, first.height):
            raise DataError(
                f"a block is of a sensor of {events.width} x {events.height} px, the first of "
                f"{first.width} x {first.height}, expected the same"
            )
        if len(events):
            if events.t[0] < last_t:
                raise DataError(
                    f"event {written} goes back in time, from {last_t} to {events.t[0]} us: sort the blocks"
                )
            last_t = int(events.t[-1])
        written += len(events)
        yield events
    if first is None:
        raise DataError("there is no block of events; give at least one, which may be empty")


def _check_sensor(name: str, chosen: _Format, sensor: Sensor | None, error: type[Exception]) -> None:
    if sensor is None or chosen.largest is None:
        return
    fits = (
        sensor == chosen.largest if chosen.exact else all(a <= b for a, b in zip(sensor, chosen.largest, strict=True))
    )
    if not fits:
        width, height = chosen.largest
        expected = f"{'' if chosen.exact else 'at most '}{width} x {height} px"
        raise error(f"the sensor is {sensor[0]} x {sensor[1]} px, expected {expected} for format {name!r}")


def _find(name: str) -> _Format:
    if name not in _FORMATS:
        raise ConfigError(f"unknown event format {name!r}; expected one of {', '.join(FORMATS)}")
    return _FORMATS[name]


def _of_suffix(path: Path) -> str | None:
    return next((name for name, known in _FORMATS.items() if path.suffix.lower() == known.suffix), None)


def _suffixes() -> str:
    return ", ".join(known.suffix for known in _FORMATS.values())
