"""Signatures of the decision log: the key pair, and signed checkpoints in a file's chain (Ed25519, RFC 8032).

The private key stays in the state folder (0600). The public key stands in the log as `public.pem` and is all that a
verifier needs; whoever verifies for others keeps a copy of it elsewhere, since a key found beside a log proves little.
"""

import base64
import binascii
import contextlib
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from infercast.policies.faults import BadInput, Fault

from .chain import short

KEY_BYTES_MAX = 10_000
SIGNATURE_BYTES = 64


class PublicKey:
    """What a verifier needs."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.fingerprint = short(hashlib.sha256(raw).digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def holds(self, message: bytes, signature: object) -> bool:
        """Return whether a signature (base64url) was made over the message with this key's other half."""
        try:
            raw = base64.urlsafe_b64decode(f"{signature}==") if isinstance(signature, str) else b""
            if short(raw) != signature:
                return False  # one signature has one spelling
            self._key.verify(raw, message)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


class SigningKey:
    """The key that a place signs with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def new(cls) -> "SigningKey":
        """Return a new key that stands in no file."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, path: Path) -> "SigningKey":
        """Return the key of a file, made on first use, readable by its owner only.

        Raises BadInput for a file that is no Ed25519 key or that others may read.
        """
        if not path.exists():
            _make_key(path)
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Return the key of a file that is there. Raises BadInput where it is none."""
        try:
            if path.stat().st_mode & 0o077:
                raise BadInput([Fault(str(path), 0, "", "others may read this private key", f"chmod 600 {path}")])
            key = load_pem_private_key(_few_bytes(path), password=None)
        except OSError as error:
            raise BadInput([Fault(str(path), 0, "", f"the private key cannot be read: {error.strerror}")]) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadInput([Fault(str(path), 0, "", "is no private key in PEM")]) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadInput([Fault(str(path), 0, "", "is a key of another kind", "an Ed25519 key is needed")])
        return cls(key)

    def sign(self, message: bytes) -> str:
        """Return the signature over a message, base64url."""
        return short(self._key.sign(message))

    def pem(self) -> bytes:
        """Return the private key as it is kept."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_public(path: Path) -> PublicKey:
    """Return the public key of a PEM file. Raises BadInput where there is none."""
    try:
        key = load_pem_public_key(_few_bytes(path))
    except OSError as error:
        raise BadInput([Fault(str(path), 0, "", f"the public key cannot be read: {error.strerror}")]) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput([Fault(str(path), 0, "", "is no public key in PEM")]) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput([Fault(str(path), 0, "", "is a key of another kind", "an Ed25519 key is needed")])
    return PublicKey(key)


def checkpoint_message(file: str, place: str, seq: int, prev: str, at_s: int, end: bool) -> bytes:
    """Return what the checkpoint at `seq` of a file signs; through `prev` it signs every line before it."""
    return f"infercast.log.checkpoint.1\n{file}\n{place}\n{seq}\n{prev}\n{at_s}\n{int(end)}".encode()


def _few_bytes(path: Path) -> bytes:
    if not path.is_file() and path.exists():
        raise ValueError("no file")
    with path.open("rb") as file:
        return file.read(KEY_BYTES_MAX)


def _make_key(path: Path) -> None:
    """Make a key whole or not at all; of several processes that make one at once, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(SigningKey.new().pem())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
