"""The settler: takes over what the journals of a folder say into a ledger, each line once, whoever else does the same.

A journal's line stands before its call's answer goes out, so the ledger may come after, off every call's way. The cursor
moves in the transaction that books the lines before it: a kill at any moment loses none and doubles none.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import journals
from .lines import orphan_of, taken
from .ports import Moved, Store, holder_of

log = logging.getLogger("infercast.ledger")
Stamp = tuple[int, int, int]


@dataclass(slots=True)
class Round:
    """What came of one look at a folder."""

    entries: int = 0
    orphans: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class Followed:
    """What is remembered of a file: how it was when all of it had been taken over, and who wrote its last lines."""

    stamp: Stamp = (0, 0, 0)
    lived: bool = True
    writer: str = ""


class Settler:
    """Settles one folder of journals. It may be ended at any moment, and others may settle the same folder."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._followed: dict[Path, Followed] = {}

    def round(self) -> Round:
        """Take over all whole lines that there are, and what dead processes left open. Raises OSError."""
        done = Round()
        files = journals.journal_files(self._folder)
        for path in files:
            try:
                self._look(path, done)
            except FileNotFoundError:
                continue  # moved since the folder was read: it comes under its other name
            except PermissionError as error:
                log.warning("%s cannot be settled: %s", path, error.strerror)
                self._followed[path].stamp = _stamp(path)  # said once
            except Moved:
                continue  # another settler is at it
        self._followed = {path: self._followed[path] for path in files if path in self._followed}
        if done.unreadable:
            log.warning("%s: %d lines cannot be read and are in no entry", self._folder, done.unreadable)
        return done

    def _look(self, path: Path, done: Round) -> None:
        """Settle one file, if anything has changed. That its process is dead must be known before its last line is read."""
        followed = self._followed.setdefault(path, Followed())
        stamp, lived = _stamp(path), journals.lives(path)
        if (stamp, lived) == (followed.stamp, followed.lived):
            return
        with path.open("rb") as file:
            name = journals.name_of(path, file)
            if not name:
                return
            writers = {followed.writer}
            settled_bytes = self._settle(name, file, followed, done)
            writers.add(followed.writer)
            if not lived or len(writers) > 1:
                self._orphan(name, settled_bytes, "" if not lived else followed.writer, done)
        followed.stamp, followed.lived = stamp, lived

    def _settle(self, name: str, file: BinaryIO, followed: Followed, done: Round) -> int:
        """Take a journal over up to its last whole line; return where that ends."""
        at = self._store.cursor(name)
        if not journals.whole_from(file, at):
            log.warning("%s was cut short or written over: it is read again, what is booked stays as it is", name)
            self._store.settle(name, at, 0, [])
            at = 0
        while True:
            batch = journals.batch_from(file, at)
            if not batch.lines:
                return at
            found = taken(batch.lines)
            done.entries += self._store.settle(name, batch.begin, batch.end, found.entries, found.reserved)
            done.unreadable += found.unreadable
            followed.writer = found.writer or followed.writer
            at = batch.end

    def _orphan(self, name: str, at: int, writer: str, done: Round) -> None:
        """Book what was reserved by a process that is no more. `writer` is the one that lives, if any does."""
        left = [one for one in self._store.reservations(name) if holder_of(one.number) != writer]
        if left:
            orphans = self._store.settle(name, at, at, [orphan_of(one) for one in left])
            done.orphans += orphans
            log.warning("%s: %d calls were never ended: their process died", name, orphans)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
