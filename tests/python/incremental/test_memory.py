"""The device's memory: nothing acknowledged is lost or counted twice, and every broken file is refused."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eccsnn
from eccsnn.errors import CheckpointError, StorageError
from eccsnn.incremental.memory import Best, DeviceMemory
from eccsnn.incremental.statistics import CountStatistics

D, MAX_COUNT = 16, 4


def samples(count: int, seed: int = 0, max_count: int = MAX_COUNT) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, max_count + 1, (count, D)), generator.integers(0, 3, count)


def opened(path: Path, **options) -> DeviceMemory:
    settings = {"features": D, "max_count": MAX_COUNT, "source": "trunk"} | options
    return DeviceMemory(path / "memory.db", **settings)


def statistics_of(rows: np.ndarray, labels: np.ndarray, max_count: int = MAX_COUNT) -> CountStatistics:
    made = CountStatistics(D, max_count, "trunk")
    made.add(rows, labels)
    return made


@pytest.mark.slow
def test_hundreds_of_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(eccsnn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("kill_writer.py")
    done = subprocess.run(
        [sys.executable, script, "memory", tmp_path / "memory.db", "200", "1"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["samples"] > 200
    assert seen["with_pending"] > 20
    assert seen["with_aside"] > 20


def test_each_transaction_is_flushed(tmp_path: Path) -> None:
    """No test can cut the power: that SQLite is told to wait for the disk is what can be checked."""
    with opened(tmp_path) as memory:
        database = memory._database
        assert database.rows("PRAGMA synchronous") == [(2,)]  # FULL
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA locking_mode") == [("exclusive",)]


@pytest.mark.parametrize("max_count", [4, 300])
def test_samples_wait_and_are_learnt_once_over_restarts(tmp_path: Path, max_count: int) -> None:
    rows, labels = samples(10, max_count=max_count)
    with opened(tmp_path, max_count=max_count) as memory:
        assert memory.add(rows[:6], labels[:6]) == [1, 2, 3, 4, 5, 6]
        memory.accept(memory.propose(limit=4))
        assert (memory.version, memory.through, memory.pending) == (1, 4, 2)
    with opened(tmp_path, max_count=max_count) as memory:
        assert (memory.version, memory.through, memory.pending, memory.last_sequence) == (1, 4, 2, 6)
        numbers, waiting, ids = memory.pending_samples()
        assert numbers.tolist() == [5, 6]
        assert (waiting == rows[4:6]).all()
        assert (ids == labels[4:6]).all()
        assert memory.add(rows[6:], labels[6:]) == [7, 8, 9, 10]
        assert memory.absorb() == 6
        assert memory.absorb() == 0
        assert memory.statistics == statistics_of(rows, labels, max_count)
    with opened(tmp_path, max_count=max_count) as memory:
        assert memory.statistics.to_bytes() == statistics_of(rows, labels, max_count).to_bytes()
        assert memory.add(rows[:1], labels[:1]) == [11]  # numbers are never used again


def test_refused_samples_are_set_aside_bounded_and_may_return(tmp_path: Path) -> None:
    rows, labels = samples(8)
    with opened(tmp_path, max_aside=3) as memory:
        memory.add(rows, labels)
        memory.set_aside(memory.propose(limit=5))
        assert (memory.pending, memory.aside, memory.dropped, memory.version, memory.through) == (3, 3, 2, 0, 5)
        memory.absorb()
        assert memory.statistics == statistics_of(rows[5:], labels[5:])
    with opened(tmp_path, max_aside=3) as memory:
        assert memory.retry() == 3
        assert (memory.aside, memory.dropped) == (0, 2)
        memory.absorb()
        assert memory.statistics == statistics_of(rows[2:], labels[2:])


def test_a_proposal_that_is_out_of_date_is_refused(tmp_path: Path) -> None:
    rows, labels = samples(6)
    with opened(tmp_path) as memory:
        memory.add(rows[:3], labels[:3])
        old = memory.propose()
        memory.absorb()
        for change in (memory.accept, memory.set_aside):
            with pytest.raises(ValueError, match="propose again"):
                change(old)
        memory.add(rows[3:], labels[3:])
        with pytest.raises(ValueError, match="oldest that waits is 4"):
            memory.accept(old)
        memory.absorb()
        assert memory.statistics == statistics_of(rows, labels)


@pytest.mark.parametrize("change", ["accept", "set_aside"])
def test_an_interrupt_after_the_commit_loses_nothing(tmp_path: Path, monkeypatch, change: str) -> None:
    rows, labels = samples(6)
    with opened(tmp_path) as memory:
        memory.add(rows[:3], labels[:3])
        proposal = memory.propose()
        whole = memory._database.transaction

        @contextlib.contextmanager
        def interrupted():
            with whole() as connection:
                yield connection
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(memory._database, "transaction", interrupted)
            with pytest.raises(KeyboardInterrupt):
                getattr(memory, change)(proposal)
        memory.add(rows[3:], labels[3:])
        with pytest.raises(ValueError, match="propose again"):
            memory.accept(proposal)
        memory.absorb()
        kept = slice(0, 6) if change == "accept" else slice(3, 6)
        assert memory.statistics == statistics_of(rows[kept], labels[kept])
        assert (memory.version, memory.through) == ((2, 6) if change == "accept" else (1, 6))
    with opened(tmp_path) as memory:
        assert memory.statistics == statistics_of(rows[kept], labels[kept])


def test_the_best_accuracy_and_the_others_statistics_are_kept(tmp_path: Path) -> None:
    rows, labels = samples(6)
    others = statistics_of(rows[3:], labels[3:])
    with opened(tmp_path) as memory:
        assert (memory.best, memory.others()) == (Best(b"", 0.0), None)
        memory.add(rows[:3], labels[:3])
        memory.accept(memory.propose(limit=1), Best(b"judge", 0.75))
        memory.absorb()  # unchecked: says nothing about the best
    with opened(tmp_path) as memory:
        assert (memory.best, memory.others()) == (Best(b"judge", 0.75), None)
        memory.keep_others(others, Best(b"judge", 0.8))
        memory.keep_others(others)
        with pytest.raises(ValueError, match="of the source 'other'"):
            memory.keep_others(CountStatistics(D, MAX_COUNT, "other"))
    with opened(tmp_path) as memory:
        assert (memory.best, memory.others()) == (Best(b"judge", 0.8), others)
        assert memory.statistics == statistics_of(rows[:3], labels[:3])
    with sqlite3.connect(tmp_path / "memory.db") as other:
        other.execute("UPDATE state SET others = substr(others, 1, 40)")
    other.close()
    with opened(tmp_path) as memory, pytest.raises(CheckpointError, match="the other edges' statistics"):
        memory.others()


def test_exemplars_do_not_depend_on_batches(tmp_path: Path) -> None:
    rows, labels = samples(60)
    found = []
    for part in (60, 7):
        (tmp_path / str(part)).mkdir()
        with opened(tmp_path / str(part), exemplars=4) as memory:
            memory.add(rows, labels)
            while (proposal := memory.propose(limit=part)) is not None:
                memory.accept(proposal)
            found.append(memory.exemplars_of())
            one = memory.exemplars_of(label=2)
            assert len(one[0]) == 4
            assert set(one[2].tolist()) == {2}
    numbers, kept, ids = found[0]
    assert len(numbers) == 12
    assert (kept == rows[numbers - 1]).all()
    assert (ids == labels[numbers - 1]).all()
    assert all((a == b).all() for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([[5] + [0] * (D - 1)], [0], "0..4"),
        ([[-1] + [0] * (D - 1)], [0], "0..4"),
        ([[0.5] + [0] * (D - 1)], [0], "integer count"),
        (np.full((1, D), 9, dtype=np.uint8), [0], "span"),
        ([[0] * (D - 1)], [0], "expected"),
        ([[0] * D], [-1], "at least 0"),
        ([[0] * D], [0, 1], "one for each sample"),
    ],
)
def test_bad_samples_are_refused_whole(tmp_path: Path, features, labels, message: str) -> None:
    with opened(tmp_path) as memory:
        with pytest.raises(ValueError, match=message):
            memory.add(features, labels)
        assert (memory.pending, memory.last_sequence) == (0, 0)


def test_too_many_waiting_samples_are_refused(tmp_path: Path) -> None:
    rows, labels = samples(4)
    with opened(tmp_path, max_pending=3) as memory:
        memory.add(rows[:2], labels[:2])
        with pytest.raises(StorageError, match="max_pending"):
            memory.add(rows[2:], labels[2:])
        assert memory.pending == 2


def test_a_full_file_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    size = 1024
    rows = np.ones((1, size), dtype=np.uint8)
    made = CountStatistics(size, MAX_COUNT)
    with DeviceMemory(tmp_path / "m.db", size, MAX_COUNT, max_bytes=4 << 20) as memory:
        acknowledged = 0

        def fill() -> None:
            nonlocal acknowledged
            while True:
                acknowledged += len(memory.add(np.repeat(rows, 50, axis=0), [1] * 50))

        with pytest.raises(StorageError, match="full"):
            fill()
        assert acknowledged == memory.pending == memory.last_sequence > 0
        memory.absorb()  # makes room again
        memory.add(rows, [2])
    assert (tmp_path / "m.db").stat().st_size <= 4 << 20
    made.add(np.repeat(rows, acknowledged, axis=0), [1] * acknowledged)
    with DeviceMemory(tmp_path / "m.db", size, MAX_COUNT, max_bytes=4 << 20) as memory:
        assert memory.statistics == made
        assert memory.pending == 1
    with pytest.raises(StorageError, match="full"):
        DeviceMemory(tmp_path / "n.db", size, MAX_COUNT, max_bytes=1 << 20)


def test_another_trunk_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(CheckpointError, match="other features"):
        opened(tmp_path, source="other")
    with pytest.raises(CheckpointError, match="another trunk"):
        opened(tmp_path, features=D + 1)


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(b"not a database " * 400)
    with pytest.raises(CheckpointError, match="corrupt"):
        opened(tmp_path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE photos (id INTEGER)")
    other.close()
    with pytest.raises(CheckpointError, match="something else"):
        opened(tmp_path)
    path.unlink()
    opened(tmp_path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=3")
    other.close()
    with pytest.raises(CheckpointError, match="version 3, expected 2; install a newer"):
        opened(tmp_path)


def test_changed_bytes_are_found(tmp_path: Path) -> None:
    rows, labels = samples(3)
    with opened(tmp_path) as memory:
        memory.add(rows, labels)
    path = tmp_path / "memory.db"
    with sqlite3.connect(path) as other:
        other.execute("UPDATE pending SET label = label + 1 WHERE sequence = 2")
    other.close()
    with opened(tmp_path) as memory:
        with pytest.raises(CheckpointError, match="sample 2 does not match its checksum"):
            memory.absorb()
        assert memory.statistics == CountStatistics(D, MAX_COUNT, "trunk")
    with sqlite3.connect(path) as other:
        other.execute("UPDATE state SET through = 2")
    other.close()
    with pytest.raises(CheckpointError, match="sample 1 is pending"):
        opened(tmp_path)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE state SET statistics = substr(statistics, 1, 40)")
    other.close()
    with pytest.raises(CheckpointError, match="take a copy"):
        opened(tmp_path)


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    rows, labels = samples(400)
    with opened(tmp_path) as memory:
        memory.add(rows, labels)
    path = tmp_path / "memory.db"
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="corrupt"):
        opened(tmp_path)


def test_flipped_bits_give_errors_that_say_so(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    rows, labels = samples(40)
    with opened(tmp_path, exemplars=3) as memory:
        memory.add(rows[:30], labels[:30])
        memory.absorb()
        memory.add(rows[30:], labels[30:])
    data, rng, refused = (tmp_path / "memory.db").read_bytes(), np.random.default_rng(0), 0
    for position in rng.integers(0, len(data), 400).tolist():
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(rng.integers(8))
        shutil.rmtree(changed, ignore_errors=True)
        changed.mkdir()
        (changed / "memory.db").write_bytes(flipped)
        try:
            with opened(changed, exemplars=3) as memory:
                assert memory.last_sequence >= memory.through
                memory.pending_samples()
                memory.exemplars_of()
                assert memory.best
                memory.others()
                memory.add(rows[:2], labels[:2])
                memory.absorb()
        except (CheckpointError, StorageError):
            refused += 1
    assert refused > 20


def test_numbers_that_would_be_given_twice_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as memory:
        memory.add(*samples(20))
        memory.absorb()
    with contextlib.closing(sqlite3.connect(tmp_path / "memory.db")) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 3")
        connection.commit()
    with pytest.raises(CheckpointError, match="the last sample was 3, but the statistics claim all up to 20"):
        opened(tmp_path)


def test_a_device_keeps_its_name(tmp_path: Path) -> None:
    opened(tmp_path).close()  # of nobody yet
    for _ in range(2):
        opened(tmp_path, owner="a").close()
    with pytest.raises(CheckpointError, match="memory of 'a', not of 'b'"):
        opened(tmp_path, owner="b")
    opened(tmp_path).close()


def test_one_process_holds_the_file(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StorageError, match="is open already, in another process or in this one"):
        opened(tmp_path)


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    for options in ({"exemplars": -1}, {"max_pending": 0}, {"max_aside": -1}, {"max_bytes": 100}):
        with pytest.raises(ValueError, match="expected"):
            opened(tmp_path, **options)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot open"):
        DeviceMemory(tmp_path / "file" / "memory.db", D, MAX_COUNT)
