"""API keys: who calls, from where, bound to which data classes. Only hashes are kept.

Keys are 256 random bits, so a plain SHA-256 of one cannot be searched; no slow hash is needed on the hot path.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Key:
    """An issued key. `origin` is the zone or device site that its calls come from, None meaning the entry site.

    `classes` always bind its calls, beside the class that a call names.
    """

    id: str
    tenant: str
    sha256: str
    origin: str | None = None
    classes: tuple[str, ...] = ()


def hash_of(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(key_id: str, tenant: str, origin: str | None = None, classes: Iterable[str] = ()) -> tuple[Key, str]:
    """Return a new key and its secret, which is shown once and not kept."""
    secret = f"ic-{secrets.token_urlsafe(32)}"
    return Key(key_id, tenant, hash_of(secret), origin, tuple(sorted(classes))), secret


class Keys:
    """Keys by the hash of their secret."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_hash = {key.sha256: key for key in keys}

    def find(self, secret: str) -> Key | None:
        """Return the key of a secret, None where nobody issued it."""
        return self._by_hash.get(hash_of(secret))

    def tenants(self) -> frozenset[str]:
        """The tenants that hold keys."""
        return frozenset(key.tenant for key in self._by_hash.values())

    def origins(self) -> frozenset[str]:
        """The places that keys are bound to."""
        return frozenset(key.origin for key in self._by_hash.values() if key.origin)


def save_keys(path: Path, keys: Iterable[Key]) -> None:
    """Write the hashes, whole or not at all, readable by the owner only."""
    write_private(path, json.dumps([asdict(key) for key in keys], indent=1))


def load_keys(path: Path) -> Keys:
    """Read the hashes."""
    return Keys(Key(**{**entry, "classes": tuple(entry["classes"])}) for entry in json.loads(path.read_text()))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; a reader sees the old text or the new, never a part."""
    draft = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
    draft.replace(path)
