"""Micro-batching: requests that wait at the same time share one run of the model."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from eccsnn.errors import EccsnnError

Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueFullError(EccsnnError):
    """No room for another item; the caller should come back later."""


class ItemExpiredError(EccsnnError):
    """An item's deadline passed before its turn."""


@dataclass(frozen=True)
class Batched(Generic[Result]):
    """A result with the times spent on it."""

    result: Result
    queue_ms: float
    compute_ms: float
    batch_size: int


@dataclass
class _Entry(Generic[Item, Result]):
    item: Item
    expired: Callable[[], bool]
    arrived_s: float
    future: asyncio.Future[Batched[Result]]


class _Thread(Generic[Item, Result]):
    """One daemon thread that runs a function; unlike an executor's, it cannot keep a process from ending."""

    def __init__(self, function: Callable[[list[Item]], list[Result]]) -> None:
        self._function = function
        self._calls: queue.SimpleQueue[tuple[list[Item], asyncio.Future[list[Result]]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="eccsnn-predict", daemon=True).start()

    async def call(self, items: list[Item]) -> list[Result]:
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._calls.put((items, future))
        return await future

    def stop(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            items, future = call
            try:
                result, error = self._function(items), None
            except Exception as raised:
                result, error = [], raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(self._settle, future, result, error)

    @staticmethod
    def _settle(future: asyncio.Future[list[Result]], result: list[Result], error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


class MicroBatcher(Generic[Item, Result]):
    """Collects items and processes them in batches, one batch at a time, on a thread of its own.

    A batch starts as soon as the thread is free and anything waits; what arrives meanwhile forms the next batch. So a
    lone request never waits for company, and a busy server batches by itself. `max_wait_ms` adds a wait on purpose.

    Args:
        process: takes a list of items, returns one result an item in the same order; runs on the batcher's thread. What
            it raises reaches everyone in the batch.
        max_batch: most items a batch.
        max_wait_ms: how long a batch that is not full waits for more.
        max_queue: most items waiting; beyond it `submit` raises.

    Raises:
        ValueError: a limit is out of range.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], list[Result]],
        *,
        max_batch: int = 32,
        max_wait_ms: float = 0.0,
        max_queue: int = 256,
    ) -> None:
        if max_batch < 1 or max_queue < 1 or not max_wait_ms >= 0:
            raise ValueError(
                f"max_batch is {max_batch}, max_queue {max_queue}, max_wait_ms {max_wait_ms}; expected at least 1, 1, 0"
            )
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1e3
        self._queue: asyncio.Queue[_Entry[Item, Result]] = asyncio.Queue(max_queue)
        self._thread = _Thread(process)
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to work, in the running event loop."""
        self._worker = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; items that still wait are cancelled. A batch that runs is left to end on its thread."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait().future.cancel()
        self._thread.stop()

    async def submit(self, item: Item, expired: Callable[[], bool] = lambda: False) -> Batched[Result]:
        """Queue an item and wait for its result.

        Args:
            item: what `process` takes.
            expired: asked when the item's turn comes; True drops it.

        Raises:
            QueueFullError: too many items wait.
            ItemExpiredError: the item was dropped.
        """
        future: asyncio.Future[Batched[Result]] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Entry(item, expired, time.perf_counter(), future))
        except asyncio.QueueFull:
            raise QueueFullError(f"{self._queue.maxsize} requests are waiting already; try again later") from None
        return await future

    async def _run(self) -> None:
        while True:
            batch = [entry for entry in await self._collect() if not self._dropped(entry)]
            if batch:
                await self._work(batch)

    async def _collect(self) -> list[_Entry[Item, Result]]:
        batch = [await self._queue.get()]
        until_s = time.perf_counter() + self._max_wait_s
        while len(batch) < self._max_batch:
            if not self._queue.empty():
                batch.append(self._queue.get_nowait())
                continue
            left_s = until_s - time.perf_counter()
            if left_s <= 0:
                break
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), left_s))
            except TimeoutError:
                break
        return batch

    @staticmethod
    def _dropped(entry: _Entry[Item, Result]) -> bool:
        if entry.future.done():
            return True
        if entry.expired():
            entry.future.set_exception(ItemExpiredError("the deadline passed before the request's turn"))
            return True
        return False

    async def _work(self, batch: list[_Entry[Item, Result]]) -> None:
        start_s = time.perf_counter()
        items = [entry.item for entry in batch]
        results: list[Result] = []
        failure: BaseException | None = None
        try:
            results = await self._thread.call(items)
            if len(results) != len(items):
                failure = RuntimeError(f"a batch of {len(items)} items gave {len(results)} results")
        except asyncio.CancelledError:
            for entry in batch:
                entry.future.cancel()
            raise
        except Exception as error:
            failure = error
        compute_ms = (time.perf_counter() - start_s) * 1e3
        for index, entry in enumerate(batch):
            if entry.future.done():
                continue
            if failure is not None:
                entry.future.set_exception(failure)
            else:
                queue_ms = (start_s - entry.arrived_s) * 1e3
                entry.future.set_result(Batched(results[index], queue_ms, compute_ms, len(batch)))
