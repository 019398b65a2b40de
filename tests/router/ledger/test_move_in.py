"""A run that books in another ledger than the last: what the last has left stands in one of them, and its journals go."""

from contextlib import closing
from pathlib import Path

import pytest

from infercast.policies.faults import BadInput
from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.opening import ledger_url, note, noted, open_store, same
from infercast.router.ledger.reading import sums_by
from infercast.router.ledger.retiring import move_in
from infercast.router.ledger.settler import Settler
from infercast.router.telemetry.journal import FileJournal
from tests.router.ledger.test_settler import call


def left(state: Path, *, settled: int, waiting: int) -> None:
    """What a run that booked in the folder's own ledger has left: calls that are settled, and some that wait."""
    journal = FileJournal(state / "journal", "fra")
    for number in range(settled):
        call(journal, number)
    with closing(open_store(ledger_url(state))) as store:
        Settler(state / "journal", store).round()
    for number in range(settled, settled + waiting):
        call(journal, number)
    journal.close()
    note(state, ledger_url(state))


def calls(url: str) -> int:
    with closing(open_store(url, write=False)) as store:
        return sum(line.sums["calls"] for line in sums_by(store, (), Wanted()))


def journals(state: Path) -> int:
    return len(list((state / "journal").glob("*.jsonl")))


def test_no_call_is_booked_in_both(tmp_path: Path, url: str) -> None:
    state = tmp_path / "state"
    left(state, settled=3, waiting=2)
    other = url.replace("ledger.db", "other.db")
    move_in(state, other)
    assert (calls(ledger_url(state)), calls(other), journals(state)) == (5, 0, 0)
    assert same(noted(state), other)
    journal = FileJournal(state / "journal", "fra")
    call(journal, 9)
    journal.close()
    move_in(state, other)
    assert (calls(ledger_url(state)), calls(other), journals(state)) == (5, 1, 0)


def test_where_the_last_ledger_is_no_more_the_next_takes_it_all(tmp_path: Path) -> None:
    left(tmp_path, settled=3, waiting=2)
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    other = f"sqlite:///{tmp_path}/other.db"
    move_in(tmp_path, other)
    assert (calls(other), journals(tmp_path)) == (5, 0)


def test_where_the_last_ledger_cannot_be_asked_nothing_begins(tmp_path: Path) -> None:
    left(tmp_path, settled=3, waiting=2)
    note(tmp_path, "postgresql://me@127.0.0.1:1/d")
    other = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(BadInput, match="calls of the last run are booked in another ledger, which cannot be asked"):
        move_in(tmp_path, other)
    assert (calls(other), journals(tmp_path)) == (0, 1)
    assert same(noted(tmp_path), "postgresql://me:secret@127.0.0.1:1/d")
    (tmp_path / "ledger.url").unlink()
    move_in(tmp_path, other)
    assert (calls(ledger_url(tmp_path)), calls(other)) == (5, 0)


@pytest.mark.parametrize("noted_before", ["", "my notes"])
def test_a_note_that_names_none_is_written_anew(tmp_path: Path, noted_before: str) -> None:
    (tmp_path / "ledger.url").write_text(noted_before)
    move_in(tmp_path, ledger_url(tmp_path))
    assert same(noted(tmp_path), ledger_url(tmp_path))
