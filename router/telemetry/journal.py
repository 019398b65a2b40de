"""The journal: one JSON line for each thing that happened at a place, metadata only, one file per process.

Each line is one write to a file opened for appending, so that a process that is killed loses none it has written.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


class FileJournal:
    """A journal in a folder; the file is named after the place and the process."""

    def __init__(self, folder: Path, place: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / f"{place}-{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._place = place

    def write(self, kind: str, **facts: Any) -> None:
        """Append one line. Raises OSError when the disk takes no more."""
        line = orjson.dumps({"at": time.time(), "kind": kind, "place": self._place, **facts}) + b"\n"
        os.write(self._file, line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every line of every file of a journal; a last line cut off by a kill is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
