"""The journal: one JSON line for each thing that happened at a place, metadata only, one file per process.

Lines go into a mapped piece of the file, so that a process that is killed loses none it has written, and none costs a
system call: at one, Python hands the interpreter to another thread and has to wait for its turn again. The piece is
filled with zeros first, so that a full disk is said by an error, before anything is promised. Zeros after the last line
are cut off when the file is closed; after a kill they stay, and a reader passes over them.
"""

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import orjson

PIECE_BYTES = 256 * 1024


class FileJournal:
    """A journal in a folder; the file is named after the place and the process. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path, place: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _own_file(folder, f"{place}-{os.getpid()}")
        self._place = place
        self._at = _used_bytes(self._file)
        self._piece: mmap.mmap | None = None
        self._start = self._end = self._at

    def write(self, kind: str, **facts: Any) -> None:
        """Append one line. Raises OSError when the disk takes no more."""
        line = orjson.dumps(
            {"at": time.time(), "kind": kind, "place": self._place, **facts}, option=orjson.OPT_APPEND_NEWLINE
        )
        at, length = self._at, len(line)
        if at + length > self._end:
            self._grow(length)
        begin = at - self._start
        self._piece[begin : begin + length] = line  # type: ignore[index] # there is one from the first line on
        self._at = at + length

    def _grow(self, length: int) -> None:
        """Map the piece that the next line begins in, so large that it ends there too."""
        start = self._at - self._at % mmap.ALLOCATIONGRANULARITY
        wanted = self._at - start + length
        size = PIECE_BYTES * -(-wanted // PIECE_BYTES)
        had = os.fstat(self._file).st_size
        missing = start + size - had
        if missing > 0 and os.pwrite(self._file, bytes(missing), had) != missing:
            os.ftruncate(self._file, had)
            raise OSError(28, "the disk took only a part of the journal's next piece")
        piece = mmap.mmap(self._file, size, offset=start)
        if self._piece is not None:
            self._piece.close()
        self._piece, self._start, self._end = piece, start, start + size

    def close(self) -> None:
        """Close the file."""
        if self._piece is not None:
            self._piece.close()
        os.ftruncate(self._file, self._at)
        os.close(self._file)


def _own_file(folder: Path, name: str) -> int:
    """Return a file that no other journal writes to, open and locked; also one that is left of a process with our number."""
    for number in count(1):
        path = folder / (f"{name}.jsonl" if number == 1 else f"{name}-{number}.jsonl")
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        os.close(file)
    raise AssertionError


def _used_bytes(file: int) -> int:
    """Return where the lines of a file end: what stands behind them is zeros, or a line cut off, which goes with them."""
    size = os.fstat(file).st_size
    used = os.pread(file, size, 0).rfind(b"\n") + 1
    os.ftruncate(file, used)
    return used


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every line of every file of a journal; a last line cut off by a kill is passed over, and zeros behind it."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
