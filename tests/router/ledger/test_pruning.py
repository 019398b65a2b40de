"""Pruning a ledger: every sum that can be asked for stays the same, to the nano-dollar, whoever does what meanwhile."""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, func, insert, select

from infercast.router.ledger import pruning
from infercast.router.ledger.asking import DIMENSIONS, MiddleOfDay, Wanted
from infercast.router.ledger.lines import orphan_of
from infercast.router.ledger.opening import open_store
from infercast.router.ledger.ports import Entry, Measure, Quota, Reserved
from infercast.router.ledger.pruned import LAST_MAX, merged, note, order_of, pruned
from infercast.router.ledger.pruning import prune
from infercast.router.ledger.reading import Line, orphans, sums_by
from infercast.router.ledger.store import SqlStore
from infercast.router.ledger.tables import DAYS, ENTRIES, METADATA, PRUNED, SCHEMA, SCHEMAS, UNPRUNED
from tests.router.fakes import ROOT
from tests.router.ledger.test_store import ME, NOON_S, YOU, entry

DAY_S = 86_400
DAY, NEXT = "2026-11-25", "2026-11-26"
HOLDERS = ("fra-1-aa-", "sin-2-bb-")
PATIENCE_S = 60.0


def world(seed: int, calls: int = 100) -> list[Entry]:
    """Calls of five days, some with tries that were lost; the third day is DAY."""
    draw = random.Random(seed)
    entries = []
    for holder in HOLDERS:
        for order in range(1, calls + 1):
            at_s = NOON_S + DAY_S * draw.uniform(-2.5, 2.5)
            outcome = draw.choice(["answered", "answered", "refused", "failed"])
            tenant, model, entry = draw.choice("tu"), draw.choice(["m", "n", ""]), draw.choice(["fra", "sin"])
            for part in range(draw.choice([1, 1, 1, 3])):
                site = draw.choice(["fra", "dub"])
                said, cost_nusd = outcome if part == 0 else "lost", draw.randrange(10**10)
                used = (draw.randrange(99), draw.randrange(99), draw.random() < 0.2) if part == 0 else (0, 0, False)
                facts = (f"small@{site}", said, "settled", cost_nusd, *used)
                entries.append(Entry(f"{holder}{order}", part, at_s, tenant, model, entry, site, *facts))
    return entries


def settled(store: SqlStore, entries: list[Entry], journal: str = "j") -> list[Entry]:
    store.settle(journal, 0, 1, entries)
    return entries


def told(store: SqlStore) -> list[list[Line]]:
    """The sums by all dimensions, of which all others are sums again; some of those; of one tenant, and of some days."""
    bounds = [Wanted(tenant="t"), Wanted(since_s=NOON_S - DAY_S / 2), Wanted(until_s=NOON_S + DAY_S / 2)]
    by = [(), ("day",), ("tenant", "site"), ("outcome", "model")]
    return [sums_by(store, names, Wanted()) for names in (DIMENSIONS, *by)] + [
        sums_by(store, DIMENSIONS, wanted) for wanted in bounds
    ]


def rows(store: SqlStore) -> int:
    return store.read(lambda db: int(db.execute(select(func.count()).select_from(ENTRIES)).scalar_one()))


def ranges(store: SqlStore) -> list[tuple[str, int, int]]:
    return store.read(lambda db: [tuple(row) for row in db.execute(select(PRUNED).order_by(*PRUNED.c))])


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "STEP_ROWS", 51)


def test_no_sum_changes_and_what_is_old_is_gone(store: SqlStore) -> None:
    entries = settled(store, world(1))
    before, old = told(store), [entry for entry in entries if entry.at_s < NOON_S + DAY_S / 2]
    done = prune(store, NEXT, 0)
    assert (done.entries, done.cost_nusd) == (len(old), sum(entry.cost_nusd for entry in old))
    assert rows(store) == len(entries) - len(old)
    assert told(store) == before
    assert prune(store, NEXT, 0).entries == 0
    assert prune(store, "9999-01-01", 0).entries == len(entries) - len(old)
    assert told(store) == before
    assert ranges(store) == [(holder, 1, 100) for holder in HOLDERS]


