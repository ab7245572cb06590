"""Modbus/TCP Security: the same frames inside TLS, with certificates on both sides.

There is no mode without checks: a connection that trusts anybody is one that anybody can command.

Source: MODBUS/TCP Security Protocol Specification V21 (port 802, TLS 1.2 or newer, mutual
authentication). Its role OID is not evaluated here; the device decides what a client may do.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from bessai.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Whom to trust and who we are.

    Attributes:
        ca_file: PEM certificates of the authorities that may sign the device's certificate; the
            device's own, where it signed itself.
        certificate_file: PEM chain that we present; None where the device asks for none.
        key_file: PEM private key of that certificate, without a pass phrase.
        server_name: Name in the device's certificate, where it is not the host we connect to.
    """

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None


def client_context(settings: TlsSettings, *, field: str = "tls") -> ssl.SSLContext:
    """A context that accepts only devices which prove their name.

    Args:
        settings: Files to load.
        field: Where the settings come from, for errors.

    Raises:
        ConfigError: a file is missing, or holds no certificate or no matching key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=settings.ca_file)
    except OSError as error:
        raise _unusable(error, f"{field}.ca_file", settings.ca_file) from None
    if settings.certificate_file is None:
        if settings.key_file is not None:
            raise ConfigError(
                "has no certificate", field=f"{field}.key_file", fix="set certificate_file too"
            )
        return context
    try:
        # The empty pass phrase keeps OpenSSL from asking at the terminal.
        context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
    except OSError as error:
        raise _unusable(error, f"{field}.certificate_file", settings.certificate_file) from None
    return context


def _unusable(error: OSError, field: str, path: Path) -> ConfigError:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return ConfigError(
        f"cannot be used ({reason or 'not a PEM file'})",
        field=field,
        value=str(path),
        fix="give a readable PEM file; a key must fit its certificate and have no pass phrase",
    )
