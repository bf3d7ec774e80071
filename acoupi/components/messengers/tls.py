"""Encrypted connections whose other end is always checked."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["tls_context"]


def tls_context(
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> ssl.SSLContext:
    """Build a client context that verifies the server's certificate and host name.

    Parameters
    ----------
    ca_file
        Authorities to trust, PEM; None for the system's.
    cert_file, key_file
        The certificate this sensor shows, and its key, PEM, without a passphrase.

    Raises
    ------
    ConfigurationError
        When a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(
            cafile=None if ca_file is None else str(ca_file.expanduser())
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"tls_ca_file: cannot use {ca_file}: {_reason(error)}; it must hold "
            "certificates in PEM format"
        ) from None
    if cert_file is not None:
        key = None if key_file is None else str(key_file.expanduser())
        try:
            # The empty passphrase keeps OpenSSL from asking on the terminal.
            context.load_cert_chain(str(cert_file.expanduser()), key, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"tls_cert_file, tls_key_file: cannot use {cert_file} with "
                f"{key_file or 'the key in the same file'}: {_reason(error)}; they "
                "must be a certificate and its key in PEM format, readable by the user "
                "that runs the sensor, the key without a passphrase"
            ) from None
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not a valid certificate or key"
    return error.strerror or str(error)
