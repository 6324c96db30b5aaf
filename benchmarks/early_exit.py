"""Early exit over shaped links: round trips, bytes and waste of every mode, with a model whose time is known.

`python benchmarks/early_exit.py` starts a cloud in a process of its own and answers the same images in every mode over
every link. The model computes nothing: both ends sleep for a set time a timestep, and the image says after how many
timesteps the cloud is sure. So what is measured is the protocol, not a network. `--network` takes a small spiking VGG-9
with a bottleneck instead, cut at pool2, one thread at each end; it is not trained, so its labels say nothing, but it
computes and stops as a trained one does. `--quick` takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.services.early_exit import EdgeSplit, EdgeStep, ExitMode
from eccsnn.services.loopback import factory_command, measure_stream
from eccsnn.services.split import SplitModel
from eccsnn.transport.packed_spikes import pack_spikes
from eccsnn.transport.shaping import LinkShape

CLASSES = 10
TIMESTEPS = 4
SIZE = 8  # height and width of the spikes
BAR = 1.2  # round trips that a speculative exit may take besides computing, at an RTT of 20 ms and more


def cloud(compute_ms: float, channels: int) -> dict[str, Any]:
    """Arguments of `run_cloud`: sure after as many timesteps as the first row of the first channel says."""

    def step(spikes: np.ndarray, states: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        time.sleep(compute_ms / 1e3)
        after = [state + 1 for state in states]
        logits = np.zeros((len(spikes), CLASSES))
        for row, (sample, timestep) in enumerate(zip(spikes, after, strict=True)):
            value = int(np.packbits(sample[0, 0], bitorder="little")[0])
            logits[row, value % CLASSES] = 100.0 if timestep > value % TIMESTEPS else 0.01
        return logits, after

    def predict(images: np.ndarray) -> np.ndarray:
        time.sleep(compute_ms / 1e3)
        return np.eye(CLASSES)[images[:, 0, 0, 0] % CLASSES]

    split = SplitModel("synthetic", (channels, SIZE, SIZE), TIMESTEPS, start=int, step=step)
    return {"predict": predict, "class_ids": list(range(CLASSES)), "model_id": "synthetic", "splits": [split]}


def edge(compute_ms: float, channels: int, density: float = 0.1) -> EdgeSplit:
    """The edge's part: random spikes, with the image's value where the cloud looks for it."""

    def start(image: np.ndarray) -> Any:
        value = image[0, 0, 0]
        rng = np.random.default_rng(int(value))

        def step(timestep: int) -> EdgeStep:
            time.sleep(compute_ms / 1e3)
            spikes = (rng.random((channels, SIZE, SIZE)) < density).astype(np.uint8)
            spikes[0, 0] = np.unpackbits(value, bitorder="little")
            logits = np.zeros(CLASSES, dtype=np.float32)
            logits[value % CLASSES] = 100.0 if timestep >= value % TIMESTEPS else 0.01
            return EdgeStep(pack_spikes(spikes), logits)

        return step

    return EdgeSplit(start, "synthetic", TIMESTEPS, class_ids=tuple(range(CLASSES)), exit_head=True)


def network(channels: int) -> tuple[Any, Any, float]:
    """Both parts of an untrained spiking VGG-9 (width 0.25), the same in every process; a threshold that some reach."""
    import torch

    from eccsnn.models import build_model
    from eccsnn.models.split import split
    from eccsnn.offload.exits import confidence

    torch.set_num_threads(1)
    torch.manual_seed(0)
    unit = {"pool2": {"channels": channels}}
    model = build_model("spiking_vgg9", num_classes=CLASSES, width=0.25, norm_gain=3.0, bottlenecks=unit)
    x = prepare(np.stack([image_of(value) for value in range(64)]))
    with torch.no_grad():
        for _ in range(20):  # running statistics, without which nothing fires up to the end
            model.train()(x)
        edge_part, cloud_part = split(model.eval(), "pool2")
        sure = confidence(cloud_part.forward_timesteps(edge_part(x))[0].numpy())
    return edge_part, cloud_part, float(np.median(sure))


def network_cloud(channels: int) -> dict[str, Any]:
    """Arguments of `run_cloud`: the second part of `network`, and no network for whole images."""
    from eccsnn.systems.split_services import cloud_split

    _, part, _ = network(channels)
    nothing = np.zeros(CLASSES)
    splits = [cloud_split(part, TIMESTEPS)]
    return {
        "predict": lambda images: np.stack([nothing] * len(images)),
        "class_ids": list(range(CLASSES)),
        "model_id": "spiking_vgg9",
        "splits": splits,
    }


def prepare(images: np.ndarray) -> Any:
    """Images as the network takes them."""
    import torch

    from eccsnn.data import normalize

    return normalize(torch.from_numpy(images))


def image_of(value: int) -> np.ndarray:
    """A random image whose first value is this."""
    image = np.random.default_rng(int(value)).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    image[0, 0, 0] = value
    return image


def write(path: Path, argv: Sequence[str] | None, rows: list[dict[str, Any]], *, script: str = "early_exit.py") -> None:
    """Write the summaries, with what it takes to repeat them."""
    from eccsnn.experiments.provenance import git_state, hardware, now, versions

    record = {
        "command": shlex.join(["python", f"benchmarks/{script}", *(sys.argv[1:] if argv is None else argv)]),
        "date": now(),
        "versions": versions(),
        "hardware": hardware(),
        "git": git_state(),
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def table(synthetic: dict[str, Any], network: dict[str, Any]) -> str:
    """Round trips (median, 95th percentile) by link, from two files of `write`, in Markdown.

    The columns are the modes of the synthetic model, then those of the small network.
    """
    columns = [(synthetic, mode) for mode in ("edge_exit_head", "lock_step", "speculative", "upload_image")]
    columns += [(network, mode) for mode in ("lock_step", "speculative")]
    found = [
        {row["shape"]: row["round_trips"] for row in record["rows"] if row["mode"] == mode} for record, mode in columns
    ]
    names = [mode if record is synthetic else f"network: {mode}" for record, mode in columns]
    lines = [f"| link | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for shape in found[0]:
        cells = [f"{trips[shape]['median']:.2f} ({trips[shape]['p95']:.2f})" for trips in found]
        lines.append(f"| {shape.removesuffix(' down').rsplit(',', 1)[0].removesuffix(' up')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def answers_table(logits: dict[str, Any], brief: dict[str, Any]) -> str:
    """Bytes of an image in both forms of answers, from two files of `write`, in Markdown."""
    lines = ["| mode | answers | messages up B | messages down B | wire up B | wire down B |", "| --- |" + " --- |" * 5]
    for pair in zip(logits["rows"], brief["rows"], strict=True):
        for row in pair:
            sizes = [row["bytes"][name] for name in ("message_up", "message_down", "wire_up", "wire_down")]
            lines.append(f"| {row['mode']} | {row['answers']} | {' | '.join(f'{size:.0f}' for size in sizes)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the summaries as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rtt-ms", type=float, nargs="+", default=[1, 20, 50, 100])
    parser.add_argument("--mbit-s", type=float, nargs="+", default=[1, 10, 100])
    parser.add_argument("--edge-ms", type=float, default=4.0, help="computing of a timestep on the edge")
    parser.add_argument("--cloud-ms", type=float, default=1.0, help="computing of a timestep in the cloud")
    parser.add_argument(
        "--channels", type=int, default=8, help="of the 8 x 8 spikes on the wire; packed, 1 to 8 are 64 bytes"
    )
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--answers", choices=["brief", "logits"], default="brief", help="what the cloud is asked for")
    parser.add_argument("--modes", nargs="+", choices=list(ExitMode), default=list(ExitMode))
    parser.add_argument("--network", action="store_true", help="a small network, in lock-step and speculating")
    parser.add_argument("--quick", action="store_true", help="a few images over one link")
    parser.add_argument("--out", type=Path, help="JSON file with all summaries")
    parser.add_argument("--table", type=Path, nargs=2, metavar="FILE", help="print the page's table of two such files")
    parser.add_argument("--answers-table", type=Path, nargs=2, metavar="FILE", help="that of both forms of answers")
    given = parser.parse_args(argv)
    for make, files in ((table, given.table), (answers_table, given.answers_table)):
        if files is not None:
            print(make(*(json.loads(path.read_text(encoding="utf-8")) for path in files)))
            return 0
    if given.quick:
        given.rtt_ms, given.mbit_s, given.images = [20], [10], 8
    values = np.random.default_rng(0).permutation(256)[: given.images].astype(np.uint8)
    images = [image_of(value) for value in values]
    here = str(Path(__file__).resolve().parent)
    labels: list[int] | None = [int(value % CLASSES) for value in values]
    command = factory_command("early_exit:cloud", compute_ms=given.cloud_ms, channels=given.channels)
    made, threshold = edge(given.edge_ms, given.channels), 0.9
    if given.network:
        from eccsnn.systems.split_services import edge_split

        part, _, threshold = network(given.channels)
        made, labels = edge_split(part, prepare), None
        command = factory_command("early_exit:network_cloud", channels=given.channels)
        given.modes = [mode for mode in given.modes if mode in (ExitMode.LOCK_STEP, ExitMode.SPECULATIVE)]
    runs = measure_stream(
        images,
        cloud=command,
        env={"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))},
        edge=made,
        modes=[ExitMode(mode) for mode in given.modes],
        shapes=[LinkShape(rtt, rate, rate) for rtt in given.rtt_ms for rate in given.mbit_s],
        threshold=threshold,
        labels=labels,
        timeout_s=10.0,
        answers=given.answers,
    )
    print(
        "medians and 95th percentiles of latency (ms) and round trips; means of timesteps needed/edge/sent, bytes up as"
    )
    print("payload/message/wire, bytes down on the wire, timesteps wasted on edge/link/cloud")
    print(
        f"{'link':48} {'mode':15} {'latency':>13} {'compute':>8} {'round trips':>12} {'timesteps':>14} {'bytes up':>15}"
        f" {'down':>5} {'wasted':>14}"
    )
    missed = 0
    for run in runs:
        row = run.summary
        trips = row["round_trips"]
        steps, size, wasted = row["timesteps"], row["bytes"], row["wasted"]
        over = row["mode"] == ExitMode.SPECULATIVE and trips["median"] > BAR and "RTT 1 " not in row["shape"]
        missed += over
        wire = f"{size['wire_up']:.0f}" if size["wire_up"] is not None else "-"
        down = f"{size['wire_down']:.0f}" if size["wire_down"] is not None else "-"
        in_cloud = wasted["cloud_timesteps"] if wasted["cloud_timesteps"] is not None else 0.0
        print(
            f"{row['shape']:48} {row['mode']:15} {row['latency_ms']['median']:6.1f} {row['latency_ms']['p95']:6.1f}"
            f" {row['compute_ms']['median']:8.1f} {trips['median']:5.2f} {trips['p95']:6.2f}"
            f" {steps['needed']:4.2f}/{steps['edge']:4.2f}/{steps['sent']:4.2f}"
            f" {size['payload_up']:5.0f}/{size['message_up']:4.0f}/{wire:>4}  {down:>4}"
            f" {wasted['edge_timesteps']:5.2f}/{wasted['sent_timesteps']:5.2f}/{in_cloud:5.2f}"
            + (f"  above {BAR:g}" if over else "")
            + (f"  lost {row['lost']}: {row['failures']}" if row["lost"] else "")
        )
    if given.out is not None:
        write(given.out, argv, [run.summary for run in runs])
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
