r"""Makes the golden spikes of the codec's tests: what crosses the cuts of trained networks, for images they never saw.

    python tools/golden_spikes.py --out tests/golden/spikes stage2_c4=RUN stem=RUN@stem:32,4 ...

RUN is a finished run of `eccsnn run neucodex/...` or `spikebottlenet/...`. Its spikes on the wire are kept, or those of
a feature map of its uncut network (@MAP). LEARN,JUDGED behind a colon are the numbers of test images whose spikes are
kept for starting tables and to judge the codec with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml

import eccsnn
from eccsnn import ops
from eccsnn.data import ImageSet, batches
from eccsnn.experiments.live import load_splits
from eccsnn.experiments.schema import validate
from eccsnn.experiments.split_load import LoadedSplit
from eccsnn.training.evaluate import predict_timesteps


@torch.no_grad()
def packed_spikes(run: LoadedSplit, images: ImageSet, name: str | None) -> tuple[np.ndarray, int]:
    """Packed spikes uint8 [N, T, H, W, ceil(C / 8)] and their channels C."""
    statistics = {"mean": run.mean, "std": run.std}
    if name is None:
        wire = predict_timesteps(run.model, images, point=run.point, **statistics).wire
        return np.moveaxis(wire, 1, 0), run.edge.wire.channels
    found = run.uncut.feature_maps.get(name)
    if found is None or found.max_count != 1:
        binary = [key for key, value in run.uncut.feature_maps.items() if value.max_count == 1]
        raise SystemExit(f"{run.path} has no binary map {name}, expected one of {', '.join(binary)}")
    parts = [
        ops.pack_spikes(run.uncut.forward_features(batch.images).maps[name]).movedim(1, 0)
        for batch in batches(images, 50, **statistics)
    ]
    return torch.cat(parts).numpy(), found.channels


def take(images: ImageSet, count: int) -> ImageSet:
    """Images drawn with a fixed seed."""
    rows = np.random.default_rng(0).permutation(len(images.labels))[:count]
    return ImageSet(images.gather(rows), images.labels[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spikes", nargs="+", metavar="NAME=RUN[@MAP][:LEARN,JUDGED]")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a name")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for given in options.spikes:
        name, _, source = given.partition("=")
        source, _, numbers = source.partition(":")
        path, _, feature_map = source.partition("@")
        learn, judged = (int(number) for number in (numbers or "300,40").split(","))
        run = eccsnn.load(path)
        config = validate(yaml.safe_load((Path(path) / "config.yaml").read_text()), path)
        images = take(load_splits(config).test, learn + judged)
        spikes, channels = packed_spikes(run, images, feature_map or None)
        rate = float(np.unpackbits(spikes[learn:]).sum()) / (spikes[learn:, ..., 0].size * channels)
        np.savez_compressed(options.out / f"{name}.npz", learn=spikes[:learn], judged=spikes[learn:], channels=channels)
        print(f"{name}: {[judged, *spikes.shape[1:4]]} C={channels}, {100 * rate:.1f}% spikes")


if __name__ == "__main__":
    main()
