"""Decoded arrays on disk: memory-mapped, checksummed, replaced atomically.

An entry is a JSON manifest beside one `.npy` file for each array, whose name ends in its checksum. The manifest is the
only commit point and is renamed into place last, so a process that is killed while it writes leaves the old entry, or
none, and some temporary files that the next writer removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.errors import DataError

logger = logging.getLogger(__name__)

SCHEMA = "eccsnn.data-cache/1"
AnyArray = npt.NDArray[Any]
Allocate = Callable[[str, tuple[int, ...], npt.DTypeLike], AnyArray]


@dataclass(frozen=True, eq=False)
class CachedArrays:
    """Arrays by name (read-only memory maps) and the sha256 (hex) of each."""

    arrays: dict[str, AnyArray]
    sha256: dict[str, str]


class _NotUsable(Exception):
    """Why an entry cannot be used as it is; `expected` where that is no fault (nothing has been built yet)."""

    def __init__(self, reason: str, *, expected: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected


def default_cache_dir() -> Path:
    """`$ECCSNN_CACHE`, else `~/.cache/eccsnn`."""
    given = os.environ.get("ECCSNN_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "eccsnn"


def array_sha256(array: AnyArray) -> str:
    """sha256 (hex) over an array's dtype, shape and bytes in C order."""
    digest = hashlib.sha256(f"{array.dtype.str} {list(array.shape)}\n".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def open_cached(
    name: str,
    *,
    key: Mapping[str, Any],
    signature: Mapping[str, Any],
    build: Callable[[Allocate], None],
    cache_dir: Path | None = None,
) -> CachedArrays:
    """Opens the entry for (`name`, `key`), building it first where it is missing, broken or out of date.

    Every array's checksum is verified at each opening. Why an entry is rebuilt is logged. A lock file keeps two
    processes from building the same entry at once.

    Args:
        name: starts the file names.
        key: JSON-able; what the entry is (data set, root, image size). Another key is another entry.
        signature: JSON-able; the state of the source (names, sizes, times). When it changes the entry is rebuilt.
        build: called with `allocate(array_name, shape, dtype)`, which returns a zeroed array on disk to
            be filled in place.
        cache_dir: None: `default_cache_dir()`.

    Raises:
        DataError: the cache cannot be written; and whatever `build` raises, in which case nothing is left behind.
    """
    folder = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()
    state = json.loads(json.dumps({"key": dict(key), "signature": dict(signature)}))
    stem = f"{name}-{hashlib.sha256(json.dumps(state['key'], sort_keys=True).encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{stem}.lock"):
            try:
                return _open_verified(folder, stem, state)
            except _NotUsable as fault:
                level = logging.INFO if fault.expected else logging.WARNING
                logger.log(level, "building the data cache %s/%s: %s", folder, stem, fault)
            _write(folder, stem, state, build)
            return _open_verified(folder, stem, state)
    except _NotUsable as fault:
        raise DataError(
            f"the data cache {folder}/{stem} is broken right after it was written: {fault}; check the disk"
        ) from None
    except OSError as error:
        raise DataError(
            f"the data cache in {folder} cannot be written or read: {error}; "
            "choose another folder with cache_dir or the environment variable ECCSNN_CACHE"
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that holds %s", path)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the file, also by the end of the process, releases the lock


def _array_path(folder: Path, stem: str, name: str, sha256: str) -> Path:
    return folder / f"{stem}.{name}.{sha256[:12]}.npy"


def _open_verified(folder: Path, stem: str, state: dict[str, Any]) -> CachedArrays:
    path = folder / f"{stem}.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema, key, signature, entries = (manifest[k] for k in ("schema", "key", "signature", "arrays"))
        sums = {str(name): str(entry["sha256"]) for name, entry in entries.items()}
    except FileNotFoundError:
        raise _NotUsable("it was not built yet", expected=True) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _NotUsable(f"its manifest {path.name} is broken ({type(error).__name__}: {error})") from None
    if schema != SCHEMA or key != state["key"]:
        raise _NotUsable(f"its manifest {path.name} was written for something else (schema {schema!r})")
    if signature != state["signature"]:
        changed = sorted(k for k in {*signature, *state["signature"]} if signature.get(k) != state["signature"].get(k))
        raise _NotUsable(f"the source changed since it was built ({', '.join(changed)})")
    arrays: dict[str, AnyArray] = {}
    for name, sha256 in sums.items():
        file = _array_path(folder, stem, name, sha256)
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _NotUsable(f"{file.name} is missing or broken ({error})") from None
        if array_sha256(array) != sha256:
            raise _NotUsable(f"{file.name} has another checksum than when it was written")
        arrays[name] = array
    return CachedArrays(arrays, sums)


def _write(folder: Path, stem: str, state: dict[str, Any], build: Callable[[Allocate], None]) -> None:
    for leftover in folder.glob(f"{stem}.*.tmp"):  # under the lock: whoever wrote these is gone
        leftover.unlink()
    allocated: dict[str, tuple[Path, AnyArray]] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        file = folder / f"{stem}.{name}.tmp"
        array = np.lib.format.open_memmap(file, mode="w+", dtype=np.dtype(dtype), shape=shape)
        with file.open("r+b") as handle:  # a full disk is an error here, not a crash at the first touch of a page
            os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)
        allocated[name] = (file, array)
        return array

    try:
        build(allocate)
        sums = {}
        for name, (file, array) in allocated.items():
            array.flush()  # type: ignore[attr-defined]
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            sums[name] = array_sha256(array)
        for name, (file, _) in allocated.items():
            os.replace(file, _array_path(folder, stem, name, sums[name]))
        manifest = {"schema": SCHEMA, **state, "arrays": {name: {"sha256": sums[name]} for name in sums}}
        temporary = folder / f"{stem}.json.tmp"
        with temporary.open("w", encoding="utf-8") as text:
            json.dump(manifest, text, indent=1)
            text.flush()
            os.fsync(text.fileno())
        os.replace(temporary, folder / f"{stem}.json")
    finally:
        for leftover in folder.glob(f"{stem}.*.tmp"):
            leftover.unlink()
    keep = {_array_path(folder, stem, name, sums[name]) for name in sums}
    for old in set(folder.glob(f"{stem}.*.npy")) - keep:
        old.unlink()
