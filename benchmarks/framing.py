"""Bytes of messages and HTTP/2 around a payload, each way of sending: the constants of `eccsnn.costs.framing`.

`python benchmarks/framing.py --out FILE` answers images over one stream, all of which stop after the same number of
timesteps, and counts what crosses a TCP proxy. From 1, 2 and 3 of 4 timesteps follow what a sample's first packet costs
and what each further one does; in lock-step what ends a sample early is the difference to all 4. `--quick` takes
seconds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from early_exit import CLASSES, TIMESTEPS, edge, image_of, write

from eccsnn.services.early_exit import ExitMode
from eccsnn.services.loopback import factory_command, measure_stream
from eccsnn.transport.answers import brief_answer_bytes
from eccsnn.transport.shaping import LinkShape

MODES = (ExitMode.EDGE_EXIT_HEAD, ExitMode.LOCK_STEP, ExitMode.UPLOAD_IMAGE)
CHANNELS = 4


def measure(images: int) -> list[dict[str, Any]]:
    """A row for each mode and number of timesteps: bytes an image on the wire and of payload."""
    here = str(Path(__file__).resolve().parent)
    rows = []
    for needed in range(1, TIMESTEPS + 1):
        values = [value for value in range(256) if value % TIMESTEPS == needed - 1][:images]
        runs = measure_stream(
            [image_of(value) for value in values],
            cloud=factory_command("early_exit:cloud", compute_ms=1.0, channels=CHANNELS),
            env={"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))},
            edge=edge(4.0, CHANNELS),
            modes=MODES if needed == 1 else MODES[:2],
            shapes=[LinkShape(20, 10, 10)],
            threshold=0.9,
            timeout_s=10.0,
        )
        rows += [run.summary | {"timesteps_set": needed} for run in runs]
    return rows


def constants(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Framing of each mode in bytes, from rows of `measure`.

    Answers are taken to be brief and of their largest size, as the cost model prices them.
    """
    answer = brief_answer_bytes(range(CLASSES))
    found = {}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        mine = [row for row in rows if row["mode"] == mode]
        sizes = [row["bytes"] for row in mine]
        up = np.array([size["wire_up"] - size["payload_up"] for size in sizes])
        down = np.array([size["wire_down"] for size in sizes])
        answers = np.arange(1, len(mine) + 1)
        further, first = np.polyfit(answers[:3], up[:3], 1) if len(mine) > 1 else (0.0, up[0])
        ends = max(first + 4 * further - up[3], 0.0) if mode == ExitMode.LOCK_STEP else 0.0
        found[mode] = {
            "first_up": float(first + further - ends),
            "further_up": float(further),
            "answer_down": float((down / answers - answer).mean()),
            "end_up": float(ends),
        }
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the constants, and write them with the rows as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="a few images")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args(argv)
    rows = measure(4 if given.quick else given.images)
    for row in rows:
        print(row["mode"], row["timesteps_set"], json.dumps(row["bytes"]), row["sources"])
    for mode, sizes in constants(rows).items():
        print(mode, {name: round(size, 1) for name, size in sizes.items()})
    if given.out is not None:
        write(given.out, argv, rows, script="framing.py")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
