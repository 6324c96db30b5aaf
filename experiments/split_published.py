"""The published figures taken apart: which firing rate, constants and sizes each needs, and which of them ours has.

Facts about the papers: SpikeBottleNet (arXiv 2410.08673): 256 times fewer bits, up to 144 times less edge energy than
BottleNet. NeuCODEX (arXiv 2509.19156): up to 2048 times less data, over 90% less edge energy than edge only.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from split_rows import File, Row

from eccsnn.costs import edge_energy_mj, load_profile

TIMES_LESS_ENERGY = 144.0
ENERGY_LEFT = 0.1
TIMES_LESS_DATA = {"neucodex": 2048.0, "spikebottlenet": 256.0}


@dataclass(frozen=True)
class Energy:
    """Energy of the device for an image at all timesteps, by what it is spent on; mJ, means over seeds.

    Attributes:
        analog: Multiply-accumulates: all of an ANN's, the first layer's of an SNN.
        spikes: Synaptic operations.
        radio: Both directions.
        rate: Mean firing rate of the edge's layers; 0 for an ANN.
    """

    analog: float
    spikes: float
    radio: float
    rate: float

    @property
    def computing(self) -> float:
        return self.analog + self.spikes

    @property
    def total(self) -> float:
        return self.computing + self.radio


def energy(files: Sequence[File], key: str = "cut") -> Energy:
    """Where the energy of a network goes; `key` is `cut` or `uncut`."""
    parts = [_energy(file, key) for file in files]
    return Energy(*(statistics.mean(values) for values in zip(*parts, strict=True)))


def _energy(file: File, key: str) -> tuple[float, float, float, float]:
    results, costs = file["results"], file["config"]["costs"]
    profile = load_profile(results["profile"])
    work = results[key]["work"]["edge"] if key == "cut" else results[key]["work"]
    options = {"precision": costs["precision"], "memory": costs["memory"]}
    analog = edge_energy_mj(profile, macs=work["macs"][-1], **options).value
    spikes = edge_energy_mj(profile, synops=work["synops"][-1], **options).value
    rates = list(work.get("firing_rates", {}).values())
    total = results[key]["all_timesteps"]["device_energy_mj"]
    return analog, spikes, total - analog - spikes, statistics.mean(rates) if rates else 0.0


def same_network_rate(profile: str, timesteps: int, times: float = TIMES_LESS_ENERGY) -> float:
    """Firing rate at which an SNN takes `times` less than the ANN of the same shape, if every operation is driven by
    spikes and nothing is sent: T * rate * AC = MAC / times.

    >>> round(same_network_rate("edge_45nm_wifi", 4), 5)
    0.00887
    """
    constants = load_profile(profile)
    mac, accumulate = (constants[f"{name}_energy_fp32"].value for name in ("mac", "ac"))
    return mac / (accumulate * timesteps * times)


def rate_for(ours: Energy, other: Energy, times: float, *, radio: bool) -> float | None:
    """Firing rate at which `ours` takes `times` less than `other`, its synaptic operations in proportion to the rate.

    None: not even without a spike, since the first layer (and the radio) take too much.
    """
    allowed = (other.total if radio else other.computing) / times - ours.analog - (ours.radio if radio else 0.0)
    return None if allowed < 0 or ours.spikes == 0 else ours.rate * allowed / ours.spikes


def mac_over_ac_for(ours: Energy, other: Energy, times: float, profile: str) -> float | None:
    """How many accumulates a multiply-accumulate must cost for the ratio at our firing rate, nothing sent.

    None: no price does, since the first layer's share of the other's multiply-accumulates is too large.
    """
    constants = load_profile(profile)
    price = constants["mac_energy_fp32"].value / constants["ac_energy_fp32"].value
    # in units of an accumulate: times * (k * first + spikes) = k * macs
    first, macs = ours.analog / price, other.analog / price
    left = macs - times * first
    return None if left <= 0 else times * ours.spikes / left


def spikebottlenet_lines(row: Row, bottlenet: Row) -> list[str]:
    """144x against BottleNet."""
    ours, other = energy(row.files), energy(bottlenet.files)
    profile = row.files[0]["results"]["profile"]
    timesteps = row.files[0]["results"]["split"]["timesteps"]
    with_radio, without = (rate_for(ours, other, TIMES_LESS_ENERGY, radio=radio) for radio in (True, False))
    price = mac_over_ac_for(ours, other, TIMES_LESS_ENERGY, profile)
    constants = load_profile(profile)
    declared = constants["mac_energy_fp32"].value / constants["ac_energy_fp32"].value
    most = other.analog / ours.analog
    return [
        f"**Edge energy against BottleNet: published up to {TIMES_LESS_ENERGY:.0f} times less, here "
        f"{other.total / ours.total:.2f} times ({other.computing / ours.computing:.2f} for the arithmetic alone).**",
        "",
        "| energy of the device, mJ | first layer or all MACs | synaptic operations | radio, payload | radio, framing and answers | sum |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {label} | {e.analog:.3g} | {e.spikes:.3g} | {sent:.3g} | {e.radio - sent:.3g} | {e.total:.3g} |"
            for label, e, sent in (
                (f"BottleNet, {bottlenet.network}", other, statistics.mean(bottlenet.values("payload_energy_mj"))),
                (f"SpikeBottleNet, {row.network}", ours, statistics.mean(row.values("payload_energy_mj"))),
            )
        ),
        "",
        f"- Same network on both sides, all operations driven by spikes, nothing sent: T x rate x AC = MAC / "
        f"{TIMES_LESS_ENERGY:.0f} needs a firing rate of {percent(same_network_rate(profile, timesteps))} at T = "
        f"{timesteps} under `{profile}`; ours is {percent(ours.rate)} (mean over the edge's layers).",
        f"- These two networks, arithmetic alone: {_needs(without)}. The image enters as multiply-accumulates, which no "
        f"firing rate lowers: without a single spike the ratio would be {most:.1f}.",
        f"- With the radio: {_needs(with_radio)}.",
        "- Constants: "
        + (
            f"at our firing rate a MAC would have to cost {price:.3g} accumulates; the profile has {declared:.3g}."
            if price is not None
            else f"at our firing rate no price of a MAC gives {TIMES_LESS_ENERGY:.0f} (the profile: {declared:.3g} accumulates)."
        ),
    ]


def computing_at_stop(files: Sequence[File]) -> float:
    """Energy of the edge's arithmetic up to the stop, with that of an exit head, mJ, mean over test images and seeds."""
    return statistics.mean(_computing_at_stop(file) for file in files)


