"""The certificate that an ingress shows to its clients: read and checked before anything starts, followed while it runs."""

import logging
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from infercast.policies.faults import BadInput, Fault

from ..followed import Followed
from ..keys import write_private

log = logging.getLogger("infercast.certificate")
CONTROL = "admin.sock"
"""The name of HAProxy's control socket, one for each node."""
RUNTIME_API_S = 5.0
SETTLING_S = 60.0
PublicForm = serialization.PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key, in one PEM text as HAProxy reads it."""

    pem: str
    names: tuple[str, ...]
    not_after: datetime
    fingerprint: str
    """SHA-1 of the certificate, hex: HAProxy tells that of those it holds."""

    @property
    def digest(self) -> str:
        """The digest of what it means."""
        return blake2b(self.pem.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a certificate chain and its private key stand."""

    certificate: Path
    key: Path


def read_certificate(files: TlsFiles, now: datetime | None = None) -> Certificate:
    """Read a chain and its key. Raises BadInput with everything that is wrong; no fault shows a part of the key."""
    faults: list[Fault] = []
    chain = _chain(files.certificate, faults)
    key = _key(files.key, faults)
    if chain:
        faults += _time_faults(files.certificate, chain[0], now or datetime.now(UTC))
    if chain and key is not None and _public(key) != _public(chain[0]):
        said = f"is not the key of {files.certificate}"
        faults.append(Fault(str(files.key), 0, "", said, "the chain's first certificate must be the server's own"))
    if faults or key is None:
        raise BadInput(faults)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    parts = [*(one.public_bytes(serialization.Encoding.PEM) for one in chain), secret]
    fingerprint = chain[0].fingerprint(hashes.SHA1()).hex()  # noqa: S303 - a name that HAProxy uses, no proof
    return Certificate(b"".join(parts).decode("ascii"), _names(chain[0]), chain[0].not_valid_after_utc, fingerprint)


def _read(path: Path, faults: list[Fault]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        faults.append(Fault(str(path), 0, "", f"cannot be read: {error.strerror}", "check the path"))
        return b""


def _chain(path: Path, faults: list[Fault]) -> list[x509.Certificate]:
    text = _read(path, faults)
    if not text:
        return []
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        remedy = "give a PEM file: the server's own certificate, then those between it and the authority"
        faults.append(Fault(str(path), 0, "", "holds no certificate in PEM", remedy))
        return []


def _key(path: Path, faults: list[Fault]) -> PrivateKeyTypes | None:
    text = _read(path, faults)
    if not text:
        return None
    try:
        return serialization.load_pem_private_key(text, None)
    except TypeError:
        faults.append(Fault(str(path), 0, "", "has a passphrase", "give the key without one, readable by you only"))
    except (ValueError, UnsupportedAlgorithm):
        faults.append(Fault(str(path), 0, "", "holds no private key in PEM", "give the certificate's key"))
    return None


def _time_faults(path: Path, certificate: x509.Certificate, now: datetime) -> Iterator[Fault]:
    if now >= certificate.not_valid_after_utc:
        yield Fault(str(path), 0, "", f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", "renew it")
    if now < certificate.not_valid_before_utc:
        said = f"is good from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        yield Fault(str(path), 0, "", said, "check this machine's clock")


def _public(of: PrivateKeyTypes | x509.Certificate) -> bytes:
    return of.public_key().public_bytes(serialization.Encoding.DER, PublicForm)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in held)


class CertificateFiles(Followed[Certificate]):
    """A chain and its key, and the last good state of them."""

    what = "certificate and key"

    def __init__(self, files: TlsFiles) -> None:
        """Read them for the first time. Raises BadInput: there is no last good state to keep."""
        self._files = files
        super().__init__()

    def _paths(self) -> Iterable[Path]:
        return [self._files.certificate, self._files.key]

    def _read(self, last: Certificate | None) -> Certificate:
        return read_certificate(self._files)


class KeptCertificate:
    """What HAProxy shows: a file beside it, and after a renewal what it was told over its control socket.

    It reads the file whenever it starts anew, which it does when sites come and go.
    """

    def __init__(self, files: TlsFiles, folder: Path) -> None:
        """Read it for the first time. Raises BadInput. `folder` is HAProxy's own; Serve puts its sockets below it."""
        self._files = CertificateFiles(files)
        self._folder = folder
        self._until_s = 0.0
        self._unwritten = False
        self.path = folder / "tls.pem"
        write_private(self.path, self._files.current.pem)

    def look(self) -> bool:
        """Look at the files once, and see to it that HAProxy shows a renewed one. True when there is news to tell.

        Raises OSError where a renewed one could not be written down for HAProxy: the next look tries again.

        For a while after a renewal it is asked again what it shows: one that was just starting may have read the old
        file. It may not answer in between; then the next look tries again.
        """
        refused = self._files.refused
        changed = self._files.look() or self._unwritten
        if changed:
            self._unwritten = True
            write_private(self.path, self._files.current.pem)
            self._unwritten = False
            self._until_s = time.monotonic() + SETTLING_S
        if time.monotonic() < self._until_s:
            for control in self._folder.rglob(CONTROL):
                try:
                    self._show(control)
                except OSError as error:
                    log.info("HAProxy did not answer, and is told again: %s", error)
        return changed or self._files.refused is not refused

    def told(self) -> dict[str, Any]:
        """Return what is shown, and why newer files are not."""
        current, refused = self._files.current, self._files.refused
        return {
            "names": list(current.names),
            "expires_at": f"{current.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "refused": [str(fault) for fault in refused.faults] if refused else [],
        }

    def _show(self, control: Path) -> None:
        current = self._files.current
        if current.fingerprint.upper() in _said(control, f"show ssl cert {self.path}\n").upper():
            return
        lines = "\n".join(line for line in current.pem.splitlines() if line)
        _said(control, f"set ssl cert {self.path} <<\n{lines}\n\n")
        said = _said(control, f"commit ssl cert {self.path}\n")
        if "Success" not in said:
            log.warning("HAProxy did not take the renewed certificate, and is told again: %s", said.strip())


def _said(control: Path, command: str) -> str:
    """Return what HAProxy says to a command on its control socket. Raises OSError when it does not answer."""
    said = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(RUNTIME_API_S)
        connection.connect(str(control))
        connection.sendall(command.encode())
        while part := connection.recv(65_536):
            said += part
    return said.decode("utf-8", "replace")
