"""Micro-batching: what runs together, in which order, and what happens when it fails."""

import asyncio
import threading

import pytest

from eccsnn.services.batching import Batched, ItemExpiredError, MicroBatcher, QueueFullError


class Gate:
    """A process function that waits until it is opened, and keeps the batches it saw."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.set()
        self.open.wait()
        return [10 * item for item in items]


async def entered(gate: Gate) -> None:
    await asyncio.get_running_loop().run_in_executor(None, gate.entered.wait)


async def queued(batcher: MicroBatcher, items: list[int], **options) -> list[asyncio.Task]:
    """Tasks that have put their item into the queue."""
    tasks = [asyncio.create_task(batcher.submit(item, **options)) for item in items]
    await asyncio.sleep(0)  # one turn of the loop: every task runs to its first wait
    return tasks


def test_what_arrives_while_a_batch_runs_forms_the_next_ones() -> None:
    async def main() -> None:
        gate = Gate()
        batcher: MicroBatcher[int, int] = MicroBatcher(gate, max_batch=3)
        batcher.start()
        tasks = await queued(batcher, [1])
        await entered(gate)
        tasks += await queued(batcher, [2, 3, 4, 5])
        gate.open.set()
        done: list[Batched[int]] = await asyncio.gather(*tasks)
        assert [d.result for d in done] == [10, 20, 30, 40, 50]
        assert gate.batches == [[1], [2, 3, 4], [5]]
        assert [d.batch_size for d in done] == [1, 3, 3, 3, 1]
        assert all(d.queue_ms >= 0 and d.compute_ms >= 0 for d in done)
        await batcher.close()

    asyncio.run(main())


def test_a_wait_collects_items_that_come_one_by_one() -> None:
    async def main() -> None:
        gate = Gate()
        gate.open.set()
        batcher: MicroBatcher[int, int] = MicroBatcher(gate, max_batch=3, max_wait_ms=60_000)
        batcher.start()
        tasks = []
        for item in (1, 2, 3):
            tasks += await queued(batcher, [item])
        assert [d.batch_size for d in await asyncio.gather(*tasks)] == [3, 3, 3]
        await batcher.close()

    asyncio.run(main())


def test_a_full_queue_refuses_and_expired_items_are_dropped() -> None:
    async def main() -> None:
        gate = Gate()
        batcher: MicroBatcher[int, int] = MicroBatcher(gate, max_batch=2, max_queue=2)
        batcher.start()
        first = await queued(batcher, [1])
        await entered(gate)
        late = await queued(batcher, [2], expired=lambda: True)
        kept = await queued(batcher, [3])
        with pytest.raises(QueueFullError, match="2 requests"):
            await batcher.submit(4)
        gate.open.set()
        with pytest.raises(ItemExpiredError):
            await late[0]
        assert [(await task).result for task in first + kept] == [10, 30]
        assert gate.batches == [[1], [3]]
        await batcher.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("process", "error"), [(lambda items: 1 / 0, ZeroDivisionError), (lambda items: [], RuntimeError)]
)
def test_a_failing_batch_fails_its_items_and_no_other(process, error) -> None:
    async def main() -> None:
        fail = [True]
        batcher: MicroBatcher[int, int] = MicroBatcher(lambda items: process(items) if fail[0] else items)
        batcher.start()
        with pytest.raises(error):
            await batcher.submit(1)
        fail[0] = False
        assert (await batcher.submit(2)).result == 2
        await batcher.close()

    asyncio.run(main())


def test_close_cancels_what_waits_and_does_not_wait_for_a_stuck_batch() -> None:
    async def main() -> None:
        gate = Gate()
        batcher: MicroBatcher[int, int] = MicroBatcher(gate, max_batch=1)
        batcher.start()
        tasks = await queued(batcher, [1])
        await entered(gate)
        tasks += await queued(batcher, [2])
        await batcher.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        gate.open.set()

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_ms": -1}])
def test_limits_are_checked(options) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        MicroBatcher(lambda items: items, **options)