def test_lines_that_come_once_more_are_booked_no_more_and_late_ones_are(store: SqlStore, tmp_path: Path) -> None:
    entries = world(2)
    late = {entries[0].number, f"{HOLDERS[1]}77"}
    settled(store, [entry for entry in entries if entry.number not in late])
    money = Quota("t", "", Measure.MONEY, "2026-11")
    prune(store, NEXT, 0)
    kept, used = told(store), store.used([money])
    again = [entry for entry in entries if entry.number not in late]
    assert store.settle("a copy", 0, 1, again) == 0
    began = [Reserved(entry.number, entry.at_s, "t", "m", "fra", 9) for entry in again if entry.part == 0]
    store.settle("a copy", 1, 2, [], began)
    assert store.reservations("a copy") == []
    assert (told(store), store.used([money])) == (kept, used)
    missed = [entry for entry in entries if entry.number in late]
    assert store.settle("late", 0, 1, entries) == len(missed)
    whole = told(store)
    prune(store, NEXT, 0)
    assert told(store) == whole
    assert store.settle("another copy", 0, 1, entries) == 0
    with closing(open_store(f"sqlite:///{tmp_path / 'whole.db'}")) as other:  # all of it at once, and never pruned
        settled(other, entries)
        assert told(other) == whole


def test_an_orphan_stays_until_its_end_comes_to_light(store: SqlStore) -> None:
    entries = settled(store, world(3))
    orphan = Reserved(f"{HOLDERS[0]}999", NOON_S, "t", "m", "fra", 50)
    store.settle("dead", 0, 0, [orphan_of(orphan)])
    before = told(store)
    prune(store, "9999-01-01", 0)
    assert told(store) == before
    assert [one.number for one in orphans(store, Wanted())] == [orphan.number]
    end = entries[0]._replace(number=orphan.number, at_s=NOON_S, cost_nusd=7)
    assert store.settle("dead", 0, 1, [end]) == 1
    assert sums_by(store, (), Wanted())[0].sums["cost_nusd"] == sum(entry.cost_nusd for entry in entries) + 7
    assert orphans(store, Wanted()) == []


def test_a_day_that_has_been_pruned_is_had_as_a_whole(store: SqlStore) -> None:
    settled(store, world(4))
    noon = Wanted(since_s=NOON_S)
    assert sums_by(store, (), noon)
    prune(store, NEXT, 0)
    for wanted in (noon, Wanted(until_s=NOON_S)):
        with pytest.raises(MiddleOfDay, match="2026-11-25 has been pruned"):
            sums_by(store, (), wanted)
    sums_by(store, (), Wanted(since_s=NOON_S + DAY_S))
    whole = sums_by(store, DIMENSIONS, Wanted())
    for far_s in (1e300, 2**64 - 1):
        assert sums_by(store, DIMENSIONS, Wanted(since_s=far_s)) == []
        assert sums_by(store, DIMENSIONS, Wanted(until_s=far_s)) == whole
        assert sums_by(store, DIMENSIONS, Wanted(since_s=-far_s)) == whole
        assert sums_by(store, DIMENSIONS, Wanted(until_s=-far_s)) == []


