import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from eccsnn.data import cache
from eccsnn.data.cache import array_sha256, open_cached
from eccsnn.errors import DataError

CONTENT = np.arange(3000, dtype=np.uint8).reshape(1000, 3)


class Builder:
    """Counts how often it builds, and can be made to fail."""

    def __init__(self, error=None):
        self.calls = 0
        self.error = error

    def __call__(self, allocate):
        self.calls += 1
        allocate("images", CONTENT.shape, np.uint8)[...] = CONTENT
        if self.error is not None:
            raise self.error
        allocate("labels", (2,), np.int64)[...] = [5, 7]


def opened(folder, build, signature=1, key=1):
    return open_cached("toy", key={"key": key}, signature={"files": signature}, build=build, cache_dir=folder)


def files(folder, suffix=".npy"):
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(suffix))


def messages(caplog, level):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


@pytest.fixture
def built(tmp_path):
    opened(tmp_path, Builder())
    return tmp_path


def test_what_was_built_is_opened_and_not_built_again(tmp_path):
    build = Builder()
    first, second = opened(tmp_path, build), opened(tmp_path, build)
    assert build.calls == 1
    for got in (first, second):
        np.testing.assert_array_equal(got.arrays["images"], CONTENT)
        assert got.arrays["labels"].tolist() == [5, 7]
        assert got.sha256 == {name: array_sha256(array) for name, array in got.arrays.items()}
    assert isinstance(second.arrays["images"], np.memmap)
    assert not second.arrays["images"].flags.writeable
    assert len(files(tmp_path)) == 2
    assert files(tmp_path, ".tmp") == []


def test_keys_are_entries_of_their_own(tmp_path):
    build = Builder()
    opened(tmp_path, build, key=1)
    opened(tmp_path, build, key=2)
    opened(tmp_path, build, key=1)
    assert build.calls == 2


def test_a_changed_source_is_noticed_logged_and_leaves_no_old_arrays(built, caplog):
    build = Builder()
    opened(built, build, signature=2)
    assert build.calls == 1
    assert "the source changed since it was built (files)" in messages(caplog, logging.WARNING)[0]
    assert len(files(built)) == 2
    opened(built, build, signature=2)
    assert build.calls == 1


def truncate(path):
    with path.open("r+b") as handle:
        handle.truncate(path.stat().st_size - 100)


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def spoil_header(path):
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [truncate, flip_byte, empty, remove, spoil_header])
def test_a_broken_array_is_noticed_logged_and_rebuilt(built, caplog, spoil):
    spoil(next(built.glob("*.images.*.npy")))
    build = Builder()
    got = opened(built, build)
    assert build.calls == 1
    np.testing.assert_array_equal(got.arrays["images"], CONTENT)
    assert any(".images." in m and "building the data cache" in m for m in messages(caplog, logging.WARNING))
    opened(built, build)
    assert build.calls == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema":1,"key":1,"signature":1,"arrays":{"a":1}}']
)
def test_a_broken_manifest_is_noticed_logged_and_rebuilt(built, caplog, text):
    next(built.glob("*.json")).write_text(text)
    build = Builder()
    np.testing.assert_array_equal(opened(built, build).arrays["images"], CONTENT)
    assert build.calls == 1
    assert "manifest" in messages(caplog, logging.WARNING)[0]


def test_a_manifest_of_another_version_is_rebuilt(built):
    path = next(built.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "eccsnn.data-cache/0"}))
    build = Builder()
    opened(built, build)
    assert build.calls == 1


def test_the_first_build_is_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        opened(tmp_path, Builder())
    assert "it was not built yet" in messages(caplog, logging.INFO)[0]
    assert messages(caplog, logging.WARNING) == []


@pytest.mark.parametrize("error", [DataError("broken image"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_nothing_and_keeps_the_old_entry(built, error):
    before = files(built, "")
    with pytest.raises(type(error)):
        opened(built, Builder(error), signature=2)
    assert files(built, "") == before
    build = Builder()
    opened(built, build)
    assert build.calls == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from eccsnn.data import cache

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def build(allocate):
    allocate("images", (1000, 3), np.uint8)[:500] = 1
    if sys.argv[2] == "filling":
        kill()
    allocate("labels", (2,), np.int64)

if sys.argv[2] == "first rename":
    cache.os.replace = kill
if sys.argv[2] == "manifest":
    cache.json.dump = kill
signature = {"files": int(sys.argv[3])}
cache.open_cached("toy", key={"key": 1}, signature=signature, build=build, cache_dir=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["filling", "first rename", "manifest"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_writer_breaks_nothing(tmp_path, moment, existing):
    if existing:
        opened(tmp_path, Builder())
    script = [sys.executable, "-c", KILLED, str(tmp_path), moment, "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(script, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert files(tmp_path, ".tmp") != []
    build = Builder()
    if existing:  # the old entry is whole
        np.testing.assert_array_equal(opened(tmp_path, build).arrays["images"], CONTENT)
        assert build.calls == 0
    np.testing.assert_array_equal(opened(tmp_path, build, signature=2).arrays["images"], CONTENT)
    assert build.calls == 1
    assert files(tmp_path, ".tmp") == []
    assert len(files(tmp_path)) == 2


def test_two_builders_at_once_build_once(tmp_path):
    build = Builder()
    threads = [threading.Thread(target=opened, args=(tmp_path, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == 1


def test_waiting_for_another_process_is_said(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        opened(tmp_path, Builder())
        real = fcntl.flock

        def busy(handle, operation):
            if operation & fcntl.LOCK_NB:
                raise BlockingIOError
            real(handle, operation)

        monkeypatch.setattr(cache.fcntl, "flock", busy)
        opened(tmp_path, Builder())
    assert any("waiting for another process" in m for m in messages(caplog, logging.INFO))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"file/cache cannot be written.*cache_dir or the environment variable ECCSNN_CACHE"
    ):
        opened(tmp_path / "file" / "cache", Builder())


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    with pytest.raises(DataError, match="No space left on device"):
        opened(tmp_path, Builder())
    assert files(tmp_path) == []
    assert files(tmp_path, ".tmp") == []


def test_the_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("ECCSNN_CACHE", str(tmp_path / "mine"))
    assert cache.default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("ECCSNN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / ".cache" / "eccsnn"


def test_a_checksum_covers_dtype_and_shape():
    base = np.arange(6, dtype=np.int32)
    assert array_sha256(base) == array_sha256(base.copy())
    assert len({array_sha256(a) for a in (base, base.reshape(2, 3), base.view(np.uint32), base[::-1])}) == 4
    assert array_sha256(base.reshape(2, 3).T) == array_sha256(np.ascontiguousarray(base.reshape(2, 3).T))
