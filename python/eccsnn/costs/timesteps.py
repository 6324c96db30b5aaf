"""What each further timestep of a split network costs, by the way in which its timesteps travel.

The device computes its part, sends a packet, and the cloud computes the rest. Every mode has a latency, bytes and an
energy of its own; figures of two modes must not stand in one row:

- edge_only: nothing is sent.
- upload: one message with an image or with features, one answer.
- all_timesteps: nothing stops early; the edge sends on without waiting, and one answer comes at the end.
- edge_exit_head: the edge decides by its own head whether to go on, without waiting; one round trip in all.
- lock_step: every timestep waits for its answer: edge + bytes / rate + a round trip + cloud, a timestep.
- speculative: the edge computes and sends on until the cloud's stop reaches it: one round trip in all, but every
  timestep begun before that is paid for, its packet too where its sending had begun.

Where the edge does not wait, the cloud's work on earlier timesteps is hidden behind the edge's: only the last one's is
waited for. The edge computes and sends in turns.

The cloud's work is priced by dense multiply-accumulates, for spiking networks and for others: the profile's cloud is a
device that gains nothing from zeros. Bytes on the air have the framing and headers of `eccsnn.costs.framing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.costs.energy import cloud_energy_mj, edge_energy_mj, radio_energy_mj
from eccsnn.costs.framing import FRAMING, bytes_on_air
from eccsnn.costs.latency import cloud_latency_ms, edge_latency_ms
from eccsnn.costs.profiles import Profile

FloatArray = npt.NDArray[np.float64]
MODES = ("edge_only", *FRAMING)


def timestep_costs(
    profile: Profile,
    *,
    mode: str,
    edge: Mapping[str, Sequence[float]],
    cloud: Mapping[str, Sequence[float]] | None = None,
    payload_bytes: Any = None,
    answer_bytes: float = 0.0,
    exit_head_macs: float = 0.0,
    precision: str = "fp32",
    memory: bool = False,
) -> dict[str, FloatArray]:
    """Increments of each cost a timestep, for `eccsnn.offload.exit_curve`: their sum up to the stop is what it costs.

    Args:
        profile: Constants for each operation and byte (`model: per_operation`).
        mode: One of `MODES`.
        edge: `synops` and `macs` of the edge's part up to and with each timestep, `[T]`.
        cloud: `dense` multiply-accumulates of the cloud's part likewise; needed unless the mode is `edge_only`.
        payload_bytes: Bytes of each packet, `[T, N]`; needed with `cloud`.
        answer_bytes: Of an answer, without its framing.
        exit_head_macs: Of the head with which the edge decides whether to stop, a timestep; 0: it has none, or the
            head does not run.
        precision: Of the edge's arithmetic; the cloud computes in fp32.
        memory: Adds one weight read for each operation on both sides.

    Returns:
        `device_energy_mj` (edge and radio), `energy_mj` (with the cloud), `latency_ms`, and where something is sent
        `radio_energy_mj` (both directions, all framing), `payload_energy_mj` (the radio's for the payload alone) and
        `payload_bytes`; `[T, N]`, or `[T]` for `edge_only`.

    Raises:
        ValueError: The profile holds whole figures for an image, the mode is unknown, or shapes do not fit.

    Example:
        >>> from eccsnn.costs import load_profile
        >>> edge = {"synops": [1e6, 2e6], "macs": [1e6, 1e6]}
        >>> costs = timestep_costs(load_profile("edge_45nm_wifi"), mode="edge_only", edge=edge)
        >>> costs["device_energy_mj"].round(6).tolist()
        [0.0055, 0.0009]
    """
    if profile.model == "per_image":
        raise ValueError(
            f"profile {profile.name!r} holds whole figures for an image, and nothing about single timesteps; use one "
            "with energies of operations, such as edge_45nm_wifi"
        )
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    if (mode == "edge_only") != (cloud is None):
        raise ValueError(f"mode is {mode!r} with cloud {cloud!r}; expected None for edge_only, else its operations")
    steps = len(edge["synops"])
    options = {"precision": precision, "memory": memory}
    work = [(s, m + t * exit_head_macs) for t, (s, m) in enumerate(_work(edge, steps), start=1)]
    device = np.array([edge_energy_mj(profile, synops=s, macs=m, **options).value for s, m in work])  # type: ignore[arg-type]
    computing = np.diff([edge_latency_ms(profile, synops=s, macs=m).value for s, m in work], prepend=0.0)
    if cloud is None:
        alone = np.diff(device, prepend=0.0)
        return {"device_energy_mj": alone, "energy_mj": alone, "latency_ms": computing}
    packets = np.asarray(payload_bytes, dtype=np.float64)
    if packets.ndim != 2 or len(packets) != steps:
        raise ValueError(f"payload_bytes has shape {list(packets.shape)}, expected [T, N] with T = {steps}")
    if len(cloud["dense"]) != steps:
        raise ValueError(f"cloud has {len(cloud['dense'])} entries of dense, expected {steps}: one a timestep")
    framing = FRAMING[mode]
    around = np.full((steps, 1), framing.further_up.value)
    around[0] = framing.first_up.value
    sent_bytes = bytes_on_air(packets, around)
    answer = float(bytes_on_air(answer_bytes, framing.answer_down.value))
    up_ms = sent_bytes * 8e-3 / profile["rate_up"].value
    overhead = cloud_latency_ms(profile, macs=0.0).value
    round_trip = profile["rtt"].value + overhead + answer * 8e-3 / profile["rate_down"].value
    dense = np.diff(cloud["dense"], prepend=0.0)
    cloud_step = np.array([cloud_latency_ms(profile, macs=macs).value - overhead for macs in dense])
    by_step = computing[:, None] + up_ms
    if mode == "lock_step":
        latency = (by_step + round_trip + cloud_step[:, None]).cumsum(axis=0)
    else:
        latency = by_step.cumsum(axis=0) + round_trip + cloud_step[:, None]
    computed = sent = np.broadcast_to(np.arange(1, steps + 1)[:, None], packets.shape)
    if mode == "speculative":
        begins = by_step.cumsum(axis=0) - by_step
        computed = (begins[None] < latency[:, None]).sum(axis=1)
        sent = (begins[None] + computing[:, None] < latency[:, None]).sum(axis=1)
    answers = np.ones(steps) if mode in ("upload", "all_timesteps") else np.arange(1.0, steps + 1)
    ends = np.zeros(steps)
    if framing.end_up.value:
        ends[:-1] = float(bytes_on_air(0.0, framing.end_up.value))
    a_byte_up, a_byte_down = (radio_energy_mj(profile, bytes_up=up, bytes_down=1.0 - up).value for up in (1.0, 0.0))
    payload = _up_to(packets, sent)
    radio = (_up_to(sent_bytes, sent) + ends[:, None]) * a_byte_up + (answers * answer)[:, None] * a_byte_down
    on_device = device[computed - 1] + radio
    served = np.array([cloud_energy_mj(profile, macs=macs, memory=memory).value for macs in cloud["dense"]])
    totals = {
        "device_energy_mj": on_device,
        "energy_mj": on_device + served[:, None],
        "latency_ms": latency,
        "radio_energy_mj": radio,
        "payload_energy_mj": payload * a_byte_up,
        "payload_bytes": payload,
    }
    return {name: np.diff(total, axis=0, prepend=0.0) for name, total in totals.items()}


def _up_to(values: FloatArray, counts: npt.NDArray[np.int64]) -> FloatArray:
    """Sums of the first `counts` of `[T, N]`."""
    return np.take_along_axis(values.cumsum(axis=0), counts - 1, axis=0)


def _work(counted: Mapping[str, Sequence[float]], steps: int) -> list[tuple[float, float]]:
    """(synops, macs) up to each timestep."""
    if len(counted["synops"]) != steps or len(counted["macs"]) != steps:
        raise ValueError(
            f"synops and macs have {len(counted['synops'])} and {len(counted['macs'])} entries, expected {steps} each: "
            "one a timestep"
        )
    return list(zip(counted["synops"], counted["macs"], strict=True))
