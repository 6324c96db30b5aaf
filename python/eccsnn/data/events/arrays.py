"""Recordings in NumPy's files: SpikingJelly's NPZ, and the NPY of DVS128 Gesture as tonic has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data.events.faults import Faults, Sieve
from eccsnn.data.events.types import Events, concatenate
from eccsnn.errors import DataError

_KEYS = ("t", "x", "y", "p")


def read_npz(
    path: Path, sensor: tuple[int, int] | None, block: int | None, skip: bool, faults: Faults
) -> Iterator[Events]:
    """Arrays t, x, y, p; `width` and `height` are taken where the file has them, which SpikingJelly's have not.

    The archive is compressed as a whole: it is read at once, whatever `block` says.

    Raises:
        DataError: the file is no such archive, the sensor is unknown, or an event is bad and `skip` is not set.
    """
    with _reading(path, "NPZ archive"), np.load(path, allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is a single array, expected an NPZ archive with arrays t, x, y and p")
        missing = [key for key in _KEYS if key not in file.files]
        if missing:
            raise DataError(f"{path} has arrays {', '.join(file.files)}; {', '.join(missing)} is missing of t, x, y, p")
        if sensor is None:
            if not {"width", "height"} <= set(file.files):
                raise DataError(f"{path} does not say the sensor's size; give sensor=(width, height)")
            sensor = int(file["width"]), int(file["height"])
        columns = [_column(path, key, file[key]) for key in _KEYS]
    yield from _sifted(path, columns, sensor, block, skip, faults)


def write_npz(path: Path, blocks: Iterable[Events]) -> None:
    """Arrays t, x, y, p as SpikingJelly keeps them, and the sensor's width and height."""
    events = concatenate(list(blocks))
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            t=events.t,
            x=events.x,
            y=events.y,
            p=events.polarity,
            width=np.int64(events.width),
            height=np.int64(events.height),
        )


def read_gesture(
    path: Path, sensor: tuple[int, int] | None, block: int | None, skip: bool, faults: Faults
) -> Iterator[Events]:
    """An array [N, 4] of x, y, polarity and milliseconds.

    Raises:
        DataError: the file is no such array, or an event is bad and `skip` is not set.
    """
    with _reading(path, "NPY array"):
        array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 4:
        shape = list(array.shape) if isinstance(array, np.ndarray) else "an archive"
        raise DataError(f"{path} holds {shape}, expected an array [N, 4] of x, y, polarity and time in ms")
    x, y, polarity, t_ms = (_column(path, name, array[:, i]) for i, name in enumerate(("x", "y", "polarity", "t")))
    if len(t_ms) and int(np.abs(t_ms).max()) > 2**53:
        raise DataError(
            f"{path}: a time is {t_ms[int(np.abs(t_ms).argmax())]} ms, expected milliseconds of a recording"
        )
    yield from _sifted(path, [1000 * t_ms.astype(np.int64), x, y, polarity], sensor or (128, 128), block, skip, faults)


def write_gesture(path: Path, blocks: Iterable[Events]) -> None:
    """As `read_gesture` reads it; times lose what is below a millisecond."""
    events = concatenate(list(blocks))
    with path.open("wb") as file:
        np.save(file, np.stack([events.x, events.y, events.polarity, events.t // 1000], axis=1).astype(np.int64))


def _sifted(
    path: Path, columns: list[npt.NDArray[Any]], sensor: tuple[int, int], block: int | None, skip: bool, faults: Faults
) -> Iterator[Events]:
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise DataError(f"{path}: its arrays have {sorted(lengths)} values, expected as many of each")
    t, x, y, polarity = Sieve(path, sensor, skip, faults)(*columns)
    arrays = t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), polarity.astype(np.uint8)
    step = block or max(1, len(t))
    for begin in range(0, max(1, len(t)), step):
        yield Events.unchecked(*(array[begin : begin + step] for array in arrays), width=sensor[0], height=sensor[1])


def _column(path: Path, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column as signed integers or bool; whole numbers in floating point are welcome (SpikingJelly's polarity)."""
    if values.ndim != 1:
        raise DataError(f"{path}: {name} has shape {list(values.shape)}, expected one dimension")
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or (np.abs(values) > 2.0**52).any() or (values != np.trunc(values)).any():
            raise DataError(f"{path}: {name} has values that are no integers, expected integers")
        return values.astype(np.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{path}: {name} has dtype {values.dtype}, expected integers")
    if values.dtype == np.uint64:
        if len(values) and int(values.max()) > np.iinfo(np.int64).max:
            raise DataError(f"{path}: {name} has {values.max()}, which does not fit in 64 bits with a sign")
        return values.astype(np.int64)
    return values


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # NumPy's readers raise nearly every type when they meet broken bytes
        # For bytes that are no arrays, NumPy's advice is to allow pickles.
        why = "it has no header of NumPy arrays" if "pickled" in str(error) else str(error)
        raise DataError(f"{path} cannot be read as an {what}: {why}; it is truncated, broken or no such file") from None
