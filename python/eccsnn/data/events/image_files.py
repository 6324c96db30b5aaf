"""Image files of any size, decoded one by one when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from eccsnn.data.source import ListedFile, list_images, subfolders
from eccsnn.data.splits import stratified_subset
from eccsnn.errors import DataError


class ImageFiles(Sequence[npt.NDArray[np.uint8]]):
    """The images of a folder with a folder for each class, as arrays uint8 `[H, W, 3]`.

    Attributes:
        folder: below which the files are.
        files: in the order of the images.
        labels: int64 `[N]`, class ids.
        class_names: the folders' names, in alphabetical order.
    """

    def __init__(self, folder: Path, files: Sequence[ListedFile], class_names: Sequence[str]) -> None:
        self.folder = folder
        self.files = tuple(files)
        self.labels = np.array([file.label for file in files], dtype=np.int64)
        self.class_names = tuple(class_names)

    @classmethod
    def of_folder(
        cls, folder: Path, *, limit: int | None = None, seed: int = 0, ignore: Sequence[str] = ()
    ) -> ImageFiles:
        """Lists a folder.

        Args:
            folder: has a folder for each class.
            limit: images at most, the same share of every class; None: all.
            seed: which images those are.
            ignore: classes to leave out.

        Raises:
            DataError: there is no class folder, or one without an image.
        """
        names = [name for name in subfolders(folder) if name not in ignore]
        if not names:
            raise DataError(f"{folder} has no folders; expected one for each class, with images in it")
        files = [file for label, name in enumerate(names) for file in list_images(folder, name, label, is_test=False)]
        if limit is not None and limit < len(files):
            labels = np.array([file.label for file in files], dtype=np.int64)
            files = [files[i] for i in stratified_subset(labels, limit, seed=seed, purpose="simulated recordings")]
        return cls(folder, files, names)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        return read_image(self.folder / self.files[index].path)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """One image file, uint8 `[H, W, 3]`.

    Raises:
        DataError: it cannot be decoded, or is a film.
    """
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise DataError(
                    f"{path} has {frames} frames, expected one image; `eccsnn.data.events.simulate.simulate` with "
                    "frame_times_us makes a recording of a video"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
