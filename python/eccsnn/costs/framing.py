"""Bytes around a payload: what a message costs on the air besides what it carries.

Two parts, for every system alike:

- messages and HTTP/2: names, protobuf, gRPC and HTTP/2 framing with HTTP/2's own acknowledgements, measured at a
  counting proxy by `benchmarks/framing.py` (benchmarks/early_exit/framing-amd-epyc.json), without TLS;
- TCP/IP: 40 bytes of headers for each started 1460 bytes, as stated arithmetic: a message is taken to travel in
  segments of its own, and acknowledgements that carry nothing are not counted, nor are the layers below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.costs.quantity import Quantity

HEADER_BYTES = 40
"""Of IPv4 (20) and TCP (20), without options, a segment."""

SEGMENT_BYTES = 1460
"""Most that a segment carries: 1500 bytes of an Ethernet frame less the headers."""


@dataclass(frozen=True)
class Framing:
    """Bytes of messages and HTTP/2 around payloads, one way of sending.

    Attributes:
        first_up: Around the first packet of a sample.
        further_up: Around each further packet.
        answer_down: Around each answer: the response and HTTP/2.
        end_up: Of the message with which the edge ends a sample before its last timestep; 0: nobody sends one.
    """

    first_up: Quantity
    further_up: Quantity
    answer_down: Quantity
    end_up: Quantity


def _measured(first_up: float, further_up: float, answer_down: float, end_up: float = 0.0) -> Framing:
    source = "benchmarks/framing.py at a counting proxy, benchmarks/early_exit/framing-amd-epyc.json"
    return Framing(*(Quantity(size, "B", "measured", source) for size in (first_up, further_up, answer_down, end_up)))


# Waiting costs bytes too: HTTP/2 acknowledges what comes alone, and less often what comes together.
_STREAMED = _measured(60.4, 25.1, 55.4)

FRAMING = {
    "upload": _measured(92.4, 0.0, 60.8),
    "all_timesteps": _STREAMED,
    "edge_exit_head": _STREAMED,
    "lock_step": _measured(60.7, 51.5, 58.8, 16.7),
    "speculative": _STREAMED,
}
"""By mode of `eccsnn.costs.timesteps`; `upload` has names that a stream of spikes says once."""


def bytes_on_air(payload_bytes: Any, framing: Any) -> npt.NDArray[np.float64]:
    """Bytes of messages with framing and TCP/IP headers.

    Args:
        payload_bytes: Of each message, any shape.
        framing: Bytes of messages and HTTP/2 around each, of a shape that fits.

    Returns:
        f64, of the common shape.

    Example:
        >>> bytes_on_air([10, 3000], 60).tolist()
        [110.0, 3180.0]
    """
    sizes = np.asarray(payload_bytes, dtype=np.float64) + framing
    return np.asarray(sizes + HEADER_BYTES * np.ceil(sizes / SEGMENT_BYTES))
