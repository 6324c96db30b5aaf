"""The rate model: its bits are the codec's, its gradient reaches the spikes, its tables are what the codec reads."""

import dataclasses
import struct

import numpy as np
import pytest
import torch

from eccsnn.nn import LIF, ContextSet, SpikeRateModel
from eccsnn.nn.lane_rates import fits_lanes
from eccsnn.transport import spike_codec as codec

ALONE = ContextSet(((),) * 4)


def clusters(shape, samples, seed=0, density=0.15):
    """Spikes [T, N, C, H, W] that depend on their neighbours in space and time."""
    x = np.random.default_rng(seed).standard_normal((4, samples, *shape))
    for axis in (0, 3, 4):
        x = x + 1.5 * np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return torch.from_numpy(x > np.quantile(x, 1 - density)).float()


def payload_bits(model, spikes):
    """Mean payload of the codec, without headers."""
    tables = codec.load_tables(model.export_tables())
    sizes = []
    for sample in spikes.movedim(1, 0).to(torch.uint8).numpy():
        packets = codec.SpikeEncoder(tables).encode(sample)
        assert (codec.SpikeDecoder(tables).decode(packets) == sample).all()
        sizes.append(8 * codec.payload_bytes(packets))
    return float(np.mean(sizes))


@pytest.mark.parametrize("shape", [(2, 8, 8), (8, 8, 8), (16, 16, 16)])
def test_its_bits_are_those_of_the_codec(shape):
    torch.manual_seed(0)
    model = SpikeRateModel(*shape)
    model.fit(clusters(shape, 60).split(20, 1))
    judged = clusters(shape, 6, seed=1)
    with torch.no_grad():
        expected = model.eval()(judged).mean().item()
    assert payload_bits(model, judged) == pytest.approx(expected, rel=0.03, abs=4 * 8)


def test_lanes_are_learnt_too():
    shape = (32, 48, 48)
    assert fits_lanes(*shape)
    torch.manual_seed(0)
    model = SpikeRateModel(*shape)
    model.fit(clusters(shape, 8).split(4, 1), steps=10)
    judged = clusters(shape, 1, seed=1)
    with torch.no_grad():
        expected = model._lane_bits(judged).item()
    assert payload_bits(model, judged) == pytest.approx(expected, rel=0.03)
    flat = codec.flat_tables(*shape)
    packets = codec.SpikeEncoder(flat).encode(judged[:, 0].to(torch.uint8).numpy())
    assert payload_bits(model, judged) < 8 * codec.payload_bytes(packets)


def test_learnt_tables_pay():
    shape = (2, 8, 8)
    model = SpikeRateModel(*shape)
    judged = clusters(shape, 20, seed=1)
    before = payload_bits(model, judged)
    model.fit(clusters(shape, 200).split(50, 1))
    assert payload_bits(model, judged) < 0.9 * before


def test_counting_is_the_maximum_likelihood():
    model = SpikeRateModel(1, 4, 4, (ALONE,), decay=1.0).eval()
    with torch.no_grad():
        model.weights.fill_(1.0)
    spikes = torch.zeros(1, 10, 1, 4, 4)
    spikes[:, :, :, 0, 0] = 1
    model.observe(spikes)
    share = 1 / 16
    entropy = -16 * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert model(spikes).mean().item() == pytest.approx(entropy, rel=0.01)


def test_counts_go_on_beyond_2_to_the_24():
    model = SpikeRateModel(1, 10, 10, (ALONE,), decay=1.0)
    model.ones.fill_(2**24 - 10)
    model.zeros.fill_(2**25)
    model.observe((torch.arange(4 * 500 * 100).view(4, 500, 1, 10, 10) % 5 > 0).float())
    assert model.ones.tolist() == [2**24 - 10 + 40_000] * 4
    assert model.zeros.tolist() == [2**25 + 10_000] * 4


def test_old_spikes_are_forgotten():
    model = SpikeRateModel(1, 4, 4, (ALONE,), decay=0.5)
    for _ in range(12):
        model.train()(torch.ones(1, 4, 1, 4, 4))
    for _ in range(12):
        last = model.train()(torch.zeros(1, 4, 1, 4, 4))
    with torch.no_grad():
        model.weights.fill_(1.0)
    assert model.eval()(torch.zeros(1, 4, 1, 4, 4)).mean() < 1
    assert last.shape == (4,)


