"""A finished run as live processes: its cloud behind gRPC, its edge in front, and both measured over a link."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from eccsnn.data import Splits, load_dataset
from eccsnn.errors import ConfigError
from eccsnn.experiments import incremental_live, split_live
from eccsnn.experiments.incremental_load import LoadedIncremental
from eccsnn.experiments.load import Loaded, LoadedRun, load
from eccsnn.experiments.opened import as_samples
from eccsnn.experiments.schema import Config, validate
from eccsnn.experiments.split_load import LoadedSplit
from eccsnn.services.cloud import run_cloud
from eccsnn.services.edge import EdgeResult, run_edge
from eccsnn.services.loopback import factory_command
from eccsnn.services.loopback import measure_link as measure_pair
from eccsnn.training.checkpoint import write_atomically
from eccsnn.transport.images import CODECS
from eccsnn.transport.shaping import LinkShape


def run_configuration(run: Path) -> Config:
    """The resolved configuration of a run directory."""
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{run} is not a run directory: it has no config.yaml. Give the folder that `eccsnn run` printed."
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}. Repeat the run.") from error
    return validate(raw, str(path))


def load_splits(config: Config) -> Splits:
    """The data of a configuration."""
    options = config.data.model_dump(exclude={"augment", "mix", "split_seed", "name"})
    return load_dataset(config.data.name, seed=config.data.split_seed, **options)


def cloud_arguments(run: str, device: str | None = None, precision: str | None = None) -> dict[str, Any]:
    """Arguments of `eccsnn.services.cloud.run_cloud` for a run that a process of its own opens."""
    return serve_arguments(_of_ecc_snn(load(run, device=device, precision=precision)))


def serve_arguments(loaded: LoadedRun) -> dict[str, Any]:
    """Arguments of `eccsnn.services.cloud.run_cloud` that serve a run's cloud model."""
    return {
        "predict": loaded.cloud_logits,
        "class_ids": loaded.cloud.head.class_ids,
        "class_names": [loaded.class_names[c] for c in loaded.cloud.head.class_ids],
        "model_id": loaded.cloud.spec["name"],
        "image_shape": loaded.sample_shape,
    }


