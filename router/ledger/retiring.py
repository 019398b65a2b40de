"""Journals that are done with: what they say is in the ledger, and their processes are no more."""

import logging
from contextlib import suppress
from pathlib import Path

from infercast.policies.faults import BadInput, Fault

from . import journals
from .opening import OPTION, open_store
from .settler import Settler
from .store import SqlStore

log = logging.getLogger("infercast.ledger")


def settle_left(folder: Path, url: str) -> None:
    """Take over what a run has left in its journals, orphans included, once it has ended. Says so where that cannot be done."""
    try:
        store = open_store(url)
        try:
            Settler(folder, store).round()
        finally:
            store.close()
    except (OSError, BadInput) as error:
        log.warning("%s: calls wait in the journals, the ledger does not take them: %s", folder, error)


def retire(folder: Path, store: SqlStore) -> None:
    """Settle a folder's journals and delete those that are done with. Raises BadInput where the ledger does not take them.

    No line goes that is not on the ledger's disk by then, and no file that a process still holds.
    """
    # Known before they are settled: what a process left open that dies only now is not booked as orphaned yet.
    dead = [path for path in journals.journal_files(folder) if not journals.lives(path)]
    try:
        Settler(folder, store).round()
        store.flush()
    except OSError as error:
        said = f"calls of an earlier run cannot be taken over: {error}"
        raise BadInput([Fault(store.name, 0, OPTION, said, f"they wait in {folder}")]) from error
    for path in dead:
        with suppress(FileNotFoundError):  # moved meanwhile: it goes under its other name, the next time
            if unsettled_bytes(path, store) == 0:
                path.unlink()


def unsettled_bytes(path: Path, store: SqlStore) -> int:
    """Return how many bytes of whole lines of a journal are in no ledger yet."""
    with path.open("rb") as file:
        name = journals.name_of(path, file)
        if not name:
            return 0
        at, left = store.cursor(name), 0
        while (batch := journals.batch_from(file, at + left)).lines:
            left += batch.end - batch.begin
        return left
