"""The cloud's side of learning together: the latest statistics of each edge, and their exact sum."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection
from pathlib import Path

from eccsnn.errors import CheckpointError, StorageError
from eccsnn.incremental.database import Database
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.transport import statistics_messages as wire
from eccsnn.transport.messages import RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

_LOG = logging.getLogger(__name__)

KIND = 0x45434D32  # "ECM2"
VERSION = 1
SCHEMA = """
CREATE TABLE contributions (
    edge_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, sha256 BLOB NOT NULL, statistics BLOB NOT NULL
);
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, source TEXT NOT NULL);
"""


class MergedStatistics:
    """Adds up what edges push. Integer sums: the total equals the statistics of all their samples, bit for bit.

    A push replaces what the same edge had pushed before, so nothing is counted twice; it is on the disk before it is
    answered. Safe to call from several threads.

    Args:
        path: File that holds the contributions.
        features, max_count, source: Of the statistics; others are refused.
        class_ids: Classes that a contribution may hold; None: any.
        max_edges: Most edges that are held.
        max_samples: Most samples of one edge.
        max_push_bytes: Largest contribution, in bytes of its state file.
        max_bytes: Largest size of the file.

    Raises:
        CheckpointError: The file is corrupt, newer, or of other features.
        StorageError: Another process holds it.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        path: Path,
        features: int,
        max_count: int,
        source: str = "",
        *,
        class_ids: Collection[int] | None = None,
        max_edges: int = 256,
        max_samples: int = 1 << 22,
        max_push_bytes: int = wire.MAX_STATISTICS_BYTES,
        max_bytes: int = 1 << 31,
    ) -> None:
        if max_edges < 1 or max_samples < 1 or max_push_bytes < 1:
            raise ValueError(
                f"max_edges is {max_edges}, max_samples {max_samples}, max_push_bytes {max_push_bytes}; expected >= 1"
            )
        self._empty = CountStatistics(features, max_count, source)
        self._class_ids = None if class_ids is None else frozenset(class_ids)
        self._max_edges, self._max_samples, self._max_push_bytes = max_edges, max_samples, max_push_bytes
        self._lock = threading.Lock()
        self._database = Database(path, kind=KIND, version=VERSION, schema=SCHEMA, max_bytes=max_bytes)
        try:
            self._load(source)
        except BaseException:
            self._database.close()
            raise

    def _load(self, source: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO state VALUES (1, 0, ?)", (source,))
        ((self._version, found),) = self._database.rows("SELECT version, source FROM state")
        if found != source:
            raise CheckpointError(
                f"{self._database.path} holds statistics of {found!r}, expected those of {source!r}; another trunk "
                "needs another file"
            )
        self._total = self._empty.copy()
        self._held: dict[str, tuple[int, bytes]] = {}
        for edge_id, sequence, sha256 in self._database.rows("SELECT edge_id, sequence, sha256 FROM contributions"):
            self._held[edge_id] = (sequence, sha256)
            try:
                self._total.merge(self._contribution(edge_id))
            except (CheckpointError, ValueError) as error:
                raise CheckpointError(f"{self._database.path}: the statistics of {edge_id!r}: {error}") from None

    @property
    def max_push_bytes(self) -> int:
        """Largest contribution, in bytes of its state file."""
        return self._max_push_bytes

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    @property
    def edges(self) -> dict[str, int]:
        """Edges whose contributions are held, with the sequence number of each."""
        return {edge_id: sequence for edge_id, (sequence, _) in self._held.items()}

    def total(self) -> CountStatistics:
        """The statistics of all edges' samples."""
        with self._lock:
            return self._total.copy()

    def push(self, edge_id: str, sequence: int, data: bytes) -> int:
        """Puts an edge's statistics in place of its earlier ones; returns the version.

        Raises:
            RequestError: They are refused; nothing has changed.
        """
        sha256 = hashlib.sha256(data).digest()
        with self._lock:
            held = self._held.get(edge_id)
            if held == (sequence, sha256):
                return self._version
            if held is not None and sequence <= held[0]:
                raise RequestError(
                    pb.ERROR_CODE_SEQUENCE_CONFLICT,
                    f"edge {edge_id!r} pushed sequence {sequence}; {held[0]} is held, expected it again or a later one "
                    "(a new memory needs a new edge id)",
                )
            if held is None and len(self._held) >= self._max_edges:
                raise RequestError(pb.ERROR_CODE_OVERLOADED, f"{len(self._held)} edges are held, no more fit")
            total = self._total.copy()
            try:
                if held is not None:
                    total.subtract_statistics(self._contribution(edge_id))
                total.merge(self._checked(data))
            except ValueError as error:
                raise RequestError(pb.ERROR_CODE_BAD_PAYLOAD, f"the statistics do not fit: {error}") from error
            self._keep(edge_id, sequence, sha256, data)
            self._held[edge_id] = (sequence, sha256)
            self._total, self._version = total, self._version + 1
            return self._version

    def fetch(self, edge_id: str) -> tuple[int, int, bytes]:
        """Version, number of edges and statistics of all edges but this one, as bytes of a state file."""
        with self._lock:
            others = self._total.copy()
            if edge_id in self._held:
                others.subtract_statistics(self._contribution(edge_id))
            return self._version, len(self._held) - (edge_id in self._held), others.to_bytes()

    def close(self) -> None:
        """Gives the file free."""
        self._database.close()

    # --- messages -----------------------------------------------------------------------------------------------

    def answer_push(self, raw: bytes) -> bytes:
        """Answers the bytes of a PushStatisticsRequest, from anyone."""
        response = pb.PushStatisticsResponse()
        try:
            request = wire.parse_push(raw, self._max_push_bytes)
            response.version = self.push(request.edge_id, request.sequence, request.statistics)
            response.sequence = request.sequence
        except RequestError as error:
            response.error.CopyFrom(wire.error_detail(error))
        except (StorageError, CheckpointError) as error:
            response.error.CopyFrom(_internal(error))
        return response.SerializeToString()

    def answer_fetch(self, raw: bytes) -> bytes:
        """Answers the bytes of a FetchStatisticsRequest, from anyone."""
        response = pb.FetchStatisticsResponse()
        try:
            request = wire.parse_fetch(raw)
            response.version, response.edges, data = self.fetch(request.edge_id)
            response.sha256 = hashlib.sha256(data).digest()
            if response.sha256 != request.known_sha256:
                response.statistics = data
        except RequestError as error:
            response.error.CopyFrom(wire.error_detail(error))
        except (StorageError, CheckpointError) as error:
            response.Clear()
            response.error.CopyFrom(_internal(error))
        return response.SerializeToString()

    # --- parts --------------------------------------------------------------------------------------------------

    def _checked(self, data: bytes) -> CountStatistics:
        try:
            given = CountStatistics.from_bytes(data, self._empty.source)
        except CheckpointError as error:
            raise RequestError(pb.ERROR_CODE_BAD_PAYLOAD, f"the statistics do not parse: {error}") from error
        shape, expected = (given.features, given.max_count), (self._empty.features, self._empty.max_count)
        if shape != expected:
            raise RequestError(
                pb.ERROR_CODE_SHAPE_MISMATCH,
                f"the statistics are of (features, max_count) {shape}; expected {expected}",
            )
        if (samples := int(given.samples.sum())) > self._max_samples:
            raise RequestError(
                pb.ERROR_CODE_BAD_PAYLOAD,
                f"the statistics are of {samples} samples; expected at most {self._max_samples}",
            )
        unknown = () if self._class_ids is None else sorted(set(given.classes) - self._class_ids)
        if unknown:
            raise RequestError(
                pb.ERROR_CODE_CLASS_LIST_MISMATCH, f"the statistics hold class {unknown[0]}, which is not served here"
            )
        return given

    def _contribution(self, edge_id: str) -> CountStatistics:
        ((data,),) = self._database.rows("SELECT statistics FROM contributions WHERE edge_id = ?", (edge_id,))
        return CountStatistics.from_bytes(data, self._empty.source)

    def _keep(self, edge_id: str, sequence: int, sha256: bytes, data: bytes) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO contributions VALUES (?, ?, ?, ?)", (edge_id, sequence, sha256, data)
            )
            connection.execute("UPDATE state SET version = ?", (self._version + 1,))


def refuse_push(raw: bytes) -> bytes:
    """The answer to a push where nothing is merged."""
    return pb.PushStatisticsResponse(error=wire.error_detail(_unsupported())).SerializeToString()


def refuse_fetch(raw: bytes) -> bytes:
    """The answer to a request for statistics where nothing is merged."""
    return pb.FetchStatisticsResponse(error=wire.error_detail(_unsupported())).SerializeToString()


def _unsupported() -> RequestError:
    return RequestError(
        pb.ERROR_CODE_UNSUPPORTED_PAYLOAD, "this cloud merges no statistics; start it with `eccsnn serve --merge FILE`"
    )


def _internal(error: Exception) -> pb.ErrorDetail:
    _LOG.error("statistics cannot be kept: %s", error)
    # The text names the server's own files; its log has it.
    return pb.ErrorDetail(code=pb.ERROR_CODE_INTERNAL, message="the cloud cannot keep statistics; see its log")
