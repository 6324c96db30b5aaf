"""What came out of a run with a cut network (or of its yardsticks), in sentences made from its numbers."""

from collections.abc import Mapping
from typing import Any

from eccsnn.report.load import Run
from eccsnn.report.split import (
    Network,
    answering,
    firing_rates,
    link_rows,
    loss,
    mode_name,
    network,
    networks,
    split_provenance,
    system_name,
    times_smaller,
)
from eccsnn.report.summary import progress
from eccsnn.report.values import dig, finite, percent, points, provenance, quantity

AGAINST = {
    "fp32": "fp32 values there",
    "one_bit": "one bit a value there",
    "jpeg": "a JPEG upload",
}


def split_summary(run: Run) -> list[str]:
    """A few plain sentences; each is left out when the run has no numbers for it."""
    sentences = [_cut_at(run), _accuracy(run), *(_exit(found) for found in answering(run)), _payload(run)]
    sentences += [_energy(run), _latency(run), _silent(run), _link(run), progress(run)]
    return [sentence for sentence in sentences if sentence]


def _cut_at(run: Run) -> str:
    name, split = dig(run.results, "network", "name"), run.results.get("split")
    if not name:
        return ""
    steps = finite(dig(run.results, "network", "timesteps"))
    net = f"{name}, width {quantity(dig(run.results, 'network', 'width'))}" + (f", T = {steps:.0f}" if steps else "")
    if not isinstance(split, Mapping):
        return f"{system_name(run)}: nothing is cut ({net})."
    return (
        f"{system_name(run)} cuts a network ({net}) at {split.get('point')}: {shape(split.get('point_shape'))} values"
        f"{' a timestep' if steps else ''} become {shape(split.get('wire_shape'))} on the wire."
    )


def shape(value: Any) -> str:
    """Channels, height and width in words.

    >>> shape([16, 8, 8])
    '16×8×8'
    """
    return "×".join(str(part) for part in value) if isinstance(value, list) else "unknown"


def _accuracy(run: Run) -> str:
    images = quantity(dig(run.results, "data", "test"))
    uncut, cut = network(run, "uncut"), network(run, "cut")
    if cut is None or uncut is None:
        said = [f"{found.name} is right for {percent(found.every.get('accuracy'))}" for found in networks(run)]
        return f"On {images} test images: {'; '.join(said)}." if said else ""
    interval = loss(run, "chosen")
    text = (
        f"On {images} test images the uncut network is right for {percent(uncut.every.get('accuracy'))}, the cut one "
        f"for {percent(cut.chosen.get('accuracy'))}"
    )
    mean, low, high = (finite(interval.get(key)) for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return f"{text}."
    text += (
        f": a loss of {lost(mean)} (95% interval {lost(low)} to {lost(high)}, over "
        f"{quantity(interval.get('samples'))} test images)."
    )
    if low <= 0 <= high:
        text += " The interval holds zero: these images cannot tell the two apart."
    return text


def lost(value: Any) -> str:
    """A loss of accuracy in percentage points, negative where accuracy was gained.

    >>> lost(0.2), lost(-0.01)
    ('20.00 pp', '−1.00 pp')
    """
    return points(value).removeprefix("+")


def _exit(found: Network) -> str:
    if not found.exit:
        return ""
    steps, every = finite(found.chosen.get("timesteps")), finite(found.every.get("timesteps"))
    if steps is None or every is None:
        return ""
    if steps >= every - 1e-9:
        return f"Early exit ({found.name}): at the chosen threshold every image takes all {every:.0f} timesteps."
    if steps <= 1 + 1e-9:
        return f"Early exit ({found.name}): every image stops after the first of {every:.0f} timesteps."
    return (
        f"Early exit ({found.name}) at a confidence of {quantity(found.exit.get('threshold'))} uses {steps:.2f} of "
        f"{every:.0f} timesteps on average."
    )


def _payload(run: Run) -> str:
    size = finite(dig(run.results, "payload", "chosen", "bytes"))
    if size is None:
        return ""
    ratios = [
        f"{ratio:.3g} times smaller than {name}"
        for key, name in AGAINST.items()
        if (ratio := times_smaller(run, ("chosen",), key)) is not None
    ]
    where = dig(run.results, "split", "point")
    start = f"The payload of an image is {quantity(size)} bytes ({split_provenance(run, 'payload_bytes')}) at {where}"
    return f"{start}: {', '.join(ratios)}." if ratios else f"{start}."


def _energy(run: Run) -> str:
    parts = []
    uncut = network(run, "uncut")
    whole = finite(uncut.every.get("device_energy_mj")) if uncut else None
    for found in answering(run):
        energy = finite(found.chosen.get("device_energy_mj"))
        if energy is None:
            continue
        text = f"{found.name} {quantity(energy)} mJ"
        if found.key == "cut" and whole:
            text += f", {compared(energy / whole)} the uncut network on the edge ({quantity(whole)} mJ)"
        parts.append(text)
    if not parts:
        return ""
    text = f"Energy of the device for an image ({split_provenance(run, 'device_energy_mj')}, device profile "
    text += f"“{run.results.get('profile')}”): {'; '.join(parts)}."
    energy = finite(dig(run.results, "cut", "chosen", "device_energy_mj"))
    if energy and whole and energy > whole:
        text += " Under this profile the radio costs more than the computation that the cut saves."
    return text


def compared(ratio: float) -> str:
    """A ratio in words.

    >>> compared(0.25), compared(3.0), compared(1.0)
    ('75.0% less than', '3 times', 'the same as')
    """
    if abs(ratio - 1) < 5e-4:
        return "the same as"
    if ratio < 1:
        return f"{1 - ratio:.1%} less than"
    return f"{ratio:.3g} times" if ratio >= 2 else f"{ratio - 1:.1%} more than"


def _latency(run: Run) -> str:
    cut, uncut = network(run, "cut"), network(run, "uncut")
    if cut is None:
        return ""
    said = [
        f"{quantity(latency)} ms ({mode_name(mode)})" if mode else f"{quantity(latency)} ms"
        for mode, record in cut.by_mode.items()
        if (latency := finite(record.get("latency_ms"))) is not None
    ]
    if not said:
        return ""
    text = f"Latency ({split_provenance(run, 'latency_ms')}): {', '.join(said)}"
    alone = finite(uncut.every.get("latency_ms")) if uncut else None
    return f"{text}, {quantity(alone)} ms for the uncut network on the edge." if alone is not None else f"{text}."


def _silent(run: Run) -> str:
    said = []
    for name, rates in firing_rates(run):
        silent = [str(layer) for layer, rate in rates.items() if finite(rate) == 0.0]
        if silent:
            said.append(f"{len(silent)} of {len(rates)} spiking layers ({name}) never spike: {', '.join(silent)}")
    return f"{'; '.join(said)}. What lies behind them cannot tell images apart." if said else ""


def _link(run: Run) -> str:
    rows = [row for row in link_rows(run) if finite(dig(row, "latency_ms", "median")) is not None]
    if not rows:
        return ""
    shape_of_link = rows[0].get("shape")
    said = [
        f"{str(row.get('mode')).replace('_', ' ')} {quantity(dig(row, 'latency_ms', 'median'))} ms"
        for row in rows
        if row.get("shape") == shape_of_link
    ]
    origin = provenance(rows[0].get("provenance"))
    return f"Median latency over a link ({shape_of_link}; {origin}): {', '.join(said)}."
