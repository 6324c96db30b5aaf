"""Latency models. Every function returns a `Quantity` in ms for one image.

Compute time is operations divided by a declared rate; network time is half a round trip plus bytes over rate in each
direction plus declared processing. These are models: latency that was measured on a link is a `Quantity` of its own.
"""

from __future__ import annotations

import math

from eccsnn.costs.energy import require_counts
from eccsnn.costs.profiles import Profile
from eccsnn.costs.quantity import Quantity


def network_latency_ms(
    bytes_up: float,
    bytes_down: float,
    *,
    rtt_ms: float,
    rate_up_mbit_s: float,
    rate_down_mbit_s: float | None = None,
    processing_ms: float = 0.0,
    source: str = "rtt/2 + bytes/rate for each direction",
) -> Quantity:
    """Time on the network for a request of `bytes_up` and an answer of `bytes_down` bytes.

    latency = (rtt/2 + bytes_up/rate_up) + (rtt/2 + bytes_down/rate_down) + processing

    Args:
        bytes_up: bytes of the request on the wire.
        bytes_down: bytes of the answer on the wire.
        rtt_ms: round-trip time of an empty packet.
        rate_up_mbit_s: rate towards the cloud in 10^6 bit/s.
        rate_down_mbit_s: rate towards the edge; the same as up when not given.
        processing_ms: declared processing on the way (not the cloud's inference).
        source: text for the result's source.

    Raises:
        ValueError: a negative size or time, or a rate that is not positive.

    Example:
        >>> network_latency_ms(2000, 0, rtt_ms=10.0, rate_up_mbit_s=16.0).value
        11.0
    """
    require_counts(bytes_up=bytes_up, bytes_down=bytes_down, rtt_ms=rtt_ms, processing_ms=processing_ms)
    down = rate_up_mbit_s if rate_down_mbit_s is None else rate_down_mbit_s
    for name, rate in (("rate_up_mbit_s", rate_up_mbit_s), ("rate_down_mbit_s", down)):
        if not math.isfinite(rate) or rate <= 0:
            raise ValueError(f"{name} is {rate}, expected a finite rate > 0 in Mbit/s")
    # 8 bit a byte and 1e3 ms a second over 1e6 bit/s: 8e-3 ms for a byte at 1 Mbit/s.
    transfer = bytes_up * 8.0 / (rate_up_mbit_s * 1e3) + bytes_down * 8.0 / (down * 1e3)
    return Quantity(rtt_ms + transfer + processing_ms, "ms", "modelled", source)


def link_latency_ms(
    profile: Profile, *, bytes_up: float, bytes_down: float = 0.0, image_size: int | None = None
) -> Quantity:
    """`network_latency_ms` over the profile's link, or the profile's published figure for the image size."""
    require_counts(bytes_up=bytes_up, bytes_down=bytes_down)
    if profile.model == "per_image":
        return profile.per_image("network_latency", image_size)
    return network_latency_ms(
        bytes_up,
        bytes_down,
        rtt_ms=profile["rtt"].value,
        rate_up_mbit_s=profile["rate_up"].value,
        rate_down_mbit_s=profile["rate_down"].value,
        source=f"rtt/2 + bytes/rate for each direction [profile {profile.name}]",
    )


def edge_latency_ms(
    profile: Profile, *, synops: float = 0.0, macs: float = 0.0, image_size: int | None = None
) -> Quantity:
    """Compute time of one inference on the edge: operations over the profile's rates, or its published figure.

    Accumulates and multiply-accumulates are taken to run one after the other; a device that overlaps them is faster.
    """
    require_counts(synops=synops, macs=macs)
    if profile.model == "per_image":
        return profile.per_image("edge_latency", image_size)
    seconds = synops / profile["edge_synop_rate"].value + macs / profile["edge_mac_rate"].value
    return Quantity(seconds * 1e3, "ms", "modelled", f"counted operations / edge rates [profile {profile.name}]")


def cloud_latency_ms(profile: Profile, *, macs: float, image_size: int | None = None) -> Quantity:
    """Compute time of one inference in the cloud and the overhead of a request, or the profile's published figure."""
    require_counts(macs=macs)
    if profile.model == "per_image":
        return profile.per_image("cloud_latency", image_size)
    milliseconds = macs / profile["cloud_mac_rate"].value * 1e3 + profile["cloud_overhead"].value
    return Quantity(milliseconds, "ms", "modelled", f"MACs / cloud rate + request overhead [profile {profile.name}]")
