"""The file of keys: read with every fault named, written whole, and followed while the system runs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infercast.policies.documents import dotted
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.wording import in_words

from .followed import Followed
from .keys import Holder, Key, Keys, write_private

KEYS = "keys.json"
"""The file's name in a state folder."""
FILE_BYTES_MAX = 64 * 1024 * 1024
Seconds = Annotated[int, Field(ge=0, le=2**53)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class _Entry(BaseModel):
    """One key as it is written."""

    model_config = ConfigDict(extra="forbid")

    id: Name
    tenant: Annotated[str, Field(max_length=128)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    origin: Name | None = None
    classes: tuple[Name, ...] = ()
    holder: Holder = Holder.TENANT
    issued_at_s: Seconds = 0
    expires_at_s: Seconds | None = None
    revoked_at_s: Seconds | None = None


_ENTRIES = TypeAdapter(list[_Entry])


def load_keys(path: Path) -> Keys:
    """Read the hashes. Raises BadInput with every fault; none of them shows what stands for a hash."""
    return keys_of(path, read_json(path))


def read_json(path: Path) -> Any:
    """Return what a file of keys holds. Raises BadInput where it cannot be read or is no JSON."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadInput([Fault(str(path), 0, "", f"larger than {FILE_BYTES_MAX} bytes")])
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        said = f"cannot be read: {error.strerror}"
        raise BadInput([Fault(str(path), 0, "", said, "`infercast up` issues keys")]) from error
    except json.JSONDecodeError as error:
        raise BadInput([Fault(str(path), error.lineno, "", f"not JSON: {error.msg}")]) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of a million digits, brackets without end
        raise BadInput([Fault(str(path), 0, "", "not JSON")]) from error


def keys_of(path: Path, value: Any) -> Keys:
    """Return the keys that a file's value says; `path` is for its faults. Raises BadInput with all of them."""
    try:
        entries = [Key(**entry.model_dump()) for entry in _ENTRIES.validate_python(value)]
    except ValidationError as error:
        raise BadInput([_fault(path, dict(entry)) for entry in error.errors()]) from error
    faults = [Fault(str(path), 0, f"[{index}]", *said) for index, said in _faults(entries)]
    if faults:
        raise BadInput(faults)
    return Keys(entries)


def _fault(path: Path, entry: dict[str, Any]) -> Fault:
    at = tuple(entry["loc"])
    if at and at[-1] == "sha256" and entry["type"] != "missing":
        # What stands there may be a secret, put there by mistake: it is not repeated.
        return Fault(str(path), 0, dotted(at), "is no SHA-256 in hex", "`infercast keys issue` writes it")
    if entry["type"] == "extra_forbidden":
        return Fault(str(path), 0, dotted(at), f"unknown key {at[-1]!r}", did_you_mean(at[-1], _Entry.model_fields))
    return Fault(str(path), 0, dotted(at), *in_words(entry))


def _faults(entries: list[Key]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield what is wrong between entries, each with its index."""
    by_hash: dict[str, Key] = {}
    by_id: dict[str, Key] = {}
    for index, key in enumerate(entries):
        if key.holder is Holder.ADMIN and (key.tenant or key.origin or key.classes):
            yield index, (f"{key.id!r} is an admin's, which has no tenant, origin or classes", "leave them out")
        if key.holder is Holder.TENANT and not key.tenant:
            yield index, (f"{key.id!r} has no tenant", "name it")
        if (same := by_hash.setdefault(key.sha256, key)) is not key:
            yield index, (f"{key.id!r} has the secret of {same.id!r}", "issue one of its own")
        if _bound(by_id.setdefault(key.id, key)) != _bound(key):
            yield index, (f"{key.id!r} stands twice, bound to other things", "give one of them another id")


def _bound(key: Key) -> tuple[object, ...]:
    return key.holder, key.tenant, key.origin, tuple(sorted(key.classes))


def save_keys(path: Path, keys: Iterable[Key]) -> None:
    """Write the hashes, whole or not at all, readable by the owner only."""
    write_private(path, json.dumps([asdict(key) for key in keys], indent=1))


class KeyFile(Followed[Keys]):
    """A file of keys, and the last good state of it."""

    what = "the keys"

    def __init__(self, path: Path) -> None:
        """Read it for the first time. Raises BadInput: there is no last good state to keep."""
        self._path = path
        super().__init__()

    def _paths(self) -> Iterable[Path]:
        return [self._path]

    def _read(self, last: Keys | None) -> Keys:
        return load_keys(self._path)
