"""What the machine is, beyond its processor's name, and how busy it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from eccsnn.experiments.provenance import hardware

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def describe(device: str) -> dict[str, Any]:
    """`hardware` with the processor's family and model, its caches, and whether a hypervisor runs it.

    What the system does not tell is left out.

    Args:
        device: Of the run, such as "cpu".
    """
    fields = _first_processor()
    found = hardware(device)
    for key, name in (("cpu family", "cpu_family"), ("model", "cpu_model"), ("stepping", "cpu_stepping")):
        if key in fields:
            found[name] = fields[key]
    caches = _caches()
    if caches:
        found["caches"] = caches
    if "flags" in fields:
        found["hypervisor"] = "hypervisor" in fields["flags"].split()
    return found


def in_words(found: dict[str, Any]) -> str:
    """One line on a machine that `describe` (or, in old files, `hardware`) found.

    Example:
        >>> in_words({"cpu": "X", "isa": "avx2", "memory_gib": 8, "cores": 2, "caches": "L2 1 MiB", "hypervisor": True})
        'X (avx2, 2 cores, caches L2 1 MiB, under a hypervisor), 8 GiB'
    """
    parts = [str(found.get("isa"))]
    if "cpu_family" in found and "cpu_model" in found:
        parts.append(f"family {found['cpu_family']} model {found['cpu_model']}")
    if found.get("cores"):
        parts.append(f"{found['cores']} cores")
    if found.get("caches"):
        parts.append(f"caches {found['caches']}")
    if "hypervisor" in found:
        parts.append("under a hypervisor" if found["hypervisor"] else "no hypervisor")
    return f"{found.get('cpu')} ({', '.join(parts)}), {found.get('memory_gib')} GiB"


def load_average() -> float | None:
    """Processes that wanted a core, averaged over the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _first_processor() -> dict[str, str]:
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = text.split("\n\n", 1)[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _caches() -> str:
    """Such as "L1d 32K, L1i 32K, L2 1024K, L3 32768K": those that the first core sees."""
    letters = {"Data": "d", "Instruction": "i", "Unified": ""}
    found = []
    for index in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text(encoding="utf-8").strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        found.append(f"L{level}{letters.get(kind, '')} {size}")
    return ", ".join(found)
