"""The codec on spikes of trained networks, against the fixed reference model: the bars of its size.

`tools/golden_spikes.py` made the files `sew_...` from finished runs of `neucodex/cifar10_small` and
`spikebottlenet/cifar10_small` (14 epochs); the others crossed cuts of spiking VGG-9s, trained for a few minutes.
Tables and the reference's counts are learnt on other images than those that are judged.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from eccsnn.nn import SpikeRateModel
from eccsnn.transport import spike_codec as codec
from eccsnn.transport.spike_reference import ideal_bits, learn_counts

SPIKES = Path(__file__).parents[2] / "golden" / "spikes"
# name -> (spikes a timestep, payload over the reference at most)
BARS = {
    "sew_stage2_c4_s2": (64, 1.10),
    "sew_stage2_c4": (256, 1.10),
    "sew_stage1": (4096, 1.03),
    "conv_last_c2": (128, 1.10),
    "conv4_c2_s2": (128, 1.10),
    "conv_last_c8": (512, 1.10),
    "conv4_c16": (4096, 1.03),
    "conv_last": (4096, 1.03),
    "wide_conv2": (65536, 1.03),
}


def load(name):
    """Samples to learn from and to judge with: lists of uint8 [T, C, H, W]."""
    with np.load(SPIKES / f"{name}.npz") as file:
        channels = int(file["channels"])
        return [
            [codec.unpack(sample, (channels, *sample.shape[1:3])) for sample in file[part]]
            for part in ("learn", "judged")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BARS))
def test_payload_against_the_reference(name):
    bits, bar = BARS[name]
    learn, judged = load(name)
    assert judged[0][0].size == bits
    torch.manual_seed(0)
    model = SpikeRateModel(*judged[0].shape[1:])
    samples = torch.from_numpy(np.stack(learn, 1)).float()
    model.fit(samples.split(max(1, len(learn) // 6), 1), steps=40)
    tables = codec.load_tables(model.export_tables())
    counts = learn_counts(learn)
    payload = ideal = 0.0
    for spikes in judged:
        packets = codec.SpikeEncoder(tables).encode(spikes)
        assert (codec.SpikeDecoder(tables).decode(packets) == spikes).all()
        payload += 8 * codec.payload_bytes(packets)
        ideal += sum(ideal_bits(spikes, counts))
    print(f"{name}: payload {payload / len(judged):.1f} bits a sample, reference {ideal / len(judged):.1f}")
    assert payload <= bar * ideal


def test_the_reference_knows_what_is_certain():
    silent = np.zeros((4, 2, 8, 8), np.uint8)
    assert sum(ideal_bits(silent, learn_counts([silent]))) < sum(ideal_bits(silent)) < 40
    coin = np.random.default_rng(0).integers(0, 2, (2, 4, 16, 16)).astype(np.uint8)
    assert sum(ideal_bits(coin)) > 0.99 * coin.size
