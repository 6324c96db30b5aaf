"""SQLite files that survive kill -9 at any moment: opened, checked and locked in one place.

Every transaction is flushed to the disk before it returns (write-ahead log, `synchronous=FULL`), so that what a caller
has been told stays told. One process holds a file at a time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eccsnn.errors import CheckpointError, StorageError

PAGE_BYTES = 4096
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """A SQLite file of one kind and version, with a bound on its size.

    Args:
        path: The file; it and its folder are made where they are missing.
        kind: Application id that names what the file holds; a file of another kind is refused.
        version: Version of the schema that this code knows.
        schema: Statements that make an empty file one of this version.
        max_bytes: Largest size of the file. The write-ahead log beside it holds up to the largest transaction and about
            4 MB more.

    Raises:
        CheckpointError: The file is corrupt, of another kind, or of another version.
        StorageError: It is open already, in this process or another one, or it cannot be opened.
        ValueError: `max_bytes` is below four pages.
    """

    def __init__(self, path: Path, *, kind: int, version: int, schema: str, max_bytes: int) -> None:
        if max_bytes < 4 * PAGE_BYTES:
            raise ValueError(f"max_bytes is {max_bytes}, expected at least {4 * PAGE_BYTES}")
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot open {self.path}: {error}. Is its folder there and writable?") from error
        try:
            with self._errors():
                self._open(kind, version, schema, max_bytes)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, kind: int, version: int, schema: str, max_bytes: int) -> None:
        # Exclusive: taken with the first statement that touches the file, given back by the system after a kill.
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        (mode,) = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StorageError(
                f"{self.path} lies on a file system without a write-ahead log; choose a local folder for it"
            )
        self._connection.execute("PRAGMA synchronous=FULL")
        found_kind, found_version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        empty = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not empty and found_kind != kind:
            raise CheckpointError(f"{self.path} is a database of something else; choose another file")
        if not empty and found_version != version:
            hint = "install a newer eccsnn" if found_version > version else "start with a new file"
            raise CheckpointError(
                f"{self.path} has schema version {found_version}, expected {version}; {hint} to go on"
            )
        broken = [row[0] for row in self._connection.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
        if broken:
            raise CheckpointError(self._corrupt(broken[0]))
        self._connection.execute(f"PRAGMA max_page_count={max_bytes // PAGE_BYTES}")
        if empty:
            # One transaction with the kind and version, so that a kill leaves an empty file or a whole one.
            with self.transaction() as connection:
                for statement in filter(str.strip, schema.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={kind}")
                connection.execute(f"PRAGMA user_version={version}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing; on the disk when it ends.

        Raises:
            StorageError: The disk or the file's bound is full; nothing has changed.
            CheckpointError: The file is corrupt.
        """
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite has rolled back by itself after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._lock, self._errors():
            return self._connection.execute(statement, arguments).fetchall()

    def close(self) -> None:
        """Writes the log back into the file and gives it free."""
        with self._lock, self._errors():
            self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:  # of a text that SQLite hands out as it is
            raise CheckpointError(self._corrupt(str(error))) from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _CORRUPT:
                raise CheckpointError(self._corrupt(str(error))) from error
            if code == sqlite3.SQLITE_BUSY:
                raise StorageError(
                    f"{self.path} is open already, in another process or in this one; close it there, or give each a "
                    "file of its own"
                ) from error
            if code == sqlite3.SQLITE_FULL:
                raise StorageError(
                    f"{self.path} is full: its bound (max_bytes) or the disk. Nothing of this step was kept; what was "
                    "acknowledged before is. Free some space or raise the bound"
                ) from error
            raise StorageError(f"{self.path} cannot be read or written: {error}") from error

    def _corrupt(self, detail: str) -> str:
        return f"{self.path} is corrupt ({detail}). Move it away and begin with a new file or a copy"
