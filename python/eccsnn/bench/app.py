"""`eccsnn bench`: the commands, and what they share: options, progress, the record at the end."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eccsnn.bench.codec import CodecSettings
    from eccsnn.bench.events import EventSettings
    from eccsnn.bench.incremental import IncrementalSettings
    from eccsnn.bench.lif import LifSettings
    from eccsnn.bench.networks import NetworkSettings
    from eccsnn.bench.peers import Absent
    from eccsnn.bench.record import Result, Row
    from eccsnn.bench.timing import Observer

    _Settings = LifSettings | NetworkSettings | CodecSettings | EventSettings | IncrementalSettings

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Measures eccsnn beside its peers, and says which ratios reach their bars.

`eccsnn bench lif` times the neurons, `train-step` a whole training step, `memory` counts what backward keeps, `compile`
looks at what torch.compile makes of a network, `codec` measures the spike codec, `events` readers of event files,
frames and the simulator, `incremental` the exact learner. Each writes a JSON file with the command that repeats it;
`table` turns such files into a page. `--size tiny` says nothing about speed, and writes a file with `--out` alone; it
takes seconds (`compile` and `lif` a minute or two, since compilers run).

The peers come with `pip install ".[bench]"` in a checkout. Close other programs first:
what runs beside it is measured, too.""",
)

Size = Annotated[str, typer.Option(help="full, or tiny: to see that everything works.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch; default: as many as cores.", min=1)]
Budget = Annotated[float, typer.Option(help="Seconds of measuring a row (at least 7 rounds are run).", min=0)]
Peers = Annotated[str, typer.Option(help="all, none, or names with commas between: spikingjelly,snntorch,norse.")]
Out = Annotated[Path | None, typer.Option(help="JSON file; default: benchmarks/NAME-SETTINGS-PROCESSOR.json.")]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Measure under torch.compile, too.")]
Width = Annotated[float | None, typer.Option(help="Factor on the network's channels; default: 0.5 (tiny: 0.125).")]
Batch = Annotated[int | None, typer.Option(help="Images a step; default: 64 (tiny: 2).", min=1)]
Dtype = Annotated[str, typer.Option(help="fp32, or bf16: autocast.")]
NetworkPeers = Annotated[str, typer.Option(help="all (spikingjelly) or none.")]
Surrogate = Annotated[str, typer.Option(help="atan, sigmoid or rect.")]


@app.command()
def lif(
    size: Size = "full",
    dtype: Annotated[str, typer.Option(help="fp32, bf16, fp16 or fp64.")] = "fp32",
    surrogate: Surrogate = "atan",
    threads: Threads = None,
    device: Device = "cpu",
    peers: Peers = "all",
    compiled: Compiled = True,
    budget: Budget = 20.0,
    out: Out = None,
) -> None:
    """Times the fused LIF over three shapes: inference, packed inference, forward, backward, training.

    Beside it run a copy of the same memory, which is the bound, and the LIF of SpikingJelly (eager and compiled),
    snnTorch and norse. SpikingJelly's spikes have to be the same bit for bit, else nothing is timed.
    """

    from eccsnn.bench import lif as bench

    settings = bench.LifSettings(size, dtype, surrogate, device, compiled, _seconds(budget))
    _measure("lif", partial(bench.run, settings), settings, peers=peers, threads=threads, out=out)


@app.command()
def memory(
    size: Size = "full",
    width: Width = None,
    batch: Batch = None,
    dtype: Dtype = "fp32",
    surrogate: Surrogate = "atan",
    threads: Threads = None,
    device: Device = "cpu",
    peers: NetworkPeers = "all",
    out: Out = None,
) -> None:
    """Counts what autograd keeps between forward and backward of a spiking VGG-9, and measures a step's peak memory.

    The peer is the same network, with the same weights, of SpikingJelly's layers. Peaks are those of processes of
    their own, one a library, with the allocator left as it is.
    """
    from eccsnn.bench import memory as bench
    from eccsnn.bench.networks import NetworkSettings

    settings = NetworkSettings(size, _width(width), batch or 0, 0, dtype, surrogate, device, False)
    run = partial(bench.run, settings)
    _measure("memory", run, settings, peers=peers, threads=threads, out=out, known_peers=_NETWORK_PEERS)


@app.command()
def train_step(
    size: Size = "full",
    width: Width = None,
    batch: Batch = None,
    dtype: Dtype = "fp32",
    surrogate: Surrogate = "atan",
    threads: Threads = None,
    device: Device = "cpu",
    peers: NetworkPeers = "all",
    compiled: Compiled = True,
    budget: Budget = 30.0,
    out: Out = None,
) -> None:
    """Times forward, loss and backward of a spiking VGG-9, eager and compiled, in images a second.

    The peer is the same network, with the same weights, of SpikingJelly's layers. Both run the first convolution once
    on a static image and keep channels-last memory.
    """
    from eccsnn.bench import train_step as bench
    from eccsnn.bench.networks import NetworkSettings

    settings = NetworkSettings(size, _width(width), batch or 0, 0, dtype, surrogate, device, compiled, _seconds(budget))
    run = partial(bench.run, settings)
    _measure("train-step", run, settings, peers=peers, threads=threads, out=out, known_peers=_NETWORK_PEERS)


