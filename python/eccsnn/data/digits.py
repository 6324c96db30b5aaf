"""scikit-learn's handwritten digits: 1,797 real 8x8 images that come with the library."""

from __future__ import annotations

import numpy as np
from PIL import Image

from eccsnn.data.cache import Allocate
from eccsnn.data.source import Source


def open_digits(*, image_size: int = 32) -> Source:
    """The digits 0 to 9, scaled bilinearly to `image_size` and repeated on 3 channels; no test part of their own.

    Source: test part of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), as packaged
    by scikit-learn; its levels 0..16 become 0..255.
    """

    def build(allocate: Allocate) -> None:
        from sklearn.datasets import load_digits  # imported where needed: it takes a second

        digits = load_digits()
        grey = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
        images = allocate("images", (len(grey), 3, image_size, image_size), np.uint8)
        for i, digit in enumerate(grey):
            scaled = Image.fromarray(digit).resize((image_size, image_size), Image.Resampling.BILINEAR)
            images[i] = np.asarray(scaled)
        allocate("labels", (len(grey),), np.int64)[:] = digits.target
        allocate("is_test", (len(grey),), np.bool_)[:] = False

    return Source(
        name="scikit-learn digits",
        class_names=tuple(str(digit) for digit in range(10)),
        has_test_part=False,
        key={"dataset": "digits", "image_size": image_size},
        signature={},
        build=build,
        use_cache=False,
    )
