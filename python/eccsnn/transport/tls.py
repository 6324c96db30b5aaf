"""TLS credentials from PEM files, checked before gRPC sees them (its own errors do not name the file)."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from eccsnn.errors import ConfigError


def server_credentials(certificate: str | Path, key: str | Path) -> grpc.ServerCredentials:
    """Credentials of a server.

    Args:
        certificate: PEM file with the server's certificate, followed by intermediate ones if any.
        key: PEM file with its private key, not encrypted.

    Raises:
        ConfigError: a file is missing or no PEM, or key and certificate do not belong together.
    """
    certificate_pem, key_pem = _read(certificate, "certificate"), _read(key, "key")
    if b"ENCRYPTED" in key_pem:
        raise ConfigError(f"TLS key {key} is encrypted; give one without a passphrase, readable by this user only")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"TLS certificate {certificate} and key {key} do not load ({error}); expected PEM files of one pair"
        ) from error
    return grpc.ssl_server_credentials([(key_pem, certificate_pem)])


def channel_credentials(root_ca: str | Path) -> grpc.ChannelCredentials:
    """Credentials of a client that trusts the servers certified by `root_ca` (PEM; one or more certificates).

    Raises:
        ConfigError: the file is missing or holds no certificate.
    """
    pem = _read(root_ca, "root certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(root_ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"TLS root certificate {root_ca} does not load ({error}); expected a PEM file") from error
    return grpc.ssl_channel_credentials(root_certificates=pem)


def _read(path: str | Path, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"TLS {what} {path} cannot be read ({error}); give the path of a PEM file") from error
