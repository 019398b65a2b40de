"""Settling beside other work: a thread that takes a folder's journals over a few times a second, one process at a time.

Whoever holds the lock of the folder settles it. The board does so for as long as it lives; the sites' workers only stand
by, so that their calls share their interpreter with nobody, and do one round at a time while the lock is free: because the
board has died, or because it is on another machine.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infercast.policies.faults import BadInput

from .opening import open_store
from .settler import Settler

log = logging.getLogger("infercast.ledger")
EVERY_S = 0.25
STAND_BY_S = 2.0
TROUBLE_S = 2.0
"""How long to wait before a ledger that was out of reach is tried again."""
LOCK = ".settling"


class Background:
    """Settles the journals of a folder into the ledger of a URL, from when it is made until `close`."""

    def __init__(self, folder: Path, url: str, *, stand_by: bool) -> None:
        self._folder = folder
        self._url = url
        self._stand_by = stand_by
        self._ended = threading.Event()
        self._troubled = False
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = self._begun()

    def close(self) -> None:
        """End it after the round that it is at."""
        self._ended.set()
        self._thread.join()

    def keep(self) -> None:
        """Begin it anew, after a moment, where a fault that nobody foresaw has ended it: else nothing would be booked any more."""
        if not self._thread.is_alive() and not self._ended.is_set():
            self._thread = self._begun(TROUBLE_S)

    def _begun(self, after_s: float = 0.0) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=[after_s], name="settling", daemon=True)
        thread.start()
        return thread

    def _run(self, after_s: float) -> None:
        every_s = STAND_BY_S if self._stand_by else EVERY_S
        self._ended.wait(after_s)
        try:
            while not self._ended.wait(every_s):
                try:
                    with _locked(self._folder) as ours:
                        if ours:
                            self._settle()
                except (OSError, BadInput) as error:
                    self._say(error)
                    self._ended.wait(TROUBLE_S)
        except Exception:
            log.exception("%s: settling has ended: calls wait in the journals until it begins anew", self._folder)
            raise

    def _settle(self) -> None:
        """Settle once where we stand by, else until the end. Raises OSError or BadInput where the ledger cannot be reached."""
        store = open_store(self._url)
        try:
            settler = Settler(self._folder, store)
            self._round(settler)
            while not self._stand_by and not self._ended.wait(EVERY_S):
                self._round(settler)
        finally:
            store.close()

    def _round(self, settler: Settler) -> None:
        settler.round()
        if self._troubled:
            self._troubled = False
            log.warning("%s: calls are taken over into the ledger again", self._folder)

    def _say(self, error: Exception) -> None:
        if not self._troubled:
            self._troubled = True
            log.error("%s: calls wait in the journals, the ledger does not take them: %s", self._folder, error)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, if nobody else does."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _locks(file)
    finally:
        os.close(file)


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
