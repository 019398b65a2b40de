"""Certificates for tests, made on the spot."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infercast.router.serving.certificate import TlsFiles

DAY = timedelta(days=1)
Private = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Made:
    """A certificate, its key, and who signed it (itself, where nobody is named)."""

    certificate: x509.Certificate
    key: Private

    def write(self, folder: Path, name: str = "server", passphrase: bytes | None = None) -> TlsFiles:
        """Write both as PEM files."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        form = serialization.PrivateFormat.TraditionalOpenSSL
        files = TlsFiles(folder / f"{name}.crt", folder / f"{name}.key")
        files.certificate.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, form, lock))
        return files


def made(
    common: str = "test",
    *,
    signer: Made | None = None,
    authority: bool = False,
    begins: float = -1,
    ends: float = 30,
    address: str = "127.0.0.1",
) -> Made:
    """Make a certificate for localhost and an address. `begins` and `ends` in days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(address))])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.certificate.subject if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    return Made(built.sign(signer.key if signer else key, hashes.SHA256()), key)
