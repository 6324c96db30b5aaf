"""What each further timestep of a split network costs: the increments that early exit saves.

The device computes its part, sends a packet, and the cloud computes the rest. Latency is modelled twice:

- lock-step: every timestep waits for its answer: edge + rtt + bytes / rate + cloud, a timestep;
- speculative: the edge sends on without waiting, so that one round trip is paid in all, and the cloud's work on earlier
  timesteps is hidden behind the edge's: only the last step's is waited for. Its bound is edge + rtt + bytes / rate +
  cloud step. What the edge computes beyond the stop while the stop is on its way is not in the model; a measured link
  counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.costs.energy import cloud_energy_mj, edge_energy_mj, radio_energy_mj
from eccsnn.costs.latency import cloud_latency_ms, edge_latency_ms
from eccsnn.costs.profiles import Profile

FloatArray = npt.NDArray[np.float64]


def timestep_costs(
    profile: Profile,
    *,
    edge: Mapping[str, Sequence[float]],
    cloud: Mapping[str, Sequence[float]] | None = None,
    payload_bytes: Any = None,
    answer_bytes: float = 0.0,
    exit_head_macs: float = 0.0,
    precision: str = "fp32",
    memory: bool = False,
) -> dict[str, FloatArray]:
    """Increments of each cost a timestep, for `eccsnn.offload.exit_curve`.

    Args:
        profile: Constants for each operation and byte (`model: per_operation`).
        edge: `synops` and `macs` of the edge's part up to and with each timestep, `[T]`.
        cloud: The same of the cloud's part; None: nothing is sent.
        payload_bytes: Bytes of each packet, `[T, N]`; needed with `cloud`.
        answer_bytes: Of the answer to a timestep.
        exit_head_macs: Of the head with which the edge decides whether to stop, a timestep; 0: it has none, or the
            head does not run.
        precision: Of the edge's arithmetic; the cloud computes in fp32.
        memory: Adds one weight read for each operation on both sides.

    Returns:
        `device_energy_mj` (edge and radio), `energy_mj` (with the cloud), `latency_speculative_ms`,
        `latency_lock_step_ms`, and with a cloud `payload_bytes`; `[T, N]`, or `[T]` where no packet is sent.

    Raises:
        ValueError: The profile holds whole figures for an image, or shapes do not fit.

    Example:
        >>> from eccsnn.costs import load_profile
        >>> costs = timestep_costs(load_profile("edge_45nm_wifi"), edge={"synops": [1e6, 2e6], "macs": [1e6, 1e6]})
        >>> costs["device_energy_mj"].round(6).tolist()
        [0.0055, 0.0009]
    """
    if profile.model == "per_image":
        raise ValueError(
            f"profile {profile.name!r} holds whole figures for an image, and nothing about single timesteps; use one "
            "with energies of operations, such as edge_45nm_wifi"
        )
    steps = len(edge["synops"])
    options = {"precision": precision, "memory": memory}
    work = [(s, m + t * exit_head_macs) for t, (s, m) in enumerate(_work(edge, steps), start=1)]
    device = np.diff(
        [edge_energy_mj(profile, synops=s, macs=m, **options).value for s, m in work],  # type: ignore[arg-type]
        prepend=0.0,
    )
    computing = np.diff([edge_latency_ms(profile, synops=s, macs=m).value for s, m in work], prepend=0.0)
    if cloud is None:
        both = {"device_energy_mj": device, "energy_mj": device}
        return both | {"latency_speculative_ms": computing, "latency_lock_step_ms": computing}
    packets = np.asarray(payload_bytes, dtype=np.float64)
    if packets.ndim != 2 or len(packets) != steps:
        raise ValueError(f"payload_bytes has shape {list(packets.shape)}, expected [T, N] with T = {steps}")
    a_byte_up = radio_energy_mj(profile, bytes_up=1.0).value
    radio = packets * a_byte_up + radio_energy_mj(profile, bytes_up=0.0, bytes_down=answer_bytes).value
    # An accumulate of the cloud's spiking part is priced as one; a GPU would compute it as a multiply-accumulate.
    served = [cloud_energy_mj(profile, macs=m, memory=memory).value for _, m in _work(cloud, steps)]
    accumulated = [
        edge_energy_mj(profile, synops=s, precision="fp32", memory=memory).value for s, _ in _work(cloud, steps)
    ]
    energy = device[:, None] + radio + np.diff(np.add(served, accumulated), prepend=0.0)[:, None]
    overhead = cloud_latency_ms(profile, macs=0.0).value
    operations = np.diff([s + m for s, m in _work(cloud, steps)], prepend=0.0)
    cloud_step = np.array([cloud_latency_ms(profile, macs=ops).value - overhead for ops in operations])
    up = packets * 8e-3 / profile["rate_up"].value
    down = answer_bytes * 8e-3 / profile["rate_down"].value
    round_trip = profile["rtt"].value + overhead + down
    lock_step = computing[:, None] + up + round_trip + cloud_step[:, None]
    speculative = computing[:, None] + up
    # The last step's computation in the cloud stands for that of each, so that a stop after any timestep pays one.
    speculative[0] += round_trip + cloud_step[0]
    speculative[1:] += np.diff(cloud_step)[:, None]
    return {
        "device_energy_mj": device[:, None] + radio,
        "energy_mj": energy,
        "latency_speculative_ms": speculative,
        "latency_lock_step_ms": lock_step,
        "payload_bytes": packets,
    }


def _work(counted: Mapping[str, Sequence[float]], steps: int) -> list[tuple[float, float]]:
    """(synops, macs) up to each timestep."""
    if len(counted["synops"]) != steps or len(counted["macs"]) != steps:
        raise ValueError(
            f"synops and macs have {len(counted['synops'])} and {len(counted['macs'])} entries, expected {steps} each: "
            "one a timestep"
        )
    return list(zip(counted["synops"], counted["macs"], strict=True))
