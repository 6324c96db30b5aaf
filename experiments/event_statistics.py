"""Statistics of simulated recordings, as docs/events.md shows them.

    python experiments/event_statistics.py cifar10_dvs /path/to/cifar10/train --limit 500

takes images from a folder `CLASS/*`, the same share of every class, and prints the rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from eccsnn.data.events import write_events
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import PRESETS
from eccsnn.data.events.summary import summarize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    preset = PRESETS[given.preset]
    images = ImageFiles.of_folder(given.folder, limit=given.limit, seed=given.seed)
    duration = preset.path.duration_us
    bins = 24 if given.preset == "cifar10_dvs" else 12
    summaries, sizes = [], {preset.file_format: 0, "npz": 0}
    rates = np.zeros(bins)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(len(images)):
            events = preset.record(images[i], seed=i)
            summaries.append(summarize([events]))
            rates += np.histogram(events.t, bins=bins, range=(0, duration))[0]
            for name in sizes:
                path = Path(folder) / "recording"
                write_events(path, events, name)
                sizes[name] += path.stat().st_size
    counts = np.array([summary.events for summary in summaries])
    brighter = sum(summary.brighter for summary in summaries)
    rates *= bins / duration * 1e6 / len(images)
    rows = {
        "recordings": f"{len(images)}",
        "duration": f"{duration / 1000:g} ms",
        "events a recording, mean": f"{counts.mean():,.0f}",
        "... median": f"{np.median(counts):,.0f}",
        "... 5% and 95% of recordings below": f"{np.percentile(counts, 5):,.0f}; {np.percentile(counts, 95):,.0f}",
        "brighter (ON) events": f"{brighter / counts.sum():.1%}",
        "thousand events/s, mean": f"{counts.mean() / duration * 1000:,.0f}",
        f"... in each {duration / bins / 1000:g} ms": ", ".join(f"{rate / 1000:,.0f}" for rate in rates),
    }
    rows |= {f"bytes a recording, {name}": f"{size / len(images):,.0f}" for name, size in sizes.items()}
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
