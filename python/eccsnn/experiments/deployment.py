"""Reading the `deployment.json` of a run: what an edge and a cloud need to know beside their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from eccsnn.errors import CheckpointError

_AGAIN = "Start the same `eccsnn run` again: it reuses what is finished and writes this file anew."
Settings = TypeVar("Settings", bound=BaseModel)


def read_deployment(path: Path, schema: type[Settings]) -> Settings:
    """Reads and checks a `deployment.json`.

    Raises:
        CheckpointError: It is missing, or not what a run writes.
    """
    try:
        return schema.model_validate_json(_read(path))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'file'}: {p['msg']}" for p in error.errors())
        raise CheckpointError(f"{path} is not what a run writes: {problems}. {_AGAIN}") from error


def deployment_schema(path: Path) -> str:
    """The schema that a `deployment.json` names; an empty text where it names none.

    Raises:
        CheckpointError: It is missing.
    """
    try:
        found = json.loads(_read(path))
    except ValueError:
        return ""  # `read_deployment` says what is wrong with it
    return str(found.get("schema", "")) if isinstance(found, dict) else ""


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} is not a finished run: it has no {path.name}. Give the folder that `eccsnn run` printed, "
            "or start the same `eccsnn run` again to finish it."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. {_AGAIN}") from error
