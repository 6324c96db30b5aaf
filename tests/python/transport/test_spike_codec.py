"""The spike codec: lossless, never longer than raw, and deaf to everything that it did not write."""

import hashlib
import itertools

import constriction
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.errors import SpikePacketError
from eccsnn.transport import spike_codec as codec

GEOMETRIES = [(1, 1, 1), (1, 8, 8), (2, 8, 8), (3, 5, 7), (8, 4, 4), (9, 1, 3), (17, 3, 2), (64, 8, 8)]


def random_spikes(shape, density, seed=0, timesteps=4):
    return (np.random.default_rng(seed).random((timesteps, *shape)) < density).astype(np.uint8)


def clusters(shape, density, seed=0, timesteps=4):
    """Spikes that come together in space, and stay for some timesteps."""
    x = np.random.default_rng(seed).standard_normal((timesteps, *shape))
    for axis in (0, 2, 3):
        x = x + 1.5 * np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return (x > np.quantile(x, 1 - density)).astype(np.uint8)


def round_trip(spikes, tables):
    packets = codec.SpikeEncoder(tables).encode(spikes)
    decoder = codec.SpikeDecoder(tables)
    for timestep, packet in enumerate(packets):  # each can be acted on at once
        assert (decoder.decode(packet)[0] == spikes[timestep]).all()
    assert decoder.timesteps == len(packets)
    raw = -(-int(np.prod(spikes.shape[1:])) // 8)
    assert all(len(packet) <= raw + 1 + 8 * (index == 0) for index, packet in enumerate(packets))
    return packets


@pytest.mark.parametrize("shape", [*GEOMETRIES, (64, 32, 32), (40, 48, 40)])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.05, 0.3, 0.5, 0.95, 1.0])
def test_round_trip(shape, density):
    round_trip(random_spikes(shape, density, timesteps=6), codec.flat_tables(*shape))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    timesteps=st.integers(0, 6),
)
def test_any_spikes_come_back(shape, density, seed, timesteps):
    round_trip(random_spikes(shape, density, seed, timesteps), codec.flat_tables(*shape))


def test_a_million_spikes():
    total = 0
    for seed, (shape, density) in enumerate(itertools.product([(64, 32, 32), (64, 24, 24), (4, 16, 16)], [0.02, 0.2])):
        spikes = clusters(shape, density, seed)
        round_trip(spikes, codec.flat_tables(*shape))
        total += spikes.size
    shape = (64, 32, 32)
    spikes = random_spikes(shape, 0.1)
    round_trip(spikes, codec.flat_tables(*shape))
    assert total + spikes.size >= 10**6


def test_every_form_is_taken_where_it_is_the_shortest():
    shape = (64, 32, 32)
    tables = codec.flat_tables(*shape)
    forms = {
        "raw": random_spikes(shape, 0.5),
        "runs": random_spikes(shape, 0.005),
        "lanes": clusters(shape, 0.2),
        "adaptive": clusters(shape, 0.99),
    }
    for form, spikes in forms.items():
        packets = round_trip(spikes, tables)
        assert form in [codec.form_of(packet, index == 0) for index, packet in enumerate(packets)]
    silence = round_trip(np.zeros((2, 64, 8, 8), np.uint8), codec.flat_tables(64, 8, 8))
    assert [codec.form_of(packet, index == 0) for index, packet in enumerate(silence)] == ["addresses"] * 2
    assert list(map(len, silence)) == [9, 1]  # headers
    few = np.zeros((1, 64, 16, 16), np.uint8)
    few[0, 5, 2::7, 3] = 1
    assert codec.form_of(round_trip(few, codec.flat_tables(64, 16, 16))[0], True) == "addresses"


