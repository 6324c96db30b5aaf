"""What split spiking networks are compared with: BottleNet and BottleNet++ (split ANNs), edge only and cloud only.

Sources: BottleNet (Eshratifar et al. 2019): features to few channels and 8 bits, JPEG on the wire (without the headers
and tables that both ends know, and lossless where that is shorter: ours); BottleNet++ (Shao & Zhang 2020): strided
convolution, batch norm and sigmoid to 8 bits, here entropy-coded without loss. Both are trained as the spiking systems
are: backbone, unit, whole network. Edge only is the uncut spiking network with as many epochs in all; cloud only is an
ANN that gets the image as PNG or JPEG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from eccsnn.data import ImageSet, Splits, batches
from eccsnn.models import Model, split
from eccsnn.models.ann import ANN
from eccsnn.nn import JPEGCodec
from eccsnn.training import FitOptions, FitResult, predict_logits, train_cut
from eccsnn.transport.feature_codec import decode_features, encode_features
from eccsnn.transport.images import decode_image, encode_image

KINDS = {"bottlenet": "bottlenet", "bottlenet_pp": "bottlenet++"}
"""System to the `kind` of its unit in `eccsnn.models`."""


def train_uncut(
    backbone: Model,
    splits: Splits,
    *,
    training: Mapping[str, Any],
    seed: int,
    exit_weight: float = 0.0,
    options: FitOptions = FitOptions(),
) -> tuple[Model, FitResult]:
    """Edge only, and the yardstick of every cut network: the backbone trains on, with as many epochs as the cut one."""
    return train_cut(
        backbone,
        splits,
        point=None,
        trains="all",
        training=training,
        seed=seed,
        exit_weight=exit_weight,
        options=options,
    )


def train_unit(
    backbone: Model, splits: Splits, *, point: str, unit: Mapping[str, Any], **given: Any
) -> tuple[Model, FitResult]:
    """BottleNet and BottleNet++, second stage: the unit learns alone; arguments as for `eccsnn.training.train_cut`.

    Args:
        backbone: Trained ANN, not changed.
        splits: Data.
        point: Split point.
        unit: `kind` (a value of `KINDS`), `channels`, `stride`, `kernel_size`, and `jpeg_quality` for BottleNet.
        given: `training`, `seed`, `teacher`, `logit_weight`, `temperature`, `options`.
    """
    return train_cut(backbone, splits, point=point, trains="unit", unit=unit, **given)


def finetune(network: Model, splits: Splits, *, point: str, **given: Any) -> tuple[Model, FitResult]:
    """BottleNet and BottleNet++, third stage: the whole cut network, through rounding (and JPEG) as in use."""
    return train_cut(network, splits, point=point, trains="all", **given)


def predict_through_features(
    model: ANN, images: ImageSet, *, point: str, mean: Sequence[float], std: Sequence[float], device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """BottleNet and BottleNet++: answers after the features were encoded and decoded.

    Args:
        model: With a unit at `point`.
        images: N images.
        point: Split point.
        mean, std: Per channel, for normalisation.
        device: Where to compute.

    Returns:
        Logits fp32 `[1, N, K]` and payload bytes int64 `[1, N]`: one packet an image.
    """
    edge, cloud = split(model.eval(), point)
    jpeg = cast(JPEGCodec | None, edge.codec)
    logits, sizes = [], []
    with torch.inference_mode():
        for batch in batches(images, 128, mean=mean, std=std, device=device):
            features = edge(batch.images)
            if jpeg is not None:
                payloads = jpeg.encode(features)
                arrived = jpeg.decode(payloads)
            else:
                payloads = [encode_features(one.numpy()) for one in features.cpu()]
                arrived = torch.from_numpy(np.stack([decode_features(payload) for payload in payloads]))
            logits.append(cloud(arrived.to(device)).float().cpu().numpy())
            sizes += [len(payload) for payload in payloads]
    return np.concatenate(logits)[None], np.array(sizes, dtype=np.int64)[None]


def cloud_only(
    model: Model,
    images: ImageSet,
    *,
    codec: str,
    jpeg_quality: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Cloud only: answers on images as they were uploaded.

    Args:
        model: The cloud's ANN.
        images: N images, or recordings as event frames.
        codec: `png`, or `jpeg` for images.
        jpeg_quality: Of JPEG.
        mean, std: Per channel, for normalisation.
        device: Where to compute.

    Returns:
        Logits fp32 `[1, N, K]` and payload bytes int64 `[1, N]`.
    """
    pixels = images.gather(np.arange(len(images)))
    folded = pixels.reshape(len(pixels), -1, *pixels.shape[-2:])  # event frames travel as so many channels
    payloads = [encode_image(image, codec, quality=jpeg_quality) for image in folded]
    shape = folded.shape[1], folded.shape[2], folded.shape[3]
    arrived = np.stack([decode_image(payload, codec, shape=shape) for payload in payloads]).reshape(pixels.shape)
    logits = predict_logits(model, ImageSet(arrived, images.labels), mean=mean, std=std, device=device)
    return logits[None], np.array([len(payload) for payload in payloads], dtype=np.int64)[None]
