"""TLS files are checked before gRPC sees them."""

from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from eccsnn.errors import ConfigError
from eccsnn.transport import tls


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Two certificates with their keys."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        certificate, key = folder / "cert.pem", folder / "key.pem"
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        made.append((certificate, key))
    return made


def test_a_matching_pair_loads(pairs: list[tuple[Path, Path]]) -> None:
    certificate, key = pairs[0]
    assert isinstance(tls.server_credentials(certificate, key), grpc.ServerCredentials)
    assert isinstance(tls.channel_credentials(certificate), grpc.ChannelCredentials)


def test_key_and_certificate_must_belong_together(pairs: list[tuple[Path, Path]]) -> None:
    with pytest.raises(ConfigError, match="one pair"):
        tls.server_credentials(pairs[0][0], pairs[1][1])


def test_missing_files_are_named(pairs: list[tuple[Path, Path]], tmp_path: Path) -> None:
    certificate, key = pairs[0]
    gone = tmp_path / "gone.pem"
    for call in (
        lambda: tls.server_credentials(gone, key),
        lambda: tls.server_credentials(certificate, gone),
        lambda: tls.channel_credentials(gone),
    ):
        with pytest.raises(ConfigError, match=r"gone\.pem cannot be read"):
            call()


def test_files_that_are_no_pem_are_refused(pairs: list[tuple[Path, Path]], tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\x00not a certificate")
    with pytest.raises(ConfigError, match="expected PEM"):
        tls.server_credentials(junk, pairs[0][1])
    with pytest.raises(ConfigError, match="expected a PEM"):
        tls.channel_credentials(junk)


def test_an_encrypted_key_is_refused_instead_of_asking_for_its_passphrase(
    pairs: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(pairs[0][1].read_bytes(), password=None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match="passphrase"):
        tls.server_credentials(pairs[0][0], locked)
