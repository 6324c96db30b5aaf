"""Parts of the service tests: models whose answers are known, images, certificates, a module for child processes."""

import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trustme

import eccsnn

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside the tests

SHAPE = (3, 8, 8)
CLASSES = (10, 11, 12, 13)


def first_pixel_predict(batch: np.ndarray) -> np.ndarray:
    """Logits whose largest is at (first value of the image) modulo 4, so every answer can be checked."""
    logits = np.zeros((len(batch), len(CLASSES)), dtype=np.float32)
    logits[np.arange(len(batch)), batch[:, 0, 0, 0] % len(CLASSES)] = 1.0
    return logits


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate for localhost and 127.0.0.1, and of the authority that has signed it."""

    certificate: Path
    key: Path
    root: Path


@pytest.fixture
def image() -> Callable[[int], np.ndarray]:
    """Makes the image that `first_pixel_predict` puts into class 10 + (value modulo 4)."""

    def make(value: int) -> np.ndarray:
        pixels = np.full(SHAPE, 128, dtype=np.uint8)
        pixels[0, 0, 0] = value
        return pixels

    return make


@pytest.fixture
def predict() -> Callable[[np.ndarray], np.ndarray]:
    """See `first_pixel_predict`."""
    return first_pixel_predict


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Signed by an authority that lives as long as the tests."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "root.pem")
    issued.cert_chain_pems[0].write_to_path(made.certificate)
    issued.private_key_pem.write_to_path(made.key)
    authority.cert_pem.write_to_path(made.root)
    return made


@pytest.fixture
def child_env(tmp_path: Path) -> dict[str, str]:
    """Environment in which a child process finds eccsnn and the module `cloud_factories`."""
    (tmp_path / "cloud_factories.py").write_text(
        textwrap.dedent(
            """
            import numpy as np

            def first_pixel(offset=0):
                def predict(batch):
                    logits = np.zeros((len(batch), 4), dtype=np.float32)
                    logits[np.arange(len(batch)), (batch[:, 0, 0, 0] + offset) % 4] = 1.0
                    return logits
                return {"predict": predict, "class_ids": [10, 11, 12, 13], "model_id": "first-pixel"}

            def broken():
                raise RuntimeError("no weights here")

            def not_a_dict():
                return 5
            """
        )
    )
    package = str(Path(eccsnn.__file__).parents[1])
    return {"PYTHONPATH": f"{tmp_path}:{package}:" + ":".join(p for p in sys.path if p)}
