"""What each kind of context is worth to the spike codec, on golden spikes of a trained network, as a Markdown table.

    python tools/codec_contexts.py

Every row but the last is what `SpikeRateModel` says: probabilities counted on some images, for each channel, and the
bits of others. docs/spike_codec.md shows the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eccsnn.nn import SpikeRateModel
from eccsnn.nn.rate_model import ContextSet, default_sets
from eccsnn.transport import spike_codec as codec

SPIKES = Path(__file__).resolve().parents[1] / "tests/golden/spikes"
NONE: tuple[str, ...] = ()
PAST = (NONE, ("before1",), ("before1", "before2"), ("before1", "before2", "before3"))
TWO = (NONE, ("before1",), ("before1", "before2"), ("before1", "before2"))
HERE, BEFORE = ("left", "up"), ("right_before", "down_before")
BOTH = tuple(past + HERE for past in PAST)
ROWS: dict[str, Sequence[ContextSet]] = {
    "none": [ContextSet((NONE,) * 4)],
    "three timesteps before": [ContextSet(PAST)],
    "left, up and the upper corners": [ContextSet((("left", "up", "up_left", "up_right"),) * 4)],
    "three timesteps before, left, up": [ContextSet(BOTH)],
    "three timesteps before, left, up, counted for each place": [ContextSet(BOTH, per_position=True)],
    "three timesteps before, left, up, two channels before": [ContextSet(BOTH, recent=2)],
    "two timesteps before, left, up, right and below before": [
        ContextSet(tuple(past + HERE + (BEFORE if past else ()) for past in TWO))
    ],
    "all five sets mixed": default_sets(),
}


def load(name: str) -> tuple[Tensor, Tensor]:
    """Spikes [T, N, C, H, W] to learn from and to judge with."""
    with np.load(SPIKES / f"{name}.npz") as file:
        channels = int(file["channels"])
        learn, judged = (
            np.stack([codec.unpack(one, (channels, *one.shape[1:3])) for one in file[part]], 1)
            for part in ("learn", "judged")
        )
    return torch.from_numpy(learn).float(), torch.from_numpy(judged).float()


def learnt(spikes: Tensor, sets: Sequence[ContextSet]) -> SpikeRateModel:
    """A model fitted as the codec's tests do; a set alone needs no weight."""
    torch.manual_seed(0)
    model = SpikeRateModel(*spikes.shape[2:], sets)
    model.fit(spikes.split(max(1, spikes.shape[1] // 6), 1), steps=40)
    if len(sets) == 1:
        torch.nn.init.ones_(model.weights)
    return model.eval()


def main() -> int:
    """Print the table of the cut `conv_last`."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    learn, judged = load("conv_last")
    print("| contexts | bits |\n| --- | --- |")
    for name, sets in ROWS.items():
        model = learnt(learn, sets)
        with torch.no_grad():
            print(f"| {name} | {float(model(judged).mean()):.0f} |", flush=True)
    tables = codec.load_tables(model.export_tables())
    samples = judged.to(torch.uint8).numpy()
    packets = [codec.SpikeEncoder(tables).encode(samples[:, n]) for n in range(samples.shape[1])]
    adapted = 8 * float(np.mean([codec.payload_bytes(one) for one in packets]))
    print(f"| mixed and adapted | {adapted:.0f} (payload) |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
