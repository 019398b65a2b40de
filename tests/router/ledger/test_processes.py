"""Several processes on one ledger at once, killed at any moment, on a full disk, with the server gone: nothing lost, nothing double."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from infercast.router.ledger.asking import Wanted
from infercast.router.ledger.checking import Report, check
from infercast.router.ledger.opening import open_store
from infercast.router.ledger.ports import Ask, Measure, Quota
from infercast.router.ledger.reading import orphans, sums_by
from infercast.router.ledger.settler import Settler
from infercast.router.ledger.store import SqlStore
from infercast.router.telemetry.journal import FileJournal, read_journal
from tests.router.fakes import ROOT
from tests.router.ledger.postgres import PostgresServer
from tests.router.ledger.test_settler import call

LIMIT_NUSD = 10_000
INGRESS = """
import os, random, sys, time
from pathlib import Path
from infercast.router.ledger.opening import open_store
from infercast.router.ledger.periods import day_of
from infercast.router.ledger.ports import Ask, Measure, Quota
from infercast.router.ledger.settler import Settler
from infercast.router.telemetry.journal import FileJournal

folder, url, seed, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
luck = random.Random(seed)
store, journal = open_store(url), FileJournal(folder, "fra")
series, settler = f"fra-{os.getpid()}-{seed}-", Settler(folder, store)
quota = Quota("t", "", Measure.MONEY, day_of(time.time()))
left = number = 0
while not (folder / "stop").exists():
    if left < 100:
        (granted,) = store.grant(series, [Ask(quota, limit, 200, time.time() + 3600)], time.time())
        left += granted.amount
    for _ in range(luck.randrange(1, 30)):
        number, cost = number + 1, luck.randrange(0, 100)
        if left < cost:
            break
        left -= cost
        facts = {"number": f"{series}{number}", "tenant": "t", "model": "m"}
        journal.write("reserved", **facts, reserved_nusd=100)
        spent = [["large@fra", cost // 2], ["small@dub", cost - cost // 2]]
        journal.write("call", **facts, entry="fra", deployment="large@fra", outcome="answered", spent=spent)
    for _ in range(luck.randrange(5)):  # of a tenant without a budget
        number += 1
        facts = {"number": f"{series}{number}", "tenant": "free", "model": "m"}
        journal.write("call", **facts, entry="fra", deployment="x@fra", outcome="answered", spent=[["x@fra", 7]])
    settler.round()  # of all processes' files, as all of them do
    time.sleep(0.005)
settler.round()
"""


def start(folder: Path, url: str, seed: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", INGRESS, str(folder), url, str(seed), str(LIMIT_NUSD)]
    return subprocess.Popen(words, cwd=ROOT)


def _wait_begun(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has opened its journal: importing takes longer than all that it does."""
    until = time.monotonic() + 60
    while not (folder / f"fra-{process.pid}.jsonl").exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)


def settled(folder: Path, store: SqlStore) -> Report:
    """Take over what is left, and hold the books against the journals."""
    Settler(folder, store).round()
    report = check(folder, store)
    assert (report.differences, report.unsettled, report.unreadable) == ([], 0, 0)
    assert report.journal_nusd == report.ledger_nusd
    return report


def test_processes_that_are_killed_lose_nothing_and_book_nothing_twice(tmp_path: Path, url: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    luck, folder = random.Random(seed), tmp_path / "journal"
    killed = 0
    running = [start(folder, url, seed + ordinal) for ordinal in range(3)]
    try:
        for ordinal in range(3, 8):
            victim = running.pop(0)
            _wait_begun(folder, victim)
            time.sleep(luck.uniform(0.0, 0.5))
            victim.send_signal(signal.SIGKILL)
            killed += victim.wait(30) == -signal.SIGKILL
            running.append(start(folder, url, seed + ordinal))
        (folder / "stop").touch()
        assert [process.wait(120) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait(30)
    assert killed == 5
    with closing(open_store(url)) as store:
        _hold(folder, store)


def _hold(folder: Path, store: SqlStore) -> None:
    """Hold the ledger against what the journals say, read plainly; and the limit."""
    report = settled(folder, store)
    lines = list(read_journal(folder))
    spent = {line["number"]: sum(cost for _, cost in line["spent"]) for line in lines if line["kind"] == "call"}
    began = {line["number"] for line in lines if line["kind"] == "reserved"}
    (whole,) = sums_by(store, (), Wanted())
    assert whole.sums["calls"] == len(spent) == report.calls
    assert whole.sums["cost_nusd"] == sum(spent.values())
    assert {entry.number for entry in orphans(store, Wanted())} == began - spent.keys()
    # No lease has expired, so what the killed ones had is spent or still set aside: the limit holds to the nano-dollar.
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(line["at"])) for line in lines})
    quotas = [Quota("t", "", Measure.MONEY, day) for day in days]
    used = store.used(quotas)
    assert max(used) > 0
    assert max(used) <= LIMIT_NUSD


