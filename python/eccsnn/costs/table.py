"""The cost of an image under edge-only, cloud-only and collaborative inference, and its rows for a results file.

An image that is not uploaded costs the edge; an uploaded one costs edge + link + cloud, since the edge has to look at
it before it can decide. Cloud-only pays link + cloud and no edge inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eccsnn.costs.energy import cloud_energy_mj, edge_energy_mj, radio_energy_mj
from eccsnn.costs.latency import cloud_latency_ms, edge_latency_ms, link_latency_ms
from eccsnn.costs.profiles import Profile
from eccsnn.costs.quantity import Quantity, relative_change


@dataclass(frozen=True)
class ImageCosts:
    """What one image costs in each place. Energies in mJ, latencies in ms."""

    profile: str
    edge_energy: Quantity
    radio_energy: Quantity
    cloud_energy: Quantity
    edge_latency: Quantity
    network_latency: Quantity
    cloud_latency: Quantity

    @property
    def edge_only_energy(self) -> Quantity:
        """Energy when nothing is uploaded."""
        return self.edge_energy

    @property
    def cloud_only_energy(self) -> Quantity:
        """Energy when every image goes to the cloud without an edge inference."""
        return self.radio_energy + self.cloud_energy

    @property
    def cloud_only_latency(self) -> Quantity:
        """Latency when every image goes to the cloud without an edge inference."""
        return self.network_latency + self.cloud_latency

    def energy_mj(self, upload_rate: float) -> Quantity:
        """Mean energy of an image when the fraction `upload_rate` is uploaded after its edge inference.

        Raises:
            ValueError: the rate is not in [0, 1].
        """
        _require_rate(upload_rate)
        return self.edge_energy + (self.radio_energy + self.cloud_energy) * upload_rate

    def device_energy_mj(self, upload_rate: float) -> Quantity:
        """Mean energy that the device itself spends on an image (edge inference and radio, without the cloud)."""
        _require_rate(upload_rate)
        return self.edge_energy + self.radio_energy * upload_rate

    def latency_ms(self, upload_rate: float) -> Quantity:
        """Mean latency of an image when the fraction `upload_rate` is uploaded after its edge inference."""
        _require_rate(upload_rate)
        return self.edge_latency + (self.network_latency + self.cloud_latency) * upload_rate

    def curve(self, upload_rates: Sequence[float]) -> dict[str, list[float]]:
        """`device_energy_mj`, `energy_mj` and `latency_ms` for each upload rate of a curve, as plain lists."""
        return {
            "device_energy_mj": [self.device_energy_mj(float(rate)).value for rate in upload_rates],
            "energy_mj": [self.energy_mj(float(rate)).value for rate in upload_rates],
            "latency_ms": [self.latency_ms(float(rate)).value for rate in upload_rates],
        }

    def rows(self, upload_rate: float | None = None) -> list[dict[str, Any]]:
        """Rows (name, value, unit, provenance, source) of the breakdown, with totals at `upload_rate` when it is given.

        Changes against cloud-only have the unit ``"1"``: -0.9 means 90% less.
        """
        rows = [
            cost_row("edge energy per image", self.edge_energy),
            cost_row("radio energy per uploaded image", self.radio_energy),
            cost_row("cloud energy per uploaded image", self.cloud_energy),
            cost_row("cloud-only energy per image", self.cloud_only_energy),
            cost_row("edge latency per image", self.edge_latency),
            cost_row("network latency per uploaded image", self.network_latency),
            cost_row("cloud latency per uploaded image", self.cloud_latency),
            cost_row("cloud-only latency per image", self.cloud_only_latency),
        ]
        if upload_rate is not None:
            energy, latency = self.energy_mj(upload_rate), self.latency_ms(upload_rate)
            at = f"at upload rate {upload_rate:.4g}"
            rows += [
                cost_row(f"energy per image {at}", energy),
                cost_row(f"latency per image {at}", latency),
            ]
            if self.cloud_only_energy.value > 0:
                rows.append(
                    cost_row(f"energy against cloud-only {at}", relative_change(energy, self.cloud_only_energy))
                )
            if self.cloud_only_latency.value > 0:
                rows.append(
                    cost_row(f"latency against cloud-only {at}", relative_change(latency, self.cloud_only_latency))
                )
        return rows


def image_costs(
    profile: Profile,
    *,
    edge_synops: float,
    edge_macs: float,
    cloud_macs: float,
    bytes_up: float,
    bytes_down: float = 0.0,
    image_size: int | None = None,
    precision: str = "fp32",
    memory: bool = False,
) -> ImageCosts:
    """Costs of one image under a profile.

    Args:
        profile: constants, see `load_profile`.
        edge_synops: synaptic operations of the edge network for one image, counted on data (`count_synops`).
        edge_macs: multiply-accumulates of the edge network (layers on analog input).
        cloud_macs: multiply-accumulates of the cloud network (`count_macs`).
        bytes_up: mean bytes of an uploaded image.
        bytes_down: mean bytes of an answer.
        image_size: pixels of the edge's input, for profiles of published figures.
        precision: ``"fp32"`` or ``"int8"`` arithmetic on the edge; the cloud computes in fp32.
        memory: adds one weight read for each operation on both sides (not with published edge figures).

    Example:
        >>> from eccsnn.costs import load_profile
        >>> costs = image_costs(load_profile("ecc_snn_published"), edge_synops=0, edge_macs=0, cloud_macs=0,
        ...                     bytes_up=3072, image_size=32)
        >>> round(relative_change(costs.latency_ms(0.0), costs.cloud_only_latency).value, 3)
        -0.576
    """
    return ImageCosts(
        profile=profile.name,
        edge_energy=edge_energy_mj(
            profile, synops=edge_synops, macs=edge_macs, image_size=image_size, precision=precision, memory=memory
        ),
        radio_energy=radio_energy_mj(profile, bytes_up=bytes_up, bytes_down=bytes_down, image_size=image_size),
        cloud_energy=cloud_energy_mj(profile, macs=cloud_macs, memory=memory),
        edge_latency=edge_latency_ms(profile, synops=edge_synops, macs=edge_macs, image_size=image_size),
        network_latency=link_latency_ms(profile, bytes_up=bytes_up, bytes_down=bytes_down, image_size=image_size),
        cloud_latency=cloud_latency_ms(profile, macs=cloud_macs, image_size=image_size),
    )


def cost_row(name: str, quantity: Quantity) -> dict[str, Any]:
    """One row of a results file: name, value, unit, provenance and source."""
    return {
        "name": name,
        "value": quantity.value,
        "unit": quantity.unit,
        "provenance": quantity.provenance,
        "source": quantity.source,
    }


def _require_rate(upload_rate: float) -> None:
    if not 0.0 <= upload_rate <= 1.0:
        raise ValueError(f"upload_rate is {upload_rate}, expected a fraction in [0, 1]")
