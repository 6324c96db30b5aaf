"""The results of a cut network, and of what it is compared with, as tables, figures and the summary share them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eccsnn.report.load import Run
from eccsnn.report.values import dig, finite, provenance

SYSTEMS = {
    "edge_only": "Edge only",
    "cloud_only": "Cloud only",
    "bottlenet": "BottleNet",
    "bottlenet_pp": "BottleNet++",
    "spikebottlenet": "SpikeBottleNet",
    "neucodex": "NeuCODEX",
}
COSTS = {
    "device_energy_mj": ("Device energy", "mJ"),
    "radio_energy_mj": ("of it radio", "mJ"),
    "payload_energy_mj": ("Radio, payload alone", "mJ"),
    "energy_mj": ("Energy with the cloud", "mJ"),
    "latency_ms": ("Latency", "ms"),
}
MODES = {
    "edge_only": "nothing sent",
    "upload": "one upload",
    "all_timesteps": "one answer",
    "edge_exit_head": "exit head",
    "lock_step": "lock-step",
    "speculative": "speculative",
}
YARDSTICKS = {
    "fp32": "fp32 values at the split point",
    "one_bit": "1 bit a value at the split point",
    "wire_one_bit": "1 bit a value on the wire",
    "jpeg": "the upload as JPEG",
    "png": "the upload as PNG",
}


@dataclass(frozen=True)
class Network:
    """One network of a run, judged on test data.

    Attributes:
        name: How tables call it.
        key: Where it stands in `results.json`.
        record: Its entry there.
    """

    name: str
    key: str
    record: Mapping[str, Any]

    @property
    def every(self) -> Mapping[str, Any]:
        """Figures at all timesteps."""
        return _mapping(self.record, "all_timesteps")

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Figures at the exit threshold that validation data chose; those at all timesteps where nothing exits."""
        return _mapping(self.record, "chosen")

    @property
    def by_mode(self) -> Mapping[str, Mapping[str, Any]]:
        """Figures of `chosen` by the way in which the timesteps travel (`eccsnn.costs.timesteps`), which bytes, energy
        and latency depend on; `chosen` has the first one's."""
        found = _mapping(self.record, "by_mode")
        return {mode: figures for mode, figures in found.items() if isinstance(figures, Mapping)} or {"": self.chosen}

    @property
    def exit(self) -> Mapping[str, Any]:
        """The early exit's rule, threshold and curves; empty where every image takes all timesteps."""
        return _mapping(self.record, "exit")


def is_split(run: Run) -> bool:
    """Whether a run is one of a cut network, edge only or cloud only; what is left is ECC-SNN."""
    return _system(run) in SYSTEMS


def system_name(run: Run) -> str:
    """The system's name as its paper writes it."""
    return SYSTEMS.get(_system(run), _system(run))


def networks(run: Run) -> list[Network]:
    """The networks that the run judged: cut and uncut, or the cloud's on each kind of upload."""
    names = {
        "uncut": "Edge only" if _system(run) == "edge_only" else "Uncut, on the edge",
        "cut": system_name(run),
        "png": "Cloud only, PNG upload",
        "jpeg": "Cloud only, JPEG upload",
    }
    found = ((name, key, run.results.get(key)) for key, name in names.items())
    return [Network(name, key, record) for name, key, record in found if isinstance(record, Mapping)]


def network(run: Run, key: str) -> Network | None:
    """The network under a key of `results.json`, if the run judged it."""
    return next((found for found in networks(run) if found.key == key), None)


def answering(run: Run) -> list[Network]:
    """The networks that stand for the run's system: the cut one where there is one, else all."""
    cut = network(run, "cut")
    return networks(run) if cut is None else [cut]


def split_provenance(run: Run, key: str) -> str:
    """Where a figure comes from; the run writes it as ``"modelled under profile ...: how"``."""
    text = str(dig(run.results, "provenance", key) or "")
    return provenance(text.replace(":", " ").split(" ")[0])


def meaning(run: Run, key: str) -> str:
    """What the run says a figure is."""
    return str(dig(run.results, "provenance", key) or "").partition(": ")[2]


def loss(run: Run, key: str) -> Mapping[str, Any]:
    """Accuracy of the uncut network less that of the cut one, with its interval; `key` as in `results.json`."""
    return _mapping(run.results.get("loss"), key)


def link_rows(run: Run) -> list[Mapping[str, Any]]:
    """What was measured over a link: a row for each mode of early exit and each shape of the link."""
    rows = run.results.get("link")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def firing_rates(run: Run) -> list[tuple[str, Mapping[str, Any]]]:
    """Firing rates of each part that spikes; names of layers without what all of them share."""
    work = dig(run.results, "cut", "work")
    parts = (
        ("cut, edge's part", dig(work, "edge", "firing_rates")),
        ("cut, cloud's part", dig(work, "cloud", "firing_rates")),
        ("uncut", dig(run.results, "uncut", "work", "firing_rates")),
    )
    return [
        (name, {str(layer).removeprefix("part.").removesuffix(".lif"): rate for layer, rate in rates.items()})
        for name, rates in parts
        if isinstance(rates, Mapping) and rates
    ]


def times_smaller(run: Run, at: tuple[str, ...], yardstick: str) -> float | None:
    """How many times smaller than a yardstick the payload is.

    Args:
        run: Of a cut network.
        at: ``("chosen",)``, ``("all_timesteps",)`` or ``("by_mode", mode)``.
        yardstick: Of `YARDSTICKS`.
    """
    return finite(dig(run.results, "payload", *at, "times_smaller_than", yardstick))


def mode_name(mode: str) -> str:
    """A mode of early exit as tables call it."""
    return MODES.get(mode, mode.replace("_", " "))


def _system(run: Run) -> str:
    return str(run.results.get("system") or run.info.get("system") or "")


def _mapping(record: Any, key: str) -> Mapping[str, Any]:
    value = dig(record, key)
    return value if isinstance(value, Mapping) else {}
