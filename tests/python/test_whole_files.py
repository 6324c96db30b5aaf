import errno
import os

import numpy as np
import pytest

from eccsnn.bench.record import check_writable
from eccsnn.data.events import Events, write_events
from eccsnn.data.events.play import play
from eccsnn.errors import CheckpointError, ConfigError, DataError
from eccsnn.training.checkpoint import write_atomically
from eccsnn.whole_files import replacing

EVENTS = Events(t=[0, 5], x=[1, 2], y=[1, 2], polarity=np.array([1, 0], np.uint8), width=128, height=128)


def write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write(path, "half" + chr(0xD800))
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_the_file_is_flushed_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    flushed = []

    def flush(handle):
        flushed.append((os.path.realpath(f"/proc/self/fd/{handle}"), (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", flush)
    write(tmp_path / "a", "x")
    (part, named_before), folder = flushed
    assert part.endswith(".part")
    assert not named_before
    assert folder == (str(tmp_path), True)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_one(tmp_path, exists):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "a", tmp_path / "link"
    if exists:
        real.write_text("old")
    link.symlink_to("real/a")
    write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert names(tmp_path) == ["link", "real"]


@pytest.mark.parametrize("through", [False, True], ids=["itself", "a link"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, through):
    os.mkfifo(tmp_path / "pipe.aedat")
    path = tmp_path / "pipe.aedat"
    if through:
        path = tmp_path / "link.aedat"
        path.symlink_to("pipe.aedat")
    before = names(tmp_path)
    with pytest.raises(DataError, match=r"cannot be written: it is there and no regular file.*; choose another file"):
        write_events(path, EVENTS)
    with pytest.raises(CheckpointError, match="no regular file"):
        write_atomically(path, b"x")
    with pytest.raises(ConfigError, match=r"--out: .* no regular file"):
        check_writable(path, "--out")
    with pytest.raises(OSError, match="no regular file"):
        write(path, "x")
    assert (tmp_path / "pipe.aedat").is_fifo()
    assert names(tmp_path) == before


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(DataError, match=r"a.gif cannot be written: it is there and no regular file"):
        play(EVENTS, tmp_path / "a.gif")


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write_film in (play, lambda events, path: write_events(path, events, "npz")):
        with pytest.raises(DataError, match=r"a.html cannot be written: No space left on device; choose .* free some"):
            write_film(EVENTS, tmp_path / "a.html")
    assert names(tmp_path) == []


def test_the_page_of_a_film_says_what_its_colours_are(tmp_path):
    play(EVENTS, tmp_path / "a.html")
    assert "<th>colours</th><td>red: brighter, blue: darker" in (tmp_path / "a.html").read_text()
