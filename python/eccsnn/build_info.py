"""What was built and which path runs: the data behind `eccsnn info`."""

from __future__ import annotations

from typing import Any

import torch

from eccsnn.errors import BuildError


def build_info() -> dict[str, Any]:
    """How eccsnn was built, what of it is loaded and why, and what the kernels run on.

    Never raises: a part that is missing or does not load says so in its `reason`.

    Returns:
        `core` (how it was built), `cpu` (op library, instruction set and why, threads) and `cuda` (op library, whether
        it is loaded or why not, device).

    Example:
        >>> build_info()["cpu"]["isa"] in ("baseline", "avx2", "avx512")
        True
    """
    core, isa = _core()
    cpu: dict[str, Any] = {"loaded": False, "reason": None, "library": None}
    cuda: dict[str, Any] = {"built": core.pop("cuda", None), "how": core.pop("cuda_reason", None)}
    try:
        from eccsnn.ops import _library

        cpu_library, cuda_library = _library.status()
    except BuildError as error:
        # The ops need both libraries to be as they should: the message names the one that is not.
        cpu["reason"] = str(error)
        cuda |= {"loaded": False, "reason": str(error), "library": None}
    else:
        cpu |= {"loaded": True, "reason": cpu_library.reason, "library": cpu_library.path}
        cuda |= {"loaded": cuda_library.loaded, "reason": cuda_library.reason, "library": cuda_library.path}
    cpu |= isa | {"threads": torch.get_num_threads()}
    cuda["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"core": core, "cpu": cpu, "cuda": cuda}


def _core() -> tuple[dict[str, Any], dict[str, Any]]:
    """How the core was built, and its choice of instruction set."""
    no_isa = {"isa": None, "isa_supported": None}
    try:
        from eccsnn import _core as module
    except ImportError as error:
        return {"loaded": False, "reason": str(error)}, no_isa | {"isa_reason": "eccsnn._core is not built"}
    build: dict[str, Any] = dict(module.build())
    build["built_against_torch"] = build.pop("torch")
    try:
        choice = module.isa()
    except ValueError as error:
        return build, no_isa | {"isa_reason": str(error)}
    return build, {
        "isa": choice["selected"],
        "isa_supported": choice["supported"],
        "isa_reason": choice["reason"],
    }
