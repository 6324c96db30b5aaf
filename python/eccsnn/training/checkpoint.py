"""Checkpoints: safetensors files that are written atomically and checked when read.

A checkpoint is one file. Tensors are stored by safetensors; everything else (epoch, step, scalars of the optimizer) is
JSON in its metadata, next to a SHA-256 of both, so that a truncated or altered file is noticed before any
of it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from eccsnn.errors import CheckpointError
from eccsnn.models import Model, build_model, check_finite

_FORMAT = "eccsnn.checkpoint/3"

# Reading the mask means setting it, which is not safe once there are threads: so once, at import.
_UMASK = os.umask(0)
os.umask(_UMASK)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path` so that a reader, a kill or a full disk never meets half a file.

    The bytes go to a temporary file beside `path`, are flushed to disk and then renamed over it. The folder is flushed
    last, where the system can do that, so that the name is on the disk, too, when this returns.

    Raises:
        CheckpointError: The file cannot be written (for example because the disk is full); an older file at `path` is
            left as it was.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_UMASK)  # mkstemp makes files that nobody else can read
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _flush_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}. What was there before is unchanged; "
            "free some space or choose another directory, then start the same command again to resume."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the file is whole whether or not a folder can be opened and flushed here
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def _digest(tensors: dict[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        # A view as bytes works for every dtype, bfloat16 included, which NumPy does not know.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Saves tensors and JSON-able `meta` in one safetensors file, atomically.

    Args:
        path: File to write; an older one is replaced only when the new one is complete.
        tensors: Name to tensor, any shape, dtype and device.
        meta: Anything that JSON can hold.

    Raises:
        CheckpointError: The file cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    described = json.dumps(meta or {})
    header = {"format": _FORMAT, "sha256": _digest(stored, described), "meta": described}
    write_atomically(path, save(stored, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a file written by `save_checkpoint` and verifies its checksum.

    Returns:
        The tensors (on the CPU) and `meta`.

    Raises:
        CheckpointError: The file is missing, truncated, altered, or no eccsnn checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}. Give the path of a file that a finished run has written.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a complete checkpoint: {error}. "
            "Delete it and run the experiment again; finished stages are reused."
        ) from error
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has format {header.get('format')!r}, expected {_FORMAT!r}. It was not written by this "
            f"version of eccsnn."
        )
    if header.get("sha256") != _digest(tensors, header.get("meta", "")):
        raise CheckpointError(
            f"{path} does not match its checksum: it was altered after it was written. Delete it and run again."
        )
    return tensors, json.loads(header["meta"])


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Loads weights into `model` and says what does not fit.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {source} do not fit the model {type(model).__name__}: {error}"
        ) from error


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits an optimizer's state into tensors and JSON, for `save_checkpoint`."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            elif value is not None:  # SGD keeps momentum_buffer = None until its first step
                scalars.setdefault(str(index), {})[key] = value
    return tensors, {"scalars": scalars, "param_groups": state["param_groups"]}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Restores what `pack_optimizer` has split."""
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in meta["scalars"].items()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": meta["param_groups"]})


def save_model(path: Path, model: Model) -> None:
    """Saves a model of `eccsnn.models` with what is needed to build it again, heads learnt later included."""
    spec = {key: value for key, value in model.spec.items() if key not in ("num_classes", "tasks", "pretrained")}
    tasks = [list(task) for task in model.head.tasks]
    save_checkpoint(path, dict(model.state_dict()), {"spec": spec, "tasks": tasks})


def load_model(path: Path) -> Model:
    """Builds the model that `save_model` has saved, in evaluation mode.

    Raises:
        CheckpointError: The file is missing, broken, no model, or holds NaN.
    """
    tensors, meta = load_checkpoint(path)
    if "spec" not in meta:
        raise CheckpointError(f"{path} holds a checkpoint, but no model. Expected a file written by save_model.")
    model = build_model(**meta["spec"], tasks=meta["tasks"])
    load_weights(model, tensors, str(path))
    try:
        check_finite(model, str(path))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    return model.eval()
