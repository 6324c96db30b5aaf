"""Markdown tables of collected results of cut networks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from split_published import change, data_lines, neucodex_lines, spikebottlenet_lines
from split_rows import SYSTEMS, File, Row, main_rows, missing, pareto

from eccsnn.report import split as report

NONE = "-"
MODES = {"": "some uploads"} | report.MODES
"""Modes of `eccsnn.costs.timesteps` as tables call them; ECC-SNN has none of them."""
LINK_MODES = {"edge_only": "edge only", "upload_image": "image upload"}
"""Modes of a measured link that are no mode of the cost model."""


def spread(values: Sequence[float], scale: float = 1, digits: int | None = None) -> str:
    """Mean and standard deviation over seeds.

    >>> spread([0.9, 0.92], 100, 2), spread([12.5]), spread([])
    ('91.00 ± 1.41', '12.5', '-')
    """
    if not values:
        return NONE
    mean = scale * statistics.mean(values)
    text = f"{mean:.{digits}f}" if digits is not None else _short(mean)
    if len(values) == 1:
        return text
    deviation = scale * statistics.stdev(values)
    return f"{text} ± {f'{deviation:.{digits}f}' if digits is not None else f'{deviation:.2g}'}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def loss(row: Row) -> str:
    """Loss against the uncut network in percentage points, with its interval."""
    interval = row.loss()
    if interval is None:
        return NONE
    return f"{100 * interval.mean:.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def describe(files: Sequence[File]) -> str:
    """What the tables of one data set rest on."""
    cut = next((file for file in files if "split" in file["results"]), files[0])
    data, split_files = cut["results"]["data"], [file for file in files if file["results"]["system"] != "ecc_snn"]
    stages = {stage["key"]: stage for file in split_files for stage in file["run"]["stages"]}.values()
    hours = sum(stage["seconds"] for stage in stages if stage["name"] != "stream") / 3600
    hardware = sorted({f"{s['hardware']['cpu']}, {s['hardware']['isa']}" for s in stages})
    threads = sorted({str(s["hardware"]["threads"]) for s in stages})
    commits = sorted({str(s["git"]["sha"])[:10] + (" with changes" if s["git"]["dirty"] else "") for s in stages})
    profiles = sorted({file["results"]["profile"] for file in files})
    precisions = sorted({file["config"]["precision"] for file in split_files})
    return (
        f"{data['train']:,} training, {data['val']:,} validation, {data['test']:,} test images of {data['image_size']} px; "
        f"{_seeds(split_files)}. "
        f"Hardware: {'; '.join(hardware)}; {hours:.1f} h with {' or '.join(threads)} thread(s), measured links apart. Code: {', '.join(commits)}. "
        f"Trained in {', '.join(precisions)}, evaluated in fp32. Accuracy and payload are measured on test data, thresholds chosen "
        f"on validation data; energy and latency are modelled under the device profile `{', '.join(profiles)}`."
        + _recipes(split_files)
    )


def _seeds(files: Sequence[File]) -> str:
    seeds = sorted({file["run"]["seed"] for file in files})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _recipes(files: Sequence[File]) -> str:
    """How far the artificial baselines' recipe was searched; empty where there are none."""

    def rates(systems: Sequence[str]) -> str:
        found = {f["config"]["network"]["training"]["lr"] for f in files if f["results"]["system"] in systems}
        return ", ".join(f"{rate:g}" for rate in sorted(found))

    artificial = rates(("bottlenet", "bottlenet_pp"))
    if not artificial:
        return ""
    spiking = rates(("neucodex", "spikebottlenet", "edge_only"))
    return (
        f" Learning rates{f' (spiking {spiking}, artificial {artificial})' if spiking else ''} were tried in the same few short runs on CIFAR-10 for spiking "
        "and artificial networks (configs/neucodex/recipe_trials.json), shapes of spiking units in short trainings, too "
        "(configs/neucodex/unit_trials.json), both on validation data. Network and schedule were changed once, after results of an earlier network."
    )