def test_what_fails_in_mid_step_has_not_happened(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = settled(store, world(5))
    before, steps = told(store), itertools.count()

    def broken(db: Connection, numbers: list[str]) -> None:
        note(db, numbers)
        if next(steps) == 3:
            raise OSError(28, "no room")

    monkeypatch.setattr(pruning, "note", broken)
    with pytest.raises(OSError, match="no room"):
        prune(store, "9999-01-01", 0)
    left = rows(store)
    assert 0 < left < len(entries)
    assert told(store) == before
    assert store.settle("a copy", 0, 1, entries) == 0
    assert prune(store, "9999-01-01", 0).entries == left
    assert told(store) == before


def test_lines_come_again_while_their_entries_are_pruned(store: SqlStore) -> None:
    entries = settled(store, world(6))
    before, new = told(store), list[int]()

    def copies() -> None:
        new.extend(store.settle(f"copy {at}", 0, 1, entries) for at in range(5))

    other = threading.Thread(target=copies)
    other.start()
    prune(store, "9999-01-01", 0.001)
    other.join()
    assert new == [0] * 5
    assert told(store) == before
    assert (rows(store), ranges(store)) == (0, [(holder, 1, 100) for holder in HOLDERS])


def test_a_kill_in_the_middle_changes_no_sum(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(open_store(url)) as store:
        entries = settled(store, world(7))
        before = told(store)
        program = (
            "import sys; from infercast.router.ledger import pruning; from infercast.router.ledger.opening import open_store\n"
            "pruning.STEP_ROWS = 9\npruning.prune(open_store(sys.argv[1]), '9999-01-01', 0.1)\n"
        )
        words = [sys.executable, "-c", program, url]
        with subprocess.Popen(words, cwd=ROOT) as process:
            until = time.monotonic() + PATIENCE_S
            while rows(store) == len(entries):
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        assert told(store) == before
        assert store.settle("a copy", 0, 1, entries) == 0
        assert told(store) == before


def test_a_ledger_of_before_is_read_as_it_is_and_gets_its_tables_when_it_is_written(url: str) -> None:
    with closing(open_store(url)) as store:
        entries = settled(store, world(8))
        before = told(store)
        store.write(lambda db: METADATA.drop_all(db, [DAYS, PRUNED]))
    with closing(open_store(url, write=False)) as store:
        assert told(store) == before
    with closing(open_store(url)) as store:
        assert prune(store, "9999-01-01", 0).entries == len(entries)
        assert told(store) == before
    with closing(open_store(url, write=False)) as store:
        assert told(store) == before


def test_an_older_infercast_is_kept_from_a_ledger_from_when_it_has_been_pruned(url: str) -> None:
    def version(store: SqlStore) -> int:
        return store.read(lambda db: int(db.execute(select(SCHEMAS.c.version)).scalar_one()))

    with closing(open_store(url)) as store:
        settled(store, world(9, calls=9))
        assert prune(store, "2000-01-01", 0).entries == 0
    for before, now in (("2000-01-01", UNPRUNED), ("9999-01-01", SCHEMA), ("2000-01-01", SCHEMA)):
        with closing(open_store(url)) as store:
            prune(store, before, 0)
            assert version(store) == now


def steps(store: SqlStore, work: Callable[[], object]) -> int:
    """How many tens of steps SQLite's machine takes for something; they hang on what is looked at, and on no clock."""
    seen = list[int]()
    pooled = store._engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.close()  # and had again by what comes next
    connection.set_progress_handler(lambda: seen.append(1), 10)
    work()
    connection.set_progress_handler(None, 0)
    return len(seen)


def test_what_is_newer_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "STEP_ROWS", 8)
    took = []
    for newer in (0, 2_000):
        with closing(open_store(f"sqlite:///{tmp_path / f'{newer}.db'}")) as store:
            old = [entry(f"{ME}{at + 1}", at_s=NOON_S + at) for at in range(20)]
            settled(store, old + [entry(f"{ME}{at + 50}", at_s=NOON_S + DAY_S + at) for at in range(newer)])
            took.append(steps(store, lambda store=store: prune(store, NEXT, 0)))  # type: ignore[misc]
            assert rows(store) == newer
    assert took[1] < took[0] * 1.2


def test_only_ranges_that_are_near_are_looked_at(tmp_path: Path) -> None:
    took = []
    for known in (0, 2_000):
        with closing(open_store(f"sqlite:///{tmp_path / f'{known}.db'}")) as store:
            many = [{"holder": ME, "first": 2 * at, "last": 2 * at} for at in range(1, known + 1)]
            for row in many:
                store.write(lambda db, row=row: db.execute(insert(PRUNED).values(row)))  # type: ignore[misc]
            new = entry(f"{ME}{2 * known + 1}")
            took.append(steps(store, lambda store=store, new=new: (settled(store, [new]), prune(store, NEXT, 0))))  # type: ignore[misc]
            assert ranges(store)[-1][2] == 2 * known + 1
            assert len(ranges(store)) == max(known, 1)
    assert took[1] < took[0] * 1.2


ORDERS = st.sets(st.integers(1, 40) | st.just(LAST_MAX - 1) | st.just(LAST_MAX))


@given(st.lists(ORDERS, max_size=5), ORDERS)
def test_what_is_noted_is_known_again_in_the_least_ranges(noted: list[set[int]], asked: set[int]) -> None:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine, [PRUNED])
    with engine.begin() as db:
        for orders in noted:
            note(db, {f"{ME}{order}" for order in orders})
        note(db, {f"{YOU}{order}" for order in range(5)})
        whole = set[int]().union(*noted)
        assert pruned(db, {f"{ME}{order}" for order in asked}) == {f"{ME}{order}" for order in asked & whole}
        kept = [(row.first, row.last) for row in db.execute(select(PRUNED).where(PRUNED.c.holder == ME))]
        assert sorted(kept) == merged((order, order) for order in whole)
    engine.dispose()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair)))))
def test_ranges_hold_what_they_are_made_of_and_nothing_else(given_: list[tuple[int, int]]) -> None:
    found = merged(given_)
    assert {at for first, last in found for at in range(first, last + 1)} == {
        at for first, last in given_ for at in range(first, last + 1)
    }
    assert all(first - last > 1 for (_, last), (first, _) in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("number", "order"),
    [("fra-1-aa-7", 7), ("7", 7), ("fra-1-aa-07", None), ("fra-1-aa-", None), ("x", None), (f"a-{2**63}", None)],
)
def test_only_numbers_of_ours_are_pruned(number: str, order: int | None) -> None:
    assert order_of(number) == order