@pytest.mark.parametrize("density", [0.001, 0.01, 0.03, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("make", [random_spikes, clusters])
def test_smaller_than_zstd_and_addresses(make, density):
    shape = (64, 32, 32)
    spikes = make(shape, density)
    packets = round_trip(spikes, codec.flat_tables(*shape))
    size = sum(map(len, packets))
    packed = codec.pack(spikes, shape)
    compressor = zstandard.ZstdCompressor(level=19)
    together = len(compressor.compress(packed.tobytes()))
    addresses = 2 * int(spikes.sum())
    # Half of all random bits fire: nothing is shorter than raw, and raw plus headers is what comes.
    slack = codec.STREAM_HEADER_BYTES + len(packets) if density == 0.5 and make is random_spikes else 0
    assert size <= together + slack
    assert size < addresses


def test_counts_travel_as_planes():
    counts = np.random.default_rng(0).integers(0, 5, (4, 6, 5, 5)).astype(np.uint8)
    planes = codec.to_planes(counts, 4)
    assert planes.shape == (4, 18, 5, 5)
    tables = codec.flat_tables(18, 5, 5)
    back = codec.SpikeDecoder(tables).decode(codec.SpikeEncoder(tables).encode(planes))
    assert (codec.from_planes(back, 4) == counts).all()
    with pytest.raises(ValueError, match="at most max_count = 3"):
        codec.to_planes(counts, 3)
    with pytest.raises(ValueError, match="expected 1 to 255"):
        codec.planes_of(256)
    with pytest.raises(SpikePacketError, match="at most 4"):
        codec.from_planes(np.ones((1, 3, 1, 1), np.uint8), 4)


# The format is a promise: these bytes must never change (version 1).
GOLDEN = {
    ((2, 8, 8), 0.2): "70e83531ea97bd9e",
    ((9, 4, 5), 0.02): "0897b1f0136df0dd",
    ((64, 8, 8), 0.15): "1277084c6f6d6710",
    ((64, 32, 32), 0.1): "a8a1b98f7b33caaf",
    ((40, 48, 40), 0.3): "732e51c575efd089",
}


@pytest.mark.parametrize(("shape", "density"), list(GOLDEN))
def test_golden_bytes(shape, density):
    # Not from NumPy's generator, whose numbers may change.
    count = 4 * int(np.prod(shape))
    x = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    wave = np.sin(np.arange(count) // 8 % 13).reshape(4, *shape) > 0
    spikes = ((x.reshape(4, *shape) < int(density * 2**24)) & wave).astype(np.uint8)
    digest = hashlib.sha256(b"".join(round_trip(spikes, codec.flat_tables(*shape)))).hexdigest()
    assert digest[:16] == GOLDEN[shape, density]


def test_the_range_coder_is_as_short_as_constriction():
    """Both under the probability that one context would have: a stationary source, whose entropy is known."""
    shape, density = (1, 64, 64), 0.1
    spikes = random_spikes(shape, density, timesteps=1)
    peer = constriction.stream.queue.RangeEncoder()
    model = constriction.stream.model.Bernoulli(density)
    peer.encode(spikes.reshape(-1).astype(np.int32), model)
    ideal = 8 * 4 * len(peer.get_compressed())
    ours = 8 * codec.payload_bytes(codec.SpikeEncoder(codec.flat_tables(*shape)).encode(spikes))
    # It has to learn the density of 4,096 spikes in their contexts, and knows it not.
    assert ideal < ours < 1.12 * ideal


# ---- what comes from outside ----


def stream_of(shape=(4, 8, 8), density=0.15, timesteps=3):
    tables = codec.flat_tables(*shape)
    spikes = clusters(shape, density, timesteps=timesteps)
    return spikes, codec.SpikeEncoder(tables).encode(spikes), tables


@pytest.mark.parametrize("shape", [(4, 8, 8), (64, 32, 32)])
def test_every_flipped_bit_is_noticed(shape):
    _, packets, tables = stream_of(shape)
    rng = np.random.default_rng(0)
    for index, packet in enumerate(packets):
        bits = range(8 * len(packet)) if len(packet) < 100 else rng.choice(8 * len(packet), 60, replace=False)
        for bit in bits:
            broken = bytearray(packet)
            broken[bit // 8] ^= 1 << bit % 8
            decoder = codec.SpikeDecoder(tables)
            if index:
                decoder.decode(packets[:index])
            with pytest.raises(SpikePacketError):
                decoder.decode(bytes(broken))


def test_truncated_lengthened_lost_and_repeated_packets():
    _, packets, tables = stream_of()
    missed = tries = 0
    for packet in packets[:1]:
        for end in range(len(packet)):
            decoder = codec.SpikeDecoder(tables)
            with pytest.raises(SpikePacketError):
                decoder.decode(packet[:end])
        for tail in range(256):
            tries += 1
            try:
                codec.SpikeDecoder(tables).decode(packet + bytes([tail]))
                missed += 1
            except SpikePacketError:
                pass
    assert missed <= tries // 100  # five bits of check, and what the payload must look like
    decoder = codec.SpikeDecoder(tables)
    decoder.decode(packets[0])
    with pytest.raises(SpikePacketError, match="timestep 1"):
        decoder.decode(packets[2])
    with pytest.raises(SpikePacketError, match="broke at an earlier packet"):
        decoder.decode(packets[1])


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), form=st.integers(0, 7))
def test_arbitrary_packets_are_refused_or_spikes(data, form):
    _, packets, tables = stream_of()
    for first in (data, packets[0][:8] + bytes([form << 5 | len(data) & 31]) + data):
        decoder = codec.SpikeDecoder(tables)
        try:
            spikes = decoder.decode(first)
        except SpikePacketError:
            continue
        assert codec.SpikeEncoder(tables).encode(spikes) == [first] or form in (0, 1, 2)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_arbitrary_tables_and_files_are_refused(data):
    for content in (data, b"ESPT\x01" + data):
        with pytest.raises(SpikePacketError):
            codec.load_tables(content)
    for content in (data, b"ESPS\x01" + data):
        with pytest.raises(SpikePacketError):
            codec.read_stream(content)


def test_errors_say_what_was_given_and_expected():
    spikes, packets, tables = stream_of()
    other = codec.flat_tables(4, 8, 9)
    with pytest.raises(SpikePacketError, match=f"written with tables {tables.id:08x}, known are {other.id:08x}"):
        codec.SpikeDecoder(other).decode(packets)
    assert (codec.SpikeDecoder([other, tables]).decode(packets) == spikes).all()
    wrong = bytearray(packets[0])
    wrong[2] = 9
    with pytest.raises(SpikePacketError, match="version 9, expected 1"):
        codec.SpikeDecoder(tables).decode(bytes(wrong))
    with pytest.raises(SpikePacketError, match="does not begin with ES"):
        codec.SpikeDecoder(tables).decode(packets[1] + bytes(10))
    with pytest.raises(SpikePacketError, match="longer than raw spikes"):
        codec.SpikeDecoder(tables).decode(packets[0] + bytes(100))
    with pytest.raises(SpikePacketError, match="expected at least 9"):
        codec.SpikeDecoder(tables).decode(b"ES\x01")
    with pytest.raises(SpikePacketError, match="there are no packets"):
        codec.SpikeDecoder(tables).decode([])
    with pytest.raises(ValueError, match="there are no tables"):
        codec.SpikeDecoder([])
    with pytest.raises(TypeError, match="expected bytes"):
        codec.SpikeDecoder(tables).decode(["text"])
    with pytest.raises(TypeError, match="expected SpikeTables"):
        codec.SpikeEncoder(b"")
    encoder = codec.SpikeEncoder(tables)
    with pytest.raises(ValueError, match=r"shape \[1, 4, 8, 9\]"):
        encoder.encode(np.zeros((1, 4, 8, 9), np.uint8))
    with pytest.raises(ValueError, match="send counts as planes"):
        encoder.encode(np.full((1, 4, 8, 8), 2, np.uint8))
    with pytest.raises(TypeError, match="float64"):
        encoder.encode(np.zeros((1, 4, 8, 8)))
    with pytest.raises(ValueError, match="bits set past channel 4"):
        encoder.encode_packed(np.full((1, 8, 8, 1), 0xFF, np.uint8))
    with pytest.raises(ValueError, match=r"expected \[T, 8, 8, 1\]"):
        encoder.encode_packed(np.zeros((1, 8, 8, 2), np.uint8))
    with pytest.raises(TypeError, match="uint8 array"):
        encoder.encode_packed(np.zeros((1, 8, 8, 1)))
    with pytest.raises(ValueError, match="expected 1 to 4096 each"):
        codec.flat_tables(0, 1, 1)
    with pytest.raises(ValueError, match=r"at most 2\^24"):
        codec.flat_tables(4096, 4096, 2)
    with pytest.raises(SpikePacketError, match="no known form"):
        codec.form_of(b"\xff", first=False)


def test_a_refused_timestep_does_not_count():
    spikes, packets, tables = stream_of()
    encoder = codec.SpikeEncoder(tables)
    with pytest.raises(ValueError, match="past channel"):
        encoder.encode_packed(np.full((1, 8, 8, 1), 0xFF, np.uint8))
    assert encoder.encode(spikes) == packets


def test_a_refused_array_leaves_the_stream_as_it_was():
    spikes, packets, tables = stream_of()
    encoder = codec.SpikeEncoder(tables)
    bad = codec.pack(spikes, tables.shape)
    bad[1, 0, 0, 0] |= 0x80
    for _ in range(2):
        with pytest.raises(ValueError, match="past channel"):
            encoder.encode_packed(bad)
        assert encoder.timesteps == 0
    assert encoder.encode(spikes[:1]) == packets[:1]
    with pytest.raises(ValueError, match="past channel"):
        encoder.encode_packed(bad)
    assert encoder.encode(spikes[1:]) == packets[1:]


def test_files():
    _, packets, tables = stream_of()
    data = codec.write_stream(packets, tables)
    assert codec.read_stream(data) == (packets, tables.shape)
    for end in range(len(data)):
        with pytest.raises(SpikePacketError):
            codec.read_stream(data[:end])
    with pytest.raises(SpikePacketError, match="checksum"):
        codec.read_stream(data[:-1] + b"\x00" if data[-1] else data[:-1] + b"\x01")
    with pytest.raises(SpikePacketError, match="does not begin with ESPS"):
        codec.read_stream(b"X" + data[1:])
    with pytest.raises(SpikePacketError, match="version 7"):
        codec.read_stream(data[:4] + b"\x07" + data[5:])