def bytes_table(found: Sequence[Row]) -> list[str]:
    """Accuracy and bytes of every system."""
    lines = [
        "| system | mode | network, cut | seeds | accuracy % | uncut % | loss pp [95%] | timesteps | payload B | wire B up | times smaller than fp32 | than 1 bit | than a JPEG upload | spikes on the wire % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        sizes = zip(row.values("jpeg_bytes"), row.values("payload_bytes"), strict=False)
        jpeg = [jpeg / size for jpeg, size in sizes if size]
        payload = "0" if row.system == "edge_only" else spread(row.values("payload_bytes"))
        lines.append(
            f"| {row.label} | {mode_name(row)} | {row.network} | {len(row.files)} | {spread(row.values('accuracy'), 100, 2)} "
            f"| {spread(row.values('uncut_accuracy'), 100, 2)} | {loss(row)} | {spread(row.values('timesteps'), 1, 2)} | {payload} "
            f"| {spread(row.values('wire_bytes_up'))} | {spread(row.values('times_fp32'))} | {spread(row.values('times_one_bit'))} "
            f"| {spread(jpeg)} | {spread(row.values('wire_firing_rate'), 100)} |"
        )
    return lines


def mode_name(row: Row) -> str:
    """How the row's timesteps travel, in words."""
    return MODES[row.mode]


def cost_table(found: Sequence[Row]) -> list[str]:
    """Energy and latency of every system."""
    bottlenet = next((row for row in found if row.system == "bottlenet"), None)
    reference = bottlenet.mean("device_energy_mj") if bottlenet else None
    lines = [
        "| system | mode | device energy mJ | of it radio | radio, payload alone | against the same network uncut on the edge | times less than BottleNet | energy with the cloud mJ | latency ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        mine, uncut = row.mean("device_energy_mj"), row.mean("uncut_energy_mj")
        against = (
            NONE
            if not mine or not uncut or (row.system == "edge_only" and row.at == "all_timesteps")
            else change(mine / uncut)
        )
        less = NONE if not mine or not reference else f"{reference / mine:.3g}"
        radio, payload = (
            "0" if row.system == "edge_only" else spread(row.values(key))
            for key in ("radio_energy_mj", "payload_energy_mj")
        )
        lines.append(
            f"| {row.label} | {mode_name(row)} | {spread(row.values('device_energy_mj'))} | {radio} | {payload} | {against} | {less} "
            f"| {spread(row.values('energy_mj'))} | {spread(row.values('latency_ms'), 1, 2)} |"
        )
    return lines


def ablation_table(found: Sequence[Row]) -> list[str]:
    """Compression x early exit of one system's shipped settings; empty where it has none."""
    row = next((row for row in found if row.key == "cut" and "ablation" in row.files[0]["results"]), None)
    if row is None:
        return []
    modes = [other for other in found if other.at == "chosen"]
    how = f"mode {mode_name(modes[0])}, " if modes else ""
    lines = [
        f"Compression x early exit, {how}{SYSTEMS[row.system]}, {row.network}; without compression the uncut network's spikes cross at the same",
        "split point at one bit each:",
        "",
        "| compression | early exit | seeds | accuracy % | timesteps | payload B | device energy mJ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells = zip(*(file["results"]["ablation"] for file in row.files), strict=True)
    for records in cells:
        first = records[0]
        values = {
            key: [record[key] for record in records]
            for key in ("accuracy", "timesteps", "payload_bytes", "device_energy_mj")
        }
        lines.append(
            f"| {_on(first['compression'])} | {_on(first['early_exit'])} | {len(records)} | {spread(values['accuracy'], 100, 2)} "
            f"| {spread(values['timesteps'], 1, 2)} | {spread(values['payload_bytes'])} | {spread(values['device_energy_mj'])} |"
        )
    return [*lines, ""]


def _on(value: bool) -> str:
    return "on" if value else "off"


def link_table(found: Sequence[Row]) -> list[str]:
    """What was measured over a shaped link; empty where nothing was."""
    lines = []
    seen: set[str] = set()
    for row in found:
        measured = [one for file in row.files for one in file["results"].get("link") or []]
        if row.system in seen or row.system == "ecc_snn" or not measured:
            continue
        seen.add(row.system)
        lines += _links_of(SYSTEMS[row.system], measured)
    if not lines:
        return []
    return [
        "Measured over a link between two processes (gRPC over TCP), by mode; edge only is the uncut network, image upload a JPEG to a",
        "cloud that computes the whole cut network. BottleNet and BottleNet++ have no such stream, and ECC-SNN's link is in its own tables.", "",
        *lines,
    ]  # fmt: skip


def _links_of(name: str, measured: Sequence[dict]) -> list[str]:
    """One system's links: latency and round trips by link and mode, then what does not depend on the link."""
    modes, shapes = (list(dict.fromkeys(one[key] for one in measured)) for key in ("mode", "shape"))
    called = [LINK_MODES.get(mode) or MODES[mode] for mode in modes]

    def cell(members: Sequence[dict]) -> str:
        if not members:
            return NONE
        trips = [one["round_trips"]["median"] for one in members if one["round_trips"]]
        return (
            f"{spread([one['latency_ms']['median'] for one in members], 1, 1)} "
            f"({spread([one['latency_ms']['p95'] for one in members], 1, 1)}){f', {spread(trips, 1, 2)}' if trips else ''}"
        )

    seeds = max(
        sum((one["mode"], one["shape"]) == (mode, shape) for one in measured) for mode in modes for shape in shapes
    )
    lines = [
        f"{name}, {seeds} seed{'s' if seeds > 1 else ''} x {measured[0]['images']} images: median latency in ms (95th percentile), median round trips:",
        "",
        f"| link | {' | '.join(called)} |",
        f"| --- |{' --- |' * len(modes)}",
    ]
    for shape in shapes:
        cells = [cell([one for one in measured if (one["mode"], one["shape"]) == (mode, shape)]) for mode in modes]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{name}, an image over all of these links, smallest to largest:",
        "",
        "| mode | timesteps | payload B | wire B up | timesteps wasted | lost in all |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mode, words in zip(modes, called, strict=True):
        members = [one for one in measured if one["mode"] == mode]
        steps = NONE if mode == "upload_image" else _range([one["timesteps"]["needed"] for one in members], 2)
        wire = _range([one["bytes"]["wire_up"] for one in members if one["bytes"]["wire_up"] is not None], 0)
        lines.append(
            f"| {words} | {steps} | {_range([one['bytes']['payload_up'] for one in members], 0)} | {wire} "
            f"| {_range([one['wasted']['edge_timesteps'] for one in members], 2)} | {sum(one['lost'] for one in members)} |"
        )
    return [*lines, ""]


def _range(values: Sequence[float], digits: int) -> str:
    """Smallest and largest value.

    >>> _range([2.0, 3.5], 1), _range([2.0, 2.01], 1), _range([], 0)
    ('2.0 to 3.5', '2.0', '-')
    """
    if not values:
        return NONE
    ends = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def variants_table(found: Sequence[Row], system: str) -> list[str]:
    """Every setting that was tried of one system, by split point and payload; empty where there is but one."""
    mine = [row for row in found if row.system == system]
    if len({row.variant for row in mine}) < 2:
        return []

    def place(row: Row) -> tuple[str, float]:
        return row.files[0]["results"]["split"]["point"], row.mean("payload_bytes") or 0.0

    lines = [
        f"All settings of {SYSTEMS[system]} that were run, by split point and payload; in brackets what differs from the shipped ones:",
        "",
        "| cut | rate weight | operating point | mode | seeds | accuracy % | loss pp [95%] | payload B | times smaller than fp32 | device energy mJ |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(mine, key=place):
        lines.append(
            f"| {row.network}{f' ({row.variant})' if row.variant else ''} | {row.files[0]['config']['finetune']['rate_weight']:g} "
            f"| {row.label.split(', ')[-1] if ', ' in row.label else 'all timesteps'} | {mode_name(row)} | {len(row.files)} | {spread(row.values('accuracy'), 100, 2)} "
            f"| {loss(row)} | {spread(row.values('payload_bytes'))} | {spread(row.values('times_fp32'))} | {spread(row.values('device_energy_mj'))} |"
        )
    return [*lines, ""]


def front_table(found: Sequence[Row]) -> list[str]:
    """The Pareto front of accuracy, bytes, device energy and latency."""
    lines = [
        "Pareto front of accuracy, payload, device energy and latency, all four of the row's own mode (means over seeds, test data; a row that",
        "another beats in one and matches in all others is not on it):",
        "",
        "| system | mode | settings | accuracy % | payload B | device energy mJ | latency ms | on the front |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    judged = sorted(pareto(found), key=lambda item: (not item[1], item[0].mean("payload_bytes") or 0.0))
    for row, on_front in judged:
        payload = "0" if row.system == "edge_only" else spread([row.mean("payload_bytes") or 0.0])
        lines.append(
            f"| {row.label} | {mode_name(row)} | {row.network}{f' ({row.variant})' if row.variant else ''} | {100 * (row.mean('accuracy') or 0):.2f} | {payload} "
            f"| {spread([row.mean('device_energy_mj') or 0.0])} | {row.mean('latency_ms') or 0:.2f} | {'yes' if on_front else 'no'} |"
        )
    return [*lines, ""]


def published(found: Sequence[Row], system: str) -> list[str]:
    """The published figures of a system's paper, taken apart with our results."""
    mine = [row for row in found if row.system == system]
    if not mine:
        return [f"Needs results of {SYSTEMS[system]}.", ""]
    lines = [
        "Times less data than fp32 values at the named split point, payload with the codec's header:",
        "",
        *data_lines([row for row in found if row.system in ("neucodex", "spikebottlenet")], MODES),
        "",
    ]
    if system == "neucodex":
        row = next((row for row in mine if row.at == "chosen"), mine[0])
        return [*lines, *neucodex_lines(row, mode_name(row)), ""]
    bottlenet = next((row for row in found if row.system == "bottlenet"), None)
    if bottlenet is None:
        return [*lines, "The edge energy against BottleNet needs results of BottleNet.", ""]
    return [*lines, *spikebottlenet_lines(mine[0], bottlenet), ""]


def section(found: Sequence[Row], system: str, figures: Sequence[str]) -> list[str]:
    """All tables of one data set for the README of one system.

    Args:
        found: All rows of the data set.
        system: `neucodex` or `spikebottlenet`.
        figures: Paths of its figures, relative to the README.
    """
    main = main_rows(found)
    files = [file for row in found for file in row.files]
    absent = missing(main)
    lines = [f"## {_data(files)}", "", describe(files), ""]
    if absent:
        lines += [f"No results yet: {', '.join(absent)}.", ""]
    lines += ["Accuracy and bytes of an image; every row is of the one mode that it names:", "", *bytes_table(main), ""]
    lines += [
        'Energy and latency of an image, modelled; "against" and "times less" compare device energies:',
        "",
        *cost_table(main),
        "",
    ]
    if any(row.system == "ecc_snn" for row in main):
        lines += [
            "ECC-SNN's row differs: it learns its classes one task after the other (all classes, after the last update), has another network "
            "and other epochs, and uploads some images whole: payload is a mean over all images, wire one over uploads; device energy is edge "
            "plus upload rate times radio.",
            "",
        ]
    own = [row for row in main if row.system == system]
    lines += [*ablation_table(own), *link_table(main), *variants_table(found, system)]
    candidates = [*main, *(row for row in found if row.system == system and row.variant)]
    lines += front_table(candidates)
    lines += [
        line for path in figures for line in (f"![{path.split('-')[-1].split('.')[0].replace('_', ' ')}]({path})", "")
    ]
    return [*lines, f"### The published figures taken apart: {_data(files)}", "", *published(main, system)]


def _data(files: Sequence[File]) -> str:
    return str(files[0]["results"]["data"]["name"])
