"""Loading of the compiled op libraries.

The CPU library is loaded when `eccsnn.ops` is imported. The CUDA library is loaded in addition where it was built and
torch can use CUDA. `status()` says what happened, for `eccsnn info`: nothing here falls back silently.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util

import torch

from eccsnn.errors import BuildError

_HOW_TO_BUILD = "Install the package again where torch is installed: pip install . (or pip install -e . to develop)."


@dataclasses.dataclass(frozen=True)
class Library:
    """One compiled op library: where it is, whether it is loaded, and why or why not."""

    name: str
    path: str | None
    loaded: bool
    reason: str


def _find(module: str) -> str | None:
    # find_spec rather than a path beside this file: an editable installation keeps compiled files elsewhere.
    spec = importlib.util.find_spec(module)
    return None if spec is None else spec.origin


@functools.cache
def load_cpu() -> Library:
    """Loads `_ops_cpu`, which also holds the schemas of all ops.

    Raises:
        BuildError: If it is missing, does not load under this torch, or `ECCSNN_ISA` asks for an instruction set that
            is not there.
    """
    path = _find("eccsnn._ops_cpu")
    if path is None:
        raise BuildError(f"eccsnn's CPU op library (eccsnn/_ops_cpu.so) was not built. {_HOW_TO_BUILD}")
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise BuildError(
            f"eccsnn's CPU op library {path} does not load under torch {torch.__version__}: {error}. {_HOW_TO_BUILD}"
        ) from error
    try:
        torch.ops.eccsnn.isa()
    except (RuntimeError, ValueError) as error:  # ECCSNN_ISA asks for what is not there
        raise BuildError(str(error).splitlines()[0]) from error
    return Library("cpu", path, True, f"loaded under torch {torch.__version__}")


@functools.cache
def load_cuda() -> Library:
    """Loads `_ops_cuda` where it was built and torch has CUDA; otherwise says why not.

    Raises:
        BuildError: If it should load and does not.
    """
    path = _find("eccsnn._ops_cuda")
    if path is None:
        return Library("cuda", None, False, "not built")
    if torch.version.cuda is None:
        return Library("cuda", path, False, f"torch {torch.__version__} was built without CUDA")
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise BuildError(
            f"eccsnn's CUDA op library {path} does not load under torch {torch.__version__}: {error}. {_HOW_TO_BUILD}"
        ) from error
    if not torch.cuda.is_available():
        return Library("cuda", path, True, "loaded, but torch finds no CUDA device, so nothing runs on it")
    return Library("cuda", path, True, f"loaded for {torch.cuda.get_device_name()}")


_cuda: Library | None = None


def load() -> None:
    """Loads what there is; called once, by `eccsnn.ops`."""
    global _cuda
    load_cpu()
    _cuda = load_cuda()


def status() -> list[Library]:
    """What is loaded and why, for `eccsnn info`."""
    return [load_cpu(), load_cuda()]


def require_kernels_for(tensor: torch.Tensor) -> None:
    """Checks that the ops have kernels for the tensor's device.

    Raises:
        BuildError: If it is a CUDA tensor and the CUDA op library is not loaded.
    """
    if tensor.is_cuda and not (_cuda is not None and _cuda.loaded):
        reason = "it was not looked for" if _cuda is None else _cuda.reason
        raise BuildError(
            f"The tensor is on {tensor.device}, but eccsnn's CUDA op library is not loaded: {reason}. Move the tensor "
            "with .cpu(), or install the package again where nvcc and a torch with CUDA are found."
        )
