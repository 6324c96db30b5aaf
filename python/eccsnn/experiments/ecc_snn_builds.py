"""How each stage of an ECC-SNN experiment is computed; its code is part of the keys of the stages.

Every function gets what its stage depends on, and the folder that becomes the artefact. Which stages there are, and
what goes into their keys, is in `eccsnn.experiments.ecc_snn`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eccsnn.data import ImageSet, Splits
from eccsnn.experiments import ecc_snn_results as results
from eccsnn.experiments.cloud import MODEL, fit_options
from eccsnn.experiments.ecc_snn_schema import EccSnnConfig
from eccsnn.experiments.run import LOG, StageProgress
from eccsnn.systems import ecc_snn
from eccsnn.training import load_model, predict_logits, save_model
from eccsnn.training.checkpoint import write_atomically, write_json
from eccsnn.transport.images import decode_image, encode_image


def edge(
    config: EccSnnConfig,
    splits: Splits,
    classes: Sequence[int],
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Trains the edge's SNN on the first task's `classes`; `teacher` is the artefact of the cloud where it is asked."""
    model, _ = ecc_snn.train_edge(
        splits,
        classes,
        None if teacher is None else load_model(teacher / MODEL),
        model=config.edge.model.model_dump(),
        training=config.edge.training.model_dump(),
        distillation=config.edge.distillation.model_dump(),
        seed=config.seed,
        options=fit_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def update(
    config: EccSnnConfig,
    splits: Splits,
    classes: Sequence[int],
    before: Path,
    teacher: Path | None,
    folder: Path,
    progress: StageProgress,
) -> None:
    """Teaches the edge of the artefact `before` one more task of `classes`."""
    model, _ = ecc_snn.update_edge(
        load_model(before / MODEL),
        None if teacher is None else load_model(teacher / MODEL),
        splits,
        classes,
        **config.update.model_dump(exclude={"enabled"}),
        seed=config.seed,
        options=fit_options(config, folder, progress),
    )
    save_model(folder / MODEL, model)


def logits(config: EccSnnConfig, splits: Splits, cloud: Path, edges: Mapping[str, Path], folder: Path) -> None:
    """Logits `NAME_val` and `NAME_test` of the cloud and the artefacts in `edges`; all curves are computed from them.

    In fp32, whatever the training's precision: rounded to bf16, logits tie, and ties go to the class learnt first. The
    cloud sees what the link delivers, since the bytes that an upload costs are those of that encoding; `cloud_original`
    is the cloud on the images as they are.
    """
    original = {"val": splits.val, "test": splits.test}
    uploaded = {name: as_uploaded(part, config.link.codec, config.link.jpeg_quality) for name, part in original.items()}
    arrays: dict[str, np.ndarray] = {}

    def run(name: str, artefact: Path, parts: Mapping[str, ImageSet]) -> None:
        model = load_model(artefact / MODEL).to(config.device)
        for part, images in parts.items():
            LOG.info("logits of %s on %s data (%d images)", name, part, len(images))
            arrays[f"{name}_{part}"] = predict_logits(
                model, images, mean=splits.mean, std=splits.std, device=config.device
            )

    run("cloud", cloud, uploaded)
    if config.link.codec == "jpeg":
        run("cloud_original", cloud, original)
    else:
        arrays |= {f"cloud_original_{part}": arrays[f"cloud_{part}"] for part in original}
    for name, edge in edges.items():
        run(name, edge, original)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "logits.npz", buffer.getvalue())


def as_uploaded(images: ImageSet, codec: str, jpeg_quality: int) -> ImageSet:
    """The images as a receiver decodes them after `encode_image`; the same ones where the codec is lossless."""
    if codec != "jpeg":
        return images
    pixels = images.gather(np.arange(len(images)))
    decoded = [decode_image(encode_image(image, codec, quality=jpeg_quality), codec) for image in pixels]
    return ImageSet(np.stack(decoded) if decoded else pixels, images.labels)


def counts(config: EccSnnConfig, splits: Splits, cloud: Path, edges: Sequence[Path], folder: Path) -> None:
    """Counted work of the artefacts' models, and sizes of an encoded image; see `ecc_snn_results.count`."""
    models = [load_model(edge / MODEL) for edge in edges]
    link = config.link
    counted = results.count(
        load_model(cloud / MODEL),
        models,
        splits,
        link.codec,
        link.jpeg_quality,
        spike_input=bool(config.data.binary),
    )
    write_json(folder / "counts.json", counted)
