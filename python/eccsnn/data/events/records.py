"""AEDAT 2.0 and the 40-bit ATIS binary: a header, then records that the core decodes, in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eccsnn import _core
from eccsnn.data.events.faults import Faults
from eccsnn.data.events.types import Events
from eccsnn.errors import DataError

AEDAT2_HEADER = (
    b"#!AER-DAT2.0\r\n"
    b"# Each event: address and timestamp [us], 32 bits each, big-endian.\r\n"
    b"# DVS128: bit 0 darker, bits 1-7 127 - y, bits 8-14 127 - x (origin top left).\r\n"
)
_RECORD_BYTES = {"aedat2": 8, "atis": 5}
_CHUNK_BYTES = 40 * 6400
"""What is read at once: whole records of either format, and no more than fits beside its events into a cache."""
_MAX_HEADER_BYTES = 65536


def read(
    path: Path, format: str, sensor: tuple[int, int], block: int | None, skip: bool, faults: Faults
) -> Iterator[Events]:
    """The events of a file, `block` records at a time, or all of them at once for None.

    Raises:
        DataError: the header is not the format's, or an event is bad and `skip` is not set.
    """
    width, height = sensor
    with path.open("rb", buffering=0) as file:
        offset = _skip_aedat2_header(file, path) if format == "aedat2" else 0
        size = path.stat().st_size - offset
        decoder = _core.EventDecoder(format, width, height, skip, offset)
        left = -(-size // _RECORD_BYTES[format])
        while True:  # at least once: a recording without events is a block without events
            count = left if block is None else min(left, block)
            yield _fill(path, file, decoder, count, format, sensor)
            left -= count
            if not left:
                break
        time_back, outside, truncated_bytes, first = decoder.faults
        faults.add(Faults(time_back, outside, int(truncated_bytes > 0), first=first and f"{path}: {first}"))


def _fill(
    path: Path, file: FileIO, decoder: _core.EventDecoder, count: int, format: str, sensor: tuple[int, int]
) -> Events:
    """The events of the next `count` records."""
    t, x, y = np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16)
    polarity = np.empty(count, np.uint8)
    wanted = count * _RECORD_BYTES[format]
    buffer = np.empty(min(wanted, _CHUNK_BYTES), np.uint8)
    events = 0
    while wanted:
        got = _read_into(file, buffer[: min(wanted, len(buffer))])
        if not got:
            break  # the file became shorter, or ends in a part of a record
        try:
            events += decoder.decode(buffer[:got], t[events:], x[events:], y[events:], polarity[events:])
        except _core.EventFileError as error:
            raise DataError(
                f"{path}: {error}. Get the file again, or leave what is bad out with the policy 'skip'"
            ) from None
        wanted -= got
    columns = (column[:events] for column in (t, x, y, polarity))
    return Events.unchecked(*columns, width=sensor[0], height=sensor[1])


def _read_into(file: FileIO, buffer: npt.NDArray[np.uint8]) -> int:
    """Fills the buffer unless the file ends; returns the number of bytes."""
    view = buffer.data
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            break
        done += got
    return done


def _skip_aedat2_header(file: FileIO, path: Path) -> int:
    """Leaves the file at the first record; returns where that is."""
    head = file.read(_MAX_HEADER_BYTES)
    if not head.startswith(b"#!AER-DAT"):
        shown = "nothing: it is empty" if not head else repr(head[:16])
        raise DataError(f"{path} is no AEDAT file: it begins with {shown}, expected #!AER-DAT2.0")
    version = head[9:12].decode("ascii", "replace").strip()
    if not version.startswith("2"):
        hint = {"3": "the originals of DVS128 Gesture: use tonic's copies", "4": "read it with format 'aedat4'"}
        raise DataError(f"{path} is AEDAT {version}, expected 2.0 ({hint.get(version[:1], 'convert it first')})")
    at = 0
    # A DVS128's addresses begin with a byte of 0, so that no event looks like one more line.
    while head[at : at + 1] == b"#":
        end = head.find(b"\n", at)
        if end < 0:
            raise DataError(
                f"{path}: the header does not end: no line break after byte {at}; the file is truncated or no AEDAT 2.0"
            )
        at = end + 1
    file.seek(at)
    return at


def write(path: Path, format: str, blocks: Iterable[Events]) -> None:
    """Writes the events of consecutive blocks.

    Raises:
        DataError: an event does not fit into the format; the message names it.
    """
    encoder = _core.EventEncoder(format)
    with path.open("wb") as file:
        if format == "aedat2":
            file.write(AEDAT2_HEADER)
        for events in blocks:
            try:
                file.write(encoder.encode(events.t, events.x, events.y, events.polarity))
            except _core.EventFileError as error:
                raise DataError(f"{error} in format {format!r}") from None
