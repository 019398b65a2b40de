"""API keys: who calls, from where, bound to which data classes, until when. Only hashes are kept.

Secrets are 256 random bits, so a plain SHA-256 of one cannot be searched; no slow hash is needed on the hot path.
A key that is being rotated stands here twice under one id, with the hash of its old and of its new secret.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Holder(StrEnum):
    """Whose a key is. Neither may do what the other may."""

    TENANT = "tenant"
    """A tenant's: inference and decisions."""
    ADMIN = "admin"
    """The platform team's: `/admin`, and no inference."""


class Standing(StrEnum):
    """Whether a key is good."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Key:
    """An issued key. `origin` is the zone or device site that its calls come from, None meaning the entry site.

    `classes` always bind its calls, beside the class that a call names. An admin's key has none of these three.
    Times are seconds of the Unix epoch; a key without `expires_at_s` does not expire.
    """

    id: str
    tenant: str
    sha256: str
    origin: str | None = None
    classes: tuple[str, ...] = ()
    holder: Holder = Holder.TENANT
    issued_at_s: int = 0
    expires_at_s: int | None = None
    revoked_at_s: int | None = None

    def standing(self, now_s: float) -> Standing:
        """Return whether it is good at a time. Revoking holds at once, whatever its time says."""
        if self.revoked_at_s is not None:
            return Standing.REVOKED
        return Standing.EXPIRED if self.expires_at_s is not None and now_s >= self.expires_at_s else Standing.VALID


def hash_of(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    """Return a secret that nobody can guess."""
    return f"ic-{secrets.token_urlsafe(32)}"


def issue(
    key_id: str,
    tenant: str,
    origin: str | None = None,
    classes: Iterable[str] = (),
    *,
    holder: Holder = Holder.TENANT,
    now_s: int = 0,
    expires_at_s: int | None = None,
) -> tuple[Key, str]:
    """Return a new key and its secret, which is shown once and not kept."""
    secret = new_secret()
    key = Key(key_id, tenant, hash_of(secret), origin, tuple(sorted(classes)), holder, now_s, expires_at_s)
    return key, secret


class Keys:
    """Keys by the hash of their secret."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_hash = {key.sha256: key for key in keys}
        text = json.dumps(sorted((asdict(key) for key in self), key=lambda entry: str(entry["sha256"])))
        self.digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        """A digest of all that they say."""

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_hash.values())

    def find(self, secret: str) -> Key | None:
        """Return the key of a secret, good or not; None where nobody issued it."""
        return self._by_hash.get(hash_of(secret))

    def tenants(self) -> frozenset[str]:
        """The tenants that hold keys."""
        return frozenset(key.tenant for key in self if key.holder is Holder.TENANT)

    def origins(self) -> frozenset[str]:
        """The places that keys are bound to."""
        return frozenset(key.origin for key in self if key.origin)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; a reader sees the old text or the new, never a part."""
    draft = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
    draft.replace(path)
