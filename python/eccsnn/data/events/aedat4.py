"""AEDAT 4: read through the library `aedat`, as tonic does, and written uncompressed.

A file is the line `#!AER-DAT4.0`, a header and packets, both FlatBuffers. Those written here have one layout each, so
that their few fixed bytes stand below instead of a FlatBuffers library.

Source: the AEDAT 4 format of iniVation's dv-processing (tables IOHeader and EventPacket).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data.events.faults import Faults, Sieve
from eccsnn.data.events.types import Events
from eccsnn.errors import DataError

MAGIC = b"#!AER-DAT4.0\r\n"
_PACKET_EVENTS = 65536
_MAX_HEADER_BYTES = 2**20
_EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
_INFO = """<dv version="2.0">
 <node name="outInfo" path="/outInfo/">
  <node name="0" path="/outInfo/0/">
   <attr key="compression" type="string">NONE</attr>
   <attr key="originalModuleName" type="string">eccsnn</attr>
   <attr key="originalOutputName" type="string">events</attr>
   <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
   <attr key="typeIdentifier" type="string">EVTS</attr>
   <node name="info" path="/outInfo/0/info/">
    <attr key="sizeX" type="int">{width}</attr>
    <attr key="sizeY" type="int">{height}</attr>
    <attr key="source" type="string">eccsnn</attr>
   </node>
  </node>
 </node>
</dv>
"""


def read(path: Path, sensor: tuple[int, int] | None, block: int | None, skip: bool, faults: Faults) -> Iterator[Events]:
    """The events of the first event stream, packet by packet; `sensor` None takes the size that the file says.

    Raises:
        DataError: `aedat` is not installed, the file is no AEDAT 4, broken or without a stream of events, or an event
            is bad and `skip` is not set.
    """
    _check_header(path)
    decoder, stream, size = _open(path)
    sensor = sensor or size
    sieve = Sieve(path, sensor, skip, faults)
    yield Events.empty(width=sensor[0], height=sensor[1])  # which says the sensor, where no packet follows
    for packet in _packets(path, decoder, skip, faults):
        if packet["stream_id"] != stream:
            continue
        events = packet["events"]
        columns = sieve(events["t"], events["x"], events["y"], events["on"].view(np.uint8))
        step = block or max(1, len(columns[0]))
        for begin in range(0, len(columns[0]), step):
            t, x, y, polarity = (column[begin : begin + step] for column in columns)
            yield Events.unchecked(
                t.astype(np.int64), x.copy(), y.copy(), polarity.copy(), width=sensor[0], height=sensor[1]
            )


def _check_header(path: Path) -> None:
    """Raises DataError for a file of another kind, or whose description is no text, by which `aedat` aborts."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        if head != MAGIC:
            raise DataError(f"{path} is no AEDAT 4 file: it begins with {head!r}, expected {MAGIC!r}")
        size = int.from_bytes(file.read(4), "little")
        if size > _MAX_HEADER_BYTES:
            raise DataError(
                f"{path} cannot be read as AEDAT 4: its header has {size} bytes, expected {_MAX_HEADER_BYTES} at most"
            )
        header = file.read(size)
    try:
        header[header.index(b"<") :].rstrip(b"\0").decode()
    except ValueError as error:
        raise DataError(
            f"{path} cannot be read as AEDAT 4: its header is no XML in UTF-8 ({error}); it is broken: get it again"
        ) from None


def _open(path: Path) -> tuple[Any, int, tuple[int, int]]:
    try:
        import aedat
    except ImportError as error:
        raise DataError(
            f"{path}: AEDAT 4 is read through the library aedat, which cannot be imported ({error}); install it with "
            'pip install "eccsnn[events]"'
        ) from error
    try:
        decoder = aedat.Decoder(str(path))
        streams = {number: s for number, s in decoder.id_to_stream().items() if s["type"] == "events"}
    except BaseException as error:
        _raise_broken(path, error)
    if not streams:
        raise DataError(f"{path} has no stream of events, expected one (a recording of a camera's output)")
    number = min(streams)
    return decoder, number, (int(streams[number]["width"]), int(streams[number]["height"]))


def _packets(path: Path, decoder: Any, skip: bool, faults: Faults) -> Iterator[dict[str, Any]]:
    packets = iter(decoder)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except BaseException as error:
            if skip and isinstance(error, Exception):
                faults.add(Faults(truncated=1, first=f"{path}: the rest cannot be read: {error}"))
                return
            _raise_broken(path, error)
        yield packet


def _raise_broken(path: Path, error: BaseException) -> Any:
    # The library is written in Rust, whose panics arrive as an exception that is no Exception.
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        raise DataError(
            f"{path} cannot be read as AEDAT 4: {error}; the file is truncated or broken: get it again"
        ) from None
    raise error


def write(path: Path, blocks: Iterable[Events]) -> None:
    """Writes the events of consecutive blocks, uncompressed: 16 bytes an event.

    Raises:
        DataError: there is no block, or the sensor is larger than the 15 bits of a coordinate.
    """
    with path.open("wb") as file:
        sensor = None
        for events in blocks:
            if sensor is None:
                sensor = events.width, events.height
                if max(sensor) > 32768:
                    raise DataError(
                        f"the sensor is {sensor[0]} x {sensor[1]} px, expected at most 32768 x 32768 in AEDAT 4"
                    )
                file.write(MAGIC + _header(*sensor))
            for begin in range(0, len(events), _PACKET_EVENTS):
                file.write(_packet(events[begin : begin + _PACKET_EVENTS]))
        if sensor is None:
            raise DataError("there is no block of events to write; give at least one, which may be empty")


def _header(width: int, height: int) -> bytes:
    info = _INFO.format(width=width, height=height).encode()
    # root -> 24; "IOHE"; padding; vtable at 14 of 3 fields (compression 0 and table position -1 are left out);
    # table at 24: vtable is 10 bytes before, text 4 bytes after 28.
    body = struct.pack("<I4s2x5HiII", 20, b"IOHE", 10, 8, 0, 0, 4, 10, 4, len(info)) + info + b"\0"
    return struct.pack("<I", len(body)) + body


def _packet(events: Events) -> bytes:
    array = np.zeros(len(events), dtype=_EVENT)
    array["t"], array["x"], array["y"], array["p"] = events.t, events.x, events.y, events.polarity
    # root -> 20; "EVTS"; padding; vtable at 14 of 1 field; table at 20; vector at 28.
    body = struct.pack("<I4s2x3HiII", 16, b"EVTS", 6, 8, 4, 6, 4, len(events)) + array.tobytes()
    return struct.pack("<iiI", 0, len(body) + 4, len(body)) + body
