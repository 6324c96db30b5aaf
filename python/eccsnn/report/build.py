"""Puts the page together."""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from eccsnn.errors import DataError
from eccsnn.report.compare import comparison_figures, comparison_table, group_runs, runs_table, updates_table
from eccsnn.report.execution import SETS, first_and_last
from eccsnn.report.execution_figures import cost_figures, execution_figures
from eccsnn.report.figures import Figure, figure_id
from eccsnn.report.incremental import (
    incremental_summary,
    is_incremental,
    learner_figures,
    learners_table,
    trunk_table,
)
from eccsnn.report.load import Run, load_run
from eccsnn.report.markup import Html, details, join, tag
from eccsnn.report.split import firing_rates, is_split
from eccsnn.report.split_compare import systems_figure, systems_table
from eccsnn.report.split_figures import exit_figures, payload_figures, timestep_figure
from eccsnn.report.split_summary import split_summary
from eccsnn.report.split_tables import (
    ablation_table,
    networks_table,
    payload_table,
    split_costs_table,
    split_table,
    stream_table,
    work_table,
)
from eccsnn.report.summary import status_text, summary
from eccsnn.report.tables import (
    Table,
    costs_table,
    execution_table,
    image_bytes_table,
    link_table,
    models_table,
    pairs,
    saved_table,
    stages_table,
    tasks_table,
    update_table,
)
from eccsnn.report.training_figures import firing_rate_figure, firing_rates_figure, training_figures, update_figures
from eccsnn.report.values import dig, duration, finite

Section = tuple[str, list[Any]]


