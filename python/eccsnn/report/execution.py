"""The execution stage of a run in the form that tables, figures and the summary share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eccsnn.report.load import Run
from eccsnn.report.values import dig, finite, provenance

SETS = {"learned": "classes learnt", "all": "all classes"}
MEASURES = {
    "entropy": "normalised entropy",
    "max_probability": "maximum probability",
    "margin": "score margin",
    "random": "random",
}
CURVE_KEYS = (
    "threshold",
    "accuracy",
    "upload_rate",
    "acc_i",
    "device_energy_mj",
    "energy_mj",
    "latency_ms",
    "payload_bytes",
)
COST_KEYS = ("energy_mj", "latency_ms", "payload_bytes")
COST_NAMES = {"energy_mj": "energy", "latency_ms": "latency"}

Point = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of edge, cloud and both: a number of tasks learnt and a set of classes.

    Attributes:
        tasks: Tasks learnt so far.
        classes: Classes learnt so far.
        set_name: ``"learned"`` or ``"all"``.
        record: The entry of `results.json` (samples, accuracies, curves, the chosen point).
    """

    tasks: int
    classes: Sequence[int]
    set_name: str
    record: Mapping[str, Any]

    @property
    def stage_label(self) -> str:
        classes = len(self.classes)
        return f"after task {self.tasks}, {classes} class{'' if classes == 1 else 'es'} learnt"

    @property
    def chosen(self) -> Mapping[str, Any]:
        chosen = self.record.get("chosen")
        return chosen if isinstance(chosen, Mapping) else {}

    @property
    def measure(self) -> str:
        """The measure that the run offloads by; the first one recorded where no point was chosen."""
        return str(self.chosen.get("measure") or next(iter(self.curves), "entropy"))

    @property
    def curves(self) -> dict[str, list[Point]]:
        curves = self.record.get("curves")
        if not isinstance(curves, Mapping):
            return {}
        return {str(name): curve_points(curve) for name, curve in curves.items() if isinstance(curve, Mapping)}

    @property
    def chosen_by_measure(self) -> Mapping[str, Mapping[str, Any]]:
        """For every measure the point at its own threshold, chosen on validation data."""
        found = self.record.get("chosen_by_measure")
        return found if isinstance(found, Mapping) else {}

    def value(self, key: str) -> float | None:
        return finite(self.record.get(key))


def curve_points(curve: Mapping[str, Any]) -> list[Point]:
    """A curve's columns as points; a column that is absent or too short gives None.

    >>> curve_points({"threshold": [0.0, 1.0], "accuracy": [0.9, 0.8]})[1]["accuracy"]
    0.8
    """
    columns = {key: curve[key] for key in CURVE_KEYS if isinstance(curve.get(key), list)}
    length = len(columns.get("threshold", ()))
    return [
        {key: finite(columns[key][i]) if i < len(columns.get(key, ())) else None for key in CURVE_KEYS}
        for i in range(length)
    ]


def evaluations(run: Run, set_name: str) -> list[Evaluation]:
    """The evaluations of a run on one set of classes, in the order in which the tasks were learnt."""
    found = []
    for position, entry in enumerate(run.execution, start=1):
        record = dig(entry, "sets", set_name)
        if isinstance(record, Mapping):
            classes = entry.get("classes_learned")
            tasks = finite(entry.get("tasks_learned"))
            found.append(
                Evaluation(
                    position if tasks is None else int(tasks),
                    classes if isinstance(classes, list) else (),
                    set_name,
                    record,
                )
            )
    return found


def distinct_evaluations(run: Run, set_name: str) -> list[Evaluation]:
    """Like `evaluations`, without those on the learnt classes once these are all classes: they say the same twice."""
    found = evaluations(run, set_name)
    if set_name == "all":
        return found
    covered = {e.tasks for e in evaluations(run, "all") if len(e.classes) == len(run.class_names)}
    return [e for e in found if e.tasks not in covered]


def first_and_last(run: Run) -> list[Evaluation]:
    """What tables and the summary tell of: the state after setup and after the last task, each set of classes once."""
    found = [e for set_name in SETS for e in distinct_evaluations(run, set_name)]
    tasks = {e.tasks for e in found}
    return sorted((e for e in found if e.tasks in (min(tasks), max(tasks))), key=lambda e: e.tasks)


def measure_name(measure: str) -> str:
    return MEASURES.get(measure, measure)


def cost_provenance(run: Run, key: str) -> str:
    """Where a curve's cost figures come from; ``"unstated"`` unless the run says so."""
    if key == "payload_bytes":
        # Mean size of encoded validation images, times the upload rate: a model, if a simple one.
        return provenance("modelled" if dig(run.results, "image_bytes") else None)
    return provenance(_cost_row(run, f"{COST_NAMES[key]} per image").get("provenance"))


def edge_only_costs(evaluation: Evaluation) -> dict[str, float | None]:
    """Costs of an image that the edge answers without asking anybody."""
    return {"payload_bytes": 0.0} | {key: finite(dig(evaluation.record, "edge_only", key)) for key in COST_NAMES}


def cloud_only_costs(run: Run) -> dict[str, float | None]:
    """Costs of an image that goes to the cloud without an edge inference."""
    codec = str(dig(run.config, "link", "codec"))
    costs = {key: _cost_row(run, f"cloud-only {name} per image").get("value") for key, name in COST_NAMES.items()}
    costs["payload_bytes"] = dig(run.results, "image_bytes", codec)
    return {key: finite(value) for key, value in costs.items()}


def _cost_row(run: Run, name: str) -> Mapping[str, Any]:
    """The row of the cost table whose name begins so ("energy per image at upload rate 0.3")."""
    rows = run.results.get("costs")
    for row in rows if isinstance(rows, list) else ():
        if str(dig(row, "name") or "").startswith(name):
            return row
    return {}


def at_upload_rates(points: Sequence[Point], targets: Sequence[float], tolerance: float = 0.05) -> list[Point]:
    """For each target the curve's point with the nearest upload rate, without repeats.

    A target that the curve does not come within `tolerance` of is left out, so that no row promises a rate that was
    not reached.
    """
    found: list[Point] = []
    for target in targets:
        near = [(abs(rate - target), i) for i, point in enumerate(points) if (rate := point["upload_rate"]) is not None]
        if near and min(near)[0] <= tolerance and points[min(near)[1]] not in found:
            found.append(points[min(near)[1]])
    return found
