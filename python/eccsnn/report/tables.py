"""Tables of a report: their cells, their HTML and the tables about one run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eccsnn.report.execution import (
    COST_KEYS,
    SETS,
    Evaluation,
    Point,
    at_upload_rates,
    cloud_only_costs,
    cost_provenance,
    edge_only_costs,
    evaluations,
    measure_name,
)
from eccsnn.report.load import Run
from eccsnn.report.markup import Html, join, tag
from eccsnn.report.values import MISSING, dig, duration, finite, percent, provenance, quantity

UPLOAD_RATES = (0.1, 0.25, 0.5, 0.75)
COST_COLUMNS = {"energy_mj": "Energy / image", "latency_ms": "Latency / image", "payload_bytes": "Upload / image"}
SENTENCE = 40  # characters from which a cell is kept wide, so that it does not become a tower on a phone
COST_UNITS = {"energy_mj": "mJ", "latency_ms": "ms", "payload_bytes": "B"}


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row is its header.

    Attributes:
        caption: What the table shows.
        columns: Column headers, plain text or `Html`.
        rows: Cells, plain text or `Html`.
        marked: Indices of rows to set off.
        text_columns: Indices of columns that hold words and are aligned to the left; the first one always does.
        note: A sentence below the table.
    """

    caption: str
    columns: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    marked: Iterable[int] = ()
    text_columns: Iterable[int] = ()
    note: str = ""

    def render(self) -> Html:
        """The table inside a box that scrolls sideways on narrow screens."""
        words = {0, *self.text_columns}
        marked = set(self.marked)

        def cells(row: Sequence[Any]) -> Iterable[Html]:
            for i, cell in enumerate(row):
                kind = "text" if i in words else None
                if i > 0 and kind and not isinstance(cell, Html) and len(str(cell)) > SENTENCE:
                    kind = "text sentence"
                yield tag("th", cell, scope="row", class_=kind) if i == 0 else tag("td", cell, class_=kind)

        head = tag(
            "tr",
            *(tag("th", c, scope="col", class_="text" if i in words else None) for i, c in enumerate(self.columns)),
        )
        body = [tag("tr", *cells(row), class_="marked" if i in marked else None) for i, row in enumerate(self.rows)]
        table = tag(
            "table",
            tag("caption", tag("span", self.caption)),
            tag("thead", head),
            tag("tbody", *body),
            class_="dense" if len(self.columns) > 8 else None,
        )
        note = tag("p", self.note, class_="note") if self.note else ""
        return tag(
            "div", tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=self.caption), note
        )


def badge(origin: Any) -> Html:
    """The provenance of a figure as a small label."""
    origin = provenance(origin)
    return tag("span", origin, class_=f"badge {'mixed' if '+' in origin else origin}")


