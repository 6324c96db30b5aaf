"""Device profiles: the constants of a cost model as data, each with its unit, provenance and source.

A profile names one edge device, one link and one cloud. Shipped profiles are the YAML files in the folder `profiles`
beside this module; a path to a file of the same form loads one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from eccsnn.costs.quantity import Quantity
from eccsnn.errors import ConfigError

MODELS = ("per_operation", "per_image")
"""per_operation: costs follow from counted operations and bytes; per_image: fixed published figures by image size."""

# What every profile of a model must define, with the unit in which the formulas of energy.py and latency.py read it.
_REQUIRED: dict[str, dict[str, str]] = {
    "per_operation": {
        "mac_energy_fp32": "pJ",
        "ac_energy_fp32": "pJ",
        "mac_energy_int8": "pJ",
        "ac_energy_int8": "pJ",
        "weight_read_energy_fp32": "pJ",
        "weight_read_energy_int8": "pJ",
        "radio_energy_up": "uJ/B",
        "radio_energy_down": "uJ/B",
        "rate_up": "Mbit/s",
        "rate_down": "Mbit/s",
        "rtt": "ms",
        "edge_synop_rate": "1/s",
        "edge_mac_rate": "1/s",
        "cloud_mac_rate": "1/s",
        "cloud_overhead": "ms",
    },
    "per_image": {"mac_energy_fp32": "pJ"},
}
_PER_IMAGE: dict[str, str] = {
    "edge_energy": "mJ",
    "radio_energy": "mJ",
    "edge_latency": "ms",
    "network_latency": "ms",
    "cloud_latency": "ms",
}
_KEYS = {"name", "description", "model", "image_sizes", "notes", "constants"}


@dataclass(frozen=True)
class Profile:
    """Constants of one edge device, one link and one cloud.

    Attributes:
        name: the name that tables show.
        description: what it describes, in a sentence.
        model: ``"per_operation"`` or ``"per_image"``.
        image_sizes: for ``"per_image"``, the edge input sizes in pixels for which figures exist.
        notes: known faults and choices that a reader of a table should know.
        constants: name -> `Quantity`.
    """

    name: str
    description: str
    model: str
    image_sizes: tuple[int, ...]
    notes: tuple[str, ...]
    constants: Mapping[str, Quantity]

    def __getitem__(self, constant: str) -> Quantity:
        try:
            return self.constants[constant]
        except KeyError:
            known = ", ".join(sorted(self.constants))
            raise ConfigError(f"profile {self.name!r} has no constant {constant!r}; it has: {known}") from None

    def per_image(self, constant: str, image_size: int | None) -> Quantity:
        """The published figure of `constant` for images of `image_size` pixels.

        Raises:
            ConfigError: no figure was published for that size.
        """
        if image_size not in self.image_sizes:
            sizes = ", ".join(str(size) for size in self.image_sizes)
            raise ConfigError(
                f"profile {self.name!r} holds figures for images of {sizes} pixels, given image_size={image_size}; "
                "use one of these sizes or a profile that counts operations, for example 'edge_45nm_wifi'"
            )
        return self[f"{constant}_{image_size}px"]


def list_profiles() -> list[str]:
    """Names of the shipped profiles.

    Example:
        >>> list_profiles()
        ['ecc_snn_published', 'edge_45nm_wifi']
    """
    folder = files("eccsnn.costs").joinpath("profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_profile(name: str | Path) -> Profile:
    """Loads a shipped profile by name, or a file of the same form by its path (ending in ``.yaml``).

    Raises:
        ConfigError: unknown name, unreadable file, or a constant without value, unit, provenance or source.

    Example:
        >>> load_profile("edge_45nm_wifi")["mac_energy_fp32"].value
        4.6
    """
    text_name = str(name)
    if text_name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cost profile {text_name!r} cannot be read: {error.strerror or error}") from error
        return parse_profile(text, origin=text_name)
    known = list_profiles()
    if text_name not in known:
        near = get_close_matches(text_name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"unknown cost profile {text_name!r}, expected one of {', '.join(known)} or a path to a .yaml file{hint}"
        )
    resource = files("eccsnn.costs").joinpath("profiles", f"{text_name}.yaml")
    return parse_profile(resource.read_text(encoding="utf-8"), origin=text_name)


def parse_profile(text: str, *, origin: str) -> Profile:
    """Reads a profile from YAML text; `origin` names it in error messages.

    Raises:
        ConfigError: the text is not a valid profile.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"cost profile {origin!r} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"cost profile {origin!r} is {type(data).__name__}, expected a mapping with the keys {sorted(_KEYS)}"
        )
    _refuse_unknown(data, _KEYS, f"cost profile {origin!r}")
    for key in ("name", "description", "model", "constants"):
        if key not in data:
            raise ConfigError(f"cost profile {origin!r} lacks the key {key!r}")
    model = data["model"]
    if model not in MODELS:
        raise ConfigError(f"cost profile {origin!r} has model {model!r}, expected one of {', '.join(MODELS)}")
    constants = _parse_constants(data["constants"], origin)
    sizes = data.get("image_sizes", [])
    if not isinstance(sizes, list) or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ConfigError(f"cost profile {origin!r} has image_sizes {sizes!r}, expected a list of sizes in pixels")
    required = dict(_REQUIRED[model])
    if model == "per_image":
        if not sizes:
            raise ConfigError(
                f"cost profile {origin!r} has the model 'per_image' and so needs image_sizes, a list of sizes in pixels"
            )
        required.update({f"{key}_{size}px": unit for key, unit in _PER_IMAGE.items() for size in sizes})
    for constant, unit in required.items():
        if constant not in constants:
            raise ConfigError(
                f"cost profile {origin!r} lacks the constant {constant!r} ({unit}), which the model {model!r} needs"
            )
        if constants[constant].unit != unit:
            raise ConfigError(
                f"constant {constant!r} of cost profile {origin!r} has the unit {constants[constant].unit!r}, "
                f"expected {unit!r}"
            )
        if unit in ("Mbit/s", "1/s") and constants[constant].value <= 0:
            raise ConfigError(
                f"constant {constant!r} of cost profile {origin!r} is {constants[constant].value}, expected a rate > 0"
            )
    return Profile(
        name=str(data["name"]),
        description=str(data["description"]),
        model=model,
        image_sizes=tuple(sizes),
        notes=tuple(str(note) for note in data.get("notes", [])),
        constants=MappingProxyType(constants),
    )


