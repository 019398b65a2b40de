"""A device's bundle: its own secret, and the hashes by which it knows its callers. Followed while its agent runs."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from infercast.policies.faults import BadInput, Fault

from .followed import Followed
from .key_file import keys_of, read_json
from .keys import Key, Keys, hash_of, write_private


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device was given. All of its keys are its tenant's; they open the device, and the secret opens the sites."""

    tenant: str
    secret: str
    keys: Keys

    @property
    def digest(self) -> str:
        """The digest of what it means."""
        return hash_of(self.secret + self.keys.digest)


def bundle_id(tenant: str, site: str) -> str:
    """Return the id of a device's own key."""
    return f"{tenant}.{site}"


def bundle_path(state: Path, site: str) -> Path:
    """Return where a device's bundle stands in a state folder."""
    return state / "devices" / f"{site}.json"


def write_bundle(path: Path, secret: str, keys: Iterable[Key]) -> None:
    """Write a bundle, whole or not at all, readable by the owner only."""
    write_private(path, json.dumps({"secret": secret, "keys": [asdict(key) for key in keys]}, indent=1))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle. Raises BadInput; none of its faults shows a secret."""
    value = read_json(path)
    if not isinstance(value, dict) or set(value) != {"secret", "keys"} or not isinstance(value["secret"], str):
        raise BadInput([Fault(str(path), 0, "", "is no device's bundle", "`infercast up` writes it")])
    keys = keys_of(path, value["keys"])
    tenants = keys.tenants()
    if len(tenants) != 1:
        raise BadInput([Fault(str(path), 0, "keys", f"keys of {len(tenants)} tenants", "a device is one tenant's")])
    return Bundle(next(iter(tenants)), value["secret"], keys)


class BundleFile(Followed[Bundle]):
    """A device's bundle, and the last good state of it."""

    what = "the device's keys"

    def __init__(self, path: Path) -> None:
        """Read it for the first time. Raises BadInput: there is no last good state to keep."""
        self._path = path
        super().__init__()

    def _paths(self) -> Iterable[Path]:
        return [self._path]

    def _read(self, last: Bundle | None) -> Bundle:
        return read_bundle(self._path)