def pairs(*items: tuple[Any, Any]) -> Html:
    """A list of names and values; values that are None or empty are left out."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in items if value not in (None, "", MISSING)),
    )


def execution_table(run: Run, evaluation: Evaluation) -> Table:
    """Edge-only, cloud-only and ECC-SNN at several upload rates, the chosen point among them."""
    record, chosen = evaluation.record, evaluation.chosen
    curve = evaluation.curves.get(evaluation.measure, [])
    cost_keys = [key for key in COST_KEYS if any(point[key] is not None for point in curve) or key in chosen]

    def row(name: Any, threshold: Any, rate: Any, accuracy: Any, acc_i: Any, costs: Mapping[str, Any]) -> list[Any]:
        first = [name, _threshold(threshold), percent(rate), percent(accuracy), quantity(acc_i)]
        return first + [with_unit(costs.get(key), COST_UNITS[key]) for key in cost_keys]

    rows = [row("Edge only", None, 0.0, record.get("edge_accuracy"), None, edge_only_costs(evaluation))]
    sweep: list[tuple[float, list[Any], bool]] = []
    for point in at_upload_rates(curve, UPLOAD_RATES):
        if not _same_point(point, chosen):
            sweep.append((point["upload_rate"] or 0.0, _point_row(row, "ECC-SNN", point), False))
    if chosen:
        name = join(["ECC-SNN ", tag("strong", "chosen")])
        sweep.append((finite(chosen.get("upload_rate")) or 0.0, _point_row(row, name, chosen), True))
    sweep.sort(key=lambda item: item[0])
    rows += [cells for _, cells, _ in sweep]
    marked = [i for i, (_, _, is_chosen) in enumerate(sweep, start=1) if is_chosen]
    rows.append(row("Cloud only", None, 1.0, record.get("cloud_accuracy"), None, cloud_only_costs(run)))
    columns = ["System", "Threshold", "Upload rate", "Accuracy", "AccI"]
    columns += [join([COST_COLUMNS[key], tag("br"), badge(cost_provenance(run, key))]) for key in cost_keys]
    rule = f", rule “{chosen['rule']}”" if chosen.get("rule") else ""
    origin = (
        f"The chosen threshold was picked on {chosen.get('chosen_on', 'data that the run does not name')}{rule}. "
        if chosen
        else "The run chose no threshold. "
    )
    return Table(
        f"{SETS[evaluation.set_name].capitalize()}, {evaluation.stage_label}: "
        f"{quantity(record.get('samples'))} test images",
        columns,
        rows,
        marked=marked,
        note=f"Offloading by {measure_name(evaluation.measure)}. {origin}The other rows are the thresholds of the "
        f"sweep that come closest to upload rates of {', '.join(percent(rate, 0) for rate in UPLOAD_RATES)}. "
        "AccI is the share of the gap between edge and cloud that is closed.",
    )


def tasks_table(run: Run, set_name: str) -> Table | None:
    """Accuracy and upload rate at the chosen point over the number of tasks; None with fewer than two of them."""
    found = evaluations(run, set_name)
    if len(found) < 2:
        return None
    rows = [
        [
            f"after task {e.tasks}",
            str(len(e.classes)),
            percent(e.value("edge_accuracy")),
            percent(e.value("cloud_accuracy")),
            percent(e.chosen.get("accuracy")),
            percent(e.chosen.get("upload_rate")),
            _threshold(e.chosen.get("threshold")),
        ]
        for e in found
    ]
    columns = ["", "Classes learnt", "Edge only", "Cloud only", "ECC-SNN", "Upload rate", "Threshold"]
    return Table(f"{SETS[set_name].capitalize()} over the tasks, at the chosen threshold", columns, rows)


def update_table(update: Mapping[str, Any]) -> Table:
    """Metrics of the class-incremental update."""
    rows: list[list[Any]] = []
    for key, label in (
        ("average_incremental_accuracy", "Average incremental accuracy"),
        ("last_accuracy", "Last accuracy"),
        ("forgetting", "Forgetting"),
    ):
        definition = dig(update, "definitions", key) or MISSING
        rows.append([label, percent(update.get(key)), definition])
    for key, value in _mapping(update, "other").items():
        rows.append([_words(key), percent(value), dig(update, "definitions", key) or MISSING])
    caption = f"Update by {update.get('learner', 'an unnamed learner')}"
    return Table(caption, ["Metric", "Value", "Definition"], rows, text_columns=[2])


def saved_table(update: Mapping[str, Any]) -> Table | None:
    """What updating on the device saves against retraining in the cloud."""
    saved = _mapping(update, "upload_saved")
    origin = badge(saved.get("provenance"))
    rows = [[_words(key), quantity(value), origin] for key, value in saved.items() if finite(value) is not None]
    if not rows:
        return None
    note = f"Definition: {saved['definition']}." if saved.get("definition") else ""
    columns = ["Figure", "Value", "Provenance"]
    return Table("Saved against retraining in the cloud", columns, rows, text_columns=[2], note=note)


def costs_table(run: Run) -> Table | None:
    """Every cost figure of a run with its unit, provenance and source."""
    costs = run.results.get("costs")
    if not isinstance(costs, list) or not costs:
        return None
    rows = [
        [
            cost.get("name", MISSING),
            with_unit(cost.get("value"), cost.get("unit")),
            badge(cost.get("provenance")),
            cost.get("source") or MISSING,
        ]
        for cost in costs
        if isinstance(cost, Mapping)
    ]
    profile = run.results.get("profile")
    caption = f"Costs, device profile “{profile}”" if profile else "Costs"
    return Table(caption, ["Figure", "Value", "Provenance", "Source"], rows, text_columns=[2, 3])


def image_bytes_table(run: Run) -> Table | None:
    """Mean size of an encoded image under each codec."""
    sizes = _mapping(run.results, "image_bytes")
    if not sizes:
        return None
    used = dig(run.config, "link", "codec")
    rows = [
        [f"{codec.upper()}{', uploaded here' if codec == used else ''}", with_unit(size, "B"), badge("measured")]
        for codec, size in sizes.items()
    ]
    return Table("Size of an image", ["Codec", "Mean size", "Provenance"], rows, text_columns=[2])


def link_table(link: Mapping[str, Any]) -> Table:
    """What was seen on the link between the edge and the cloud process."""
    origin = badge(link.get("provenance"))

    def row(label: str, value: str) -> list[Any]:
        return [label, value, origin]

    rows = [
        row("Images classified", quantity(link.get("requests"))),
        row("Uploaded", quantity(link.get("uploaded"))),
        row("Answered by the edge because the cloud was not reached", quantity(link.get("fallbacks"))),
        row("Accuracy", percent(link.get("accuracy"))),
        row("Image payload up, mean", with_unit(link.get("payload_bytes_up"), "B")),
        row("On the wire up, mean, all framing", with_unit(link.get("wire_bytes_up"), "B")),
        row("On the wire down, mean, all framing", with_unit(link.get("wire_bytes_down"), "B")),
    ]
    for key, label in (
        ("edge_median", "Latency, answered by the edge, median"),
        ("edge_p95", "Latency, answered by the edge, 95th percentile"),
        ("cloud_median", "Latency, answered by the cloud, median"),
        ("cloud_p95", "Latency, answered by the cloud, 95th percentile"),
    ):
        rows.append(row(label, with_unit(dig(link, "latency_ms", key), "ms")))
    rows = [cells for cells in rows if cells[1] != MISSING]
    codec = f", images as {str(link['image_codec']).upper()}" if link.get("image_codec") else ""
    shape = f", {link['shape']}" if link.get("shape") else ""
    caption = f"Link: {link.get('transport', 'transport not recorded')}{shape}{codec}"
    return Table(caption, ["Figure", "Value", "Provenance"], rows, text_columns=[2])


def models_table(run: Run) -> Table | None:
    """The edge and the cloud network side by side."""
    sides = [(label, _mapping(run.results, key)) for key, label in (("edge", "Edge (SNN)"), ("cloud", "Cloud (ANN)"))]
    sides = [(label, model) for label, model in sides if model]
    if not sides:
        return None
    columns = [
        "",
        "Model",
        "Width",
        "Timesteps",
        "Parameters",
        "MACs / image",
        "Synaptic operations / image",
        "Test accuracy",
    ]
    rows = [
        [
            label,
            model.get("model", MISSING),
            quantity(model.get("width")),
            quantity(model.get("timesteps")),
            quantity(model.get("parameters")),
            quantity(model.get("macs_per_image", model.get("macs"))),
            quantity(model.get("synops_per_image")),
            percent(model.get("test_accuracy_learned", model.get("test_accuracy"))),
        ]
        for label, model in sides
    ]
    note = (
        "The edge as it is after setup; its accuracy is on the classes of its first task, that of the cloud on all "
        "classes of the images as they are."
    )
    uploaded = finite(dig(run.results, "cloud", "test_accuracy_uploaded"))
    if uploaded is not None:
        note += f" On the images as they are uploaded (link.codec) the cloud is right for {percent(uploaded)}."
    return Table("Models", columns, rows, text_columns=[1], note=note)


def stages_table(run: Run) -> Table | None:
    """The stages of a run, and which of them were reused."""
    stages = run.info.get("stages")
    if not isinstance(stages, list) or not stages:
        return None
    rows = [
        [
            stage.get("name", MISSING),
            "reused" if stage.get("reused") else "computed",
            duration(stage.get("seconds")),
            tag("code", str(stage.get("key") or MISSING)[:12]),
        ]
        for stage in stages
        if isinstance(stage, Mapping)
    ]
    return Table("Stages", ["Stage", "", "Time", "Artefact"], rows, text_columns=[1, 3])


def _point_row(row: Any, name: Any, point: Mapping[str, Any] | Point) -> list[Any]:
    return list(
        row(name, point.get("threshold"), point.get("upload_rate"), point.get("accuracy"), point.get("acc_i"), point)
    )


def _same_point(point: Point, chosen: Mapping[str, Any]) -> bool:
    left, right = point["threshold"], finite(chosen.get("threshold"))
    return left is not None and right is not None and math.isclose(left, right, abs_tol=1e-6)


def with_unit(value: Any, unit: Any) -> str:
    """A figure and its unit."""
    if unit == "1":  # a relative change
        number = finite(value)
        return MISSING if number is None else f"{100 * number:+.1f}%".replace("-", "−")
    return MISSING if finite(value) is None else f"{quantity(value)} {unit or ''}".rstrip()


def _threshold(value: Any) -> str:
    number = finite(value)
    return MISSING if number is None else f"{number:.3f}"


def _mapping(record: Any, key: str) -> Mapping[str, Any]:
    value = dig(record, key)
    return value if isinstance(value, Mapping) else {}


def _words(key: str) -> str:
    return str(key).replace("_", " ")
