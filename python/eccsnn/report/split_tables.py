"""Tables about one run with a cut network, edge only or cloud only."""

from collections.abc import Mapping
from typing import Any

from eccsnn.report.load import Run
from eccsnn.report.markup import Html, join, tag
from eccsnn.report.split import (
    COSTS,
    YARDSTICKS,
    Network,
    link_rows,
    loss,
    meaning,
    mode_name,
    network,
    networks,
    split_provenance,
    times_smaller,
)
from eccsnn.report.split_summary import lost, shape
from eccsnn.report.tables import Table, badge, with_unit
from eccsnn.report.values import MISSING, dig, finite, percent, quantity


def split_table(run: Run) -> Table | None:
    """Where the network is cut, and the sizes of what would cross there uncoded."""
    split = run.results.get("split")
    if not isinstance(split, Mapping):
        return None
    rows = [
        ["Split point", str(split.get("point"))],
        ["Values at the split point", shape(split.get("point_shape"))],
        ["Values on the wire", shape(split.get("wire_shape"))],
        ["Timesteps", quantity(split.get("timesteps"))],
        ["Uncoded at the split point, fp32", with_unit(split.get("fp32_bytes"), "B")],
        ["Uncoded at the split point, 1 bit", with_unit(split.get("one_bit_bytes"), "B")],
        ["Uncoded on the wire, 1 bit", with_unit(split.get("wire_one_bit_bytes"), "B")],
        ["Parameters on the edge", quantity(split.get("parameters"))],
    ]
    return Table(
        "Split point",
        ["", "Value"],
        [row for row in rows if row[1] != MISSING],
        note="Of one image over all timesteps. A ratio belongs to its split point: an earlier one inflates it.",
    )


def networks_table(run: Run) -> Table | None:
    """Every network of the run, at all timesteps and at the chosen exit threshold."""
    rows, marked = [], []
    for found in networks(run):
        rows.append(_network_row(run, found, "all_timesteps", found.every, "" if not found.exit else "all timesteps"))
        if found.exit:
            marked += [len(rows)] if found.key == "cut" else []
            for mode, record in found.by_mode.items():
                rows.append(_network_row(run, found, "chosen", record, _exit_in(mode)))
    if not rows:
        return None
    columns: list[Any] = ["Network", "Accuracy", "Loss against uncut", "95% interval", "Timesteps"]
    columns.append(join(["Payload", tag("br"), badge(split_provenance(run, "payload_bytes"))]))
    columns.append(join(["Device energy", tag("br"), badge(split_provenance(run, "device_energy_mj"))]))
    keep = [i for i in range(len(columns)) if i == 0 or any(row[i] != MISSING for row in rows)]
    note = f"Means over {quantity(dig(run.results, 'data', 'test'))} test images; exit thresholds are chosen on "
    note += "validation images. Bytes and energy are those of the mode that a row names. "
    if dig(run.results, "loss", "meaning"):
        note += f"Loss: {dig(run.results, 'loss', 'meaning')}."
    return Table(
        "Networks of this run",
        [columns[i] for i in keep],
        [[row[i] for i in keep] for row in rows],
        marked=marked,
        note=note.strip(),
    )


def _exit_in(mode: str) -> str:
    """Early exit in words, with its mode where anything is sent."""
    return "early exit" if mode in ("", "edge_only") else f"early exit, {mode_name(mode)}"


def _network_row(run: Run, found: Network, at: str, record: Mapping[str, Any], how: str) -> list[Any]:
    interval = loss(run, at) if found.key == "cut" else {}
    low, high = finite(interval.get("low")), finite(interval.get("high"))
    return [
        f"{found.name}, {how}" if how else found.name,
        percent(record.get("accuracy")),
        lost(interval.get("mean")),
        MISSING if low is None or high is None else f"{lost(low)} to {lost(high)}",
        quantity(record.get("timesteps")),
        with_unit(record.get("payload_bytes"), "B"),
        with_unit(record.get("device_energy_mj"), "mJ"),
    ]


def payload_table(run: Run) -> Table | None:
    """How many times smaller the payload is than each yardstick."""
    if finite(dig(run.results, "payload", "chosen", "bytes")) is None:
        return None
    ats: list[tuple[str, tuple[str, ...]]] = [("All timesteps", ("all_timesteps",))]
    cut = network(run, "cut")
    if cut is not None and cut.exit:
        ats += [(_exit_in(mode).capitalize(), ("by_mode", mode) if mode else ("chosen",)) for mode in cut.by_mode]
    rows: list[list[Any]] = [
        ["Payload of an image", *(with_unit(dig(run.results, "payload", *at, "bytes"), "B") for _, at in ats)]
    ]
    for key, name in YARDSTICKS.items():
        ratios = [times_smaller(run, at, key) for _, at in ats]
        if any(ratio is not None for ratio in ratios):
            rows.append([f"Smaller than {name}", *(_times(ratio) for ratio in ratios)])
    head = badge(split_provenance(run, "payload_bytes"))
    where = dig(run.results, "split", "point")
    return Table(
        f"Payload, cut at {where}",
        ["", *(join([name, tag("br"), head]) for name, _ in ats)],
        rows,
        note=f"{meaning(run, 'payload_bytes').capitalize()}. Framing on the wire comes on top of the payload.",
    )


