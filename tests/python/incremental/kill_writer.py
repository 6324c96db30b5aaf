"""Kills a process that writes into a device's memory, again and again; test_memory.py starts it as a process.

It loads eccsnn once and forks writers, so that hundreds of kills take seconds. Prints JSON: what was seen.
"""

import json
import os
import random
import select
import signal
import sys
from pathlib import Path

import numpy as np

from eccsnn.incremental.memory import DeviceMemory
from eccsnn.incremental.statistics import CountStatistics

FEATURES, MAX_COUNT, EXEMPLARS = 48, 4, 3


def sample(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and label of the sample with this sequence number."""
    generator = np.random.default_rng(number)
    return generator.integers(0, MAX_COUNT + 1, (1, FEATURES)), generator.integers(0, 4, 1)


def open_memory(path: Path) -> DeviceMemory:
    return DeviceMemory(path, FEATURES, MAX_COUNT, "trunk", exemplars=EXEMPLARS, max_bytes=1 << 22)


def write(path: Path, acknowledge: int, seed: int) -> None:
    """Adds samples and learns them at random moments until it is killed; tells each number that it was given."""
    generator = random.Random(seed)
    memory = open_memory(path)
    number = memory.last_sequence
    while True:
        number += 1
        (given,) = memory.add(*sample(number))
        assert given == number
        os.write(acknowledge, number.to_bytes(8, "little"))
        if generator.random() < 0.3:
            proposal = memory.propose(limit=generator.randint(1, 9))
            if proposal is not None:
                memory.accept(proposal)


def kill_once(path: Path, generator: random.Random) -> int:
    """Starts a writer, kills it after a random number of answers and a random moment; returns its last answer."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        write(path, write_end, generator.getrandbits(32))
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
    return int.from_bytes(heard[-8:], "little")


def check(path: Path, acknowledged: int, expected: CountStatistics, counted: int) -> tuple[int, int, int]:
    """Compares the file with the samples themselves; returns its last sample, those in the statistics and pending."""
    with open_memory(path) as memory:
        last, through = memory.last_sequence, memory.through
        # At most one sample was under way: it is there or not, but never a part, and never twice.
        assert acknowledged <= last <= acknowledged + 1, (acknowledged, last)
        for number in range(counted + 1, through + 1):
            expected.add(*sample(number))
        assert memory.statistics.to_bytes() == expected.to_bytes(), "the statistics are of other samples"
        numbers, rows, labels = memory.pending_samples()
        assert numbers.tolist() == list(range(through + 1, last + 1))
        for number, row, label in zip(numbers, rows, labels, strict=True):
            wanted, wanted_label = sample(int(number))
            assert (row == wanted[0]).all()
            assert label == wanted_label[0]
        for number, row, label in zip(*memory.exemplars_of(), strict=True):
            wanted, wanted_label = sample(int(number))
            assert number <= through
            assert (row == wanted[0]).all()
            assert label == wanted_label[0]
        assert len(memory.exemplars_of()[0]) == sum(min(EXEMPLARS, n) for n in expected.samples)
        return last, through, len(numbers)


def main(path: Path, rounds: int, seed: int) -> None:
    generator = random.Random(seed)
    expected = CountStatistics(FEATURES, MAX_COUNT, "trunk")
    last = through = lost_answers = with_pending = 0
    for _ in range(rounds):
        acknowledged = max(kill_once(path, generator), last)
        last, through, pending = check(path, acknowledged, expected, through)
        lost_answers += last > acknowledged
        with_pending += pending > 0
    print(json.dumps({"samples": last, "kept_unanswered": lost_answers, "with_pending": with_pending}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
