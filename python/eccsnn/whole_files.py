"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when the block ends, and is removed when it fails.

    A reader, a kill or a full disk never meets half a file: the bytes are on the disk before the file gets its name,
    and the name is when this returns, where the system can flush a folder. A symbolic link stays one: the file that it
    points to is replaced.

    Raises:
        OSError: it cannot be written, or what is there is no regular file (a folder, a device, a pipe).
    """
    # Asked of the path itself: what /dev/stdout points to has no name that could be asked.
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it is there and no regular file, which could be replaced", str(path))
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the umask, as any new file
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the file is whole whether or not a folder can be opened and flushed here
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
