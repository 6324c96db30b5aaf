"""What the files of short trials have in common: how they were made, and of what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import eccsnn


def write_trials(path: Path, command: str, data: str, *, images: int, epochs: int, **fields: Any) -> None:
    """Writes a JSON file of trials.

    Args:
        path: Where to.
        command: What repeats them, without its options.
        data: Name of the data set, as its splits have it.
        images, epochs: Of the training.
        fields: What else the file says, `trials` among it.
    """
    file = {
        "command": f"{command} --images {images} --epochs {epochs} --out FILE",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "eccsnn": eccsnn.__version__,
        "torch": torch.__version__,
        "data": data,
        "images": images,
        "epochs": epochs,
        "seed": 0,
        **fields,
    }
    path.write_text(json.dumps(file, indent=1) + "\n", encoding="utf-8")
