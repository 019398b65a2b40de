"""Laws of a ledger's store, in random histories: it does what a few dictionaries would do, and no limit is passed."""

from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from infercast.router.ledger.checking import check
from infercast.router.ledger.ports import Ask, Entry, Granted, Lease, Measure, Moved, Quota
from infercast.router.ledger.store import SqlStore

NOON_S = 1_795_608_000.0
HOLDERS, MODELS = ("a", "b", "c"), ("m", "n")
AMOUNTS = st.integers(0, 60)
TIMES_S = st.sampled_from([0.0, 1.0, 5.0, 20.0])


class Histories(RuleBasedStateMachine):
    """One tenant's history. Its leases and sums are kept beside the store, plainly."""

    store: ClassVar[SqlStore]
    histories = Counter[str]()

    @initialize(limit=st.integers(0, 150))
    def begin(self, limit: int) -> None:
        self.histories["begun"] += 1
        self.name = f"t{self.histories['begun']}"
        self.limit = limit
        self.now_s = NOON_S
        self.leases: dict[tuple[str, Quota], list[float]] = {}
        """Amount, until when, settled."""
        self.used = Counter[Quota]()
        self.uncovered = Counter[Quota]()
        """What was settled beyond its writer's lease: that had expired, or was too small."""
        self.cursors = dict.fromkeys(HOLDERS, 0)
        self.written: list[Entry] = []

    def quota(self, at: int) -> Quota:
        money = Quota(self.name, "", Measure.MONEY, "2026-11-25")
        return (
            money,
            money._replace(model="m"),
            money._replace(period="2026-11"),
            money._replace(model="n", period="2026-11"),
            money._replace(measure=Measure.RUNNING, period=""),
            money._replace(measure=Measure.CALLS, period="2026-11-25T12:00"),
        )[at]

    def holder(self, name: str) -> str:
        return f"{name}-{self.name}-"

    def expire(self, whose: str | None = None) -> None:
        for key, lease in list(self.leases.items()):
            if lease[1] <= self.now_s and whose in (None, key[0]):
                lease[0] = 0
                if key[1].measure is not Measure.MONEY:
                    del self.leases[key]

    @rule(name=st.sampled_from(HOLDERS), asked=st.lists(st.tuples(st.integers(0, 5), AMOUNTS, TIMES_S), max_size=4))
    def grant(self, name: str, asked: list[tuple[int, int, float]]) -> None:
        holder = self.holder(name)
        asks = [Ask(self.quota(at), self.limit, want, self.now_s + life_s) for at, want, life_s in asked]
        granted = self.store.grant(holder, asks, self.now_s)
        if asks:
            self.expire()
        expected = []
        for ask in asks:
            elsewhere = sum(
                int(lease[0]) for (who, what), lease in self.leases.items() if what == ask.quota and who != holder
            )
            mine = self.leases.get((holder, ask.quota))
            free = self.limit - self.used[ask.quota] - elsewhere - int(mine[0] if mine else 0)
            amount = max(0, min(ask.want, free))
            if amount:
                is_minutes = ask.quota.measure is Measure.CALLS
                mine = self.leases.setdefault((holder, ask.quota), [0, 0, 0])
                mine[0] += amount
                mine[1] = max(mine[1], ask.expires_s, NOON_S + 120 if is_minutes else 0)
            expected.append(Granted(ask.quota, amount, elsewhere, self.used[ask.quota]))
        # What others have is told as it was before the asking; none of it changes by it.
        assert granted == expected

    @rule(name=st.sampled_from(HOLDERS), life_s=TIMES_S)
    def renew(self, name: str, life_s: float) -> None:
        holder = self.holder(name)
        told = self.store.renew(holder, self.now_s + life_s, self.now_s)
        self.expire(holder)
        for (who, what), lease in self.leases.items():
            if who == holder and what.measure is not Measure.CALLS and lease[0]:
                lease[1] = self.now_s + life_s
        assert told == {
            what: Lease(int(lease[0]), int(lease[2])) for (who, what), lease in self.leases.items() if who == holder
        }

    @rule(name=st.sampled_from(HOLDERS), at=st.integers(0, 5), amount=AMOUNTS)
    def give_back(self, name: str, at: int, amount: int) -> None:
        key = (self.holder(name), self.quota(at))
        self.store.give_back(key[0], [(key[1], amount)])
        if key in self.leases and amount:
            self.leases[key][0] = max(0, self.leases[key][0] - amount)
            if not self.leases[key][0] and key[1].measure is not Measure.MONEY:
                del self.leases[key]

    @rule(name=st.sampled_from(HOLDERS), costs=st.lists(st.tuples(st.sampled_from(MODELS), AMOUNTS), max_size=5))
    def settle(self, name: str, costs: list[tuple[str, int]]) -> None:
        holder, at = self.holder(name), self.cursors[name]
        entries = [
            Entry(
                f"{holder}{at + ordinal}",
                0,
                NOON_S,
                self.name,
                model,
                "fra",
                "fra",
                "x@fra",
                "answered",
                "settled",
                cost,
            )
            for ordinal, (model, cost) in enumerate(costs)
        ]
        assert self.store.settle(holder, at, at + 10, entries) == len(entries)
        self.cursors[name] = at + 10
        self.written += entries
        for quota in map(self.quota, range(4)):
            cost = sum(entry.cost_nusd for entry in entries if quota.model in ("", entry.model))
            self.used[quota] += cost
            lease = self.leases.get((holder, quota), [0, 0, 0])
            self.uncovered[quota] += max(0, cost - int(lease[0]))
            lease[0], lease[2] = max(0, lease[0] - cost), lease[2] + cost

    @rule(name=st.sampled_from(HOLDERS), more=st.integers(-10, 20))
    def settle_what_another_has_settled(self, name: str, more: int) -> None:
        """It comes to nothing, whether the other is known to have been there or not."""
        holder, at = self.holder(name), self.cursors[name]
        if at:
            with pytest.raises(Moved):
                self.store.settle(holder, at - 10, at + more, self.written)
        assert self.store.settle(f"copy {self.histories['copies']} of {holder}", 0, 10, self.written) == 0
        self.histories["copies"] += 1

    @rule(pass_s=TIMES_S)
    def wait(self, pass_s: float) -> None:
        self.now_s += pass_s

    @invariant()
    def no_limit_is_passed(self) -> None:
        if hasattr(self, "leases"):
            for quota in map(self.quota, range(6)):
                live = sum(
                    int(lease[0]) for (_, what), lease in self.leases.items() if what == quota and lease[1] > self.now_s
                )
                assert self.used[quota] + live <= self.limit + self.uncovered[quota]

    def teardown(self) -> None:
        if hasattr(self, "leases"):
            money = [self.quota(at) for at in range(4)]
            assert self.store.used(money) == [self.used[quota] for quota in money]


def test_no_history_passes_a_limit_loses_an_entry_or_books_one_twice(store: SqlStore, tmp_path: Path) -> None:
    Histories.store = store
    Histories.histories.clear()
    postgres = store.name.startswith("postgresql")
    examples = settings.default.max_examples if settings.default else 100
    run_state_machine_as_test(
        Histories,
        settings=settings(max_examples=max(20, examples // 3) if postgres else examples, stateful_step_count=25),
    )
    report = check(tmp_path / "none", store)
    assert report.differences == []