@app.command(name="compile")
def compile_(
    size: Size = "full",
    width: Width = None,
    batch: Batch = None,
    dtype: Dtype = "fp32",
    surrogate: Surrogate = "atan",
    threads: Threads = None,
    device: Device = "cpu",
    peers: NetworkPeers = "all",
    budget: Budget = 30.0,
    out: Out = None,
) -> None:
    """Looks at a whole spiking VGG-9 under torch.compile, and times its training step.

    Counted are graph breaks, compilations while the batch and T change, and copies that only change a tensor's layout:
    in the captured graphs, and those that Inductor adds. The timed steps are those of `train-step`.
    """
    from eccsnn.bench import compile_ as bench
    from eccsnn.bench.networks import NetworkSettings

    settings = NetworkSettings(size, _width(width), batch or 0, 0, dtype, surrogate, device, True, _seconds(budget))
    run = partial(bench.run, settings)
    _measure("compile", run, settings, peers=peers, threads=threads, out=out, known_peers=_NETWORK_PEERS)


@app.command()
def codec(
    size: Size = "full",
    spikes: Annotated[str, typer.Option(help="Folder of spikes that tools/golden_spikes.py made, to judge, too.")] = "",
    threads: Threads = None,
    peers: Annotated[str, typer.Option(help="all (zstandard,constriction), none, or one of them.")] = "all",
    budget: Annotated[float, typer.Option(help="Seconds of measuring a row.", min=0)] = 3.0,
    out: Out = None,
) -> None:
    """Measures the spike codec: sizes and speeds over densities, and on spikes of trained networks.

    Beside it stand zstd at level 19 and constriction, and what packed bits, 16-bit addresses and the fixed reference
    model would take. The codec runs on one thread.
    """
    from eccsnn.bench import codec as bench
    from eccsnn.bench.peers import CODEC_PEERS

    settings = bench.CodecSettings(size, _seconds(budget), spikes=spikes)
    run = partial(bench.run, settings)
    _measure("codec", run, settings, peers=peers, threads=threads, out=out, known_peers=CODEC_PEERS)


@app.command()
def events(
    size: Size = "full",
    peers: Annotated[str, typer.Option(help="all (tonic,spikingjelly), none, or one of them.")] = "all",
    budget: Annotated[float, typer.Option(help="Seconds of measuring a row.", min=0)] = 5.0,
    out: Out = None,
) -> None:
    """Measures readers of event files, frames of events and the simulator.

    The readers are of AEDAT 2.0 and of the 40-bit ATIS binary, on one thread, from the disk's cache; beside them stand
    a copy of the file's bytes, and the readers of tonic and SpikingJelly. Frames stand beside those of the two, on one
    thread. Peers have to give the same events and counts. The simulator has no peer; it runs on one and two threads.
    """
    from eccsnn.bench import events as bench
    from eccsnn.bench.peers import EVENT_PEERS

    settings = bench.EventSettings(size, _seconds(budget))
    run = partial(bench.run, settings)
    _measure("events", run, settings, peers=peers, threads=1, out=out, known_peers=EVENT_PEERS)


@app.command()
def incremental(
    size: Size = "full",
    threads: Threads = None,
    peers: Annotated[str, typer.Option(help="all (acil,slda), none, or one of them.")] = "all",
    budget: Budget = 20.0,
    out: Out = None,
) -> None:
    """Times what a batch of features costs the exact learner, beside ACIL and a streaming LDA.

    Updates and solves are timed apart and then counted equally often for all: once a task, and after every batch. Each
    stands beside the same classifier from our statistics: ACIL beside ridge, the streaming LDA beside LDA.
    """
    from eccsnn.bench import incremental as bench

    settings = bench.IncrementalSettings(size, _seconds(budget))
    run = partial(bench.run, settings)
    _measure("incremental", run, settings, peers=peers, threads=threads, out=out, known_peers=bench.PEERS)


@app.command()
def table(
    files: Annotated[list[Path] | None, typer.Argument(help="JSON files; none: all in benchmarks/.")] = None,
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path("docs/benchmarks.md"),
) -> None:
    """Writes a page from the JSON files of benchmarks.

    Files that cannot be shown are left out and named, and the command then fails.
    """
    from eccsnn.bench.record import check_writable
    from eccsnn.bench.render import page, tables
    from eccsnn.errors import BenchmarkError, ConfigError

    found = files or sorted(Path("benchmarks").glob("*.json"))
    if not found:
        raise ConfigError("there is no JSON file in benchmarks/; run `eccsnn bench lif` first, or name files.")
    check_writable(out, "--out")
    records, errors = tables(found)
    if records:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(records), encoding="utf-8")
        typer.echo(f"table: {out.resolve()}")
    if errors:
        raise BenchmarkError("\n".join(["left out of the page:" if records else "no page was written:", *errors]))


