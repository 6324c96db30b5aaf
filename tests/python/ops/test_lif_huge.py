"""More than 2^31 values, which an index of 32 bits cannot count: neurons and packed spikes.

The values repeat with a small period, so that what must come out is known anywhere without a second copy.
"""

import warnings

import pytest
import torch

from eccsnn.ops import pack_spikes, reference, unpack_spikes

pytestmark = pytest.mark.slow

BEYOND = 2**31
PERIOD = 8209  # a prime: an index that lost its high bits shows other values
WINDOW = 3 * PERIOD
GIB = 2**30


def size_that_fits(wanted, bytes_each):
    """`wanted` values, or as many as memory has room for: fewer say little, but no machine goes without a test."""
    with open("/proc/meminfo") as lines:
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    size = max(10 * WINDOW, min(wanted, int((available - GIB) / bytes_each)))
    if size < wanted:
        warnings.warn(
            f"tested {size} values: {wanted} take {wanted * bytes_each / GIB:.0f} GiB of memory", stacklevel=2
        )
    return size


def repeat_into(whole, pattern):
    """Fills a tensor of one dimension with the pattern, again and again."""
    times = len(whole) // len(pattern)
    filled = times * len(pattern)
    whole[:filled].view(times, len(pattern)).copy_(pattern.expand(times, len(pattern)))
    whole[filled:] = pattern[: len(whole) - filled]


def windows(size):
    """The places that are looked at: the beginning, around 2^30 and 2^31, the middle and the end."""
    middles = (0, size // 2, BEYOND // 2, BEYOND, size)
    return [range(max(0, m - WINDOW), min(size, m + WINDOW)) for m in middles if m <= size]


def at(pattern, places, neurons):
    """What stands at these places of `[T, neurons]`, of which every timestep repeats its row of the pattern."""
    index = torch.arange(places.start, places.stop)
    return pattern[index // neurons, index % neurons % PERIOD]


def currents(timesteps, bytes_each):
    """x `[T, neurons]` of more than 2^31 values, where they fit, and the pattern in it."""
    neurons = size_that_fits(BEYOND // timesteps + 2 * PERIOD + 1, timesteps * bytes_each)
    generator = torch.Generator().manual_seed(timesteps)
    pattern = (torch.randn(timesteps, PERIOD, generator=generator) * 2).to(torch.bfloat16)
    x = torch.empty(timesteps, neurons, dtype=torch.bfloat16)
    for row, values in zip(x, pattern, strict=True):
        repeat_into(row, values)
    return x, pattern


def infer(x, need_state, packed):
    return torch.ops.eccsnn.lif_inference(x, None, None, 2.0, 1.0, 0.0, "decayed_input", need_state, packed)


@pytest.mark.parametrize("timesteps", [1, 2])
def test_spikes(timesteps):
    x, pattern = currents(timesteps, bytes_each=2 + 2)
    expected, _ = reference.lif(pattern)
    spikes, _ = infer(x, False, False)
    neurons = x.shape[1]
    for places in windows(x.numel()):
        assert torch.equal(spikes.view(-1)[places.start : places.stop], at(expected, places, neurons)), places


@pytest.mark.parametrize(("timesteps", "need_state"), [(1, False), (3, True)])
def test_packed_spikes_and_membranes(timesteps, need_state):
    x, pattern = currents(timesteps, bytes_each=2 + 1 / 8 + (4 / timesteps if need_state else 0))
    expected, expected_v = reference.lif(pattern)
    bits, v = infer(x, need_state, True)
    neurons = x.shape[1]
    for places in windows(x.numel()):
        index = torch.arange(places.start, places.stop)
        t, i = index // neurons, index % neurons
        found = bits[t, i // 8] >> (i % 8).to(torch.uint8) & 1
        assert torch.equal(found, at(expected, places, neurons).to(torch.uint8)), places
    assert torch.all(bits[:, -1] >> (neurons % 8) == 0)
    if need_state:
        for places in windows(neurons):
            assert torch.equal(v[places.start : places.stop], at(expected_v[None], places, neurons)), places


def test_pack_and_unpack():
    channels = 13
    rows = size_that_fits(BEYOND // channels + 2 * PERIOD, bytes_each=channels + 2)
    pattern = torch.randint(0, 2, (PERIOD,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    spikes = torch.empty(rows * channels, dtype=torch.uint8)
    repeat_into(spikes, pattern)
    packed = pack_spikes(spikes.view(1, rows, channels))
    assert packed.shape == (1, rows, 2)
    del spikes
    for places in windows(rows):
        index = torch.arange(places.start * channels, places.stop * channels) % PERIOD
        bits = torch.nn.functional.pad(pattern[index].view(len(places), channels), (0, 3)).view(len(places), 2, 8)
        expected = (bits << torch.arange(8, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)
        assert torch.equal(packed[0, places.start : places.stop], expected), places
    spikes = unpack_spikes(packed, channels, torch.uint8).view(-1)
    for places in windows(len(spikes)):
        index = torch.arange(places.start, places.stop) % PERIOD
        assert torch.equal(spikes[places.start : places.stop], pattern[index]), places
