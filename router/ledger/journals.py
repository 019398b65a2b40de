"""The files of a journal as the ledger reads them: which there are, what tells them apart, whether their process lives.

A journal is known by its name up to `.jsonl` and its first line, so it stays the same one when it is moved or copied
(`fra-7.jsonl.1`), and becomes another when it is cut short and begun anew under its old name.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".jsonl"
PACKED = (".gz", ".xz", ".bz2", ".zst")
BATCH_BYTES = 512 * 1024
"""How much is taken over in one transaction: about a thousand calls."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines of a journal, from byte `begin` up to `end`."""

    begin: int
    end: int
    lines: Sequence[bytes]


def journal_files(folder: Path) -> list[Path]:
    """Return the files of a journal's folder, rotated ones with them; packed ones have been read before, or never will be."""
    found = (path for path in folder.glob(f"*{SUFFIX}*") if path.suffix not in PACKED and path.is_file())
    return sorted(found)


def stem_of(path: Path) -> str:
    """Return the name that a journal was begun under."""
    return path.name[: path.name.index(SUFFIX)]


def name_of(path: Path, file: BinaryIO) -> str:
    """Return what a journal is known by; empty while its first line is not whole."""
    file.seek(0)
    first = file.readline()
    if not first.endswith(b"\n"):
        return ""
    return f"{stem_of(path)}#{hashlib.blake2b(first, digest_size=10).hexdigest()}"


def whole_from(file: BinaryIO, begin: int) -> bool:
    """Return whether a line begins at a byte: not so where the file was cut short meanwhile, or written over."""
    if begin == 0:
        return True
    file.seek(begin - 1)
    return file.read(1) == b"\n"


def batch_from(file: BinaryIO, begin: int, until: int = sys.maxsize) -> Batch:
    """Return the next whole lines, as many as make a batch and end before byte `until`; none where there are none."""
    file.seek(begin)
    asked = max(0, min(BATCH_BYTES, until - begin))
    piece = file.read(asked)
    if len(piece) == asked and not piece.endswith(b"\n"):
        piece += file.readline(until - begin - asked)
    whole = piece[: piece.rfind(b"\n") + 1]
    return Batch(begin, begin + len(whole), whole.split(b"\n")[:-1])


def lives(path: Path) -> bool:
    """Return whether a process holds a journal: this file, or the one under its first name that this is a copy of."""
    return _held(path) or _held(path.with_name(stem_of(path) + SUFFIX))


def _held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(file)
