"""Energy models. Every function returns a `Quantity` in mJ for one image; the profile supplies the constants.

Arithmetic energy is counts times the energy of an operation: E = macs * E_mac + synops * E_ac, where a synaptic
operation is one accumulate. Memory traffic is a separate term, off by default: one weight read from on-chip memory for
each operation, without reuse. Updates of the membrane are not counted, as in the published models.
Source of the constants: Horowitz, ISSCC 2014; the convention for spiking networks is the field's usual one.
"""

from __future__ import annotations

import math

from eccsnn.costs.profiles import Profile
from eccsnn.costs.quantity import Quantity

PRECISIONS = ("fp32", "int8")


def arithmetic_energy_mj(
    profile: Profile, *, macs: float = 0.0, synops: float = 0.0, precision: str = "fp32", memory: bool = False
) -> Quantity:
    """Energy of counted operations.

    Args:
        profile: a profile with energies of operations.
        macs: multiply-accumulates.
        synops: synaptic operations (accumulates).
        precision: ``"fp32"`` or ``"int8"``.
        memory: adds one weight read for each operation.

    Raises:
        ValueError: a count is negative or not finite, or the precision is unknown.
        ConfigError: the profile lacks the constants.

    Example:
        >>> from eccsnn.costs.profiles import load_profile
        >>> energy = arithmetic_energy_mj(load_profile("edge_45nm_wifi"), macs=1e6, synops=1e8)
        >>> round(energy.value, 4), energy.unit, energy.provenance
        (0.0946, 'mJ', 'modelled')
    """
    require_counts(macs=macs, synops=synops)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    picojoule = macs * profile[f"mac_energy_{precision}"].value
    if synops:
        picojoule += synops * profile[f"ac_energy_{precision}"].value
    if memory:
        picojoule += (macs + synops) * profile[f"weight_read_energy_{precision}"].value
    term = f"45 nm arithmetic ({precision}{', with one weight read an operation' if memory else ''}; Horowitz 2014)"
    return Quantity(picojoule * 1e-9, "mJ", "modelled", f"counted operations x {term} [profile {profile.name}]")


def edge_energy_mj(
    profile: Profile,
    *,
    synops: float = 0.0,
    macs: float = 0.0,
    image_size: int | None = None,
    precision: str = "fp32",
    memory: bool = False,
) -> Quantity:
    """Energy of one inference on the edge: counted operations, or the profile's published figure for the image size.

    Raises:
        ValueError: a count is negative, or `memory` with a profile of published figures.
        ConfigError: no published figure for `image_size`.
    """
    if profile.model == "per_image":
        if memory:
            raise ValueError(f"profile {profile.name!r} holds whole figures for an image; use it with memory=False")
        return profile.per_image("edge_energy", image_size)
    return arithmetic_energy_mj(profile, macs=macs, synops=synops, precision=precision, memory=memory)


def cloud_energy_mj(profile: Profile, *, macs: float, precision: str = "fp32", memory: bool = False) -> Quantity:
    """Energy of one inference in the cloud, from its counted multiply-accumulates under every profile.

    Raises:
        ValueError: a count is negative.
    """
    return arithmetic_energy_mj(profile, macs=macs, precision=precision, memory=memory)


def radio_energy_mj(
    profile: Profile, *, bytes_up: float, bytes_down: float = 0.0, image_size: int | None = None
) -> Quantity:
    """Energy of the device's radio for one uploaded image and its answer.

    Args:
        profile: constants.
        bytes_up: bytes sent, with all framing that the caller wants priced.
        bytes_down: bytes received.
        image_size: for a profile of published figures, which ignores the bytes.

    Example:
        >>> from eccsnn.costs.profiles import load_profile
        >>> round(radio_energy_mj(load_profile("edge_45nm_wifi"), bytes_up=1000).value, 4)
        2.3217
    """
    require_counts(bytes_up=bytes_up, bytes_down=bytes_down)
    if profile.model == "per_image":
        return profile.per_image("radio_energy", image_size)
    microjoule = bytes_up * profile["radio_energy_up"].value + bytes_down * profile["radio_energy_down"].value
    return Quantity(microjoule * 1e-3, "mJ", "modelled", f"bytes x radio energy a byte [profile {profile.name}]")


def require_counts(**counts: float) -> None:
    """Raises ValueError unless every count is a finite number >= 0."""
    for name, count in counts.items():
        if not math.isfinite(count) or count < 0:
            raise ValueError(f"{name} is {count}, expected a finite number >= 0")