def _times(ratio: float | None) -> str:
    return MISSING if ratio is None else f"{ratio:,.1f}×"


def ablation_table(run: Run) -> Table | None:
    """Compression x early exit."""
    ablation = run.results.get("ablation")
    if not isinstance(ablation, list) or not ablation:
        return None
    rows = [
        [
            f"Compression {_on(row.get('compression'))}, early exit {_on(row.get('early_exit'))}",
            percent(row.get("accuracy")),
            quantity(row.get("timesteps")),
            with_unit(row.get("payload_bytes"), "B"),
            with_unit(row.get("device_energy_mj"), "mJ"),
        ]
        for row in ablation
        if isinstance(row, Mapping)
    ]
    energy = join(["Device energy", tag("br"), badge(split_provenance(run, "device_energy_mj"))])
    return Table(
        "Ablation: compression and early exit",
        ["", "Accuracy", "Timesteps", "Payload", energy],
        rows,
        note="Without compression the uncut network is cut at the same split point; its spikes cross at one bit each.",
    )


def _on(value: Any) -> str:
    return "on" if value else "off"


def split_costs_table(run: Run) -> Table | None:
    """Every modelled cost of the run's networks with unit, provenance and meaning."""
    states = [(f"{found.name}, all timesteps" if found.exit else found.name, found.every) for found in networks(run)]
    states += [
        (f"{found.name}, {_exit_in(mode)}", record)
        for found in networks(run)
        if found.exit
        for mode, record in found.by_mode.items()
    ]
    rows = [
        [
            join([name, " ", badge(split_provenance(run, key)), tag("small", meaning(run, key))]),
            *(with_unit(record.get(key), dig(run.results, "units", key) or unit) for _, record in states),
        ]
        for key, (name, unit) in COSTS.items()
        if any(finite(record.get(key)) is not None for _, record in states)
    ]
    if not rows:
        return None
    caption = f"Costs of an image, device profile “{run.results.get('profile')}”"
    return Table(caption, ["", *(name for name, _ in states)], rows)


def work_table(run: Run) -> Table | None:
    """Counted operations of each part."""
    parts = (
        ("Uncut, on the edge", dig(run.results, "uncut", "work")),
        ("Cut, edge's part", dig(run.results, "cut", "work", "edge")),
        ("Cut, cloud's part", dig(run.results, "cut", "work", "cloud")),
        ("Cloud only", dig(run.results, "work", "cloud")),
    )
    rows = [
        [name, quantity(_last(work, "synops")), quantity(_last(work, "macs")), quantity(dig(work, "parameters"))]
        for name, work in parts
        if isinstance(work, Mapping)
    ]
    if not rows:
        return None
    return Table(
        "Operations of an image, all timesteps",
        ["", "Synaptic operations", "MACs", "Parameters"],
        rows,
        note="Counted on validation images: spikes times the fan-out they reach; layers on analog input count as MACs.",
    )


def _last(work: Any, key: str) -> float | None:
    values = dig(work, key)
    return finite(values[-1]) if isinstance(values, list) and values else None


def stream_table(run: Run) -> Table | None:
    """What was measured over a link: latency, round trips, bytes and what speculation wasted."""
    rows = []
    for row in link_rows(run):
        median, p95 = (finite(dig(row, "latency_ms", key)) for key in ("median", "p95"))
        rows.append(
            [
                str(row.get("mode")).replace("_", " "),
                str(row.get("shape") or "not shaped"),
                percent(row.get("accuracy")),
                with_unit(median, "ms"),
                with_unit(p95, "ms"),
                quantity(dig(row, "round_trips", "median")),
                quantity(dig(row, "timesteps", "needed")),
                with_unit(dig(row, "bytes", "payload_up"), "B"),
                with_unit(dig(row, "bytes", "wire_up"), "B"),
                with_unit(dig(row, "bytes", "wire_down"), "B"),
                quantity(dig(row, "wasted", "edge_timesteps")),
                quantity(row.get("lost")),
            ]
        )
    if not rows:
        return None
    columns: list[Any] = ["Mode", "Link", "Accuracy", "Latency, median", "95th percentile", "Round trips", "Timesteps"]
    columns += ["Payload up", "Wire up", "Wire down", "Timesteps wasted", "Lost"]
    origin: Html = badge(link_rows(run)[0].get("provenance"))
    return Table(
        "Early exit over a link",
        [columns[0], columns[1], *columns[2:3], join([columns[3], tag("br"), origin]), *columns[4:]],
        rows,
        text_columns=[1],
        note=f"{quantity(link_rows(run)[0].get('images'))} test images a row. Round trips: latency without computing, "
        "over the link's RTT. Wasted: computed on the edge beyond the stop. Lost: answered without the cloud against "
        "the plan.",
    )
