"""The libraries that eccsnn is measured against: which are there, and what stands in when one is not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from eccsnn.errors import ConfigError
from eccsnn.nn._hints import nearest

PEERS = ("spikingjelly", "snntorch", "norse")
CODEC_PEERS = ("zstandard", "constriction")
EVENT_PEERS = ("tonic", "spikingjelly")
TITLES = {
    "spikingjelly": "SpikingJelly",
    "snntorch": "snnTorch",
    "norse": "norse",
    "zstandard": "zstandard",
    "constriction": "constriction",
    "tonic": "tonic",
    "acil": "ACIL",
    "slda": "streaming LDA",
    "eccsnn": "eccsnn",
    "bound": "bound",
}
_PROBES = {
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "snntorch": "snntorch",
    "norse": "norse.torch",
    "zstandard": "zstandard",
    "constriction": "constriction",
    "tonic": "tonic.io",
    "acil": "eccsnn.incremental.analytic",  # peers by their published mathematics: their code is no library
    "slda": "eccsnn.incremental.analytic",
}


@dataclass(frozen=True)
class Absent:
    """A peer that is not measured.

    Attributes:
        peer: Its name, with what of it is missing.
        reason: Why.
        install: The command that installs it, where that is what is missing.
    """

    peer: str
    reason: str
    install: str | None = None

    def in_words(self) -> str:
        """Peer, reason and remedy."""
        return f"{self.peer}: {self.reason}" + (f"; {self.install}" if self.install else "")


def choose_peers(text: str, known: Sequence[str] = PEERS) -> tuple[list[str], list[Absent]]:
    """Parses `--peers`: "all", "none", or names with commas between.

    Returns:
        The peers that are installed, and the others.

    Raises:
        ConfigError: A name is unknown, there is none, or "all" or "none" stands beside others.

    Example:
        >>> choose_peers("none")
        ([], [])
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--peers: {text!r} names no peer; expected all, none, or some of {', '.join(known)}")
    for word in ("all", "none"):
        if word in names and len(names) > 1:
            raise ConfigError(f"--peers: {word!r} stands alone, but {text!r} was given")
    if names == ["all"]:
        names = list(known)
    elif names == ["none"]:
        names = []
    for name in names:
        if name not in known:
            raise ConfigError(f"--peers: unknown peer {name!r}: {nearest(name, known)}, or all, or none")
    found: list[str] = []
    absent: list[Absent] = []
    for name in dict.fromkeys(names):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about their own use of torch
                importlib.import_module(_PROBES[name])
        except ImportError as error:
            absent.append(Absent(name, f"cannot be imported: {error}", f"pip install {name}"))
        except Exception as error:  # a library that breaks must not end the measurement of the others
            absent.append(Absent(name, f"cannot be imported: {in_short(error)}"))
        else:
            found.append(name)
    return found, absent


def in_short(error: BaseException) -> str:
    """The kind of an error and the first line of its text.

    Example:
        >>> in_short(RuntimeError("no compiler\\nand a long trace"))
        'RuntimeError: no compiler'
    """
    lines = str(error).strip().splitlines() or ["no text"]
    return f"{type(error).__name__}: {lines[0][:200]}"


def peer_versions() -> dict[str, str]:
    """Versions of the peers that are installed."""
    found = {}
    for name in dict.fromkeys((*PEERS, *CODEC_PEERS, *EVENT_PEERS)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
