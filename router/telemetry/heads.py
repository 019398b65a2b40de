"""`heads.json`: one signed list of all files of a log and how far each had come. A copy of it is a checkpoint to keep elsewhere.

A file that stands in it and is gone was removed; one that ends before its head was cut off.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from .chain import HASH_LETTERS, WHOLE_MAX, Malformed, is_short
from .checkpoints import PublicKey, SigningKey

HEADS, LOCK = "heads.json", ".lock"
HEADS_BYTES_MAX = 64 * 2**20
_MESSAGE = b"infercast.log.heads.1\n"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a file had come: its last line, the head of the chain after it, and whether it was ended there."""

    seq: int
    chain: str
    end: bool = False


@dataclass(frozen=True, slots=True)
class Heads:
    """`number` counts the lists written; `anew` how often one was begun though files with records were there."""

    number: int = 0
    at_s: int = 0
    anew: int = 0
    files: Mapping[str, Head] = field(default_factory=dict)

    def signed(self, key: SigningKey) -> bytes:
        """Return the list as it is kept."""
        plain = self._plain()
        return orjson.dumps({**plain, "signature": key.sign(_MESSAGE + orjson.dumps(plain))}) + b"\n"

    def _plain(self) -> dict[str, Any]:
        files = {name: [head.seq, head.chain, head.end] for name, head in sorted(self.files.items())}
        return {"version": 1, "number": self.number, "at": self.at_s, "anew": self.anew, "files": files}


def read_heads(path: Path, key: PublicKey) -> Heads:
    """Return a signed list. Raises Malformed where it is none or the signature does not hold, OSError if unreadable."""
    if not path.is_file() and path.exists():
        raise Malformed("is no file")
    with path.open("rb") as file:
        raw = file.read(HEADS_BYTES_MAX)
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Malformed("is not JSON") from error
    try:
        same = isinstance(whole, dict) and orjson.dumps(whole) + b"\n" == raw
    except (TypeError, ValueError):
        same = False
    if not same:
        raise Malformed("is not in the form that it was written in")
    signature = whole.pop("signature", None)
    if not key.holds(_MESSAGE + orjson.dumps(whole), signature):
        raise Malformed("is not signed with this key")
    return _heads_of(whole)


def _heads_of(whole: dict[str, Any]) -> Heads:
    if list(whole) != ["version", "number", "at", "anew", "files"] or whole["version"] != 1:
        raise Malformed("is of another version")
    counts = (whole["number"], whole["at"], whole["anew"])
    if not all(type(count) is int and 0 <= count < WHOLE_MAX for count in counts) or type(whole["files"]) is not dict:
        raise Malformed("has a field that should be a whole number")
    files = {}
    for name, head in whole["files"].items():
        if type(head) is not list or [type(part) for part in head] != [int, str, bool]:
            raise Malformed(f"has no head for {name!r}")
        if not is_short(head[1], HASH_LETTERS) or Path(name).name != name:
            raise Malformed(f"has no head for {name!r}")
        files[name] = Head(*head)
    return Heads(*counts, files)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a log's list against other writers."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def update_heads(folder: Path, key: SigningKey, files: Mapping[str, Head], at_s: int, others: bool = False) -> None:
    """Sign the list anew with some files' heads; the caller holds the lock. Whole or not at all. Raises OSError.

    `others`: whether files with records are there that a lost list would have named.
    """
    path = folder / HEADS
    try:
        old = read_heads(path, key.public)
    except FileNotFoundError:
        old = Heads(anew=int(others))
    except Malformed:
        old = Heads(anew=1)  # somebody altered it; what it named is lost, and that must stay visible
    new = Heads(old.number + 1, at_s, old.anew, {**old.files, **files})
    write_whole(path, new.signed(key))


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old bytes or the new, also after a crash. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of files to the disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
