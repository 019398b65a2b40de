"""The journal: one JSON line for each thing that happened at a place, metadata only, one file per process.

Each line is one plain append, so a process that is killed loses none it has written, and a file that is cut short or
moved from outside (logrotate) harms nobody. The append is libc's own, called with Python's interpreter held: `os.write`
hands it to another thread and has to wait for its turn again, which takes longer than the append itself.

A line that the disk does not take is kept in memory and tried again; meanwhile `full` says that no new call is to begin.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("infercast.journal")
PIECE_BYTES = 256 * 1024
"""How much of a file is looked at in one go."""
KEPT_LINES_MAX = 100_000
"""More than the calls that can be under way write, once no new ones begin."""
_append = ctypes.PyDLL(None, use_errno=True).write
_append.argtypes, _append.restype = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t), ctypes.c_ssize_t


class FileJournal:
    """A journal in a folder; the file is named after the place and the process. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path, place: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _own_file(folder, f"{place}-{os.getpid()}")
        self._place = place
        self._kept: deque[bytes] = deque()
        self.full = False
        """Whether lines are kept that the disk did not take."""
        os.ftruncate(self._file, _used_bytes(self._file))

    def write(self, kind: str, **facts: Any) -> None:
        """Append one line; one that the disk does not take is kept. Raises OSError when too many are kept already."""
        line = orjson.dumps(
            {"at": time.time(), "kind": kind, "place": self._place, **facts}, option=orjson.OPT_APPEND_NEWLINE
        )
        if self.full and not self.retry():
            if len(self._kept) >= KEPT_LINES_MAX:
                raise OSError(28, f"the disk takes no more, and {KEPT_LINES_MAX} lines of the journal are kept")
            self._kept.append(line)
            return
        written = _append(self._file, line, len(line))
        if written != len(line):
            self._kept.append(line[max(0, written) :])
            self.full = True
            why = os.strerror(ctypes.get_errno()) if written < 0 else "a line was cut short"
            log.error("%s: the journal is not written (%s): no new calls until it is", self._place, why)

    @property
    def kept_lines(self) -> int:
        """How many lines wait for the disk."""
        return len(self._kept)

    def retry(self) -> bool:
        """Write the lines that are kept, as far as the disk takes them; True when none is left."""
        while self._kept:
            line = self._kept[0]
            written = max(0, _append(self._file, line, len(line)))
            if written < len(line):
                self._kept[0] = line[written:]
                return False
            self._kept.popleft()
        if self.full:
            self.full = False
            log.warning("%s: the journal is written again", self._place)
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.retry():
            log.error("%s: %d lines of the journal are lost: the disk is full", self._place, len(self._kept))
        os.close(self._file)


def _own_file(folder: Path, name: str) -> int:
    """Return a file that no other journal writes to, open and locked; also one that is left of a process with our number."""
    for number in count(1):
        path = folder / (f"{name}.jsonl" if number == 1 else f"{name}-{number}.jsonl")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        os.close(file)
    raise AssertionError


def _used_bytes(file: int) -> int:
    """Return where the lines of a file end; what a kill left of a last one stands behind that, and goes with it."""
    end = os.fstat(file).st_size
    while end:
        begin = max(0, end - PIECE_BYTES)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every line of every file of a journal; a last line cut off by a kill is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
