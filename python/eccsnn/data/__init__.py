"""Data sets as arrays of images, deterministic batches, and class-incremental scenarios.

`load_dataset` gives train, val and test parts with a fingerprint; `batches` iterates over one of them, the same way
every time for the same seed, epoch and step; `build_scenario` says which classes are learnt when.
"""

from eccsnn.data.batches import (
    AUGMENTATIONS,
    MIXES,
    Batch,
    MixedLabels,
    augment_images,
    batches,
    model_input,
    normalize,
    num_batches,
)
from eccsnn.data.decode import decode_image
from eccsnn.data.load import load_dataset
from eccsnn.data.registry import DatasetInfo, list_datasets
from eccsnn.data.scenario import Scenario, build_scenario, restrict
from eccsnn.data.splits import stratified_split, stratified_subset
from eccsnn.data.types import ImageSet, Splits, channel_statistics

__all__ = [
    "AUGMENTATIONS",
    "MIXES",
    "Batch",
    "DatasetInfo",
    "ImageSet",
    "MixedLabels",
    "Scenario",
    "Splits",
    "augment_images",
    "batches",
    "build_scenario",
    "channel_statistics",
    "decode_image",
    "list_datasets",
    "load_dataset",
    "model_input",
    "normalize",
    "num_batches",
    "restrict",
    "stratified_split",
    "stratified_subset",
]
