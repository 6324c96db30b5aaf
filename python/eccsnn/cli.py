"""The command line of eccsnn: see `eccsnn --help` and `eccsnn COMMAND --help`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from eccsnn.bench.app import app as bench
from eccsnn.cli_events import app as events
from eccsnn.errors import ConfigError, EccsnnError
from eccsnn.host_memory import keep_freed_memory

app = typer.Typer(
    name="eccsnn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Spiking neural networks between edge and cloud.

Start with `eccsnn run ecc_snn/digits_debug` (seconds), then `eccsnn report` on the folder it prints.
`eccsnn list configs` shows every experiment that comes with the package,
`eccsnn list keys` all that a configuration can say.""",
)
app.add_typer(bench)
app.add_typer(events)
_OUT = Console(width=None if sys.stdout.isatty() else 200)  # what is piped or logged is not cut at 80 columns

RunsDir = Annotated[Path, typer.Option(help="Folder of all runs and shared stages.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: cpu.")]
Precision = Annotated[str | None, typer.Option(help="fp32 or bf16; default: fp32.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, as printed by `eccsnn run`.")]


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Shows versions, what was built, and which instruction set and path run."""
    from eccsnn.build_info import build_info
    from eccsnn.experiments.provenance import hardware, versions

    report = {"versions": versions(), "hardware": hardware(), "build": build_info()}
    if as_json:
        print(json.dumps(report, indent=1))
        return
    for title, part in report.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for key, value in _flat(part):
            table.add_row(key, str(value))
        _OUT.print(table)


def _flat(part: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in part.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return rows


@app.command(name="list")
def list_(
    what: Annotated[
        str,
        typer.Argument(help="models, splits (of a model), datasets, learners, configs, or keys (of a configuration)"),
    ],
    of: Annotated[
        str | None, typer.Argument(help="For splits: a name of `eccsnn list models`. For keys: a system.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Argument(help="For splits: key=value of build_model, e.g. connect=iand image_size=64.")
    ] = None,
) -> None:
    """Lists what can be named in a configuration."""
    if of is not None and what not in ("splits", "keys"):
        raise ConfigError(f"list {what} takes no further arguments, got {of!r}.")
    table = Table(title=what, title_justify="left")
    if what == "models":
        from eccsnn.models import list_models

        for column in ("name", "kind", "description"):
            table.add_column(column, overflow="fold")
        for entry in list_models():
            table.add_row(entry.name, entry.kind, entry.description)
    elif what == "splits":
        if of is None:
            raise ConfigError("list splits needs a model, such as `eccsnn list splits spiking_vgg9`.")
        _add_splits(table, of, options or [])
    elif what == "datasets":
        from eccsnn.data import list_datasets

        for column in ("name", "description", "data.root"):
            table.add_column(column, overflow="fold")
        for dataset in list_datasets():
            table.add_row(dataset.name, dataset.description, dataset.layout or "-")
    elif what == "learners":
        from eccsnn.incremental.registry import list_learners

        for column in ("name", "learns from", "description"):
            table.add_column(column, overflow="fold")
        for learner in list_learners():
            table.add_row(learner.name, learner.takes, learner.description)
    elif what == "configs":
        from eccsnn.experiments.schema import load_config, shipped_configs

        for column in ("name", "description"):
            table.add_column(column, overflow="fold")
        for name in shipped_configs():
            table.add_row(name, load_config(name).description)
    elif what == "keys":
        from eccsnn.experiments.schema import DEFAULT_SYSTEM, SYSTEMS, describe_keys

        system = of or DEFAULT_SYSTEM
        if system not in SYSTEMS:
            raise ConfigError(f"no system {system!r}; expected one of {', '.join(SYSTEMS)}.")
        for column in ("key", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for row in describe_keys(SYSTEMS[system]):
            table.add_row(*row)
    else:
        raise ConfigError(f"cannot list {what!r}; expected models, splits, datasets, learners, configs or keys.")
    _OUT.print(table)


def _add_splits(table: Table, name: str, options: list[str]) -> None:
    """Adds a row for every split point of a model."""
    import yaml

    from eccsnn.costs import split_costs
    from eccsnn.models import build_model

    arguments = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"got {option!r}, expected key=value, such as image_size=64.")
        arguments[key] = yaml.safe_load(value)
    table.title = f"split points of {name}"
    for column in ("name", "shape", "largest value", "bits a sample (and timestep)", "MACs before it"):
        table.add_column(column, overflow="fold")
    for point, share in split_costs(build_model(name, **{"num_classes": 10, **arguments})):
        bound = "real" if point.max_count is None else str(point.max_count)
        table.add_row(point.name, f"{point.channels}x{point.size}x{point.size}", bound, f"{point.bits}", f"{share:.1%}")


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or path of a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. edge.training.epochs=3 seed=1")] = None,
    runs_dir: RunsDir = Path("runs"),
    report: Annotated[bool, typer.Option(help="Write report.html into the run directory at the end.")] = True,
) -> None:
    """Runs an experiment, or resumes it: the same configuration and seed go on where they were stopped.

    Finished stages (a trained teacher, say) are kept under runs/stages and reused by every run that needs the same.
    """
    from eccsnn.experiments import run_config

    keep_freed_memory()
    # A scheduler's kill ends the run as Ctrl-C does, so that run.json says "interrupted".
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = run_config(config, overrides or [], runs_dir=runs_dir, console=_OUT)
    _OUT.print(f"run: {path}", soft_wrap=True)
    if report:
        from eccsnn.report import build_report

        _OUT.print(f"report: {build_report([path], path / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or path of a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value for all runs.")] = None,
    over: Annotated[
        list[str] | None, typer.Option(help="key=value,value,... : one run for each; several keys are combined.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Runs an experiment over all combinations of some keys' values, such as seeds, split points or channels.

    `eccsnn sweep neucodex/digits_debug --over seed=0,1,2 --over unit.channels=1,2,4` makes nine runs. The same command
    goes on where it was stopped.
    """
    from eccsnn.experiments import sweep as run_sweep

    keep_freed_memory()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for path in run_sweep(config, overrides or [], over=over or [], runs_dir=runs_dir, console=_OUT):
        _OUT.print(f"run: {path}", soft_wrap=True)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One or more run directories.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Builds one self-contained HTML report from run directories; several runs are compared."""
    from eccsnn.report import build_report

    _OUT.print(f"report: {build_report(runs, out).resolve()}", soft_wrap=True)


@app.command()
def predict(
    run: RunArgument,
    images: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, or recordings of an event run.")],
    device: Device = None,
    precision: Precision = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Labels images with a run's models: ECC-SNN says which it would upload, a cut network what it took and sent."""
    import eccsnn

    keep_freed_memory()
    loaded = eccsnn.load(run, device=device, precision=precision)
    rows = loaded.predict_files(images)
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value or "-") for value in row.values())
        table.add_row(*cells)
    _OUT.print(table)


