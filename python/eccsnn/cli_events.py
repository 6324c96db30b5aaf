"""`eccsnn events`: recordings of event cameras, simulated, converted, counted and played."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from eccsnn.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from eccsnn.data import ImageSet


def _end_in_order_when_killed() -> None:
    # A scheduler's SIGTERM ends a command as Ctrl-C does, so that no part of a file stays behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


app = typer.Typer(
    name="events",
    callback=_end_in_order_when_killed,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Recordings of event cameras: simulates, converts, counts and plays them.

`eccsnn events simulate photo.png photo.aedat` makes a recording of an image, and of a folder `CLASS/*` of images a
whole data set. `eccsnn list datasets` says which data sets of recordings can be trained on.""",
)

Format = Annotated[str | None, typer.Option(help="aedat2, aedat4, atis, npz or gesture; default: by the file.")]
Sensor = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in px; default: what file and format say.")]
Policy = Annotated[str, typer.Option(help="strict: a bad event is an error; skip: it is left out and counted.")]


@app.command()
def simulate(
    source: Annotated[
        str, typer.Argument(help="An image file, a folder CLASS/* of images, or a name of `eccsnn list datasets`.")
    ],
    out: Annotated[Path, typer.Argument(help="The recording's file; for many images a folder.")],
    preset: Annotated[
        str, typer.Option(help="cifar10_dvs, n_caltech101 or n_mnist: camera and movement.")
    ] = "cifar10_dvs",
    root: Annotated[Path | None, typer.Option(help="For a data set: data.root.")] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="For a data set: train (with what would be val), val or test. Default: what data.simulate records, "
            "which is train, or all where there is no test part. n_mnist has training and test recordings."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Images at most, spread over classes; default: all.", min=1)] = None,
    format: Annotated[
        str | None, typer.Option(help="For many images: original (default), or npz. One image: by the file's name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="Cores to simulate on; the events are the same.", min=1)] = 1,
) -> None:
    """Simulates recordings of images, in the files and folders of the original data set.

    The same command goes on where it was stopped.
    """
    from eccsnn.data import list_datasets
    from eccsnn.data.events import write_events
    from eccsnn.data.events.image_files import ImageFiles, read_image
    from eccsnn.data.events.presets import find_preset
    from eccsnn.data.events.simulate_dataset import simulate_dataset
    from eccsnn.data.images_to_record import images_to_record

    chosen = find_preset(preset)
    if Path(source).is_file():
        _refuse("one image", root=root, part=part, limit=limit, format=format)
        events = chosen.record(read_image(Path(source)), seed=seed, threads=threads)
        write_events(out, events)
        typer.echo(f"recording: {out.resolve()} ({len(events)} events, simulated {chosen.title})")
        return
    images: ImageFiles | ImageSet
    names: Sequence[str]
    is_test: np.ndarray | None = None
    if chosen.test_folder is not None:
        _refuse(f"{chosen.title}, which has a training and a test part", part=part)
    if Path(source).is_dir():
        _refuse("a folder", root=root, part=part)
    if Path(source).is_dir() and chosen.test_folder is not None:
        images, names, what, is_test = _both_parts("image_folder", Path(source), preset, limit, seed)
    elif Path(source).is_dir():
        left_out = [name for name in chosen.left_out if (Path(source) / name).is_dir()]
        if left_out:
            typer.echo(f"left out: {', '.join(left_out)}, which {chosen.title} does not have", err=True)
        images = ImageFiles.of_folder(Path(source), limit=limit, seed=seed, ignore=chosen.left_out)
        names, what = images.class_names, Path(source).name
    elif any(source == dataset.name for dataset in list_datasets()):
        if chosen.test_folder is not None:
            images, names, what, is_test = _both_parts(source, root, preset, limit, seed)
        elif part is None:
            found = images_to_record(preset, source, root=root, limit=limit, seed=seed)
            images, names, what = found.images, found.class_names, found.name
        else:
            images, names, what = _of_dataset(source, root, part, preset, limit, seed)
    else:
        there = "is neither a file nor a folder" if Path(source).exists() else "does not exist"
        raise ConfigError(f"{source!r} {there}, and it is no name of a data set: see `eccsnn list datasets`")
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("recordings", total=len(images))
        result = simulate_dataset(
            images,
            images.labels,
            names,
            out,
            preset=preset,
            format=format or "original",
            seed=seed,
            threads=threads,
            source=what,
            is_test=is_test,
            progress=lambda done, count: bar.update(task, completed=done),
        )
    size = result.bytes_on_disk / 1e6
    typer.echo(
        f"simulated {chosen.title}: {result.root.resolve()} ({result.recordings} recordings, {result.made} made now, "
        f"{size:.1f} MB)"
    )


def _refuse(what: str, **options: object) -> None:
    """Options that would be ignored are errors."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name} is {value}, which does not apply to {what}; leave it out")


def _of_dataset(
    name: str, root: Path | None, part: str, preset: str, limit: int | None, seed: int
) -> tuple[ImageSet, Sequence[str], str]:
    from eccsnn.data import load_dataset, stratified_subset
    from eccsnn.data.events.simulated import image_size_for

    if part not in ("train", "val", "test"):
        raise ConfigError(f"--part: {part!r}, expected train, val or test")
    val_fraction = 0.1 if part == "val" else 0.0  # train is all that is not for testing
    splits = load_dataset(name, root=root, image_size=image_size_for(preset), val_fraction=val_fraction)
    images = getattr(splits, part)
    if limit is not None and limit < len(images):
        images = images.take(stratified_subset(images.labels, limit, seed=seed, purpose="simulated recordings"))
    return images, splits.class_names, f"{splits.name} ({part})"


def _both_parts(
    name: str, root: Path | None, preset: str, limit: int | None, seed: int
) -> tuple[ImageSet, Sequence[str], str, np.ndarray]:
    """Training and test images of a data set, and which are the latter."""
    import numpy as np

    from eccsnn.data import ImageSet, load_dataset, stratified_subset
    from eccsnn.data.events.simulated import image_size_for

    splits = load_dataset(name, root=root, image_size=image_size_for(preset), val_fraction=0.0)
    parts = (splits.train, splits.test)
    images = ImageSet(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))
    is_test = np.arange(len(images)) >= len(splits.train)
    if limit is not None and limit < len(images):
        chosen = stratified_subset(2 * images.labels + is_test, limit, seed=seed, purpose="simulated recordings")
        images, is_test = images.take(chosen), is_test[chosen]
    return images, splits.class_names, splits.name, is_test


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="The recording to read.")],
    out: Annotated[Path, typer.Argument(help="The file to write; an old one is replaced once all is written.")],
    source_format: Format = None,
    out_format: Format = None,
    sensor: Sensor = None,
    policy: Policy = "strict",
) -> None:
    """Converts a recording to another format, block after block."""
    from eccsnn.data.events import Faults, guess_format, iterate_events, write_events

    faults = Faults()
    blocks = iterate_events(source, source_format, sensor=_sensor(sensor), policy=policy, faults=faults)
    write_events(out, blocks, out_format)
    if (out_format or guess_format(out)) == "gesture":
        typer.echo("times lost what is below a millisecond, which format 'gesture' does not hold")
    typer.echo(f"recording: {out.resolve()}" + (f" ({faults.in_words()})" if faults.total else ""))


@app.command()
def info(
    source: Annotated[Path, typer.Argument(help="The recording.")],
    source_format: Format = None,
    sensor: Sensor = None,
    policy: Policy = "strict",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Counts a recording: events, duration, rate over time, share of brighter events."""
    from eccsnn.data.events import Faults, guess_format, iterate_events
    from eccsnn.data.events.summary import summarize

    faults = Faults()
    name = source_format or guess_format(source)
    summary = summarize(iterate_events(source, name, sensor=_sensor(sensor), policy=policy, faults=faults))
    if as_json:
        derived = {key: getattr(summary, key) for key in ("duration_us", "rate_hz", "brighter_share")}
        typer.echo(json.dumps({"format": name, **asdict(summary), **derived, "skipped": faults.total}, indent=1))
        return
    typer.echo(f"{source}: {name}, {summary.width} x {summary.height} px")
    span = f"{summary.duration_us / 1000:.1f} ms: {summary.rate_hz:,.0f} events/s"
    typer.echo(f"{summary.events:,} events in {span}" if summary.events else "no events")
    if summary.events:
        typer.echo(f"{summary.brighter_share:.1%} brighter, {1 - summary.brighter_share:.1%} darker")
        rates = ", ".join(f"{rate / 1000:,.0f}" for rate in summary.rate_per_bin[:20])
        more = ", ..." if len(summary.rate_per_bin) > 20 else ""
        typer.echo(f"thousand events/s in each {summary.bin_us / 1000:g} ms: {rates}{more}")
    if faults.total:
        typer.echo(faults.in_words())


@app.command()
def play(
    source: Annotated[Path, typer.Argument(help="The recording.")],
    out: Annotated[Path, typer.Argument(help="The film: a file ending in .gif or .html.")],
    window_ms: Annotated[float, typer.Option(help="Milliseconds of events in a frame.", min=0.001)] = 20.0,
    scale: Annotated[int, typer.Option(help="Pixels of the film for one of the sensor.", min=1, max=32)] = 3,
    slowdown: Annotated[float, typer.Option(help="How much longer the film takes.", min=0.01)] = 1.0,
    source_format: Format = None,
    sensor: Sensor = None,
    policy: Policy = "strict",
) -> None:
    """Writes a recording as an animated GIF, or as one HTML file to open in a browser."""
    from eccsnn.data.events import read_events
    from eccsnn.data.events.play import play as write_film

    events = read_events(source, source_format, sensor=_sensor(sensor), policy=policy)
    frames = write_film(events, out, window_us=round(window_ms * 1000), scale=scale, slowdown=slowdown)
    typer.echo(f"film: {out.resolve()} ({frames} frames)")


def _sensor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--sensor: {text!r}, expected WIDTHxHEIGHT in px such as 128x128")
    return int(width), int(height)
