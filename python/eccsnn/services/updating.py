"""An edge that learns while it answers: what the cloud has labelled waits, is learnt in the background, and is checked.

Answers read one reference, `UpdatingAgent.live`, and never wait for learning: a new classifier is solved and checked
beside the old one and takes its place in one assignment.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import CheckpointError, CloudUnavailableError, EccsnnError, MessageError, StorageError
from eccsnn.incremental.exact import ExactLearner
from eccsnn.incremental.memory import Best, DeviceMemory
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.services.client import CloudClient
from eccsnn.services.edge import EdgeAgent, EdgeResult, Predict, Source

_LOG = logging.getLogger(__name__)

Features = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""uint8 images `[N, C, H, W]` to counts `[N, D]`."""

MakeAgent = Callable[[Predict, Sequence[int]], EdgeAgent]
"""Makes the agent that answers with a classifier of these classes."""


@dataclass(frozen=True)
class HeldOut:
    """Samples that no classifier learns, to compare classifiers on.

    Attributes:
        features: counts `[N, D]`, at least one row.
        labels: class ids `[N]`.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.labels) or len(self.labels) != len(self.features):
            raise ValueError(
                f"there are {len(self.features)} held-out features and {len(self.labels)} labels; expected as many, "
                "and at least one"
            )


@dataclass(frozen=True)
class UpdateCounts:
    """What an agent has done so far.

    Attributes:
        queued: samples that the cloud has labelled and that were kept.
        unsure: samples whose label the cloud was not sure enough of, not kept.
        refused: samples that the memory had no room for.
        learnt: samples that went into the statistics.
        updates: classifiers that went live.
        rolled_back: updates that a check on held-out samples has refused: their samples were set aside, or the other
            edges' statistics left as they were.
        pushed, fetched: exchanges with the cloud that have changed something.
        failures: exchanges and updates that failed; they are tried again.
    """

    queued: int = 0
    unsure: int = 0
    refused: int = 0
    learnt: int = 0
    updates: int = 0
    rolled_back: int = 0
    pushed: int = 0
    fetched: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Live:
    """The classifier that answers: never changed, only replaced.

    Attributes:
        agent: answers with it.
        statistics: what it was solved from.
        class_ids: its classes.
        accuracy: on the held-out samples; None: there are none.
    """

    agent: EdgeAgent
    statistics: CountStatistics
    class_ids: tuple[int, ...]
    accuracy: float | None


class UpdatingAgent:
    """An `EdgeAgent` whose classifier learns the images that the cloud has labelled.

    The classifier is the exact learner's, of three parts: `base` (the samples that the device was delivered with), the
    memory's statistics (its own samples) and the other edges' statistics (fetched from the cloud; the memory keeps
    them, so that their classes are known after a restart without it).

    An update takes samples that wait and solves a classifier with them. Where its accuracy on the held-out samples is
    below the best so far by more than `tolerance`, the live one stays and the samples are set aside; where the other
    edges' statistics cause it, those that were used before stay. So what the memory holds, and what is pushed, has
    passed the check. The memory keeps the best accuracy, too, so that small losses do not add up over restarts; with
    other held-out samples, another base or other options of the classifier it begins anew. Without held-out samples
    nothing is checked.

    One thread calls `process`, another one `update` (or `start` makes one).

    Args:
        features: counts of images; called by `process` alone.
        memory: pending samples and statistics; closed by whoever made it.
        make_agent: makes an `EdgeAgent` for a classifier's scores; called again for every classifier, so share the
            client and the circuit breaker between its agents.
        base: statistics that the device begins with; never pushed, so edges may share them.
        held_out: samples for the check; None: no check.
        classifier: options of `ExactLearner`: `classifier`, `ridge`, `shrinkage`.
        client: for exchanging statistics; None: this edge learns alone. Used by `update` alone.
        edge_id: of this edge's memory, for the exchange.
        tolerance: by how much a new classifier's accuracy may be below the best that went live, 0 to 1.
        min_confidence: smallest confidence (softmax) of a label from the cloud that is learnt.
        update_after: samples that have to wait before the background thread updates.
        timeout_s: of an exchange.

    Raises:
        ValueError: a number is out of range, parts are of other features, or there is no class yet.
    """

    def __init__(
        self,
        features: Features,
        memory: DeviceMemory,
        make_agent: MakeAgent,
        *,
        base: CountStatistics | None = None,
        held_out: HeldOut | None = None,
        classifier: dict[str, Any] | None = None,
        client: CloudClient | None = None,
        edge_id: str = "edge",
        tolerance: float = 0.01,
        min_confidence: float = 0.0,
        update_after: int = 32,
        timeout_s: float = 30.0,
    ) -> None:
        if not 0 <= tolerance <= 1 or not 0 <= min_confidence <= 1 or update_after < 1 or not timeout_s > 0:
            raise ValueError(
                f"tolerance is {tolerance}, min_confidence {min_confidence}, update_after {update_after}, timeout_s "
                f"{timeout_s}; expected 0 to 1, 0 to 1, >= 1, > 0"
            )
        self._features, self._memory, self._make_agent = features, memory, make_agent
        own = memory.statistics
        nothing = CountStatistics(own.features, own.max_count, own.source)
        self._base = nothing if base is None else base
        self._held_out = held_out
        self._classifier = dict(classifier or {})
        self._client, self._edge_id = client, edge_id
        self._tolerance, self._min_confidence = tolerance, min_confidence
        self._update_after, self._timeout_s = update_after, timeout_s
        self._pushed = 0
        kept = memory.others()
        self._others = nothing if kept is None else kept
        self._known_sha256 = b"" if kept is None else hashlib.sha256(kept.to_bytes()).digest()
        self._counting = threading.Lock()
        self._updating = threading.Lock()
        self._answering = threading.local()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.counts = UpdateCounts()
        self.last_failure: str | None = None
        self.live = self._solve(own, self._others)
        self._judge = self._name_of_check()
        best = memory.best  # small losses must not add up over updates
        self._best = max(self.live.accuracy or 0.0, best.accuracy if best.judge == self._judge else 0.0)

    def process(self, image: NDArray[np.uint8], *, force_upload: bool = False) -> EdgeResult:
        """Answer one image, and keep it to learn when the cloud has labelled it; see `EdgeAgent.process`.

        The answer does not depend on whether the sample was kept: a memory that is full is counted (`refused`).
        """
        result = self.live.agent.process(image, force_upload=force_upload)
        if result.source is Source.CLOUD:
            self._queue(self._answering.counts, result)
        return result

    def _queue(self, counts: NDArray[Any], result: EdgeResult) -> None:
        logits = result.logits.astype(np.float64)
        confidence = 1.0 / float(np.exp(logits - logits.max()).sum())
        if confidence < self._min_confidence:
            self._count(unsure=1)
            return
        try:
            self._memory.add(counts, [result.label])
        except (StorageError, CheckpointError) as error:
            self._fail("a sample was not kept", error)
            self._count(refused=1)
            return
        self._count(queued=1)
        if self._memory.pending >= self._update_after:
            self._wake.set()

    # --- learning -----------------------------------------------------------------------------------------------

    def update(self) -> UpdateCounts:
        """Learn what waits, exchange statistics with the cloud, and return what was done so far.

        Raises:
            StorageError, CheckpointError: the memory is full or broken. The live classifier stays.
        """
        with self._updating:
            while (proposal := self._memory.propose()) is not None:
                made = self._solve(proposal.statistics, self._others)
                if self._passes(made):
                    self._memory.accept(proposal, self._best_with(made))
                    self._go_live(made)
                    self._count(learnt=proposal.samples)
                else:
                    self._memory.set_aside(proposal)
                    self._count(rolled_back=1)
            if self._client is not None:
                for exchange in (self._push, self._fetch):  # the others' are of use, too, where one's own are refused
                    try:
                        exchange(self._client)
                    except (MessageError, CheckpointError) as error:
                        self._fail("statistics were not exchanged", error)
                    except CloudUnavailableError as error:
                        self._fail("statistics were not exchanged", error)
                        break
            return self.counts

    def _push(self, client: CloudClient) -> None:
        version = self._memory.version
        if version > self._pushed:
            client.push_statistics(self._edge_id, version, self._memory.statistics.to_bytes(), self._timeout_s)
            self._pushed = version
            self._count(pushed=1)

    def _fetch(self, client: CloudClient) -> None:
        fetched = client.fetch_statistics(self._edge_id, self._known_sha256, self._timeout_s)
        if fetched.statistics is None:
            return
        others = CountStatistics.from_bytes(fetched.statistics, self._memory.statistics.source)
        try:
            made = self._solve(self._memory.statistics, others)
        except ValueError as error:
            self._known_sha256 = fetched.sha256
            raise MessageError(f"the cloud's statistics do not fit: {error}") from error
        self._count(fetched=1)
        if self._passes(made):
            self._memory.keep_others(others, self._best_with(made))
            self._others = others
            self._go_live(made)
        else:
            self._count(rolled_back=1)
        self._known_sha256 = fetched.sha256  # also of statistics that are refused: they are not tried again

    def _solve(self, own: CountStatistics, others: CountStatistics) -> Live:
        total = self._base.copy()
        total.merge(own)
        total.merge(others)
        options = {"incremental_solve": False, **self._classifier, "source": total.source}
        learner = ExactLearner(total.features, total.max_count, **options)
        learner.merge(total)
        learner.solution()

        def predict(images: NDArray[np.uint8]) -> NDArray[np.floating]:
            counts = self._answering.counts = self._features(images)
            return learner.scores(counts)

        accuracy = None
        if self._held_out is not None:
            accuracy = float((learner.predict(self._held_out.features) == self._held_out.labels).mean())
        return Live(self._make_agent(predict, learner.classes), total, learner.classes, accuracy)

    def _passes(self, made: Live) -> bool:
        return made.accuracy is None or made.accuracy >= self._best - self._tolerance

    def _best_with(self, made: Live) -> Best | None:
        if made.accuracy is None:
            return None
        return Best(self._judge, max(self._best, made.accuracy))

    def _go_live(self, made: Live) -> None:
        made.agent.cloud = self.live.agent.cloud  # its classes were checked when the first agent connected
        self.live = made
        self._best = max(self._best, made.accuracy or 0.0)
        self._count(updates=1)

    def _name_of_check(self) -> bytes:
        """Hash of what an accuracy depends on besides the samples learnt."""
        if self._held_out is None:
            return b""
        digest = hashlib.sha256(self._base.to_bytes())
        digest.update(repr(sorted(self._classifier.items())).encode())
        for array in (self._held_out.features, self._held_out.labels):
            digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.digest()

    def _count(self, **more: int) -> None:
        with self._counting:  # both threads count
            self.counts = replace(self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()})

    def _fail(self, what: str, error: Exception) -> None:
        self.last_failure = f"{what}: {error}"
        expected = isinstance(error, EccsnnError | ValueError)
        _LOG.warning("%s", self.last_failure, exc_info=None if expected else error)
        self._count(failures=1)

    # --- in the background --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Update in the background whenever enough samples wait, until `close`; those of an earlier run count, too."""
        if self._thread is None or not self._thread.is_alive():
            self._closing = False
            if self._memory.pending >= self._update_after:
                self._wake.set()
            self._thread = threading.Thread(target=self._work, name="eccsnn-update", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
            try:
                self.update()
            except Exception as error:  # whatever it is, the edge answers as before and the next wake tries again
                self._fail("an update failed", error)

    def close(self) -> None:
        """End the background thread, after the update that it may be in."""
        if self._thread is not None:
            self._closing = True
            self._wake.set()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