def _parse_constants(table: Any, origin: str) -> dict[str, Quantity]:
    if not isinstance(table, dict) or not table:
        raise ConfigError(
            f"constants of cost profile {origin!r} are {table!r}, expected a mapping of names to constants"
        )
    fields = {"value", "unit", "provenance", "source"}
    constants = {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            raise ConfigError(
                f"constant {name!r} of cost profile {origin!r} is {entry!r}, expected the keys {sorted(fields)}"
            )
        _refuse_unknown(entry, fields, f"constant {name!r} of cost profile {origin!r}")
        missing = sorted(fields - set(entry))
        if missing:
            raise ConfigError(f"constant {name!r} of cost profile {origin!r} lacks {', '.join(missing)}")
        try:
            constants[str(name)] = Quantity(entry["value"], entry["unit"], entry["provenance"], entry["source"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"constant {name!r} of cost profile {origin!r}: {error}") from error
        if constants[str(name)].value < 0:
            raise ConfigError(
                f"constant {name!r} of cost profile {origin!r} is {entry['value']}, expected a number >= 0"
            )
    return constants


def _refuse_unknown(data: Mapping[Any, Any], known: set[str], what: str) -> None:
    for key in data:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{what} has the unknown key {key!r}, expected some of {sorted(known)}{hint}")
