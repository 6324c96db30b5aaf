import itertools

import pytest
import torch
from torch import nn

from eccsnn.nn import SpikeBottleneck
from eccsnn.nn.layers import Pass, neurons_of, state_at_rest


def spikes(timesteps: int, channels: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(timesteps, 2, channels, size, size, generator=generator) < 0.3).float()


@pytest.mark.parametrize(
    ("size", "stride", "kernel_size"),
    [(s, st, k) for s, st, k in itertools.product((1, 4, 7, 8), (1, 2, 3), (1, 2, 3, 4, 5)) if st <= k <= s],
)
def test_the_decoder_mirrors_the_encoder(size, stride, kernel_size):
    unit = SpikeBottleneck(6, size, 3, stride, kernel_size, norm_gain=2.0)
    x = spikes(3, 6, size)
    wire = unit.encode(x)
    assert wire.shape == (3, 2, 3, unit.size, unit.size)
    back = unit.decode(wire)
    assert back.shape == x.shape
    for values in (wire, back):
        assert set(values.unique().tolist()) <= {0.0, 1.0}
    assert [p.shape[2:] for p in unit.parameters() if p.dim() == 4] == [(kernel_size, kernel_size)] * 2


def test_a_strided_decoder_is_the_transpose_of_its_encoder():
    unit = SpikeBottleneck(6, 8, 3, stride=2, kernel_size=3)
    with torch.no_grad():
        unit.decoder.conv.weight.copy_(unit.encoder.conv.weight)
    x, y = torch.randn(1, 6, 8, 8), torch.randn(1, 3, 4, 4)
    forth = nn.functional.conv2d(x, unit.encoder.conv.weight, stride=2, padding=1)
    torch.testing.assert_close((forth * y).sum(), (unit.decoder.conv(y) * x).sum(), rtol=1e-4, atol=1e-4)


def test_all_steps_at_once_equal_single_steps():
    torch.manual_seed(0)
    unit = SpikeBottleneck(6, 8, 3, stride=2, kernel_size=2, norm_gain=2.0)
    unit.encoder.bn.momentum = unit.decoder.bn.momentum = 1.0
    x = spikes(4, 6, 8)
    unit(x)
    unit.eval()
    with torch.no_grad():
        expected = unit(x)
        state, steps = state_at_rest(neurons_of([unit]), 2, x), []
        assert list(state) == ["encoder.lif", "decoder.lif"]
        for x_t in x:
            run = Pass(before=state)
            steps.append(unit(x_t.unsqueeze(0), run))
            state = run.after
    assert expected.any()
    assert torch.equal(torch.cat(steps), expected)


def test_the_gain_makes_an_untrained_unit_fire():
    def rate(gain: float) -> float:
        torch.manual_seed(0)
        return SpikeBottleneck(16, 8, 4, norm_gain=gain).encode(spikes(4, 16, 8)).mean().item()

    assert rate(2.0) > 2 * rate(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels is 0, expected an integer"),
        ({"channels": 2.0}, "channels is 2.0"),
        ({"channels": True}, "channels is True"),
        ({"channels": 2, "stride": 0}, "stride is 0"),
        ({"channels": 2, "stride": 3, "kernel_size": 2}, r"kernel_size is 2 at stride 3 .* expected 3 .* to 8"),
        ({"channels": 2, "kernel_size": 9}, "kernel_size is 9 at stride 1 on 8x8 pixels"),
        ({"channels": 2, "norm_gain": 0.0}, "norm_gain is 0.0"),
        ({"channels": 2, "neuron": {"taw": 2.0}}, "unknown neuron key 'taw'"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikeBottleneck(6, 8, **options)
