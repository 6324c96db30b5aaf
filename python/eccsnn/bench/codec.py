"""`eccsnn bench codec`: the spike codec's sizes and speeds beside zstd, plain addresses, packed bits and constriction.

Sizes are of whole streams, headers included; zstd compresses the packed bits of a sample at level 19, once all
timesteps together, which nothing that sends a timestep at a time can do, and once each alone. constriction codes each
spike with the density of all as its probability. Speeds are of raw spike bits on one thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eccsnn.bench.peers import Absent
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.settings import SizedSettings
from eccsnn.bench.timing import Candidate, Observer, ignore, measure, within
from eccsnn.errors import ConfigError
from eccsnn.nn import SpikeRateModel
from eccsnn.transport import spike_codec as codec
from eccsnn.transport.spike_reference import ideal_bits, learn_counts

DENSITIES = {"full": (0.001, 0.01, 0.1, 0.2, 0.5), "tiny": (0.1,)}
SHAPES = {"full": (64, 32, 32), "tiny": (32, 48, 48)}
TIMESTEPS = 4

_BARS = {0.1: 1.0, 0.5: 0.3}  # Gbit/s of raw spikes, encoded and decoded


@dataclass(frozen=True)
class CodecSettings(SizedSettings):
    """What is measured; see `eccsnn bench codec --help`.

    Attributes:
        spikes: Folder of .npz files with `learn`, `judged` and `channels`, as `tools/golden_spikes.py` writes them, or
            empty: made-up spikes alone.
    """

    spikes: str = ""
    budget_s: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spikes and not sorted(Path(self.spikes).glob("*.npz")):
            raise ConfigError(f"--spikes: {self.spikes!r} holds no .npz file; make some with tools/golden_spikes.py")


def run(
    settings: CodecSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures all rows."""
    rows, results = [], []
    for kind, make in (("independent", independent_spikes), ("clusters", clustered_spikes)):
        for density in DENSITIES[settings.size]:
            shape = SHAPES[settings.size]
            name = f"{kind}, {density:.1%}, {TIMESTEPS} x {'x'.join(map(str, shape))}"
            learn = [make(shape, density, seed) for seed in range(1, 5)]
            row, _ = _row(name, learn, [make(shape, density, 0)], settings, peers, within(name, observer))
            rows.append(row)
            if settings.size == "full":
                results += _results(row, f"{kind}, {density:.1%}", _BARS.get(density))
    for path in sorted(Path(settings.spikes).glob("*.npz")) if settings.spikes else []:
        learn, judged = load_spikes(path)
        row, payload_over_ideal = _row(path.stem, learn, judged, settings, peers, within(path.stem, observer))
        rows.append(row)
        bits = judged[0][0].size
        bar = 1.03 if bits >= 4096 else 1.10
        name = f"payload over the reference: {path.stem}, {bits} spikes a timestep"
        results.append(Result(name=name, value=payload_over_ideal, bar=bar, better="lower"))
    return rows, results, []


def independent_spikes(shape: tuple[int, int, int], density: float, seed: int) -> codec.Spikes:
    """Spikes [T, C, H, W] that know nothing of each other: what cannot be predicted."""
    return (np.random.default_rng(seed).random((TIMESTEPS, *shape)) < density).astype(np.uint8)


def clustered_spikes(shape: tuple[int, int, int], density: float, seed: int) -> codec.Spikes:
    """Spikes [T, C, H, W] that come together in space and stay for some timesteps, as those of trained networks."""
    x = np.random.default_rng(seed).standard_normal((TIMESTEPS, *shape))
    for axis in (0, 2, 3):
        x = x + 1.5 * np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return (x > np.quantile(x, 1 - density)).astype(np.uint8)