FULL = """
from infercast.router.ledger.checking import check
from infercast.router.ledger.opening import open_store
from infercast.router.ledger.settler import Settler
store = open_store(f"sqlite:///{folder}/ledger.db")
settler = Settler(folder / "journal", store)
limit(60_000)
try:
    settler.round()
except OSError as error:
    print(error)
limit(no)
print(settler.round().entries + check(folder / "journal", store).differing)
store.close()
"""


def test_what_a_full_disk_does_not_take_is_booked_once_it_does(tmp_path: Path, limited: Callable[[str], str]) -> None:
    journal = FileJournal(tmp_path / "journal", "fra")
    for number in range(3000):  # several batches: some may be taken
        call(journal, number)
    journal.close()
    said, rest = limited(FULL).splitlines()
    assert f"the ledger {tmp_path}/ledger.db does not take it: " in said
    assert int(rest) > 0
    store = open_store(f"sqlite:///{tmp_path}/ledger.db")
    assert settled(tmp_path / "journal", store).calls == 3000
    store.close()


def test_a_server_that_crashes_is_out_of_reach_and_comes_back_with_all_that_it_said(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    store, folder = open_store(postgres.fresh()), tmp_path / "journal"
    journal, settler = FileJournal(folder, "fra"), Settler(folder, store)
    call(journal, 1)
    settler.round()
    postgres.kill()
    try:
        call(journal, 2)
        with pytest.raises(OSError, match="does not take it"):
            settler.round()
        with pytest.raises(OSError, match="does not take it"):
            store.grant("fra-1-", [], time.time())
    finally:
        postgres.start()
    settler.round()
    assert settled(folder, store).calls == 2
    journal.close()
    store.close()


def test_people_wait_longer_than_calls_do(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infercast.router.ledger.opening.BUSY_S", 0.2)
    with closing(open_store(postgres.fresh())) as store:

        def slow(db: Connection) -> None:
            db.exec_driver_sql("SELECT pg_sleep(0.5)")

        with pytest.raises(OSError, match="statement timeout"):
            store.read(slow)
        store.read(slow, patiently=True)
        with pytest.raises(OSError, match="statement timeout"):
            store.read(slow)


def test_a_ledger_that_another_holds_is_out_of_reach_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infercast.router.ledger.dialects.BUSY_S", 0.05)
    monkeypatch.setattr("infercast.router.ledger.opening.BUSY_S", 0.05)
    store, other = (open_store(f"sqlite:///{tmp_path}/ledger.db") for _ in range(2))

    def hold(_db: object) -> None:
        with pytest.raises(OSError, match="database is locked"):
            store.settle("j", 0, 5, [])
        assert store.cursor("j") == 0  # who only reads waits for nobody

    other.write(hold)
    store.settle("j", 0, 5, [])
    assert store.cursor("j") == 5
    store.close()
    other.close()


def test_the_test_would_see_a_double_entry(tmp_path: Path) -> None:
    """The check that all the above stand on finds an entry that is booked under two numbers."""
    folder, store = tmp_path / "journal", open_store(f"sqlite:///{tmp_path}/ledger.db")
    journal = FileJournal(folder, "fra")
    call(journal, 1)
    Settler(folder, store).round()
    store.write(
        lambda db: db.exec_driver_sql("UPDATE infercast_entries SET number = 'fra-7-aa-2' WHERE number = 'fra-7-aa-1'")
    )
    assert check(folder, store).differing == 2
    journal.close()
    store.close()


def test_many_who_ask_at_once_get_no_more_than_there_is(url: str) -> None:
    with closing(open_store(url)) as store, ThreadPoolExecutor(4) as threads:
        until_s = time.time() + 600

        def ask(round_and_holder: int) -> int:
            quota = Quota("t", str(round_and_holder // 4), Measure.MONEY, "2026-11-25")
            holder = f"fra-{round_and_holder % 4}-"
            return sum(store.grant(holder, [Ask(quota, 5, 1, until_s)], time.time())[0].amount for _ in range(3))

        granted = list(threads.map(ask, range(80)))
    assert [sum(granted[at : at + 4]) for at in range(0, 80, 4)] == [5] * 20