def _computing_at_stop(file: File) -> float:
    results, costs = file["results"], file["config"]["costs"]
    profile, options = load_profile(results["profile"]), {"precision": costs["precision"], "memory": costs["memory"]}
    work, stops = results["cut"]["work"]["edge"], results["cut"]["stops"]
    head = results["cut"]["work"].get("exit_head", {"macs": 0.0})["macs"]
    macs = [m + t * head for t, m in enumerate(work["macs"], start=1)]
    steps = zip(work["synops"], macs, stops, strict=True)
    return sum(n * edge_energy_mj(profile, synops=s, macs=m, **options).value for s, m, n in steps) / sum(stops)


def neucodex_lines(row: Row, mode: str) -> list[str]:
    """More than 90% less edge energy than edge only; the row is that of early exit in the published mode, called `mode`."""
    ours, whole = energy(row.files), energy(row.files, "uncut")
    total, payload, sent = (
        statistics.mean(row.values(key)) for key in ("device_energy_mj", "payload_bytes", "payload_energy_mj")
    )
    every = statistics.mean(file["results"]["cut"]["all_timesteps"]["payload_energy_mj"] for file in row.files)
    computing = computing_at_stop(row.files)
    profile = load_profile(row.files[0]["results"]["profile"])
    a_byte = profile["radio_energy_up"].value * 1e-3  # mJ
    left = ENERGY_LEFT * whole.total - computing
    lines = [
        f"**Edge energy against edge only: published over {100 * (1 - ENERGY_LEFT):.0f}% less, here "
        f"{change(total / whole.total)} with early exit ({mode}) and {change(ours.total / whole.total)} at all timesteps.**",
        "",
        "| energy of the device, mJ | arithmetic | radio, payload | radio, framing and answers | sum |",
        "| --- | --- | --- | --- | --- |",
        f"| edge only, all timesteps | {whole.computing:.3g} | 0 | 0 | {whole.total:.3g} |",
        f"| {row.network}, all timesteps | {ours.computing:.3g} | {every:.3g} | {ours.radio - every:.3g} | {ours.total:.3g} |",
        f"| {row.network}, early exit ({mode}) | {computing:.3g} | {sent:.3g} | {total - computing - sent:.3g} | {total:.3g} |",
        "",
        f"- Before the cut lie {percent(ours.computing / whole.total)} of the uncut network's arithmetic energy at all timesteps, "
        f"{percent(computing / whole.total)} up to the stop. ",
    ]
    if left <= 0:
        lines[-1] += (
            f"That alone is more than the {percent(ENERGY_LEFT)} that may be left: at this split point the published figure is "
            "out of reach whatever the radio costs; it needs an earlier cut, or a stop after fewer timesteps."
        )
        return lines
    scale = (total - computing) / left
    budget = "would have to cost" if scale > 1 else "may cost up to"
    lines[-1] += (
        f"That leaves {left:.3g} mJ for the radio, {left / a_byte:.3g} bytes under this profile "
        f"({profile['radio_energy_up'].value:g} uJ a byte up), framing and the answers to the edge included; the payload alone is {payload:.4g} bytes."
    )
    lines.append(
        f"- With our bytes the radio {budget} {1 / scale:.3g} times the profile's energy a byte, or an operation on the edge "
        f"{'would have to cost' if scale > 1 else 'may cost as little as'} {scale:.3g} times the profile's (memory traffic, for example)."
    )
    return lines


