"""Event frames of images that a simulated camera looks at: a data set of recordings without a file of any recording.

An image becomes a recording, and the recording frames, one after the other; only frames are kept, in the cache. The
recordings are those that `simulate_dataset` writes for the same images and seed, so frames read from its files are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eccsnn.data.cache import Allocate
from eccsnn.data.decode import in_chunks
from eccsnn.data.events.datasets import (
    FRAMES_VERSION,
    KINDS,
    SIMULATED,
    FrameOptions,
    check_options,
    frames_key,
    frames_shape,
    store_frames,
    warn_of_saturation,
)
from eccsnn.data.events.frames import check_slices
from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import find_preset
from eccsnn.data.events.simulate_dataset import SIMULATOR_VERSION, picture, seed_of
from eccsnn.data.events.types import Events
from eccsnn.data.source import Source
from eccsnn.data.types import ImageSet
from eccsnn.errors import DataError

_LOOKED_AT = {"cifar10_dvs": 32, "n_caltech101": 128, "n_mnist": 28}
"""Height and width in px of square images before a preset's camera: CIFAR-10's and MNIST's own; Caltech-101's, about
(which itself is recorded as it is, see `data.images_to_record`)."""


def image_size_for(dataset: str) -> int:
    """Height and width in px that images should have which `dataset`'s camera looks at.

    Raises:
        ConfigError: no camera of that data set is known.
    """
    return _LOOKED_AT[find_preset(dataset).dataset]


def open_simulated(
    dataset: str,
    images: ImageSet | ImageFiles,
    class_names: Sequence[str],
    options: FrameOptions,
    *,
    source: str,
    key: Mapping[str, Any],
    seed: int = 0,
    is_test: npt.NDArray[np.bool_] | None = None,
) -> Source:
    """Recordings of `images` as the camera of `dataset` would have made them.

    Args:
        dataset: whose camera and sensor: a preset of the simulator.
        images: what it looks at.
        class_names: by class id.
        options: how recordings become frames.
        source: what the images are, for the name.
        key: what identifies the images, with a hash of their pixels or files.
        seed: integer >= 0; recording `i` gets the noise of `(seed, i)`.
        is_test: bool `[N]`, which recordings are the test part; None: there is none.

    Raises:
        ConfigError: there is no such preset, or an option is out of range.
    """
    preset, kind = find_preset(dataset), KINDS[dataset]
    size = check_options(kind, options)

    def build(allocate: Allocate) -> None:
        if len(images):
            record(0)  # is it long enough? else nothing is laid out for the slices
        frames = allocate("images", frames_shape(len(images), size, options), np.uint8)
        allocate("labels", (len(images),), np.int64)[:] = images.labels
        allocate("is_test", (len(images),), np.bool_)[:] = False if is_test is None else is_test

        over = np.zeros(len(images), dtype=np.int64)

        def work(start: int, stop: int) -> None:
            for i in range(start, stop):
                over[i] = store_frames(record(i), options, frames[i])

        in_chunks(len(images), work, description=f"simulating {kind.title}")
        warn_of_saturation(source, int(over.sum()), int((over > 0).sum()))

    def record(i: int) -> Events:
        events = preset.record(picture(images, i), seed=seed_of(seed, i))
        width, height = kind.sensor
        # The recording of an image that does not fill the sensor is smaller; its pixels are those at the top left.
        events = Events.unchecked(events.t, events.x, events.y, events.polarity, width=width, height=height)
        try:
            check_slices(events, options.timesteps, options.slice_by)
        except ValueError as error:
            raise DataError(f"image {i} of {source}: its simulated recording is too short: {error}") from None
        return events

    return Source(
        name=f"{SIMULATED}: {kind.title} of {source}",
        class_names=tuple(class_names),
        has_test_part=is_test is not None,
        key={"dataset": f"{dataset}_simulated", **key, "seed": seed, "image_size": size, **frames_key(options)}
        | {"camera": preset.settings()},
        signature={"frames version": FRAMES_VERSION, "simulator version": SIMULATOR_VERSION},
        build=build,
        default_test_fraction=0.1,
        is_frames=True,
        is_simulated=True,
    )
