"""Who settles a folder: one process at a time, whoever else would; and what it does while the ledger is out of reach."""

import asyncio
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infercast.policies.faults import BadInput
from infercast.router.ledger import background
from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.background import LOCK, Background
from infercast.router.ledger.opening import ledger_url, open_store
from infercast.router.ledger.reading import orphans, sums_by, unsettled_calls
from infercast.router.ledger.retiring import retire, settle_left
from infercast.router.ledger.settler import Round, Settler
from infercast.router.serving.worker import SiteWorker
from infercast.router.telemetry.journal import FileJournal
from tests.router.ledger.test_settler import call

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_S", "STAND_BY_S", "TROUBLE_S"):
        monkeypatch.setattr(background, name, 0.01)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(tmp_path / "journal", "fra")
    yield opened
    opened.close()


@contextmanager
def settling(state: Path, *, stand_by: bool, url: str = "") -> Iterator[Background]:
    made = Background(state / "journal", url or ledger_url(state), stand_by=stand_by)
    try:
        yield made
    finally:
        made.close()


def booked(state: Path) -> int:
    try:
        with closing(open_store(ledger_url(state), write=False)) as store:
            return sum(line.sums["calls"] for line in sums_by(store, (), Wanted()))
    except BadInput:
        return 0


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("stand_by", [False, True])
def test_whoever_is_alone_settles(tmp_path: Path, journal: FileJournal, stand_by: bool) -> None:
    with settling(tmp_path, stand_by=stand_by):
        for number in range(1, 4):
            call(journal, number)
            until(lambda number=number: booked(tmp_path) >= number)  # type: ignore[misc]
            assert booked(tmp_path) == number


def test_one_settles_while_another_holds_the_folder_nobody_else(tmp_path: Path, journal: FileJournal) -> None:
    call(journal, 1)
    with (tmp_path / "journal" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with settling(tmp_path, stand_by=True), settling(tmp_path, stand_by=False):
            time.sleep(0.3)
            assert booked(tmp_path) == 0
            fcntl.flock(lock, fcntl.LOCK_UN)  # as the kernel does when its process dies
            until(lambda: booked(tmp_path) == 1)


def test_the_one_that_has_it_keeps_it_and_who_stands_by_gives_it_back(tmp_path: Path, journal: FileJournal) -> None:
    def is_held() -> bool:
        with (tmp_path / "journal" / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    with settling(tmp_path, stand_by=True):
        call(journal, 1)
        until(lambda: booked(tmp_path) == 1)
        until(lambda: not is_held())
        with settling(tmp_path, stand_by=False):
            until(lambda: all(is_held() for _ in range(50)))
            call(journal, 2)
            until(lambda: booked(tmp_path) == 2)
        until(lambda: not is_held())
        assert booked(tmp_path) == 2


def test_calls_wait_while_the_ledger_is_away_and_it_is_said_once(
    tmp_path: Path, journal: FileJournal, caplog: pytest.LogCaptureFixture
) -> None:
    away = tmp_path / "away"
    call(journal, 1)
    with settling(tmp_path, stand_by=False, url=f"sqlite:///{away}/ledger.db"):
        until(lambda: "the ledger does not take them" in caplog.text)
        time.sleep(0.2)
        assert caplog.text.count("the ledger does not take them") == 1
        away.mkdir()
        until(lambda: "into the ledger again" in caplog.text)
    assert booked(away) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_settler_that_has_ended_by_itself_says_so_and_begins_anew(
    tmp_path: Path, journal: FileJournal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Settler.round

    def broken(_: Settler) -> Round:
        raise KeyError("a journal that nobody knows")

    monkeypatch.setattr(Settler, "round", broken)
    call(journal, 1)
    with settling(tmp_path, stand_by=False) as made:
        until(lambda: not made._thread.is_alive())
        assert "settling has ended" in caplog.text
        monkeypatch.setattr(Settler, "round", rounds)
        made.keep()
        until(lambda: booked(tmp_path) == 1)
    made.keep()  # it was closed
    assert not made._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_worker_is_replaced_for_a_journal_that_ends_settling_in_all_of_them(
    tmp_path: Path, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = list[int]()

    def broken(_: Settler) -> Round:
        tries.append(1)
        raise KeyError("a journal that nobody knows")

    monkeypatch.setattr(Settler, "round", broken)
    call(journal, 1)
    well = SimpleNamespace(check=lambda: None)
    with settling(tmp_path, stand_by=True) as made:
        worker = SimpleNamespace(_chores=well, _decisions=well, _settling=made)
        for at in range(1, 4):
            until(lambda: not made._thread.is_alive())
            assert len(tries) == at
            asyncio.run(SiteWorker.func_or_class.check_health(worker))  # type: ignore[attr-defined]


def test_what_is_left_when_a_run_has_ended_is_settled(tmp_path: Path, journal: FileJournal) -> None:
    call(journal, 1)
    settle_left(tmp_path / "journal", ledger_url(tmp_path))
    assert booked(tmp_path) == 1
    settle_left(tmp_path / "journal", "mysql://h/d")  # is said, and ends nothing


def test_no_journal_is_deleted_whose_lines_the_ledger_does_not_take(
    tmp_path: Path, limited: Callable[[str], str]
) -> None:
    journal = FileJournal(tmp_path / "journal", "fra")
    for number in range(3000):
        call(journal, number)
    journal.close()
    told = limited(
        "from infercast.policies.faults import BadInput\n"
        "from infercast.router.ledger.opening import open_store\n"
        "from infercast.router.ledger.retiring import retire\n"
        "store = open_store(f'sqlite:///{folder}/ledger.db')\n"
        "limit(60_000)\n"
        "try: retire(folder / 'journal', store)\n"
        "except BadInput as error: print(error)\n"
    )
    assert "ledger.db: --ledger: calls of an earlier run cannot be taken over" in told
    with closing(open_store(ledger_url(tmp_path))) as store:
        assert unsettled_calls(tmp_path / "journal", store) > 0
        assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 1
        retire(tmp_path / "journal", store)
        assert list((tmp_path / "journal").glob("*.jsonl")) == []
    assert booked(tmp_path) == 3000


def test_a_process_that_dies_while_its_journal_is_settled_leaves_it_until_its_calls_are_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = FileJournal(tmp_path / "journal", "fra")
    dying.write("reserved", number="fra-7-aa-1", tenant="t", model="m", at_s=1.0, reserved_nusd=5)
    rounds = Settler.round

    def last(settler: Settler) -> Round:
        done = rounds(settler)
        dying.close()
        return done

    with closing(open_store(ledger_url(tmp_path))) as store:
        monkeypatch.setattr(Settler, "round", last)
        retire(tmp_path / "journal", store)
        assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 1
        monkeypatch.setattr(Settler, "round", rounds)
        retire(tmp_path / "journal", store)
        assert list((tmp_path / "journal").glob("*.jsonl")) == []
        assert [entry.number for entry in orphans(store, Wanted())] == ["fra-7-aa-1"]
