"""What came out of a run, in sentences made from its numbers; also where it disappoints."""

from collections.abc import Mapping
from typing import Any

from eccsnn.report.execution import SETS, Evaluation, cloud_only_costs, cost_provenance, first_and_last, measure_name
from eccsnn.report.load import Run
from eccsnn.report.values import dig, duration, finite, percent, points, provenance, quantity

RESUME = "“eccsnn run” with the same arguments goes on from the last checkpoint."
STATUS_TEXT = {
    "running": "This run has not finished: it is still going on, or was killed before it could say so. "
    f"What is shown is what there was when this page was made. {RESUME}",
    "interrupted": f"This run was interrupted and is not complete. {RESUME}",
    "failed": "This run failed. What it had measured before is shown; do not read it as a result.",
}


def status_text(run: Run) -> str:
    """Why a run is not a result, or an empty text for a finished run."""
    return STATUS_TEXT.get(run.status, "")


def summary(run: Run) -> list[str]:
    """A few plain sentences; each is left out when the run has no numbers for it."""
    sentences = [_models(run)]
    shown = first_and_last(run)
    sentences += [_silent_layers(run), *(_accuracy(e) for e in shown)]
    sentences += [_costs(run, e) for e in shown[-1:]]
    sentences += [_update(run), _link(run), progress(run)]
    return [sentence for sentence in sentences if sentence]


def _models(run: Run) -> str:
    edge, cloud = dig(run.results, "edge"), dig(run.results, "cloud")
    if not dig(edge, "model") or not dig(cloud, "model"):
        return ""
    tasks = dig(run.results, "scenario", "tasks")
    first = ""
    if isinstance(tasks, list) and tasks:
        name = dig(run.results, "scenario", "name")
        first = f" The edge starts with {len(tasks[0])} of {sum(len(task) for task in tasks)} classes"
        first += f" ({name})." if name else "."
    return (
        f"A spiking network on the edge ({edge['model']}, {quantity(dig(edge, 'parameters'))} parameters) answers what "
        f"it is sure of and sends the rest to a network in the cloud ({cloud['model']}, "
        f"{quantity(dig(cloud, 'parameters'))} parameters).{first}"
    )


def _accuracy(e: Evaluation) -> str:
    chosen, edge, cloud = e.chosen, e.value("edge_accuracy"), e.value("cloud_accuracy")
    together = finite(chosen.get("accuracy"))
    if edge is None or cloud is None:
        return ""
    start = (
        f"On {SETS[e.set_name]} ({quantity(e.record.get('samples'))} test images, {e.stage_label}) the edge alone is "
        f"right for {percent(edge)} and the cloud alone for {percent(cloud)}."
    )
    if together is None:
        return start
    text = (
        f"{start} Together they are right for {percent(together)} while {percent(chosen.get('upload_rate'))} of the "
        f"images are uploaded ({measure_name(e.measure)}, threshold {quantity(chosen.get('threshold'))}): "
        f"{_compared(together - edge, 'the edge alone')} and {_compared(together - cloud, 'the cloud alone')}."
    )
    if together < edge:
        text += " Uploading does not pay here: the edge alone is better."
    rate = finite(chosen.get("upload_rate"))
    if rate == 1.0:
        text += " Every image is uploaded, so this is the cloud alone with the edge's work on top."
    elif rate == 0.0:
        text += " Nothing is uploaded, so this is the edge alone."
    return text


def _silent_layers(run: Run) -> str:
    rates = dig(run.results, "edge", "firing_rates")
    if not isinstance(rates, Mapping):
        return ""
    silent = [str(name) for name, rate in rates.items() if finite(rate) == 0.0]
    if not silent:
        return ""
    return (
        f"{len(silent)} of the edge's {len(rates)} spiking layers never spike on the counted images "
        f"({', '.join(silent)}): what lies behind them cannot tell images apart, so the edge has not learnt yet."
    )


def _compared(difference: float, other: str) -> str:
    if abs(difference) < 5e-5:
        return f"the same as {other}"
    return f"{points(abs(difference))[1:]} {'more' if difference > 0 else 'less'} than {other}"


def _costs(run: Run, e: Evaluation) -> str:
    parts = []
    for key, name, unit in (
        ("energy_mj", "energy", "mJ"),
        ("latency_ms", "latency", "ms"),
        ("payload_bytes", "upload", "bytes"),
    ):
        value, cloud = finite(e.chosen.get(key)), cloud_only_costs(run)[key]
        if value is None:
            continue
        text = f"{name} {quantity(value)} {unit} ({cost_provenance(run, key)})"
        if cloud:
            change = value / cloud - 1
            same = abs(change) < 5e-4
            text += (
                ", as cloud-only" if same else f", {abs(change):.1%} {'less' if change < 0 else 'more'} than cloud-only"
            )
        parts.append(text)
    if not parts:
        return ""
    profile = f", device profile “{run.results['profile']}”" if run.results.get("profile") else ""
    where = f"{SETS[e.set_name]}, {e.stage_label}{profile}"
    return f"Mean cost of an image at the chosen threshold ({where}): {'; '.join(parts)}."


def _update(run: Run) -> str:
    update = run.results.get("update")
    if not isinstance(update, Mapping) or finite(update.get("last_accuracy")) is None:
        return ""
    text = (
        f"After learning all tasks on the device ({update.get('learner', 'learner not recorded')}) the edge alone is "
        f"right for {percent(update.get('last_accuracy'))}; average incremental accuracy "
        f"{percent(update.get('average_incremental_accuracy'))}"
    )
    forgetting = finite(update.get("forgetting"))
    return text + ("." if forgetting is None else f", forgetting {percent(forgetting)}.")


def _link(run: Run) -> str:
    link = run.results.get("link")
    if not isinstance(link, Mapping) or finite(link.get("requests")) is None:
        return ""
    transport = link.get("transport", "transport not recorded")
    text = (
        f"Over a link between two processes ({transport}; {provenance(link.get('provenance'))}), "
        f"{quantity(link.get('uploaded'))} of {quantity(link.get('requests'))} images were uploaded"
    )
    wire_bytes = finite(link.get("wire_bytes_up"))
    text += "." if wire_bytes is None else f", with {quantity(wire_bytes)} bytes each on the wire."
    latencies = [
        f"{quantity(value)} ms for the {side}'s answers"
        for side in ("edge", "cloud")
        if (value := finite(dig(link, "latency_ms", f"{side}_median"))) is not None
    ]
    if latencies:
        text += f" The median latency was {' and '.join(latencies)}."
    fallbacks = finite(link.get("fallbacks"))
    if fallbacks:
        text += f" For {quantity(fallbacks)} images the cloud was not reached and the edge's own answer counted."
    return text


def progress(run: Run) -> str:
    """How far a run came that has not finished; an empty text for a finished one."""
    if run.status == "finished" or not run.epochs:
        return ""
    last: Mapping[str, Any] = run.epochs[-1]
    of = f" of {last['epochs']}" if last.get("epochs") else ""
    spent = sum(finite(epoch.get("seconds")) or 0.0 for epoch in run.epochs)
    return (
        f"Last recorded: stage {last.get('stage')}, epoch {last.get('epoch')}{of}, after {duration(spent)} of training."
    )
