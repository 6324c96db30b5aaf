"""A finished run of a cut network as live processes: its cloud behind one gRPC stream, its edge in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eccsnn.data import model_input
from eccsnn.errors import ConfigError
from eccsnn.experiments.load import Loaded, load
from eccsnn.experiments.split_load import LoadedSplit
from eccsnn.services.early_exit import EdgeSplit, ExitMode
from eccsnn.services.loopback import factory_command, measure_stream
from eccsnn.services.stream_run import run_stream
from eccsnn.systems.split_services import Encode, cloud_split, edge_split
from eccsnn.training import predict_logits
from eccsnn.transport.shaping import LinkShape
from eccsnn.transport.spike_codec import SpikeDecoder, SpikeEncoder

SPIKE_CODEC = 1
"""Number of `eccsnn.transport.spike_codec` in messages; 0 are packed bits."""


class _Decoder:
    """The codec's decoder as a cloud uses it: a sample's packets in order."""

    def __init__(self, loaded: LoadedSplit) -> None:
        assert loaded.tables is not None
        self._decoder = SpikeDecoder(loaded.tables)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        return self._decoder.decode(data)[0]


def cloud_arguments(run: str, device: str | None = None) -> dict[str, Any]:
    """Arguments of `eccsnn.services.cloud.run_cloud` for a run that a process of its own opens."""
    return serve_arguments(opened(Path(run), device))


def serve_arguments(loaded: LoadedSplit) -> dict[str, Any]:
    """Arguments of `eccsnn.services.cloud.run_cloud` that serve the cloud's part of a run.

    Raises:
        ConfigError: The run is another one.
    """
    _cut(loaded)
    served = cloud_split(
        loaded.cloud,
        loaded.model.timesteps,
        exit_threshold=loaded.cloud_threshold,
        decoders={SPIKE_CODEC: lambda: _Decoder(loaded)},
    )
    ids = loaded.model.head.class_ids
    return {
        "predict": lambda images: _logits(loaded, loaded.model, images),
        "class_ids": ids,
        "class_names": [loaded.class_names[c] for c in ids],
        "model_id": loaded.model.spec["name"],
        "image_shape": loaded.sample_shape,
        "splits": [served],
    }


def edge_arguments(loaded: LoadedSplit) -> EdgeSplit:
    """The edge's part of a run, with the run's codec; the uncut network is what it falls back to."""

    def prepare(images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(loaded.samples(images).images)
        return model_input(pixels, loaded.mean, loaded.std).to(loaded.device)

    def encoder() -> Encode:
        assert loaded.tables is not None
        stream = SpikeEncoder(loaded.tables)
        return lambda spikes: stream.encode(spikes[None])[0]

    loaded.edge.exit_head = loaded.exit_head
    return edge_split(
        loaded.edge,
        prepare,
        codec=SPIKE_CODEC,
        encoder=encoder,
        class_ids=loaded.model.head.class_ids,
        local=lambda image: _logits(loaded, loaded.uncut, image[None])[0],
    )


def opened(run: Path, device: str | None = None) -> LoadedSplit:
    """A run whose network of spikes is cut.

    Raises:
        ConfigError: The run is another one.
    """
    return _cut(load(run, device=device))


def _cut(loaded: Loaded) -> LoadedSplit:
    if not isinstance(loaded, LoadedSplit) or loaded.tables is None:
        raise ConfigError(f"{loaded.path} is no run of a cut spiking network; give one of neucodex or spikebottlenet.")
    return loaded


def modes_of(loaded: LoadedSplit) -> list[ExitMode]:
    """The modes that a run can be measured in."""
    head = [ExitMode.EDGE_EXIT_HEAD] if loaded.exit_head is not None else []
    return [*head, ExitMode.LOCK_STEP, ExitMode.SPECULATIVE, ExitMode.EDGE_ONLY, ExitMode.UPLOAD_IMAGE]


def measure(
    run: Path,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[int],
    *,
    rtt_ms: Sequence[float],
    rate_mbit: Sequence[float],
    timeout_s: float,
    jpeg_quality: int,
    device: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Sends test images through a cloud process and this edge process in every mode, over every link.

    Args:
        run: Run directory with `deployment.json` and models.
        images: uint8 `[*sample_shape]` each.
        labels: Their class ids.
        rtt_ms, rate_mbit: Links of the userspace shaper, each with each.
        timeout_s: How long an edge waits for anything from the cloud.
        jpeg_quality: Of images that are uploaded whole.
        device: Where both parts compute; None is the CPU.
        progress: Told what is done.

    Returns:
        One row a link and mode; see `eccsnn.services.stream_summary.summarize_stream`.
    """
    loaded = opened(run, device)
    links = [(rtt, rate) for rtt in rtt_ms for rate in rate_mbit]
    modes = modes_of(loaded)
    progress(f"{len(images)} images over {len(links)} links in {len(modes)} modes each")
    runs = measure_stream(
        images,
        cloud=factory_command(f"{__name__}:cloud_arguments", run=str(run), device=device),
        modes=modes,
        shapes=[LinkShape(rtt_ms=rtt, up_mbit_s=rate, down_mbit_s=rate) for rtt, rate in links],
        edge=edge_arguments(loaded),
        threshold=loaded.cloud_threshold,
        edge_threshold=loaded.threshold,
        labels=labels,
        timeout_s=timeout_s,
        image_codec="jpeg" if loaded.frames is None else "png",
        quality=jpeg_quality,
    )
    of_each = [link for link in links for _ in modes]
    return [one.summary | {"rtt_ms": rtt, "rate_mbit": rate} for one, (rtt, rate) in zip(runs, of_each, strict=True)]


