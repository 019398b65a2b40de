"""Fleets and policies by digest: what a decision was made with, written once and never changed."""

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import orjson

from infercast.policies.faults import BadInput, Fault

from .chain import short
from .log_files import OBJECTS

OBJECT_BYTES_MAX = 256 * 2**20
_DIGEST = re.compile(r"[0-9A-Za-z_-]{8,128}")


def object_path(folder: Path, digest: str) -> Path:
    """Return where a document stands. Raises BadInput for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise BadInput([Fault(str(folder / OBJECTS), 0, "digest", f"{digest!r} is no digest")])
    return folder / OBJECTS / f"{digest}.json"


def put_object(folder: Path, digest: str, document: dict[str, Any]) -> str:
    """Write a document once, whole or not at all, and return the hash of its bytes.

    Raises BadInput where another document stands under the digest, OSError where the disk takes no more.
    """
    path = object_path(folder, digest)
    content = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{digest}.{os.getpid()}.{os.urandom(4).hex()}.draft")
        try:
            draft.write_bytes(content)
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)  # of several processes that write it at once, the first wins
        finally:
            draft.unlink(missing_ok=True)
    if path.read_bytes() != content:
        remedy = "delete the log's folder or use another"
        raise BadInput([Fault(str(path), 0, "", "another document stands under this digest", remedy)])
    return hash_of(content)


def hash_of(content: bytes) -> str:
    """Return the hash that the log's chain keeps of a document."""
    return short(hashlib.sha256(content).digest())


def object_bytes(folder: Path, digest: str) -> bytes | None:
    """Return a document's bytes, None where it is not there. Raises BadInput for what is no digest."""
    path = object_path(folder, digest)
    if not path.is_file() or path.stat().st_size > OBJECT_BYTES_MAX:
        return None
    return path.read_bytes()