def load_spikes(path: Path) -> tuple[list[codec.Spikes], list[codec.Spikes]]:
    """Samples to learn from and samples to judge with, each uint8 [T, C, H, W]."""
    with np.load(path) as file:
        channels = int(file["channels"])
        learn, judged = (
            [codec.unpack(sample, (channels, *sample.shape[1:3])) for sample in file[part]]
            for part in ("learn", "judged")
        )
    return learn, judged


def _row(
    name: str,
    learn: list[codec.Spikes],
    judged: list[codec.Spikes],
    settings: CodecSettings,
    peers: Sequence[str],
    observer: Observer,
) -> tuple[Row, float]:
    channels, height, width = judged[0].shape[1:]
    torch.manual_seed(0)
    model = SpikeRateModel(channels, height, width)
    samples = torch.from_numpy(np.stack(learn, 1)).float()
    model.fit(samples.split(max(1, len(learn) // 6), 1), steps=5 if settings.size == "tiny" else 40)
    exported = model.export_tables()
    tables = codec.load_tables(exported)
    flat = codec.flat_tables(channels, height, width)
    counts = learn_counts(learn)

    def stream_bytes(known: codec.SpikeTables) -> float:
        return _mean(sum(map(len, codec.SpikeEncoder(known).encode(spikes))) for spikes in judged)

    streams = [codec.SpikeEncoder(tables).encode(spikes) for spikes in judged]
    payload = _mean(codec.payload_bytes(packets) for packets in streams)
    ideal = _mean(sum(ideal_bits(spikes, counts)) for spikes in judged) / 8
    sizes: list[tuple[str, str, float, str]] = [
        ("eccsnn, learnt tables", "eccsnn", stream_bytes(tables), f"tables of {len(exported)} bytes, sent before"),
        ("eccsnn, flat tables", "eccsnn", stream_bytes(flat), "nothing learnt"),
        ("eccsnn payload", "eccsnn", payload, "learnt tables, without headers"),
        ("reference", "bound", ideal, "ideal code length of the adaptive reference, learnt start"),
        ("reference, nothing learnt", "bound", _mean(sum(ideal_bits(spikes)) for spikes in judged) / 8, ""),
        ("packed bits", "bound", float(np.prod(judged[0].shape)) / 8, "one bit a spike"),
        ("addresses", "bound", 2 * _mean(spikes.sum() for spikes in judged), "16 bits a spike"),
    ]
    packed = [codec.pack(spikes, tables.shape) for spikes in judged]
    for peer in peers:
        for label, size in _PEER_BYTES[peer](packed, judged).items():
            sizes.append((label, peer, size, ""))
    measurements = [
        Measurement(name=f"size: {what}", owner=owner, value=size, unit="bytes a sample", note=note or None)
        for what, owner, size, note in sizes
    ]
    bits = judged[0].size
    for what, seconds, spread, rounds in _speeds(packed[0], streams[0], judged[0], tables, settings, peers, observer):
        measurements.append(
            Measurement(
                name=f"speed: {what}",
                owner="eccsnn" if what.startswith("eccsnn") else what.split()[0],
                value=bits / seconds / 1e9,
                spread=bits / seconds / 1e9 * spread / seconds,
                unit="Gbit/s of raw spikes",
                rounds=rounds,
            )
        )
    learnt = sizes[0][2]
    ratios = {f"size: {what}": size / learnt for what, owner, size, _ in sizes if owner != "eccsnn" and size > 0}
    forms = [codec.form_of(packet, index == 0) for index, packet in enumerate(streams[0])]
    facts: dict[str, Any] = {
        "firing_rate": _mean(spikes.mean() for spikes in judged),
        "forms": " ".join(dict.fromkeys(forms)),
        "samples": len(judged),
    }
    return Row(name=name, measurements=measurements, ratios=ratios, facts=facts), payload / ideal


def _speeds(
    packed: codec.Spikes,
    packets: list[bytes],
    spikes: codec.Spikes,
    tables: codec.SpikeTables,
    settings: CodecSettings,
    peers: Sequence[str],
    observer: Observer,
) -> list[tuple[str, float, float, int]]:
    candidates = [
        Candidate("eccsnn encode", lambda: codec.SpikeEncoder(tables).encode_packed(packed)),
        Candidate("eccsnn decode", lambda: codec.SpikeDecoder(tables).decode_packed(packets)),
    ]
    for peer in peers:
        candidates += _PEER_CALLS[peer](packed, spikes)
    timings = measure(candidates, settings.budget, observer=observer)
    return [(name, timing.median_s, timing.iqr_s, timing.rounds) for name, timing in timings.items()]


def _results(row: Row, what: str, speed_bar: float | None) -> list[Result]:
    values = {entry.name: entry.value for entry in row.measurements}
    ours = values["size: eccsnn, learnt tables"]
    results = []
    for peer in ("zstandard, together", "zstandard, each timestep", "addresses"):
        if f"size: {peer}" in values:
            ratio = values[f"size: {peer}"] / ours
            results.append(Result(name=f"size, {peer} over eccsnn: {what}", value=ratio, bar=1.0))
    if speed_bar is not None:
        results += [
            Result(name=f"{way}: {what}", value=values[f"speed: eccsnn {way}"], unit="Gbit/s", bar=speed_bar)
            for way in ("encode", "decode")
        ]
    return results


# ---- peers ----


def _zstd_bytes(packed: list[codec.Spikes], judged: list[codec.Spikes]) -> dict[str, float]:
    compress = importlib.import_module("zstandard").ZstdCompressor(level=19).compress
    return {
        "zstandard, together": _mean(len(compress(sample.tobytes())) for sample in packed),
        "zstandard, each timestep": _mean(sum(len(compress(step.tobytes())) for step in sample) for sample in packed),
    }


def _zstd_calls(packed: codec.Spikes, spikes: codec.Spikes) -> list[Candidate]:
    library = importlib.import_module("zstandard")
    raw = packed.tobytes()
    code = library.ZstdCompressor(level=19).compress(raw)
    return [
        Candidate("zstandard encode, level 19", lambda: library.ZstdCompressor(level=19).compress(raw)),
        Candidate("zstandard decode", lambda: library.ZstdDecompressor().decompress(code)),
    ]


def _constriction(density: float) -> tuple[Any, Any]:
    library = importlib.import_module("constriction")
    return library.stream.queue, library.stream.model.Bernoulli(min(max(density, 1e-4), 1 - 1e-4))


def _constriction_bytes(packed: list[codec.Spikes], judged: list[codec.Spikes]) -> dict[str, float]:
    queue, model = _constriction(_mean(spikes.mean() for spikes in judged))
    total = 0
    for spikes in judged:
        encoder = queue.RangeEncoder()
        encoder.encode(spikes.reshape(-1).astype(np.int32), model)
        total += 4 * len(encoder.get_compressed())
    return {"constriction, one density": total / len(judged)}


def _constriction_calls(packed: codec.Spikes, spikes: codec.Spikes) -> list[Candidate]:
    queue, model = _constriction(float(spikes.mean()))
    symbols = spikes.reshape(-1).astype(np.int32)

    def encode() -> Any:
        encoder = queue.RangeEncoder()
        encoder.encode(symbols, model)
        return encoder.get_compressed()

    code = encode()
    return [
        Candidate("constriction encode", encode),
        Candidate("constriction decode", lambda: queue.RangeDecoder(code).decode(model, symbols.size)),
    ]


_PEER_BYTES: dict[str, Callable[[list[codec.Spikes], list[codec.Spikes]], dict[str, float]]] = {
    "zstandard": _zstd_bytes,
    "constriction": _constriction_bytes,
}
_PEER_CALLS: dict[str, Callable[[codec.Spikes, codec.Spikes], list[Candidate]]] = {
    "zstandard": _zstd_calls,
    "constriction": _constriction_calls,
}


def _mean(values: Any) -> float:
    return float(np.mean([float(value) for value in values]))