def answer(
    loaded: LoadedSplit,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[int] | None,
    *,
    host: str,
    port: int,
    mode: str,
    threshold: float | None = None,
    codec: str = "png",
    timeout_s: float = 5.0,
    tls_ca: Path | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answers images against a cloud that is served elsewhere.

    Args:
        loaded: The run.
        images: uint8 `[*sample_shape]` each.
        labels: Their class ids, or None.
        host, port: Of the cloud.
        mode: A value of `ExitMode`.
        threshold: Confidence at which an image stops; None takes the run's, of whoever decides in this mode.
        codec: Of uploads, for `upload_image`.
        timeout_s: How long to wait for anything from the cloud.
        tls_ca: PEM file with the certificates to trust; None speaks without TLS.

    Returns:
        The summary, and one row an image.

    Raises:
        ConfigError: The run has no cut spiking network, or no such mode.
    """
    known = {str(one) for one in modes_of(loaded)} if loaded.tables is not None else set()
    if mode not in known:
        raise ConfigError(
            f"mode is {mode!r}, but {loaded.path} ({loaded.system}) knows {', '.join(sorted(known)) or 'none'}."
        )
    done = run_stream(
        images,
        edge=edge_arguments(loaded),
        mode=ExitMode(mode),
        threshold=loaded.cloud_threshold if threshold is None else threshold,
        edge_threshold=loaded.threshold if threshold is None else threshold,
        host=host,
        port=port,
        labels=labels,
        tls_root=tls_ca,
        timeout_s=timeout_s,
        image_codec=codec,
        model_id=loaded.model.spec["name"],
    )
    rows = [
        {
            "label": None if one.label is None else loaded.class_names[one.label],
            "confidence": one.confidence,
            "source": str(one.source),
            "timesteps": one.timesteps,
            "latency_ms": one.latency_ms,
            "payload_bytes_up": one.payload_bytes_up,
            "message_bytes_up": one.message_bytes_up,
            "reason": one.reason,
        }
        for one in done.results
    ]
    return done.summary, rows


def _logits(loaded: LoadedSplit, model: Any, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    return predict_logits(model, loaded.samples(images), mean=loaded.mean, std=loaded.std, device=loaded.device)