def test_the_gradient_is_the_price_of_a_spike():
    """d bits / d s is the difference of the bits with and without the spike, as far as that spike itself is priced."""
    model = SpikeRateModel(1, 4, 4, (ALONE,)).eval()
    model.observe(clusters((1, 4, 4), 50))
    spikes = torch.zeros(1, 1, 1, 4, 4, requires_grad=True)
    silent = model(spikes)
    silent.sum().backward()
    fired = spikes.detach().clone()
    fired[0, 0, 0, 1, 2] = 1
    assert spikes.grad[0, 0, 0, 1, 2].item() == pytest.approx((model(fired) - silent).item(), rel=1e-4)


def test_the_gradient_goes_through_contexts_where_that_is_asked_for():
    """With one set the sum over a spike's own price and that of what has it in its context, to first order."""
    shape, sets = (1, 6, 6), (ContextSet((("left", "up"),) * 4),)
    models = [SpikeRateModel(*shape, sets, context_gradient=flag).eval() for flag in (False, True)]
    gradients = []
    for model in models:
        model.observe(clusters(shape, 100))
        spikes = torch.zeros(1, 1, *shape, requires_grad=True)
        model(spikes).sum().backward()
        gradients.append(spikes.grad[0, 0, 0])
    own, whole = gradients
    # A spike makes others near it likelier, which costs where they do not fire: at each but the last place.
    assert (whole[:-1, :-1] > own[:-1, :-1]).all()
    assert whole[-1, -1] == own[-1, -1]


def test_a_training_can_trade_size_for_spikes():
    torch.manual_seed(0)
    lif, rates = LIF(), SpikeRateModel(2, 4, 4)
    x = torch.nn.Parameter(torch.randn(4, 8, 2, 4, 4) + 1)
    before = rates(lif(x)).mean().item()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        rates(lif(x)).mean().backward()
        optimizer.step()
    assert rates.eval()(lif(x)).mean().item() < 0.7 * before


def test_tables_are_reproducible_and_survive_the_state_dict():
    spikes = clusters((3, 5, 5), 20)
    model = SpikeRateModel(3, 5, 5)
    model.fit([spikes])
    other = SpikeRateModel(3, 5, 5)
    other.load_state_dict(model.state_dict())
    assert other.export_tables() == model.export_tables()
    assert codec.load_tables(model.export_tables()).shape == (3, 5, 5)
    assert struct.unpack("<I", model.export_tables()[-4:])[0] == codec.load_tables(model.export_tables()).id


def test_every_kind_of_context_is_the_codec_s():
    """Each in turn: where Python and C++ looked at different spikes, the payload would be far from the estimate."""
    shape, spikes, judged = (5, 6, 7), clusters((5, 6, 7), 80), clusters((5, 6, 7), 12, seed=1)
    names = ("before1", "before2", "before3", "left", "up", "up_left", "up_right", "left2")
    rest = ("up2", "right_before", "down_before", "left_before", "up_before")
    for one in (
        ContextSet((names[3:],) + (names,) * 3),
        ContextSet(((), rest, rest, rest)),
        ContextSet(((),) * 4, recent=3),
        ContextSet(((),) * 4, count=True),
        ContextSet((("left",),) * 4, per_channel=False, recent=2, count=True),
        ContextSet(((),) * 4, per_channel=False, per_position=True),
        ContextSet(((),) * 4, per_position=True, recent=1),
    ):
        model = SpikeRateModel(*shape, (dataclasses.replace(one, start=255),))
        model.fit([spikes])
        with torch.no_grad():
            expected = model.eval()(judged).mean().item()
        assert payload_bits(model, judged) == pytest.approx(expected, rel=0.02, abs=16)


def test_errors():
    with pytest.raises(ValueError, match="expected sizes from 1 to 4096"):
        SpikeRateModel(0, 4, 4)
    with pytest.raises(ValueError, match=r"at most 2\^24"):
        SpikeRateModel(4096, 4096, 4096)
    with pytest.raises(ValueError, match="decay is 2"):
        SpikeRateModel(1, 4, 4, decay=2)
    with pytest.raises(ValueError, match="there are 0 context sets"):
        SpikeRateModel(1, 4, 4, ())
    with pytest.raises(ValueError, match="expected at most 8 different ones"):
        ContextSet((("left", "rigth"), (), (), ()))
    with pytest.raises(ValueError, match="one a time class"):
        ContextSet(((),))
    with pytest.raises(ValueError, match="recent is 4"):
        ContextSet(((),) * 4, recent=4)
    with pytest.raises(ValueError, match=r"\[1, 1, 1, 4, 5\]"):
        SpikeRateModel(1, 4, 4)(torch.zeros(1, 1, 1, 4, 5))
    with pytest.raises(ValueError, match="there are no batches"):
        SpikeRateModel(1, 4, 4).fit([])
