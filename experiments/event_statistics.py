"""Statistics of simulated recordings, as docs/events.md shows them.

    python experiments/event_statistics.py cifar10_dvs /path/to/cifar10/train --limit 500
    python experiments/event_statistics.py n_caltech101 /path/to/caltech101/101_ObjectCategories --limit 510

each simulate recordings of images from a folder `CLASS/*`, the same share of every class, write what they measure to
`benchmarks/event_statistics/PRESET.json` and renew the table in docs/events.md, which is made of these files and of
what others counted in the originals (`ORIGINALS`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eccsnn.data.events import write_events
from eccsnn.data.events.frames import fixed_frames, saturate
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import PRESETS
from eccsnn.data.events.simulate_dataset import SIMULATOR_VERSION, seed_of
from eccsnn.transport.images import encode_image

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "event_statistics"
PAGE = ROOT / "docs" / "events.md"
BEGIN, END = "<!-- begin: made by experiments/event_statistics.py -->", "<!-- end -->"

# Presets that are measured: a side of a loop; a quarter of a saccade. N-MNIST's images were not at hand.
BIN_US = {"cifar10_dvs": 54_000, "n_caltech101": 25_000}
TIMESTEPS, SIZE = 10, 48  # of frames, as data sets have them by default

# Totals of the originals as counted by jackd/stsc, examples/{cifar10-dvs,ncaltech101}/dataset-info.py (GitHub, 1fe592f).
ORIGINALS = {
    "cifar10_dvs": {"recordings": 10_000, "events": 2_050_719_068, "duration_us": 12_984_442_259},
    "n_caltech101": {"recordings": 8_709, "events": 1_004_129_410, "duration_us": 2_613_918_898},
}


def measure(preset_name: str, images: ImageFiles, *, seed: int) -> dict[str, Any]:
    """Simulates a recording of every image, as `eccsnn events simulate` does, and counts."""
    preset = PRESETS[preset_name]
    duration_us, bin_us = preset.path.duration_us, BIN_US[preset_name]
    bins = duration_us // bin_us
    counts, brighter, rates = [], 0, np.zeros(bins)
    sizes: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        for i in range(len(images)):
            events = preset.record(images[i], seed=seed_of(seed, i))
            counts.append(len(events))
            brighter += int(events.polarity.sum(dtype=np.int64))
            rates += np.histogram(events.t, bins=bins, range=(0, duration_us))[0]
            for name in (preset.file_format, "npz"):
                write_events(path, events, name)
                sizes.setdefault(name, []).append(path.stat().st_size)
            frames, _ = saturate(fixed_frames(events, TIMESTEPS, height=SIZE, width=SIZE))
            sample = frames.reshape(-1, SIZE, SIZE)
            sizes.setdefault("png_counts", []).append(len(encode_image(sample, "png")))
            sizes.setdefault("png_binary", []).append(len(encode_image((sample > 0).astype(np.uint8), "png")))
    low, median, high = np.percentile(counts, (5, 50, 95))
    return {
        "preset": preset_name,
        "simulator_version": SIMULATOR_VERSION,
        "seed": seed,
        "recordings": len(counts),
        "duration_ms": duration_us / 1000,
        "events": {"mean": float(np.mean(counts)), "5%": low, "median": median, "95%": high},
        "brighter_share": brighter / sum(counts),
        "rate_hz": float(np.mean(counts)) / duration_us * 1e6,
        "bin_ms": bin_us / 1000,
        "rate_hz_per_bin": (rates / len(counts) / bin_us * 1e6).tolist(),
        "file_format": preset.file_format,
        "frames": f"{TIMESTEPS} timesteps of {SIZE} x {SIZE} px",
        "bytes": {name: float(np.mean(values)) for name, values in sizes.items()},
    }


_ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "recordings": lambda m: f"{m['recordings']}",
    "duration": lambda m: f"{m['duration_ms']:,.0f} ms",
    "events a recording, mean": lambda m: f"{m['events']['mean']:,.0f}",
    "median": lambda m: f"{m['events']['median']:,.0f}",
    "5% and 95% are below": lambda m: f"{m['events']['5%']:,.0f}; {m['events']['95%']:,.0f}",
    "brighter (ON)": lambda m: f"{m['brighter_share']:.1%}",
    "thousand events/s, mean": lambda m: f"{m['rate_hz'] / 1000:,.0f}",
    "lowest and highest bin": lambda m: (
        f"{min(m['rate_hz_per_bin']) / 1000:,.0f}; {max(m['rate_hz_per_bin']) / 1000:,.0f} ({m['bin_ms']:g} ms)"
    ),
    "bytes a recording, original format": lambda m: f"{m['bytes'][m['file_format']]:,.0f} (`{m['file_format']}`)",
    "`npz`": lambda m: f"{m['bytes']['npz']:,.0f}",
    "frames as PNG: counts; binary": lambda m: f"{m['bytes']['png_counts']:,.0f}; {m['bytes']['png_binary']:,.0f}",
}


def _of_original(preset_name: str) -> dict[str, str]:
    """Cells of the rows that are known of the original."""
    found = ORIGINALS[preset_name]
    return {
        "recordings": f"{found['recordings']:,}",
        "duration": f"{found['duration_us'] / found['recordings'] / 1000:,.0f} ms",
        "events a recording, mean": f"{found['events'] / found['recordings']:,.0f}",
        "thousand events/s, mean": f"{found['events'] / found['duration_us'] * 1000:,.0f}",
    }


def table(measured: list[dict[str, Any]]) -> str:
    """The Markdown table of what was measured and of the originals, two columns a file."""
    columns = {}
    for one in measured:
        title = PRESETS[one["preset"]].title
        columns[f"simulated {title}"] = {name: cell(one) for name, cell in _ROWS.items()}
        columns[f"original {title}"] = _of_original(one["preset"])
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    lines += [f"| {name} | {' | '.join(column.get(name, '') for column in columns.values())} |" for name in _ROWS]
    return "\n".join(lines)


def page(text: str, results: Path) -> str:
    """docs/events.md with the table of the files in `results`."""
    before, rest = text.split(BEGIN)
    measured = [json.loads(file.read_text()) for file in sorted(results.glob("*.json"))]
    return f"{before}{BEGIN}\n\n{table(measured)}\n\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(BIN_US))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    images = ImageFiles.of_folder(
        given.folder, limit=given.limit, seed=given.seed, ignore=PRESETS[given.preset].left_out
    )
    measured = measure(given.preset, images, seed=given.seed)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{given.preset}.json").write_text(json.dumps(measured, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), RESULTS))
    print(table([measured]))


if __name__ == "__main__":
    main()
