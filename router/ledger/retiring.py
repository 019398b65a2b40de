"""Journals that are done with: what they say is in the ledger, and their processes are no more."""

import logging
from contextlib import closing, suppress
from pathlib import Path

from infercast.policies.faults import BadInput, Fault

from . import journals
from .opening import NOTED, OPTION, file_of, note, noted, open_store, same, with_password
from .settler import Settler
from .store import SqlStore

log = logging.getLogger("infercast.ledger")
JOURNAL = "journal"
"""The folder of the journals in a state folder."""


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


def move_in(state: Path, url: str) -> None:
    """Let the next run of a state folder book in the ledger of a URL: what the last has left is settled, in the ledger of the last.

    Else its calls would stand in both. Its journals go. Raises BadInput where a ledger does not take them, or is not to be reached.
    """
    folder = state / JOURNAL
    with closing(open_store(url)) as store:
        last = _last_ledger(state)
        if last and not same(last, url) and journals.journal_files(folder):
            with closing(_opened_last(state, with_password(last, url))) as other:
                retire(folder, other)
        retire(folder, store)
    note(state, url)


def _last_ledger(state: Path) -> str:
    """Return the URL of the ledger that a state folder's calls were booked in; empty where there is none any more."""
    try:
        last = noted(state)
    except BadInput:
        return ""
    path = file_of(last)
    return "" if path is not None and not path.exists() else last


def _opened_last(state: Path, last: str) -> SqlStore:
    try:
        return open_store(last, make=False)
    except BadInput as error:
        said = f"calls of the last run are booked in another ledger, which cannot be asked: {error}"
        remedy = (
            "give its password in PGPASSWORD or ~/.pgpass, and let it be reached once more; or, if it is gone, or is the new one by "
            f"another name, delete {state / NOTED}: the new one books all of them that it has not booked"
        )
        raise BadInput([Fault(str(state / JOURNAL), 0, OPTION, said, remedy)]) from error


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
