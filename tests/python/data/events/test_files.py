"""Event files: round trips, golden bytes, and what is said about bad ones."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.data.events import (
    FORMATS,
    Events,
    Faults,
    concatenate,
    guess_format,
    iterate_events,
    read_events,
    write_events,
)
from eccsnn.errors import ConfigError, DataError

GOLDEN = Path(__file__).parents[3] / "golden" / "events"
SUFFIXES = {"aedat2": ".aedat", "aedat4": ".aedat4", "atis": ".bin", "npz": ".npz", "gesture": ".npy"}
# What stands in the golden files: first and last pixel, both polarities, equal times, whole milliseconds.
FEW = Events([0, 1000, 1000, 70_000], [0, 127, 5, 64], [0, 0, 127, 65], [1, 0, 0, 1], width=128, height=128)


def one(t: int, width: int = 128, height: int = 128) -> Events:
    return Events([t], [0], [0], [0], width=width, height=height)


def header_bytes(data: bytes) -> int:
    return data.rindex(b"\r\n") + 2


@pytest.mark.parametrize("format", FORMATS)
def test_golden_bytes(format, tmp_path):
    golden = GOLDEN / f"few{SUFFIXES[format]}"
    assert read_events(golden, sensor=(128, 128)) == FEW
    write_events(tmp_path / golden.name, FEW)
    if format == "npz":  # an archive holds the time of writing
        with np.load(tmp_path / golden.name) as ours, np.load(golden) as theirs:
            assert set(ours.files) == set(theirs.files) == {"t", "x", "y", "p", "width", "height"}
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours.files)
    else:
        assert (tmp_path / golden.name).read_bytes() == golden.read_bytes()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_aedat4_is_read(compression):
    # Made by hand: the header names the compression; each packet is a frame of lz4 4.4.5 or zstandard 0.25.
    golden = GOLDEN / f"few-{compression}.aedat4"
    assert read_events(golden) == FEW
    assert concatenate(list(iterate_events(golden, block=2))) == FEW


@pytest.mark.parametrize(("at", "value"), [(72, 0xEF), (150, 0xE1), (255, 0xE1), (17, 0x7F)])
def test_a_header_by_which_the_library_would_abort_is_an_error(tmp_path, at, value):
    data = bytearray((GOLDEN / "few.aedat4").read_bytes())
    data[at] = value
    (tmp_path / "a.aedat4").write_bytes(data)
    with pytest.raises(
        DataError, match=r"a\.aedat4 cannot be read as AEDAT 4: its header (is no XML in UTF-8|has \d+ bytes)"
    ):
        read_events(tmp_path / "a.aedat4", policy="skip")


def test_new_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_events(tmp_path / "a.bin", FEW)
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_the_bytes_are_as_documented():
    aedat = (GOLDEN / "few.aedat").read_bytes()
    assert aedat.startswith(b"#!AER-DAT2.0\r\n")
    # x = 127, y = 0, darker: bits 8-14 are 0, bits 1-7 are 127, bit 0 is 1.
    assert aedat[header_bytes(aedat) + 8 :][:8] == bytes([0, 0, 0x00, 0xFF, 0, 0, 0x03, 0xE8])
    atis = (GOLDEN / "few.bin").read_bytes()
    assert atis[-5:] == bytes([64, 65, 0x80 | 70_000 >> 16, 70_000 >> 8 & 255, 70_000 & 255])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_round_trip_whole_and_in_blocks(format, count, tmp_path, make_events):
    events = make_events(count)
    if format == "gesture":
        events = Events(events.t // 1000 * 1000, events.x, events.y, events.polarity, width=128, height=128)
    path = tmp_path / f"recording{SUFFIXES[format]}"
    write_events(path, [events[: count // 3], events[count // 3 :]])
    assert read_events(path, sensor=(128, 128)) == events
    blocks = list(iterate_events(path, sensor=(128, 128), block=999))
    assert max(map(len, blocks)) <= 999
    assert concatenate(blocks) == events
    assert guess_format(path) == format
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_large_files_are_read_in_pieces(tmp_path, make_events):
    events = make_events(100_003, duration_us=8_000_000)
    for suffix in (".aedat", ".bin"):
        write_events(tmp_path / f"a{suffix}", events)
        assert read_events(tmp_path / f"a{suffix}", sensor=(128, 128)) == events


def test_atis_overflow_records_carry_the_time(tmp_path):
    times = [0, 2**23 - 1, 2**23, 2**23 + 5, 40_000_000]
    events = Events(times, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 0, 1, 0], width=34, height=34)
    path = tmp_path / "a.bin"
    write_events(path, events)
    data = np.fromfile(path, np.uint8).reshape(-1, 5)
    overflows = -(-(times[-1] - (2**23 - 1)) // 8192)
    assert (data[:, 1] == 240).sum() == overflows
    assert read_events(path, sensor=(34, 34)) == events
    assert concatenate(list(iterate_events(path, sensor=(34, 34), block=3))) == events


def test_aedat2_timestamps_wrap(tmp_path):
    times = [2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 2**31, 2**33 - 1]
    events = Events(times, [0] * 6, [0] * 6, [1] * 6, width=128, height=128)
    path = tmp_path / "a.aedat"
    write_events(path, events)
    assert read_events(path) == events
    assert concatenate(list(iterate_events(path, block=1))) == events


def fault(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def bad_files(data: bytes, format: str):
    """name -> (bytes, message, kind of fault) from a good file of the events FEW, of which one is bad then."""
    if format == "aedat2":
        h = header_bytes(data)
        back = rf"byte {h + 16} \(event 2\): time goes back from 1000 to 999 us"
        return {
            "truncated": (data[:-3], rf"byte {h + 24} \(event 3\): the file ends after 5 of the 8", "truncated"),
            "back": (fault(data, h + 20, b"\0\0\3\xe7"), back, "time_back"),
            "address": (fault(data, h + 16, b"\0\0\x80"), "address 32769 has bits above the 15", "outside"),
        }
    back = r"byte 10 \(event 2\): time goes back from 1000 to 999 us"
    outside = r"byte 5 \(event 1\): x = 128, y = 0 is outside the sensor of 128 x 128 px"
    return {
        "truncated": (data[:-3], r"byte 15 \(event 3\): the file ends after 2 of the 5", "truncated"),
        "back": (fault(data, 13, b"\3\xe7"), back, "time_back"),
        "outside": (fault(data, 5, b"\x80"), outside, "outside"),
    }


@pytest.mark.parametrize("name", ["truncated", "back", "address", "outside"])
@pytest.mark.parametrize("format", ["aedat2", "atis"])
def test_bad_records_are_errors_or_skipped_and_counted(format, name, tmp_path, caplog):
    cases = bad_files((GOLDEN / f"few{SUFFIXES[format]}").read_bytes(), format)
    if name not in cases:
        assert (format, name) in {("aedat2", "outside"), ("atis", "address")}  # which a record cannot say
        return
    data, message, kind = cases[name]
    path = tmp_path / f"bad{SUFFIXES[format]}"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        read_events(path, sensor=(128, 128))
    assert str(path) in str(error.value)
    assert "'skip'" in str(error.value)
    faults = Faults()
    events = read_events(path, sensor=(128, 128), policy="skip", faults=faults)
    assert (len(events), faults.total, getattr(faults, kind)) == (3, 1, 1)
    assert faults.first.startswith(f"{path}: byte ")
    assert caplog.text == ""
    in_blocks = Faults()
    blocks = list(iterate_events(path, sensor=(128, 128), policy="skip", faults=in_blocks, block=1))
    assert concatenate(blocks) == events
    assert in_blocks == faults
    with caplog.at_level(logging.WARNING):
        read_events(path, sensor=(128, 128), policy="skip")
    assert "left out 1 " in caplog.text


@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [
        (".aedat", b"", "no AEDAT file: it begins with nothing: it is empty"),
        (".aedat", b"\0\0\0\0\0\0\0\0", "no AEDAT file: it begins with"),
        (".aedat", b"#!AER-DAT3.1\r\n", "is AEDAT 3.1, expected 2.0 .*tonic's copies"),
        (".aedat", b"#!AER-DAT1.0\r\n", r"is AEDAT 1.0, expected 2.0 \(convert it first\)"),
        (".aedat", b"#!AER-DAT2.0\r\n# and on", "the header does not end: no line break after byte 14"),
        (".aedat", b"#!AER-DAT2.0\r\n#" + b"a" * 70_000, "the header does not end"),
        (".aedat4", b"#!AER-DAT4.0\r\n", "cannot be read as AEDAT 4"),
        (".aedat4", b"", "no AEDAT 4 file"),
        (".npz", b"", "cannot be read as an NPZ archive"),
        (".npz", b"not an archive", "it has no header of NumPy arrays"),
        (".npz", b"PK\3\4", "cannot be read as an NPZ archive"),
        (".npy", b"\x93NUMPY", "cannot be read as an NPY array"),
        (".npy", b"", "cannot be read as an NPY array"),
    ],
)
def test_files_of_another_kind(suffix, data, message, tmp_path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_events(path, sensor=(128, 128))


def test_an_empty_atis_file_is_a_recording_without_events(tmp_path):
    path = tmp_path / "a.bin"
    path.touch()
    assert read_events(path, sensor=(34, 34)) == Events.empty(width=34, height=34)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": [0]}, "has arrays t; x, y, p is missing"),
        ({"t": [0], "x": [0], "y": [0], "p": [0, 1]}, r"its arrays have \[1, 2\] values"),
        ({"t": [0.5], "x": [0], "y": [0], "p": [0]}, "t has values that are no integers"),
        ({"t": [0], "x": [[0]], "y": [0], "p": [0]}, r"x has shape \[1, 1\]"),
        ({"t": ["a"], "x": [0], "y": [0], "p": [0]}, "t has dtype <U1"),
        ({"t": [0], "x": np.array([2**63], np.uint64), "y": [0], "p": [0]}, "does not fit in 64 bits"),
        ({"t": [0], "x": [128], "y": [0], "p": [0]}, "event 0: x = 128, y = 0, polarity = 0, expected 0 to 127"),
        ({"t": [0], "x": [0], "y": [0], "p": [-1]}, "event 0: x = 0, y = 0, polarity = -1"),
        ({"t": [5, 4], "x": [0, 0], "y": [0, 0], "p": [0, 0]}, "event 1: time goes back from 5 to 4 us"),
        ({"t": np.array([{}], object), "x": [0], "y": [0], "p": [0]}, "cannot be read as an NPZ archive"),
    ],
)
def test_bad_npz(arrays, message, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **{key: np.asarray(value) for key, value in arrays.items()})
    with pytest.raises(DataError, match=message):
        read_events(path, sensor=(128, 128))


def test_skipping_in_arrays_keeps_the_rest(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, t=[1, 5, 4, 3, 6, 6], x=[0, 1, 2, 3, 200, 5], y=[0] * 6, p=[1.0] * 6)
    faults = Faults()
    events = read_events(path, sensor=(128, 128), policy="skip", faults=faults)
    assert (events.t.tolist(), events.x.tolist()) == ([1, 5, 6], [0, 1, 5])
    assert (faults.time_back, faults.outside, faults.total) == (2, 1, 3)


def test_an_npz_has_to_know_its_sensor(tmp_path):
    np.savez(tmp_path / "a.npz", t=[0], x=[0], y=[0], p=[0])
    with pytest.raises(DataError, match=r"give sensor=\(width, height\)"):
        read_events(tmp_path / "a.npz")


@pytest.mark.parametrize("values", [np.zeros((3, 3), int), np.zeros(4, int), np.full((1, 4), 2**60)])
def test_a_gesture_file_is_an_array_of_four_columns(values, tmp_path):
    np.save(tmp_path / "0.npy", values)
    with pytest.raises(DataError, match=r"expected an array \[N, 4\]|expected milliseconds"):
        read_events(tmp_path / "0.npy")


def test_a_truncated_aedat4(tmp_path, make_events):
    events = make_events(200_000)
    path = tmp_path / "a.aedat4"
    write_events(path, events)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot be read as AEDAT 4"):
        read_events(path)
    faults = Faults()
    rest = read_events(path, policy="skip", faults=faults)
    assert (faults.truncated, faults.total) == (1, 1)
    assert 0 < len(rest) < len(events)
    assert rest == events[: len(rest)]


def test_writing_is_all_or_nothing(tmp_path, make_events):
    path = tmp_path / "a.aedat"
    write_events(path, make_events(3))
    before = path.read_bytes()

    def interrupted():
        yield make_events(1000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_events(path, interrupted())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("suffix", "events", "message"),
    [
        (".aedat", one(0, width=240, height=180), "the sensor is 240 x 180 px, expected 128 x 128 px"),
        (".bin", one(0, width=257, height=1), "expected at most 256 x 240 px for format 'atis'"),
        (".aedat", [one(0), one(2**31)], "event 1 cannot be written: t is 2147483648 us"),
        (".aedat", one(2**32), "event 0 cannot be written: t is 4294967296 us"),
        (".bin", one(2**32, width=34, height=34), "event 0 cannot be written: t is 4294967296 us"),
        (".aedat4", Events.empty(width=40_000, height=9), "at most 32768 x 32768"),
        (".aedat4", [FEW, FEW], "event 4 goes back in time, from 70000 to 0 us"),
        (
            ".aedat4",
            [FEW, one(70_000, width=9, height=9)],
            "a block is of a sensor of 9 x 9 px, the first of 128 x 128",
        ),
        (".aedat4", [], "there is no block of events"),
    ],
)
def test_what_cannot_be_written(suffix, events, message, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        write_events(tmp_path / f"a{suffix}", events)
    assert f"a{suffix} is not written" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_known(tmp_path):
    write_events(tmp_path / "a.bin", FEW)
    (tmp_path / "b.dat").write_bytes(b"abc")
    with pytest.raises(ConfigError, match="unknown event format 'evt3'; expected one of aedat2, aedat4"):
        read_events(tmp_path / "a.bin", "evt3")
    with pytest.raises(ConfigError, match=r"the format of .*b.dat is not clear"):
        read_events(tmp_path / "b.dat")
    with pytest.raises(ConfigError, match=r"the format of .*c.dat is not clear"):
        write_events(tmp_path / "c.dat", FEW)
    with pytest.raises(ConfigError, match="policy is 'lenient', expected one of 'strict', 'skip'"):
        read_events(tmp_path / "a.bin", policy="lenient")
    with pytest.raises(ConfigError, match="the sensor is 346 x 260 px, expected at most 256 x 240"):
        read_events(tmp_path / "a.bin", sensor=(346, 260))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_events(tmp_path / "missing.bin")
    with pytest.raises(DataError, match="cannot be written"):
        write_events(tmp_path / "no" / "folder.bin", FEW)
    with pytest.raises(ValueError, match="block is 0"):
        iterate_events(tmp_path / "a.bin", block=0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 127), st.integers(0, 127), st.booleans()), max_size=40
    ),
    st.sampled_from([".aedat", ".bin", ".aedat4"]),
)
def test_any_events_come_back(tmp_path_factory, rows, suffix):
    rows = sorted(rows, key=lambda row: row[0])
    t, x, y, p = zip(*rows, strict=True) if rows else ((), (), (), ())
    events = Events(t, x, y, np.array(p, np.uint8), width=128, height=128)
    path = tmp_path_factory.mktemp("any") / f"a{suffix}"
    write_events(path, events)
    assert read_events(path, sensor=(128, 128)) == events


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=6),
    st.integers(0, 4096),
    st.binary(max_size=9),
    st.sampled_from(["strict", "skip"]),
)
def test_broken_bytes_give_events_or_an_error(tmp_path_factory, format, edits, cut, tail, policy):
    data = bytearray((GOLDEN / f"few{SUFFIXES[format]}").read_bytes())
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path_factory.mktemp("broken") / f"a{SUFFIXES[format]}"
    path.write_bytes(bytes(data[: min(cut, len(data))] if cut % 2 else data) + tail)
    try:
        events = read_events(path, format, sensor=(128, 128), policy=policy)
    except (DataError, ConfigError):
        return
    checked = Events(events.t, events.x, events.y, events.polarity, width=128, height=128)
    assert checked == events  # whatever was read is in order
