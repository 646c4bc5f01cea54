"""The certificate of the SMTP ports: the operator's by its path, read again when it changes, or one made for development.

A new certificate is loaded into the living context: sessions that are open go on, the next handshake shows it. One that cannot be read
(half written, key and certificate that do not match) is told in the log, and the one before is served on.

The one made here is signed by itself: mail programs ask their user whether to trust it, once, because it is kept beside the keyring.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app import log

_LOOK_SECONDS = 10.0
_DEVELOPMENT_DAYS = 3650


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message names the file and no secret."""


class Certificate:
    """A TLS context, and the files it comes from."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read them; CertificateError when that does not go. `key`: None when it is in the same file."""
        self._files = (certificate, key or certificate)
        self._seen = self._look()
        self.context = _new_context(*self._files)

    async def watch(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.reload()

    def reload(self) -> bool:
        """Load the files again if they changed; whether they did and could be used."""
        seen = self._look()
        if seen == self._seen or None in seen:
            return False
        self._seen = seen
        try:
            _new_context(*self._files)  # tried apart: half a change must not reach the living one
            self.context.load_cert_chain(*self._files)
        except (CertificateError, OSError) as error:
            log.certificate_unreadable(str(self._files[0]), error)
            return False
        log.certificate_read(str(self._files[0]))
        return True

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        looks: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                found = file.stat()
                looks.append((found.st_mtime_ns, found.st_ino, found.st_size))
            except OSError:
                looks.append(None)
        return tuple(looks)


def development_certificate(directory: Path, hostname: str) -> Path:
    """The file of a certificate signed by itself, with its key; made when it is not there. Another directory when this one is not ours."""
    kept = directory / "smtp-certificate.pem"
    if kept.exists():
        return kept
    pem = _make(hostname)
    with suppress(OSError):
        _write(kept, pem)
        return kept
    aside = Path(tempfile.mkdtemp(prefix="staffetta-smtp-")) / kept.name
    _write(aside, pem)
    return aside


def _new_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"the certificate {certificate} with the key {key} cannot be used: {error}") from error
    return context


def _make(hostname: str) -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names = [x509.DNSName(each) for each in dict.fromkeys((hostname, "localhost"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DEVELOPMENT_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    key = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key + made.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, pem: bytes) -> None:
    """Whole or not at all, readable by its owner alone."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        raise
