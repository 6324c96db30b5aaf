"""What is measured of a trained cut network: outputs of every timestep, bytes on the wire, work.

This code is part of the keys of these stages.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from eccsnn._core import SpikeTables
from eccsnn.costs import count_macs, count_synops
from eccsnn.data import ImageSet, Splits, model_input
from eccsnn.experiments.cloud import MODEL
from eccsnn.experiments.opened import as_samples
from eccsnn.experiments.run import LOG
from eccsnn.experiments.split_builds import EXIT_HEAD, exit_head
from eccsnn.experiments.split_schema import SplitConfig
from eccsnn.models import SpikingModel, split
from eccsnn.models.ann import ANN
from eccsnn.nn import SpikeRateModel
from eccsnn.systems import baselines
from eccsnn.training import load_checkpoint, load_model, load_weights, predict_logits
from eccsnn.training.checkpoint import write_atomically, write_json
from eccsnn.training.evaluate import predict_timesteps
from eccsnn.transport.images import encode_image
from eccsnn.transport.spike_codec import SpikeEncoder, flat_tables, load_tables

TABLES = "tables.bin"
_TABLE_IMAGES = 4096  # training images whose spikes the codec's tables are learnt from
_COUNTED_IMAGES = 128  # operations and image sizes are means over this many validation images


def tables(config: SplitConfig, splits: Splits, cut: Path, folder: Path) -> None:
    """Learns the codec's starting tables from the wire's spikes of training images."""
    assert config.unit is not None
    model = cast(SpikingModel, load_model(cut / MODEL).to(config.device))
    edge, _ = split(model, config.unit.point)
    model_of_rate = SpikeRateModel(edge.wire.channels, edge.wire.size, edge.wire.size)
    with torch.inference_mode():
        spikes = [edge(images).cpu() for images in _some(splits.train, _TABLE_IMAGES, splits, config.device)]
    model_of_rate.fit([one.clone() for one in spikes])
    write_atomically(folder / TABLES, model_of_rate.export_tables())


def outputs(
    config: SplitConfig, splits: Splits, cut: Path | None, uncut: Path | None, tables: Path | None, folder: Path
) -> None:
    """Logits of every timestep and payload bytes, on validation and test images, in fp32.

    `cut_PART_logits` [T, N, K], `cut_PART_bytes` [T, N] (the first timestep with the stream's header), `cut_PART_exit`
    (logits of the edge's exit head), `cut_PART_firing_rate` [T], `uncut_PART_logits`.
    """
    arrays: dict[str, np.ndarray] = {}
    statistics: dict[str, Any] = {"mean": splits.mean, "std": splits.std, "device": config.device}
    for part, images in (("val", splits.val), ("test", splits.test)):
        if uncut is not None:
            model = load_model(uncut / MODEL).to(config.device)
            LOG.info("logits of the uncut network on %s data (%d images)", part, len(images))
            if isinstance(model, SpikingModel):
                arrays[f"uncut_{part}_logits"] = predict_timesteps(model, images, point=None, **statistics).logits
            else:
                arrays[f"uncut_{part}_logits"] = predict_logits(model, images, **statistics)[None]
        if cut is not None:
            LOG.info("logits of the cut network on %s data (%d images)", part, len(images))
            arrays |= {f"cut_{part}_{k}": v for k, v in _through(config, cut, tables, images, statistics).items()}
    _save_arrays(folder / "outputs.npz", arrays)


def _through(
    config: SplitConfig, cut: Path, tables: Path | None, images: ImageSet, statistics: dict[str, Any]
) -> dict[str, np.ndarray]:
    assert config.unit is not None
    model = load_model(cut / MODEL).to(config.device)
    if isinstance(model, ANN):
        logits, sizes = baselines.predict_through_features(model, images, point=config.unit.point, **statistics)
        return {"logits": logits, "bytes": sizes}
    head = None
    if (cut / EXIT_HEAD).is_file():
        head = exit_head(config, model.head.class_ids)
        load_weights(head, load_checkpoint(cut / EXIT_HEAD)[0], str(cut / EXIT_HEAD))
        head = head.to(config.device).eval()
    out = predict_timesteps(cast(SpikingModel, model), images, point=config.unit.point, exit_head=head, **statistics)
    assert out.wire is not None
    wire = model.bottleneck(config.unit.point)
    learnt = wire_tables(tables, wire.channels, wire.size)
    found = {
        "logits": out.logits,
        "bytes": payload_sizes(out.wire, learnt),
        "firing_rate": np.unpackbits(out.wire, axis=-1).sum(axis=(1, 2, 3, 4))
        / (out.wire.shape[1] * wire.channels * wire.size**2),
    }
    return found if out.exit_logits is None else found | {"exit": out.exit_logits}


def wire_tables(tables: Path | None, channels: int, size: int) -> SpikeTables:
    """The codec's tables: those learnt, or flat ones."""
    if tables is None:
        return flat_tables(channels, size, size)
    return load_tables((tables / TABLES).read_bytes())


def payload_sizes(wire: np.ndarray, tables: SpikeTables) -> np.ndarray:
    """Bytes of every packet.

    Args:
        wire: Packed spikes, uint8 `[T, N, h, w, ceil(c / 8)]`; a stream a sample.
        tables: Where the codec starts.

    Returns:
        int64 `[T, N]`; the first timestep with the stream's header.
    """
    streams = np.moveaxis(wire, 1, 0)
    sizes = [[len(packet) for packet in SpikeEncoder(tables).encode_packed(one)] for one in streams]
    return np.array(sizes, dtype=np.int64).T


def cloud_outputs(config: SplitConfig, splits: Splits, cloud: Path, folder: Path) -> None:
    """Cloud only: logits on PNG and JPEG uploads (event frames: PNG) and their bytes, on validation and test images."""
    arrays: dict[str, np.ndarray] = {}
    model = load_model(cloud / MODEL).to(config.device)
    for part, images in (("val", splits.val), ("test", splits.test)):
        for codec in upload_codecs(splits):
            logits, sizes = baselines.cloud_only(
                model,
                images,
                codec=codec,
                jpeg_quality=config.upload.jpeg_quality,
                mean=splits.mean,
                std=splits.std,
                device=config.device,
            )
            arrays |= {f"{codec}_{part}_logits": logits, f"{codec}_{part}_bytes": sizes}
    _save_arrays(folder / "outputs.npz", arrays)


def upload_codecs(splits: Splits) -> tuple[str, ...]:
    """Codecs of uploads that are compared; event frames are not photographs, and JPEG takes grey or colours."""
    return ("png", "jpeg") if splits.timesteps is None else ("png",)


class _First(nn.Module):
    """The first timesteps of a part that takes images."""

    def __init__(self, part: nn.Module, timesteps: int) -> None:
        super().__init__()
        self.part, self.timesteps = part, timesteps

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x[: self.timesteps] if x.ndim == 5 else x, timesteps=self.timesteps)


def counts(config: SplitConfig, splits: Splits, cut: Path | None, uncut: Path | None, folder: Path) -> None:
    """Work of an image up to each timestep, from validation images: of the edge's part, the cloud's, the uncut network;
    that of the edge's exit head at each timestep; and the bytes of an uploaded image."""
    chosen = np.linspace(0, len(splits.val) - 1, min(_COUNTED_IMAGES, len(splits.val))).astype(np.int64)
    pixels = splits.val.gather(chosen)
    images = model_input(torch.from_numpy(pixels), splits.mean, splits.std)
    spike_input = bool(config.data.binary)
    quality = config.upload.jpeg_quality
    found: dict[str, Any] = {
        "images": len(chosen),
        "image_bytes": {
            codec: float(np.mean([len(encode_image(one, codec, quality=quality)) for one in as_samples(pixels)]))
            for codec in (*upload_codecs(splits), "raw")
        },
    }
    if uncut is not None:
        whole = load_model(uncut / MODEL)
        found["uncut"] = _count_images(whole, images, spike_input)
        if config.unit is not None and config.spiking:  # cut without a unit, for the ablation
            plain, _ = split(cast(SpikingModel, whole), config.unit.point)
            found["plain_edge"] = _count_images(plain, images, spike_input)
    if cut is not None:
        assert config.unit is not None
        model = load_model(cut / MODEL)
        edge, cloud = split(cast(Any, model), config.unit.point)
        found["wire"] = {"name": edge.wire.name, "shape": [edge.wire.channels, edge.wire.size, edge.wire.size]}
        if (cut / EXIT_HEAD).is_file():
            # Products alone, as everywhere: the mean over space is not one.
            head, shape = exit_head(config, model.head.class_ids), (edge.wire.channels, edge.wire.size, edge.wire.size)
            found["exit_head"] = {"macs": float(sum(count_macs(head, shape).values()))}
        point = model.split_point(config.unit.point)
        found["point"] = {"name": point.name, "shape": [point.channels, point.size, point.size], "bits": point.bits}
        found["edge"] = _count_images(edge, images, spike_input)
        if isinstance(model, SpikingModel):
            with torch.inference_mode():
                spikes = edge(images)
            steps = [count_synops(cloud, spikes[: t + 1], spike_input=True) for t in range(len(spikes))]
            found["cloud"] = _rows(steps)
        else:
            shape = (edge.wire.channels, edge.wire.size, edge.wire.size)
            found["cloud"] = _dense(count_macs(cloud, shape, torch.uint8), cloud)
    write_json(folder / "counts.json", found)


def _count_images(model: nn.Module, images: Tensor, spike_input: bool) -> dict[str, Any]:
    """Of a network or part that takes images or event frames, after each number of timesteps. A spiking network's first
    layer multiplies pixels and counts of events; binary events it accumulates."""
    timesteps = getattr(model, "timesteps", None)
    if timesteps is None:
        frames = len(images) if images.ndim == 5 else 1  # an ANN takes all at once, as channels
        return _dense(count_macs(model, (frames * images.shape[-3], *images.shape[-2:])), model)
    reports = [count_synops(_First(model, t + 1), images, spike_input=spike_input) for t in range(timesteps)]
    return _rows(reports) | {"parameters": sum(p.numel() for p in model.parameters())}


def _rows(reports: list[Any]) -> dict[str, Any]:
    return {
        "synops": [report.synops_per_image for report in reports],
        "macs": [report.macs_per_image for report in reports],
        "dense": [report.dense_per_image for report in reports],
        "firing_rates": reports[-1].firing_rates,
        "uncounted": sorted({name for report in reports for name in report.uncounted}),
    }


def _dense(macs: dict[str, int], model: nn.Module) -> dict[str, Any]:
    parameters, total = sum(p.numel() for p in model.parameters()), [float(sum(macs.values()))]
    return {"synops": [0.0], "macs": total, "dense": total, "parameters": parameters}


def _some(images: ImageSet, count: int, splits: Splits, device: str) -> Iterable[Tensor]:
    """Normalised batches of images that are spread evenly over a set."""
    rows = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.int64)
    for start in range(0, len(rows), 256):
        pixels = torch.from_numpy(images.gather(rows[start : start + 256]))
        yield model_input(pixels, splits.mean, splits.std).to(device)


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