@app.command()
def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one and prints it.", min=0, max=65535)] = 50051,
    tls_cert: Annotated[Path | None, typer.Option(help="Server certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    merge: Annotated[
        Path | None,
        typer.Option(help="Of an incremental run: file in which the statistics of learning edges are added up."),
    ] = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Serves a run's cloud model over gRPC (eccsnn.v1) until interrupted."""
    from eccsnn.experiments.live import serve_run

    keep_freed_memory()
    serve_run(
        run,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        merge=merge,
        device=device,
        precision=precision,
    )


@app.command()
def edge(
    run: RunArgument,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Images, or recordings of an event run; none: test images."),
    ] = None,
    cloud: Annotated[str, typer.Option(help="HOST:PORT of `eccsnn serve`.")] = "127.0.0.1:50051",
    limit: Annotated[int, typer.Option(help="Test images to send through, when no files are given.")] = 100,
    mode: Annotated[
        str,
        typer.Option(help="Of a cut network: speculative, lock_step, edge_exit_head, edge_only or upload_image."),
    ] = "speculative",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Ambiguity above which an image is uploaded; of a cut network: confidence at which it stops. "
            "Default: the run's."
        ),
    ] = None,
    codec: Annotated[str, typer.Option(help="png, jpeg or raw.")] = "png",
    timeout_s: Annotated[
        float, typer.Option(help="Seconds to wait for the cloud before the edge answers itself.")
    ] = 5.0,
    tls_ca: Annotated[Path | None, typer.Option(help="Root certificate of the server, PEM.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write one JSON line an image here.")] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="Of an incremental run: file of the device's memory; it learns what the cloud has labelled."),
    ] = None,
    edge_id: Annotated[str, typer.Option(help="Name of this edge, where statistics are merged.")] = "edge",
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Runs the device side: answers what it is sure of and uploads the rest, or streams the spikes of a cut network
    until it is sure; without a cloud it answers everything itself."""
    from eccsnn.experiments.live import edge_run

    keep_freed_memory()
    summary = edge_run(
        run,
        images or [],
        cloud=cloud,
        limit=limit,
        mode=mode,
        threshold=threshold,
        codec=codec,
        timeout_s=timeout_s,
        tls_ca=tls_ca,
        out=out,
        update=update,
        edge_id=edge_id,
        device=device,
        precision=precision,
    )
    print(json.dumps(summary, indent=1))


def main() -> None:
    """Entry point: prints errors without a traceback (a run's traceback is in its run.log)."""
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer turns Ctrl-C into this exit code
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except (EccsnnError, ValueError, TypeError, OSError) as error:
        Console(stderr=True).print("[bold red]error:[/] ", end="")
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt):
        resumes = sys.argv[1:2] in (["run"], ["sweep"])
        Console(stderr=True).print("interrupted; the same command resumes it." if resumes else "interrupted.")
        sys.exit(130)
    except Exception as error:
        show = getattr(error, "show", None)  # click's usage errors know how to print themselves
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    main()