def data_lines(found: Sequence[Row], modes: Mapping[str, str]) -> list[str]:
    """How many times less data, as a product of what it is made of; `modes` says how tables call them."""
    lines = [
        "| system | mode | cut | spikes instead of fp32 | channels, stride | codec | early exit | together, payload | nominal: the first two | published |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        factors = [_factors(file, row.at, row.mode) for file in row.files]
        bits, shape, codec, stop = (statistics.mean(values) for values in zip(*factors, strict=True))
        published = TIMES_LESS_DATA.get(row.system)
        lines.append(
            f"| {row.label} | {modes[row.mode]} | {row.network} | {bits:.4g} | {shape:.4g} | {codec:.3g} | {stop:.3g} "
            f"| {statistics.mean(row.values('times_fp32')):.4g} | {bits * shape:.4g} | {f'{published:.0f}' if published else '-'} |"
        )
    return lines


def _factors(file: File, at: str, mode: str) -> tuple[float, float, float, float]:
    split, payload = file["results"]["split"], file["results"]["payload"]
    every = payload["all_timesteps"]["bytes"]
    here = every if at == "all_timesteps" else payload["by_mode"][mode]["bytes"]
    return (
        split["fp32_bytes"] / split["one_bit_bytes"],
        split["one_bit_bytes"] / split["wire_one_bit_bytes"],
        split["wire_one_bit_bytes"] / every,
        every / here,
    )


def _needs(rate: float | None) -> str:
    return "not even without a single spike" if rate is None else f"a firing rate of {percent(rate)} is needed"


def percent(value: float) -> str:
    """A fraction in percent with three digits."""
    return f"{100 * value:.3g}%"


def change(ratio: float) -> str:
    """A ratio of energies in words.

    >>> change(0.05), change(115.0), change(1.0)
    ('95.0% less', '115 times as much', 'the same')
    """
    if abs(ratio - 1) < 5e-4:
        return "the same"
    return f"{100 * (1 - ratio):.1f}% less" if ratio < 1 else f"{ratio:.3g} times as much"
