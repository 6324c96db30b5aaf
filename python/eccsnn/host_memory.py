"""How the process keeps memory that tensors have freed.

glibc maps every block above 32 MiB (its largest threshold) anew and gives it back to the kernel when it is freed, so
that each step of a training takes all of its large activations as pages that fault one by one. Kept memory is used
again.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Numbers and meaning: mallopt(3) and malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_NEVER_TRIM = 2**31 - 1  # mallopt takes an int
_TOP_PAD_BYTES = 64 * 2**20
_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc", "hoard", "tbbmalloc", "snmalloc")


def keep_freed_memory() -> str:
    """Asks glibc to keep freed memory for the process instead of giving it back to the kernel.

    It costs that the process stays as large as it has ever been, which is why this is for processes that train, serve
    or measure, and never happens on import. It does nothing where somebody has already decided: with MALLOC_...
    variables, with GLIBC_TUNABLES for malloc, with another allocator, or with another C library. Blocks above 64 MiB
    that other threads than the main one allocate are still mapped.

    Returns:
        One line that says what was done, or why nothing was.

    Example:
        >>> keep_freed_memory().startswith("host memory: ")
        True
    """
    reason = _leave_alone(os.environ, sys.platform, _loaded_libraries(), _glibc_version())
    if reason is not None:
        return f"host memory: allocator left as it is ({reason})"
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_TOP_PAD, _TOP_PAD_BYTES))
    if not all(mallopt(option, value) for option, value in wanted):
        return "host memory: allocator left as it is, at least in part (mallopt refused)"
    return f"host memory: freed memory is kept (glibc {_glibc_version()}: no mmap, no trim, 64 MiB at a time)"


def _leave_alone(environ: Mapping[str, str], platform: str, libraries: str, glibc: str | None) -> str | None:
    """Why the allocator is not to be touched; None: it may be."""
    if not platform.startswith("linux") or glibc is None:
        return "the C library is not glibc"
    decided = sorted(name for name in environ if name.startswith("MALLOC_"))
    if decided:
        return f"{', '.join(decided)} decides"
    if "glibc.malloc" in environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES decides"
    loaded = [name for name in _ALLOCATORS if name in libraries or name in environ.get("LD_PRELOAD", "")]
    return f"{loaded[0]} is loaded" if loaded else None


def _glibc_version() -> str | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):  # another system or C library
        return None
    return version if name == "glibc" else None


def _loaded_libraries() -> str:
    """Names of the shared libraries in this process."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join({line.rsplit("/", 1)[-1] for line in lines if "/" in line})
