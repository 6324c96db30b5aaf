import subprocess
import sys

import pytest

from eccsnn import host_memory
from eccsnn.host_memory import keep_freed_memory

PROGRAM = """
import resource, sys, torch
if sys.argv[1] == "keep":
    from eccsnn.host_memory import keep_freed_memory
    print(keep_freed_memory())
x = torch.ones(10_000_000)
for _ in range(30):  # memory that is aligned needs a few turns before it is used again
    y = x.clone(); del y
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    y = x.clone(); del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what, **environment):
    """Page faults of ten clones of 40 MB, and what was said."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    *said, count = done.stdout.splitlines()
    return int(count), "\n".join(said)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_used_again():
    kept, said = faults("keep")
    if "freed memory is kept" not in said:  # somebody has decided for the whole test run
        assert "left as it is" in said
        return
    assert kept < 200


def test_variables_decide():
    _, said = faults("keep", MALLOC_TRIM_THRESHOLD_="1000000")
    assert said == "host memory: allocator left as it is (MALLOC_TRIM_THRESHOLD_ decides)"
    _, said = faults("keep", GLIBC_TUNABLES="glibc.malloc.trim_threshold=1000000")
    assert said == "host memory: allocator left as it is (GLIBC_TUNABLES decides)"


@pytest.mark.parametrize(
    ("environ", "platform", "libraries", "glibc", "expected"),
    [
        ({}, "linux", "libc.so.6", "2.36", None),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}, "linux", "", "2.36", None),
        (
            {"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "1"},
            "linux",
            "",
            "2.36",
            "MALLOC_ARENA_MAX, MALLOC_TOP_PAD_ decides",
        ),
        ({}, "linux", "libjemalloc.so.2\nlibc.so.6", "2.36", "jemalloc is loaded"),
        ({"LD_PRELOAD": "/usr/lib/libtcmalloc_minimal.so.4"}, "linux", "", "2.36", "tcmalloc is loaded"),
        ({}, "linux", "", None, "the C library is not glibc"),
        ({}, "darwin", "", "2.36", "the C library is not glibc"),
    ],
)
def test_when_the_allocator_is_left_alone(environ, platform, libraries, glibc, expected):
    assert host_memory._leave_alone(environ, platform, libraries, glibc) == expected


def test_a_refusal_is_said(monkeypatch):
    class Library:
        @staticmethod
        def mallopt(option, value):
            return 0

    monkeypatch.setattr(host_memory, "_leave_alone", lambda *_: None)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda _: Library)
    Library.mallopt = type("F", (), {"__call__": lambda self, *_: 0})()
    assert "mallopt refused" in keep_freed_memory()
