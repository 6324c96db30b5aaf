"""Generate the Python code of the protocol: `python -m eccsnn.transport.proto.generate`.

Generated code refuses to load under a protobuf runtime older than its generator and works under newer ones, so the
generator's version is pinned to the oldest runtime the package supports (see `protobuf` in pyproject.toml). To
regenerate, install that version in a throw-away environment:

    python -m venv /tmp/protoc && /tmp/protoc/bin/pip install grpcio-tools==1.73.1 "setuptools<81"
    PYTHONPATH=python /tmp/protoc/bin/python -m eccsnn.transport.proto.generate
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import metadata
from pathlib import Path

GRPCIO_TOOLS = "1.73.1"
"""Pinned generator; its code runs on protobuf >= 6.31."""

ROOT = Path(__file__).resolve().parent
"""Folder that the paths in `.proto` files start from."""


def proto_files() -> list[Path]:
    """Every `.proto` file of the protocol, sorted."""
    return sorted((ROOT / "eccsnn").rglob("*.proto"))


def run_protoc(*options: str) -> None:
    """Run protoc from grpcio-tools over every `.proto` file.

    Raises:
        RuntimeError: protoc is not installed or reports an error.
    """
    files = [str(path.relative_to(ROOT)) for path in proto_files()]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"protoc failed (is grpcio-tools=={GRPCIO_TOOLS} installed?):\n{done.stderr.strip()}")


def main(argv: list[str] | None = None) -> int:
    """Write `*_pb2.py` and `*_pb2.pyi` beside each `.proto` file."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the eccsnn protocol.")
    parser.add_argument("--any-version", action="store_true", help="accept another version of grpcio-tools")
    arguments = parser.parse_args(argv)
    try:
        installed = metadata.version("grpcio-tools")
    except metadata.PackageNotFoundError:
        installed = "none"
    if installed != GRPCIO_TOOLS and not (arguments.any_version and installed != "none"):
        print(
            f"grpcio-tools {installed} is installed, {GRPCIO_TOOLS} is expected: generated code demands a protobuf "
            f"runtime as new as its generator.\n{__doc__}",
            file=sys.stderr,
        )
        return 1
    run_protoc(f"--python_out={ROOT}", f"--pyi_out={ROOT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