def build_report(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes one self-contained HTML page about one or several runs.

    The page holds plotly.js once and makes no request to anywhere: it can be mailed and opened without a network.

    Args:
        run_dirs: Folders that `eccsnn run` has written. With several of them the page starts with a comparison; runs
            with the same name and settings are averaged over their seeds.
        out: The HTML file, or a folder in which `report.html` is written.

    Returns:
        The file's path.

    Raises:
        DataError: No run directory was given, or one of them is broken; the missing file is named.
    """
    if not run_dirs:
        raise DataError("No run directory was given. Give at least one folder that `eccsnn run` has written.")
    runs = [load_run(Path(path)) for path in run_dirs]
    out = Path(out)
    if out.is_dir():
        out = out / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(page(runs), encoding="utf-8")
    partial.replace(out)
    return out


def page(runs: Sequence[Run]) -> str:
    """The whole page as text."""
    several = len(runs) > 1
    title = f"{len(runs)} runs compared" if several else runs[0].name
    body = [_comparison(runs)] if several else []
    body += [_run(run, f"run{i}", folded=several) for i, run in enumerate(runs, start=1)]
    scripts = [get_plotlyjs(), _asset("report.js")]
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    # Nothing may be loaded from anywhere, and no script may run but the two below.
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} – eccsnn report"),
        Html(f"<style>{_asset('report.css')}</style>"),
    )
    footer = tag("footer", "Made by eccsnn from run directories alone.")
    content = tag("body", tag("main", *body), footer, *(Html(f"<script>{script}</script>") for script in scripts))
    return f"<!DOCTYPE html>\n{tag('html', head, content, lang='en')}\n"


def _comparison(runs: Sequence[Run]) -> Html:
    groups = group_runs(runs)
    tables = [systems_table(groups), *(comparison_table(groups, set_name) for set_name in SETS), updates_table(groups)]
    overview = systems_figure(groups)
    figures = [*([overview] if overview else []), *comparison_figures(groups)]
    return tag(
        "article",
        tag("header", tag("p", "eccsnn report", class_="eyebrow"), tag("h1", f"{len(runs)} runs compared")),
        runs_table(runs).render(),
        *(table.render() for table in tables if table is not None),
        _figures(figures, "compare"),
        class_="comparison",
    )


def _run(run: Run, prefix: str, *, folded: bool) -> Html:
    if is_incremental(run):
        made = _incremental_sections(run, prefix)
    else:
        made = _split_sections(run, prefix) if is_split(run) else _sections(run, prefix)
    sections = [(title, content) for title, content in made if any(content)]
    links = [tag("a", title, href=f"#{figure_id(prefix, title)}") for title, _ in sections]
    parts = [
        _header(run, heading="h2" if folded else "h1"),
        _notices(run),
        tag("nav", *links, aria_label=f"Sections of {run.name}") if links else "",
        *(
            tag("section", tag("h3" if folded else "h2", title), *content, id=figure_id(prefix, title))
            for title, content in sections
        ),
    ]
    article = tag("article", *parts, class_="run")
    if not folded:
        return article
    heading = join([tag("strong", run.name), f" seed {run.seed} ", _chip(run)])
    return details(heading, article, class_="run-fold")


def _sections(run: Run, prefix: str) -> list[Section]:
    """Sections of a run's page in their order; one without content is left out by the caller."""
    results = run.results
    update = results.get("update") if isinstance(results.get("update"), dict) else None
    link = results.get("link") if isinstance(results.get("link"), dict) else None
    costs = [*_rendered(costs_table(run)), *_rendered(image_bytes_table(run))]
    firing = firing_rate_figure(run)
    notes = [str(note) for note in results.get("notes") or []]
    return [
        ("Summary", [tag("ul", *(tag("li", sentence) for sentence in summary(run)))] if summary(run) else []),
        ("Edge and cloud together", [*_execution_tables(run), _figures(execution_figures(run), f"{prefix}-exec")]),
        (
            "Update on the device",
            [
                *_rendered(update_table(update) if update else None),
                *_rendered(saved_table(update) if update else None),
                _figures(update_figures(run), f"{prefix}-update"),
            ],
        ),
        ("Costs", [*costs, _figures(cost_figures(run), f"{prefix}-cost")]),
        ("Measured link", _rendered(link_table(link) if link else None)),
        ("Models", [*_rendered(models_table(run)), _figures([firing] if firing else [], f"{prefix}-model")]),
        ("Training", [_figures(training_figures(run), f"{prefix}-training"), *_rendered(stages_table(run))]),
        ("Notes", [tag("ul", *(tag("li", note) for note in notes))] if notes else []),
        ("Configuration", [_config(run)]),
    ]


def _split_sections(run: Run, prefix: str) -> list[Section]:
    """The same for a run with a cut network, edge only or cloud only."""
    sentences, timesteps = split_summary(run), timestep_figure(run)
    firing = firing_rates_figure(firing_rates(run))
    costs = [split_costs_table(run), work_table(run), image_bytes_table(run)]
    return [
        ("Summary", [tag("ul", *(tag("li", sentence) for sentence in sentences))] if sentences else []),
        ("Accuracy", [*_rendered(networks_table(run)), _figures([timesteps] if timesteps else [], f"{prefix}-steps")]),
        ("Split point", _rendered(split_table(run))),
        ("Early exit", [_figures(exit_figures(run), f"{prefix}-exit")]),
        ("Payload", [*_rendered(payload_table(run)), _figures(payload_figures(run), f"{prefix}-payload")]),
        ("Ablation", _rendered(ablation_table(run))),
        ("Costs", [html for table in costs for html in _rendered(table)]),
        ("Measured link", _rendered(stream_table(run))),
        ("Firing rates", [_figures([firing] if firing else [], f"{prefix}-model")]),
        ("Training", [_figures(training_figures(run), f"{prefix}-training"), *_rendered(stages_table(run))]),
        ("Configuration", [_config(run)]),
    ]


def _incremental_sections(run: Run, prefix: str) -> list[Section]:
    """The same for a run that compares class-incremental learners."""
    sentences = incremental_summary(run)
    notes = [str(note) for note in run.results.get("notes") or []]
    return [
        ("Summary", [tag("ul", *(tag("li", sentence) for sentence in sentences))] if sentences else []),
        ("Learners", [*_rendered(learners_table(run)), _figures(learner_figures(run), f"{prefix}-learners")]),
        ("Trunk", _rendered(trunk_table(run))),
        ("Training", [_figures(training_figures(run), f"{prefix}-training"), *_rendered(stages_table(run))]),
        ("Notes", [tag("ul", *(tag("li", note) for note in notes))] if notes else []),
        ("Configuration", [_config(run)]),
    ]


def _header(run: Run, heading: str) -> Html:
    info, data = run.info, dig(run.results, "data") or {}
    versions = info.get("versions") if isinstance(info.get("versions"), dict) else {}
    sizes = [
        f"{data[part]:,} {label}"
        for part, label in (("train", "training"), ("val", "validation"), ("test", "test"))
        if isinstance(data.get(part), int)
    ]
    size = f"{data['image_size']}×{data['image_size']} px" if data.get("image_size") else None
    name = data.get("name") or dig(run.config, "data", "display_name") or dig(run.config, "data", "name")
    names = run.class_names
    return tag(
        "header",
        tag("p", "eccsnn report", class_="eyebrow"),
        tag(heading, run.name, " ", _chip(run)),
        pairs(
            ("Data", ", ".join(str(part) for part in (name, size) if part)),
            ("Images", ", ".join(sizes)),
            ("Classes", f"{len(names)}: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}" if names else None),
            ("System", info.get("system")),
            ("Scenario", dig(run.results, "scenario", "name")),
            ("Seed", None if run.seed is None else str(run.seed)),
            ("Started", _time(info.get("started"))),
            ("Took", duration(info.get("seconds"))),
            ("Hardware", _hardware(info.get("hardware"))),
            ("Code", _git(info.get("git"))),
            ("Versions", ", ".join(f"{name} {version}" for name, version in (versions or {}).items())),
            ("Folder", tag("code", run.path.name)),
        ),
    )


def _notices(run: Run) -> Html:
    notices = []
    if status_text(run):
        error = dig(run.info, "error")
        said = tag("pre", str(error)) if error else ""
        notices.append(tag("div", tag("p", status_text(run)), said, class_=f"notice {run.status}", role="alert"))
    notices += [tag("div", tag("p", problem), class_="notice", role="note") for problem in run.problems]
    return join(notices)


def _execution_tables(run: Run) -> list[Html]:
    tables: list[Table | None] = []
    tables += [execution_table(run, evaluation) for evaluation in first_and_last(run)]
    tables += [tasks_table(run, set_name) for set_name in SETS]
    shown = [table for table in tables if table is not None]
    # A note that the next table repeats is said once, below the last of them.
    following = [*(table.note for table in shown[1:]), ""]
    return [
        (replace(table, note="") if table.note == below else table).render()
        for table, below in zip(shown, following, strict=False)
    ]


def _figures(figures: Sequence[Figure], prefix: str) -> Html | str:
    """A grid of figures; an empty text when there are none."""
    if not figures:
        return ""
    return tag("div", *(f.render(f"{prefix}-{i}") for i, f in enumerate(figures, start=1)), class_="figures")


def _rendered(table: Table | None) -> list[Html]:
    return [] if table is None else [table.render()]


def _config(run: Run) -> Html:
    return details("Resolved configuration", tag("pre", tag("code", run.config_text), tabindex="0"))


def _chip(run: Run) -> Html:
    return tag("span", run.status, class_=f"chip {run.status}")


def _hardware(hardware: Any) -> str | None:
    if not isinstance(hardware, dict):
        return None
    cores, memory = hardware.get("cores"), finite(hardware.get("memory_gib"))
    known = [
        hardware.get("cpu"),
        f"{cores} cores" if cores else None,
        hardware.get("isa"),
        f"{memory:.1f} GiB memory" if memory is not None else None,
        f"GPU {hardware['gpu']}" if hardware.get("gpu") else "no GPU",
    ]
    return ", ".join(str(part) for part in known if part)


def _git(git: Any) -> Html | str | None:
    sha = dig(git, "sha")
    if not sha:
        return "not from a git checkout"
    return join(["git ", tag("code", str(sha)[:12]), " with uncommitted changes" if dig(git, "dirty") else ""])


def _time(text: Any) -> str | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text) if text else None
    return moment.strftime("%Y-%m-%d %H:%M") + (f" {moment.tzname()}" if moment.tzinfo else "")


def _asset(name: str) -> str:
    return (resources.files("eccsnn.report") / "assets" / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
