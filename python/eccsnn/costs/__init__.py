"""Costs: counted operations, bytes, energy and latency, every figure with unit, provenance and source.

Counts (`count_macs`, `count_synops`) are made on the model and the data at hand; constants come from a device profile
(`load_profile`); `image_costs` puts them together. Nothing of different provenance is added up silently (`Quantity`).
"""

from eccsnn.costs.counting import LayerOps, SynopReport, count_macs, count_synops
from eccsnn.costs.energy import arithmetic_energy_mj, cloud_energy_mj, edge_energy_mj, radio_energy_mj
from eccsnn.costs.framing import FRAMING, Framing, bytes_on_air
from eccsnn.costs.latency import cloud_latency_ms, edge_latency_ms, link_latency_ms, network_latency_ms
from eccsnn.costs.profiles import Profile, list_profiles, load_profile
from eccsnn.costs.quantity import PROVENANCES, Quantity, relative_change
from eccsnn.costs.splits import SplitCosts, split_costs
from eccsnn.costs.table import ImageCosts, cost_row, image_costs
from eccsnn.costs.timesteps import timestep_costs

__all__ = [
    "FRAMING",
    "PROVENANCES",
    "Framing",
    "ImageCosts",
    "LayerOps",
    "Profile",
    "Quantity",
    "SplitCosts",
    "SynopReport",
    "arithmetic_energy_mj",
    "bytes_on_air",
    "cloud_energy_mj",
    "cloud_latency_ms",
    "cost_row",
    "count_macs",
    "count_synops",
    "edge_energy_mj",
    "edge_latency_ms",
    "image_costs",
    "link_latency_ms",
    "list_profiles",
    "load_profile",
    "network_latency_ms",
    "radio_energy_mj",
    "relative_change",
    "split_costs",
    "timestep_costs",
]
