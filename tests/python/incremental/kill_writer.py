"""Kills a process that writes into a database, again and again; started as a process of its own by
test_memory.py (`memory`: a device's memory) and test_merging.py (`pushes`: the cloud's sum).

It loads eccsnn once and forks writers, so that hundreds of kills take seconds. Prints JSON: what was seen.
"""

import json
import os
import random
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eccsnn.incremental.memory import DeviceMemory
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.services.merging import MergedStatistics

FEATURES, MAX_COUNT, EXEMPLARS, EDGES = 48, 4, 3, 3


def sample(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and label of the sample that was added as this one, from 1."""
    generator = np.random.default_rng(number)
    return generator.integers(0, MAX_COUNT + 1, (1, FEATURES)), generator.integers(0, 4, 1)


def kill_once(write: Callable[[int, int], None], generator: random.Random) -> list[int]:
    """Starts a writer, kills it after a random number of answers and a random moment; returns its answers."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        write(write_end, generator.getrandbits(32))
    os.close(write_end)
    heard = b""
    wanted = 8 * generator.randint(0, 6)
    while len(heard) < wanted:
        heard += os.read(read_end, wanted - len(heard)) or sys.exit("the writer died by itself")
    # The moment lies anywhere in the next steps of the writer: a wait for a pipe that never becomes ready.
    idle_read, idle_write = os.pipe()
    select.select([idle_read], [], [], generator.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while rest := os.read(read_end, 4096):
        heard += rest
    for end in (read_end, idle_read, idle_write):
        os.close(end)
    return np.frombuffer(heard, "<i8").tolist()


def tell(acknowledge: int, number: int) -> None:
    os.write(acknowledge, number.to_bytes(8, "little"))


# --- a device's memory ----------------------------------------------------------------------------------------------


def open_memory(path: Path) -> DeviceMemory:
    return DeviceMemory(path, FEATURES, MAX_COUNT, "trunk", exemplars=EXEMPLARS, max_bytes=1 << 22)


def write_memory(path: Path, acknowledge: int, seed: int) -> None:
    """Adds samples, learns them or sets them aside at random moments until it is killed; tells each one it added."""
    generator = random.Random(seed)
    memory = open_memory(path)
    number = int(memory.statistics.samples.sum()) + memory.pending + memory.aside
    while True:
        number += 1
        memory.add(*sample(number))
        tell(acknowledge, number)
        if generator.random() < 0.3 and (proposal := memory.propose(limit=generator.randint(1, 9))) is not None:
            (memory.accept if generator.random() < 0.7 else memory.set_aside)(proposal)
        if generator.random() < 0.05:
            memory.retry()


def check_memory(path: Path, acknowledged: int, expected: CountStatistics) -> tuple[int, int, int]:
    """Compares the file with the samples themselves; returns how many it holds, how many wait and are set aside."""
    with open_memory(path) as memory:
        numbers, rows, labels = memory.pending_samples()
        aside = memory._decode(memory._database.rows("SELECT sequence, label, counts, crc FROM aside"))
        exemplars = memory.exemplars_of()
        held = int(memory.statistics.samples.sum()) + len(numbers) + len(aside[0])
        # At most one sample was under way: it is there or not, but never a part, and never twice.
        assert acknowledged <= held <= acknowledged + 1, (acknowledged, held)
        for number in range(int(expected.samples.sum()) + 1, held + 1):
            expected.add(*sample(number))
        found = memory.statistics.copy()
        for samples in ((rows, labels), aside[1:]):
            found.add(*samples)
        assert found.to_bytes() == expected.to_bytes(), "what is held is not what was added"
        assert numbers.tolist() == list(range(memory.through + 1, memory.last_sequence + 1))
        assert len(exemplars[0]) == sum(min(EXEMPLARS, n) for n in memory.statistics.samples)
        memory.statistics.copy().subtract(*exemplars[1:])
        assert (memory.aside, memory.dropped) == (len(aside[0]), 0)
        return held, len(numbers), len(aside[0])


def kill_memory(path: Path, rounds: int, generator: random.Random) -> dict[str, int]:
    expected = CountStatistics(FEATURES, MAX_COUNT, "trunk")
    held = kept_unanswered = with_pending = with_aside = 0
    for _ in range(rounds):
        answers = kill_once(lambda end, seed: write_memory(path, end, seed), generator)
        acknowledged = max([held, *answers])
        held, pending, aside = check_memory(path, acknowledged, expected)
        kept_unanswered += held > acknowledged
        with_pending += pending > 0
        with_aside += aside > 0
    return {
        "samples": held,
        "kept_unanswered": kept_unanswered,
        "with_pending": with_pending,
        "with_aside": with_aside,
    }


# --- the cloud's sum ------------------------------------------------------------------------------------------------


def contribution(edge: int, sequence: int) -> CountStatistics:
    made = CountStatistics(FEATURES, MAX_COUNT, "trunk")
    made.add(*sample(1000 * edge + sequence))
    return made


def write_pushes(path: Path, acknowledge: int, seed: int) -> None:
    """Pushes later and later statistics of random edges until it is killed; tells each one."""
    generator = random.Random(seed)
    store = MergedStatistics(path, FEATURES, MAX_COUNT, "trunk")
    while True:
        edge = generator.randrange(EDGES)
        sequence = store.edges.get(str(edge), 0) + 1
        store.push(str(edge), sequence, contribution(edge, sequence).to_bytes())
        tell(acknowledge, 1000 * edge + sequence)


def kill_pushes(path: Path, rounds: int, generator: random.Random) -> dict[str, int]:
    held: dict[int, int] = {}
    kept_unanswered = 0
    for _ in range(rounds):
        for answer in kill_once(lambda end, seed: write_pushes(path, end, seed), generator):
            held[answer // 1000] = answer % 1000
        store = MergedStatistics(path, FEATURES, MAX_COUNT, "trunk")
        found = {int(edge): sequence for edge, sequence in store.edges.items()}
        ahead = sum(sequence - held.get(edge, 0) for edge, sequence in found.items())
        assert set(held) <= set(found)
        assert all(found[edge] >= sequence for edge, sequence in held.items()), (found, held)
        assert ahead <= 1, (found, held)  # the one that was under way
        expected = CountStatistics(FEATURES, MAX_COUNT, "trunk")
        for edge, sequence in found.items():
            expected.merge(contribution(edge, sequence))
        assert store.total().to_bytes() == expected.to_bytes()
        assert store.version == sum(found.values())
        store.close()
        held = found
        kept_unanswered += ahead
    return {"pushes": sum(held.values()), "kept_unanswered": kept_unanswered}


if __name__ == "__main__":
    kill = {"memory": kill_memory, "pushes": kill_pushes}[sys.argv[1]]
    print(json.dumps(kill(Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4])))))
