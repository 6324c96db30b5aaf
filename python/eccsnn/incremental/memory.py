"""The memory of a learning device: samples and exact statistics in one file that loses nothing it has acknowledged.

A sample that `DeviceMemory.add` has returned a number for is at every later moment, also after kill -9, in exactly one
of three places: pending, in the statistics, or set aside (a check has refused it). Samples and statistics lie in one
SQLite file, so that moving from one to the other is one transaction. Format and policy: docs/incremental.md.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from eccsnn.errors import CheckpointError, StorageError
from eccsnn.incremental.counts import CountArray, Labels, as_counts, as_labels, check_range
from eccsnn.incremental.database import Database
from eccsnn.incremental.statistics import CountStatistics

KIND = 0x45434D31  # "ECM1"
VERSION = 2
_SAMPLE = "(sequence INTEGER PRIMARY KEY, label INTEGER NOT NULL, counts BLOB NOT NULL, crc INTEGER NOT NULL)"
SCHEMA = f"""
CREATE TABLE pending {_SAMPLE.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT")};
CREATE TABLE aside {_SAMPLE};
CREATE TABLE exemplars {_SAMPLE.replace("crc INTEGER NOT NULL", "crc INTEGER NOT NULL, priority BLOB NOT NULL")};
CREATE INDEX exemplars_kept ON exemplars (label, priority);
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, through INTEGER NOT NULL,
    dropped INTEGER NOT NULL, statistics BLOB NOT NULL,
    judge BLOB NOT NULL, best REAL NOT NULL, others BLOB NOT NULL, owner TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Proposal:
    """What the statistics would be with the oldest pending samples.

    Attributes:
        version: Of the statistics that it adds to.
        first, last: Sequence numbers of the samples that it adds.
        samples: Their number.
        statistics: Old statistics and these samples.
    """

    version: int
    first: int
    last: int
    samples: int
    statistics: CountStatistics


@dataclass(frozen=True)
class Best:
    """How good the best classifier of a device was.

    Attributes:
        judge: Names what measured it, such as a hash of held-out samples: of another judge, the number says nothing.
        accuracy: 0 to 1.
    """

    judge: bytes
    accuracy: float


class DeviceMemory:
    """Pending samples, exemplars and exact statistics of one device.

    Args:
        path: The file.
        features, max_count, source: Of the statistics; see `CountStatistics`. A file of others is refused.
        exemplars: Samples kept of each class, drawn from those in the statistics; see `exemplars_of`.
        seed: Of the draw.
        max_pending: Most samples that may wait; `add` refuses more, so nothing acknowledged is ever evicted.
        max_aside: Most samples kept of those that were refused; the oldest go first and are counted (`dropped`).
        max_bytes: Largest size of the file; see `Database`.
        owner: Name of the device, as the cloud knows it; the file keeps the first that it is given. Under another name
            the cloud would count its samples twice.

    Raises:
        CheckpointError: The file is corrupt, of a newer version, or holds other features or another device's samples.
        StorageError: Another process holds it, or `max_bytes` are too few for the statistics.
        ValueError: An argument is out of range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, DeviceMemory(Path(folder) / "m.db", 2, 4) as memory:
        ...     numbers = memory.add([[1, 4], [0, 2]], [7, 3])
        ...     memory.absorb(), memory.statistics.classes
        (2, (3, 7))
    """

    def __init__(
        self,
        path: Path,
        features: int,
        max_count: int,
        source: str = "",
        *,
        exemplars: int = 0,
        seed: int = 0,
        max_pending: int = 10_000,
        max_aside: int = 1_000,
        max_bytes: int = 1 << 28,
        owner: str = "",
    ) -> None:
        if exemplars < 0 or max_pending < 1 or max_aside < 0:
            raise ValueError(
                f"exemplars is {exemplars}, max_pending {max_pending}, max_aside {max_aside}; expected >= 0, >= 1, >= 0"
            )
        empty = CountStatistics(features, max_count, source)
        self._features, self._max_count, self._source = features, max_count, source
        self._dtype = np.dtype("u1" if max_count <= 255 else "<i2")
        self._exemplars, self._seed = exemplars, seed
        self._max_pending, self._max_aside = max_pending, max_aside
        self._moving = threading.Lock()  # one proposal at a time; adding and reading go on
        self._database = Database(path, kind=KIND, version=VERSION, schema=SCHEMA, max_bytes=max_bytes)
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO state VALUES (1, 0, 0, 0, ?, x'', 0, x'', '')", (empty.to_bytes(),)
                )
            self._load()
            if owner:
                self._keep_owner(owner)
        except BaseException:
            self._database.close()
            raise

    def _load(self) -> None:
        version, through, data = self._kept("version, through, statistics")
        self._expect(int, version, through)
        self._expect(bytes, data)
        try:
            statistics = CountStatistics.from_bytes(data, self._source)
        except CheckpointError as error:
            raise CheckpointError(f"{self._database.path}: {error}") from None
        found = (statistics.features, statistics.max_count)
        if found != (self._features, self._max_count):
            raise CheckpointError(
                f"{self._database.path} holds {found[0]} features in 0..{found[1]}, expected {self._features} in "
                f"0..{self._max_count}; it belongs to another trunk: choose another file"
            )
        ((first,),) = self._database.rows("SELECT min(sequence) FROM pending")
        if first is not None and first <= through:
            self._changed(f"sample {first} is pending, but the statistics claim all up to {through}")
        if self.last_sequence < through:  # numbers would be given a second time
            self._changed(f"the last sample was {self.last_sequence}, but the statistics claim all up to {through}")
        self._state = version, through, statistics

    def _keep_owner(self, owner: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE state SET owner = ? WHERE owner = ''", (owner,))
        (found,) = self._kept("owner")
        if found != owner:
            raise CheckpointError(
                f"{self._database.path} is the memory of {found!r}, not of {owner!r}: the cloud would count samples "
                "twice. Go on under its name, or choose another file"
            )

    def _kept(self, columns: str) -> tuple[Any, ...]:
        """Columns of the one row of `state`."""
        rows = self._database.rows(f"SELECT {columns} FROM state")
        if len(rows) != 1:
            self._changed(f"it holds {len(rows)} states in place of one")
        return rows[0]

    def _expect(self, kind: type, *values: Any) -> None:
        for value in values:
            if not isinstance(value, kind):
                self._changed(f"it holds a {type(value).__name__} in place of a {kind.__name__}")

    def _changed(self, what: str) -> NoReturn:
        raise CheckpointError(
            f"{self._database.path}: {what}; the file was changed by something else. Begin with a new one or a copy"
        )

    # --- reading ------------------------------------------------------------------------------------------------

    @property
    def statistics(self) -> CountStatistics:
        """What was learnt; not to be changed."""
        return self._state[2]

    @property
    def version(self) -> int:
        """Grows with each change of the statistics; 0: nothing was learnt."""
        return self._state[0]

    @property
    def through(self) -> int:
        """Sequence number of the last sample that is not pending any more; 0: none."""
        return self._state[1]

    @property
    def last_sequence(self) -> int:
        """Number of the last sample that was kept: after a crash it says whether an unanswered `add` has happened."""
        rows = self._database.rows("SELECT seq FROM sqlite_sequence WHERE name = 'pending'")
        number = rows[0][0] if rows else 0
        self._expect(int, number)
        return int(number)

    @property
    def pending(self) -> int:
        """Samples that wait."""
        return self._database.rows("SELECT count(*) FROM pending")[0][0]

    @property
    def aside(self) -> int:
        """Samples that a check has refused and that are still kept."""
        return self._database.rows("SELECT count(*) FROM aside")[0][0]

    @property
    def dropped(self) -> int:
        """Refused samples that are not kept any more."""
        (number,) = self._kept("dropped")
        self._expect(int, number)
        return int(number)

    @property
    def best(self) -> Best:
        """What `accept` or `keep_others` were given last."""
        judge, accuracy = self._kept("judge, best")
        self._expect(bytes, judge)
        self._expect(float, accuracy)
        return Best(judge, accuracy)

    def others(self) -> CountStatistics | None:
        """The other edges' statistics as they were kept last; None: none were.

        Raises:
            CheckpointError: Their bytes have changed.
        """
        (data,) = self._kept("others")
        self._expect(bytes, data)
        try:
            return CountStatistics.from_bytes(data, self._source) if data else None
        except CheckpointError as error:
            raise CheckpointError(f"{self._database.path}: the other edges' statistics: {error}") from None

    def pending_samples(self) -> tuple[npt.NDArray[np.int64], CountArray, Labels]:
        """Sequence numbers `[N]`, counts `[N, D]` and labels `[N]` of the samples that wait, oldest first."""
        return self._decode(self._database.rows("SELECT sequence, label, counts, crc FROM pending ORDER BY sequence"))

    def exemplars_of(self, label: int | None = None) -> tuple[npt.NDArray[np.int64], CountArray, Labels]:
        """Exemplars as `pending_samples` gives them, of one class or of all.

        Each class keeps the samples with the smallest keyed hashes of (seed, sequence number): a uniform draw
        without replacement, as reservoir sampling makes it, that is a function of the samples alone and needs no state.
        """
        where = "" if label is None else " WHERE label = ?"
        statement = f"SELECT sequence, label, counts, crc FROM exemplars{where} ORDER BY sequence"
        return self._decode(self._database.rows(statement, () if label is None else (label,)))

    # --- changing -----------------------------------------------------------------------------------------------

    def add(self, features: Any, labels: Any) -> list[int]:
        """Keeps samples until they are learnt.

        Args:
            features: `[N, D]` counts; see `as_counts`.
            labels: int `[N]` class ids.

        Returns:
            Their sequence numbers. With this return they are acknowledged: all of them are on the disk.

        Raises:
            TypeError, ValueError: A value, label or shape is not as it should be.
            StorageError: Too many samples wait, or the file is full. Nothing was kept.
        """
        rows = as_counts(features, self._max_count, self._features)
        ids = as_labels(labels, len(rows))
        check_range(rows, self._max_count)
        rows = rows.astype(self._dtype, copy=False)
        numbers: list[int] = []
        with self._database.transaction() as connection:
            waiting = connection.execute("SELECT count(*) FROM pending").fetchone()[0]
            if waiting + len(rows) > self._max_pending:
                raise StorageError(
                    f"{waiting} samples wait and {len(rows)} more came, expected at most {self._max_pending} "
                    "(max_pending); absorb them first"
                )
            for row, label in zip(rows, ids.tolist(), strict=True):
                counts = row.tobytes()
                crc = _crc(label, counts)
                done = connection.execute(
                    "INSERT INTO pending (label, counts, crc) VALUES (?, ?, ?)", (label, counts, crc)
                )
                assert done.lastrowid is not None  # an INSERT has one
                numbers.append(done.lastrowid)
        return numbers

    def propose(self, limit: int = 1024, threads: int = 1) -> Proposal | None:
        """Statistics with the oldest `limit` pending samples, for a check before `accept`; None: nothing waits.

        Raises:
            CheckpointError: A sample's bytes have changed.
            ValueError: A counter would not fit.
        """
        statement = "SELECT sequence, label, counts, crc FROM pending ORDER BY sequence LIMIT ?"
        with self._moving:  # rows and statistics of one moment
            if self._database.rows("SELECT version, through FROM state") != [self._state[:2]]:
                self._load()  # an interrupt came between a commit and the assignment after it
            sequences, rows, labels = self._decode(self._database.rows(statement, (limit,)))
            version, _, old = self._state
            statistics = old.copy()
        if not len(rows):
            return None
        statistics.add(rows, labels, threads)
        return Proposal(version, int(sequences[0]), int(sequences[-1]), len(rows), statistics)

    def accept(self, proposal: Proposal, best: Best | None = None) -> None:
        """Makes a proposal the statistics; its samples are not pending any more.

        Args:
            proposal: From `propose`.
            best: Kept with the statistics in place of the last one; None: that one stays.

        Raises:
            StorageError: The file is full. Nothing has changed.
            ValueError: Something else was accepted or set aside since it was made.
        """
        with self._moving:
            with self._database.transaction() as connection:
                self._check_current(connection, proposal)
                if self._exemplars:
                    self._draw_exemplars(connection, proposal)
                connection.execute("DELETE FROM pending WHERE sequence <= ?", (proposal.last,))
                connection.execute("UPDATE state SET statistics = ''")  # a full file has no room for old and new
                connection.execute(
                    "UPDATE state SET version = ?, through = ?, statistics = ?",
                    (proposal.version + 1, proposal.last, proposal.statistics.to_bytes()),
                )
                _keep_best(connection, best)
            self._state = proposal.version + 1, proposal.last, proposal.statistics

    def set_aside(self, proposal: Proposal) -> None:
        """Keeps a proposal's samples out of the statistics; `retry` lets them wait again.

        Raises:
            StorageError, ValueError: As for `accept`.
        """
        with self._moving:
            with self._database.transaction() as connection:
                self._check_current(connection, proposal)
                connection.execute("INSERT INTO aside SELECT * FROM pending WHERE sequence <= ?", (proposal.last,))
                connection.execute("DELETE FROM pending WHERE sequence <= ?", (proposal.last,))
                kept = "SELECT sequence FROM aside ORDER BY sequence DESC LIMIT ?"
                gone = connection.execute(f"DELETE FROM aside WHERE sequence NOT IN ({kept})", (self._max_aside,))
                connection.execute(
                    "UPDATE state SET through = ?, dropped = dropped + ?", (proposal.last, gone.rowcount)
                )
            self._state = proposal.version, proposal.last, self._state[2]

    def retry(self) -> int:
        """Lets the samples that were set aside wait again, under new sequence numbers; returns how many."""
        with self._moving, self._database.transaction() as connection:
            moved = connection.execute(
                "INSERT INTO pending (label, counts, crc) SELECT label, counts, crc FROM aside ORDER BY sequence"
            ).rowcount
            connection.execute("DELETE FROM aside")
        return moved

    def keep_others(self, others: CountStatistics, best: Best | None = None) -> None:
        """Keeps the other edges' statistics, in place of those kept before, for a restart without the cloud.

        Args:
            others: Of the same features.
            best: As for `accept`.

        Raises:
            StorageError: The file is full. Nothing has changed.
            ValueError: They are of another source.
        """
        if others.source != self._source:
            raise ValueError(f"the statistics are of the source {others.source!r}, expected {self._source!r}")
        with self._database.transaction() as connection:
            connection.execute("UPDATE state SET others = x''")  # a full file has no room for old and new
            connection.execute("UPDATE state SET others = ?", (others.to_bytes(),))
            _keep_best(connection, best)

    def absorb(self, threads: int = 1) -> int:
        """Learns all samples that wait, unchecked; returns how many."""
        total = 0
        while (proposal := self.propose(threads=threads)) is not None:
            self.accept(proposal)
            total += proposal.samples
        return total

    def close(self) -> None:
        """Gives the file free."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- parts --------------------------------------------------------------------------------------------------

    def _check_current(self, connection: Any, proposal: Proposal) -> None:
        (first,) = connection.execute("SELECT min(sequence) FROM pending").fetchone()
        (version,) = connection.execute("SELECT version FROM state").fetchone()
        if (version, first) != (proposal.version, proposal.first):
            raise ValueError(
                f"the proposal begins with sample {proposal.first}, the oldest that waits is {first}: something else "
                "was accepted since; propose again"
            )

    def _draw_exemplars(self, connection: Any, proposal: Proposal) -> None:
        rows = connection.execute("SELECT * FROM pending WHERE sequence <= ?", (proposal.last,)).fetchall()
        keyed = [(*row, _priority(self._seed, row[0])) for row in rows]
        connection.executemany("INSERT INTO exemplars VALUES (?, ?, ?, ?, ?)", keyed)
        kept = "SELECT sequence FROM exemplars WHERE label = ? ORDER BY priority LIMIT ?"
        for label in {row[1] for row in rows}:
            connection.execute(
                f"DELETE FROM exemplars WHERE label = ? AND sequence NOT IN ({kept})", (label, label, self._exemplars)
            )

    def _decode(self, rows: list[tuple[Any, ...]]) -> tuple[npt.NDArray[np.int64], CountArray, Labels]:
        size = self._features * self._dtype.itemsize
        for sequence, label, counts, crc in rows:
            self._expect(int, sequence, label, crc)
            self._expect(bytes, counts)
            if label < 0 or len(counts) != size or _crc(label, counts) != crc:
                raise CheckpointError(
                    f"{self._database.path}: sample {sequence} does not match its checksum. Begin with a new file or a "
                    "copy"
                )
        data = np.frombuffer(b"".join(row[2] for row in rows), self._dtype).reshape(len(rows), self._features)
        numbers = np.array([row[:2] for row in rows], dtype=np.int64).reshape(len(rows), 2)
        return numbers[:, 0].copy(), as_counts(data, self._max_count, self._features), numbers[:, 1].copy()


def _keep_best(connection: Any, best: Best | None) -> None:
    if best is not None:
        connection.execute("UPDATE state SET judge = ?, best = ?", (best.judge, best.accuracy))


def _crc(label: int, counts: bytes) -> int:
    return zlib.crc32(counts, zlib.crc32(label.to_bytes(8, "little")))


def _priority(seed: int, sequence: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{sequence}".encode(), digest_size=8).digest()
