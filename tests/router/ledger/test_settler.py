"""The settler: what stands in the journals is booked once, whatever happens to files, processes and other settlers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from infercast.router.ledger import journals
from infercast.router.ledger.ports import Measure, Quota
from infercast.router.ledger.retiring import retire, unsettled_bytes
from infercast.router.ledger.settler import Settler
from infercast.router.ledger.store import SqlStore
from infercast.router.ledger.tables import ENTRIES
from infercast.router.telemetry.journal import FileJournal
from tests.router.ledger.test_lines import NOON_S, line

DAY = Quota("t", "", Measure.MONEY, "2026-11-25")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[FileJournal]:
    opened = FileJournal(folder, "fra")
    yield opened
    opened.close()


def call(journal: FileJournal, number: int, series: str = "fra-7-aa-", cost_nusd: int = 1) -> None:
    """Write the line of a call that was answered."""
    facts = line(number=f"{series}{number}", spent=[["large@fra", cost_nusd]], cost_usd=cost_nusd / 1e9)
    journal.write(facts.pop("kind"), **{name: fact for name, fact in facts.items() if name not in ("at", "place")})


def reserve(journal: FileJournal, number: int, series: str = "fra-7-aa-") -> None:
    journal.write("reserved", number=f"{series}{number}", tenant="t", model="m", reserved_nusd=9)


def booked(store: SqlStore, state: str = "settled") -> list[int]:
    """The ordinals of the calls that are booked."""
    asked = select(ENTRIES.c.number).where(ENTRIES.c.state == state)
    return sorted(int(number.rpartition("-")[2]) for (number,) in store.read(lambda db: db.execute(asked).all()))


def used(store: SqlStore) -> int:
    """What is used of the day's budget; the entries' sum must be the same."""
    (sum_nusd,) = store.used([DAY])
    assert (
        store.read(lambda db: db.execute(select(func.coalesce(func.sum(ENTRIES.c.cost_nusd), 0))).scalar_one())
        == sum_nusd
    )
    return sum_nusd


def test_calls_are_booked_as_they_are_written(folder: Path, journal: FileJournal, store: SqlStore) -> None:
    settler = Settler(folder, store)
    assert settler.round().entries == 0
    call(journal, 1, cost_nusd=3)
    journal.write("received", payload_bytes=3)
    assert settler.round().entries == 1
    assert settler.round().entries == 0
    call(journal, 2, cost_nusd=4)
    call(journal, 3, cost_nusd=0)
    assert settler.round().entries == 2
    assert (booked(store), used(store)) == ([1, 2, 3], 7)


def test_a_file_of_many_batches_is_booked_whole(
    folder: Path, journal: FileJournal, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "BATCH_BYTES", 700)  # a line has about 500
    for number in range(20):
        call(journal, number)
        if number % 7 == 0:
            journal.write("received", note="x" * 3000)
    assert Settler(folder, store).round().entries == 20
    assert (booked(store), used(store)) == (list(range(20)), 20)


def test_another_settler_goes_on_where_one_ended(folder: Path, journal: FileJournal, store: SqlStore) -> None:
    one, other = Settler(folder, store), Settler(folder, store)
    for number in range(10):
        call(journal, number)
        assert (one, other)[number % 2].round().entries == 1
    assert Settler(folder, store).round().entries == 0
    assert used(store) == 10


def test_half_a_line_waits_for_its_end(folder: Path, store: SqlStore) -> None:
    journal = FileJournal(folder, "fra")
    call(journal, 1)
    call(journal, 2)
    journal.close()
    (path,) = journals.journal_files(folder)
    whole = path.read_bytes()
    for cut in (1, 100, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        Settler(folder, store).round()
    assert booked(store) == [1]
    path.write_bytes(whole)
    Settler(folder, store).round()
    assert (booked(store), used(store)) == ([1, 2], 2)


@pytest.mark.parametrize("copied", [True, False])
def test_a_rotated_file_is_the_same_journal(folder: Path, store: SqlStore, copied: bool) -> None:
    journal = FileJournal(folder, "fra")
    settler = Settler(folder, store)
    call(journal, 1)
    settler.round()
    call(journal, 2)
    (path,) = journals.journal_files(folder)
    rotated = path.with_name(f"{path.name}.1")
    if copied:  # logrotate's copytruncate
        shutil.copy(path, rotated)
        with path.open("r+b") as file:
            file.truncate()
    else:  # moved; its process goes on writing to it
        path.rename(rotated)
    call(journal, 3)
    assert settler.round().entries == 2
    assert Settler(folder, store).round().entries == 0
    assert (booked(store), used(store)) == ([1, 2, 3], 3)
    journal.close()


def test_a_file_that_was_cut_short_is_read_again_and_nothing_is_booked_twice(
    folder: Path, journal: FileJournal, store: SqlStore
) -> None:
    settler = Settler(folder, store)
    call(journal, 1)
    (path,) = journals.journal_files(folder)
    one_line = path.stat().st_size
    for number in range(2, 9):
        call(journal, number)
    settler.round()
    with path.open("r+b") as file:
        file.truncate(one_line)
    call(journal, 9)
    assert settler.round().entries == 1
    assert (booked(store), used(store)) == (list(range(1, 10)), 9)


def test_what_a_dead_process_had_reserved_is_an_orphan(folder: Path, store: SqlStore) -> None:
    journal = FileJournal(folder, "fra")
    for number in range(4):
        reserve(journal, number)
    call(journal, 2)
    settler = Settler(folder, store)
    assert settler.round().orphans == 0  # it lives
    call(journal, 3)
    journal.close()
    done = settler.round()
    assert (done.entries, done.orphans) == (1, 2)
    assert (booked(store), booked(store, "orphaned"), used(store)) == ([2, 3], [0, 1], 2)
    assert settler.round().orphans == Settler(folder, store).round().orphans == 0


def test_what_was_reserved_in_a_copy_is_no_orphan_while_its_process_lives(folder: Path, store: SqlStore) -> None:
    journal = FileJournal(folder, "fra")
    settler = Settler(folder, store)
    reserve(journal, 1)
    reserve(journal, 2)
    (path,) = journals.journal_files(folder)
    shutil.copy(path, path.with_name(f"{path.name}.1"))
    with path.open("r+b") as file:
        file.truncate()
    call(journal, 2)
    assert settler.round().orphans == 0
    journal.close()
    assert settler.round().orphans == 1
    assert (booked(store), booked(store, "orphaned")) == ([2], [1])


def test_a_process_that_goes_on_with_a_dead_ones_file_does_not_keep_its_reservations_open(
    folder: Path, store: SqlStore
) -> None:
    before = FileJournal(folder, "fra")
    reserve(before, 1)
    Settler(folder, store).round()
    before.close()
    after = FileJournal(folder, "fra")
    reserve(after, 1, "fra-7-bb-")
    assert Settler(folder, store).round().orphans == 1
    assert len(journals.journal_files(folder)) == 1
    call(after, 1, "fra-7-bb-")
    Settler(folder, store).round()
    assert (booked(store), booked(store, "orphaned")) == ([1], [1])
    after.close()


def test_a_line_that_nobody_can_read_holds_up_none(folder: Path, journal: FileJournal, store: SqlStore) -> None:
    call(journal, 1)
    (path,) = journals.journal_files(folder)
    with path.open("ab") as file:
        file.write(b'{"kind": "call", "number"\n\x00\x00\n')
    journal.write("call", number="fra-7-aa-2", settled=True)
    call(journal, 3)
    assert Settler(folder, store).round().unreadable == 3
    assert booked(store) == [1, 3]


def test_words_that_a_caller_chose_hold_up_none(folder: Path, journal: FileJournal, store: SqlStore) -> None:
    facts: dict[str, Any] = line(model="m\x00'; --\ud7ff", deployment=None, spent=[], outcome="refused")
    journal.write("call", **{name: fact for name, fact in facts.items() if name not in ("at", "place", "kind")})
    call(journal, 2)
    assert Settler(folder, store).round().entries == 2


def test_journals_are_deleted_once_they_are_settled_and_dead(folder: Path, store: SqlStore) -> None:
    dead, alive = FileJournal(folder, "dead"), FileJournal(folder, "alive")
    call(dead, 1, "dead-7-aa-")
    reserve(dead, 2, "dead-7-aa-")
    call(alive, 1, "alive-7-aa-")
    dead.close()
    path = next(folder.glob("dead-*"))
    assert unsettled_bytes(path, store) == path.stat().st_size
    retire(folder, store)
    assert [journals.stem_of(path).split("-")[0] for path in journals.journal_files(folder)] == ["alive"]
    assert (booked(store), booked(store, "orphaned"), used(store)) == ([1, 1], [2], 2)
    call(alive, 2, "alive-7-aa-")
    retire(folder, store)
    assert (booked(store), used(store)) == ([1, 1, 2], 3)
    alive.close()


def test_the_day_is_that_of_the_calls_beginning(folder: Path, journal: FileJournal, store: SqlStore) -> None:
    facts = line(at_s=NOON_S + 12 * 3600 - 1)
    journal.write("call", **{name: fact for name, fact in facts.items() if name not in ("at", "place", "kind")})
    Settler(folder, store).round()
    assert store.used([DAY, DAY._replace(period="2026-11-26")]) == [4, 0]