# ---- what the commands share ----


def _measure(
    name: str,
    measure: Callable[[Sequence[str], Observer], tuple[list[Row], list[Result], list[Absent]]],
    settings: _Settings,
    *,
    peers: str,
    threads: int | None,
    out: Path | None,
    known_peers: Sequence[str] | None = None,
) -> None:
    from eccsnn.host_memory import keep_freed_memory

    # Before torch allocates anything large. What `memory` measures should not depend on it.
    host_memory = keep_freed_memory() if name != "memory" else "host memory: the allocator is left as it is"
    import torch
    from rich.console import Console

    from eccsnn.bench import peers as peer_list
    from eccsnn.bench import record as records
    from eccsnn.bench.machine import load_average
    from eccsnn.bench.render import show

    device = settings.device
    _check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    chosen, missing = peer_list.choose_peers(peers, known_peers or peer_list.PEERS)
    path = out
    if path is None and settings.size != "tiny":  # a trial must not take the place of what was measured
        path = records.default_path(name, _changed(name, settings, peers, threads), device)
    if path is not None:
        records.check_writable(path, "--out")
    load_before = load_average()
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(host_memory, markup=False)
    for peer in missing:
        console.print(f"not measured: {peer.in_words()}", markup=False)
    with _Progress() as observer:
        rows, results, absent = measure(chosen, observer)
    record = records.make_record(
        name,
        _TITLES[name],
        command=shlex.join(["eccsnn", *sys.argv[1:]]),
        device=device,
        host_memory=host_memory,
        settings=asdict(settings) | {"peers": chosen} | _environment(),
        absent=[*missing, *absent],
        rows=rows,
        results=results,
        load_before=load_before,
    )
    show(record, console)
    if path is None:
        console.print("json: none at --size tiny; --out writes one")
    else:
        console.print(f"json: {records.write_record(record, path).resolve()}", soft_wrap=True, markup=False)


_NETWORK_PEERS = ("spikingjelly",)
_TITLES = {
    "lif": "Fused multi-timestep LIF",
    "memory": "Memory of a training step",
    "train-step": "A training step",
    "compile": "A whole network under torch.compile",
    "codec": "Spike codec",
    "events": "Event files",
    "incremental": "Learning classes from features",
}


def _changed(name: str, settings: _Settings, peers: str, threads: int | None) -> list[str]:
    """What of a run differs from the defaults, in a few words for the name of its file."""
    default = type(settings)()
    words = [
        f"{word}{getattr(settings, key)}"
        for key, word in (("dtype", ""), ("surrogate", ""), ("width", "width"), ("batch", "batch"))
        if getattr(settings, key, None) != getattr(default, key, None)
    ]
    if not getattr(settings, "compiled", True) and name != "memory":  # which never compiles
        words.append("eager")
    if threads is not None and name != "events":  # which has one thread only
        words.append(f"threads{threads}")
    if peers != "all":
        words.append(f"peers-{peers.replace(',', '-')}")
    return words


def _width(width: float | None) -> float:
    """The width, or 0 for that of the size."""
    from eccsnn.errors import ConfigError

    if width is not None and not 0 < width < math.inf:
        raise ConfigError(f"--width: {width}; expected a finite number above 0.")
    return width or 0.0


def _seconds(budget: float) -> float:
    from eccsnn.errors import ConfigError

    if not 0 <= budget < math.inf:
        raise ConfigError(f"--budget: {budget}; expected a finite number of seconds of at least 0.")
    return budget


def _environment() -> dict[str, str]:
    """Variables that change what runs: ECCSNN_ISA, threads, and SpikingJelly's choice of kernels."""
    import os

    prefixes = ("ECCSNN_", "OMP_", "MKL_", "KMP_", "SPIKINGJELLY_", "SJ_", "TORCHINDUCTOR_")
    return {f"env.{name}": value for name, value in sorted(os.environ.items()) if name.startswith(prefixes)}


def _check_device(device: str) -> None:
    import torch

    from eccsnn.errors import ConfigError

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"--device: {device!r}; expected cpu, cuda or cuda:N.")
    index = torch.device(device).index or 0
    if kind == "cuda" and not (torch.cuda.is_available() and index < torch.cuda.device_count()):
        raise ConfigError(f"--device: {device!r} is not there; torch finds {torch.cuda.device_count()} CUDA devices.")


class _Progress:
    """Shows what is measured on a terminal; says one line a row elsewhere."""

    def __enter__(self) -> Observer:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._progress.start()
        task = self._progress.add_task("", total=1.0)
        last = ""

        def observer(what: str, part: float) -> None:
            nonlocal last
            row = what.rsplit(": ", 1)[0]
            if row != last and not console.is_terminal:
                console.print(row, markup=False, highlight=False)
            last = row
            self._progress.update(task, description=what, completed=part)

        return observer

    def __exit__(self, *details: object) -> None:
        self._progress.stop()