def serve_run(
    run: Path,
    *,
    host: str,
    port: int,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    merge: Path | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> None:
    """Serves a run's cloud model until SIGTERM or SIGINT; blocks.

    `merge` is the file in which the statistics of edges that learn are kept and added up; it takes an incremental run.

    Raises:
        ConfigError: Only one of the TLS files is given, they do not load, or the run has nothing to merge or to serve.
        EccsnnError: The address cannot be bound.
    """
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("one of --tls-cert and --tls-key is missing; give both, or neither to serve without TLS.")
    loaded = load(run, device=device, precision=precision)
    if merge is not None and not isinstance(loaded, LoadedIncremental):
        raise ConfigError(f"--merge was given, but {run} is no incremental run: its edges have no statistics to merge.")
    with contextlib.ExitStack() as stack:
        merged = None
        if isinstance(loaded, LoadedSplit):
            arguments = split_live.serve_arguments(loaded)
        elif isinstance(loaded, LoadedIncremental):
            arguments = incremental_live.serve_arguments(loaded)
            if merge is not None:
                merged = stack.enter_context(contextlib.closing(incremental_live.open_merged(loaded, merge)))
        else:
            arguments = serve_arguments(loaded)
        run_cloud(**arguments, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, merged=merged)


def _of_ecc_snn(loaded: Loaded) -> LoadedRun:
    if not isinstance(loaded, LoadedRun):
        raise ConfigError(f"{loaded.path} is a run of {_system(loaded)}, expected one of ecc_snn.")
    return loaded


def _system(loaded: Loaded) -> str:
    if isinstance(loaded, LoadedSplit):
        return loaded.system
    return "ecc_snn" if isinstance(loaded, LoadedRun) else "incremental"


def edge_run(
    run: Path,
    images: Sequence[Path],
    *,
    cloud: str,
    limit: int = 100,
    mode: str = "speculative",
    threshold: float | None = None,
    codec: str = "png",
    timeout_s: float = 5.0,
    tls_ca: Path | None = None,
    out: Path | None = None,
    update: Path | None = None,
    edge_id: str = "edge",
    device: str | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Runs the device side of a run against a cloud that is served elsewhere.

    Args:
        run: Run directory.
        images: Image files; none takes test images of the run's data.
        cloud: `HOST:PORT`.
        limit: Test images to take when no files are given.
        mode: Of a cut network: see `eccsnn.services.early_exit.ExitMode`.
        threshold: Ambiguity above which an image is uploaded, or a cut network's confidence at which it stops; None
            takes the one chosen on validation data.
        codec: `png`, `jpeg` or `raw`.
        timeout_s: Seconds to wait for the cloud before the edge answers itself.
        tls_ca: PEM file with the certificates to trust; None speaks without TLS.
        out: File for one JSON line an image; None writes none.
        update: File of the device's memory, with which an incremental run learns; it needs one.
        edge_id: Name of this edge, for merging.
        device, precision: Of the edge's model; see `eccsnn.load`.

    Returns:
        The summary that reports call `link`, with the label of each given file.

    Raises:
        ConfigError: An option is out of range.
        CheckpointError: `run` is not a finished run.
        DataError: An image file, or the run's data, cannot be read.
    """
    host, port = _address(cloud)
    if codec not in CODECS:
        raise ConfigError(f"codec is {codec!r}, expected one of {', '.join(CODECS)}.")
    if limit < 1 or not timeout_s > 0 or (threshold is not None and math.isnan(threshold)):
        raise ConfigError(
            f"limit is {limit}, timeout_s {timeout_s}, threshold {threshold}; expected at least 1, above 0, a number."
        )
    if out is not None and out.exists() and not out.is_file():
        raise ConfigError(f"--out: {str(out)!r} is there and no regular file; choose another one.")
    loaded = load(run, device=device, precision=precision)
    if (update is None) == isinstance(loaded, LoadedIncremental):
        raise ConfigError(
            f"--update FILE goes with an incremental run and only with one; {run} is a run of {_system(loaded)}, and "
            f"--update {'is missing' if update is None else 'was given'}."
        )
    if codec == "jpeg" and loaded.frames is not None:
        raise ConfigError("codec is jpeg, but event frames are uploaded without loss; use png or raw.")
    pixels, labels, names = _pictures(loaded, run, images, limit)
    if isinstance(loaded, LoadedIncremental):
        assert update is not None  # checked above
        summary, results = incremental_live.learn_and_answer(
            loaded,
            pixels,
            labels,
            host=host,
            port=port,
            memory=update,
            edge_id=edge_id,
            threshold=threshold,
            codec=codec,
            timeout_s=timeout_s,
            tls_ca=tls_ca,
        )
        rows = [describe(loaded, name, result) for name, result in zip(names, results, strict=True)]
        if out is not None:
            write_atomically(out, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return summary | ({"files": rows} if images else {})
    if isinstance(loaded, LoadedSplit):
        summary, answers = split_live.answer(
            loaded,
            pixels,
            labels,
            host=host,
            port=port,
            mode=mode,
            threshold=threshold,
            codec=codec,
            timeout_s=timeout_s,
            tls_ca=tls_ca,
        )
        named = [{"image": name, **row} for name, row in zip(names, answers, strict=True)]
        if out is not None:
            write_atomically(out, "".join(json.dumps(row) + "\n" for row in named).encode())
        return summary | ({"images": named} if images else {})
    options = edge_options(loaded, threshold)
    done = run_edge(
        pixels, host=host, port=port, labels=labels, codec=codec, timeout_s=timeout_s, tls_root=tls_ca, **options
    )
    rows = [describe(loaded, name, result) for name, result in zip(names, done.results, strict=True)]
    if out is not None:
        write_atomically(out, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return done.link | ({"images": rows} if images else {})


def _pictures(
    loaded: Loaded, run: Path, images: Sequence[Path], limit: int
) -> tuple[Sequence[NDArray[np.uint8]], list[int] | None, list[str]]:
    """Pixels, labels (None for files) and names of the given files, or of test images."""
    if images:
        return [loaded.read_image(path) for path in images], None, [str(path) for path in images]
    return sample_test_images(run_configuration(run), limit)


def _address(cloud: str) -> tuple[str, int]:
    host, _, port = cloud.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"cloud is {cloud!r}, expected HOST:PORT, for example 127.0.0.1:50051.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def edge_options(loaded: LoadedRun, threshold: float | None = None) -> dict[str, Any]:
    """Arguments of `eccsnn.services.edge.run_edge` that answer with a run's edge model."""
    return {
        "edge_predict": loaded.edge_logits,
        "measure": loaded.ambiguity,
        "threshold": loaded.threshold if threshold is None else threshold,
        "class_ids": loaded.model.head.class_ids,
        "known_classes": dict(enumerate(loaded.class_names)),
    }


def describe(loaded: LoadedRun | LoadedIncremental, name: str, result: EdgeResult) -> dict[str, Any]:
    """One image's result as JSON."""
    return {
        "image": name,
        "label": loaded.class_names[result.label],
        "source": str(result.source),
        "ambiguity": result.ambiguity,
        "latency_ms": result.latency_ms,
        "wire_bytes_up": result.wire_bytes_up,
        "wire_bytes_down": result.wire_bytes_down,
        "reason": result.reason,
    }


def sample_test_images(config: Config, count: int) -> tuple[list[NDArray[np.uint8]], list[int], list[str]]:
    """`count` test images spread evenly over the test part, with labels and names."""
    test = load_splits(config).test
    rows = np.linspace(0, len(test) - 1, min(count, len(test))).astype(np.int64)
    return list(as_samples(test.gather(rows))), test.labels[rows].tolist(), [f"test[{row}]" for row in rows]


def measure_link(
    run: Path,
    *,
    images: int,
    codec: str,
    jpeg_quality: int,
    timeout_s: float,
    rtt_ms: float,
    rate_mbit: float | None,
    device: str | None = None,
    on_result: Callable[[int, EdgeResult], None] | None = None,
) -> dict[str, Any]:
    """Sends test images through a cloud process and this edge process over TCP, and returns what was measured.

    Args:
        run: Run directory with `deployment.json` and models.
        images: How many test images.
        codec, jpeg_quality: Of uploads.
        timeout_s: Seconds to wait for the cloud.
        rtt_ms, rate_mbit: Put on the link by a userspace shaper; 0 and None leave it as it is.
        device: Where both models compute; None is the CPU.
        on_result: Called after each image.
    """
    loaded = _of_ecc_snn(load(run, device=device))
    pixels, labels, _ = sample_test_images(run_configuration(run), images)
    shape = LinkShape(rtt_ms=rtt_ms, up_mbit_s=rate_mbit, down_mbit_s=rate_mbit)
    done = measure_pair(
        pixels,
        cloud=factory_command(f"{__name__}:cloud_arguments", run=str(run), device=device),
        labels=labels,
        codec=codec,
        quality=jpeg_quality,
        timeout_s=timeout_s,
        shape=shape,
        on_result=on_result,
        **edge_options(loaded),
    )
    return done.link
