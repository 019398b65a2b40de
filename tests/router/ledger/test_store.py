"""What a ledger's store does, of either kind: leases, entries, cursors."""

from typing import Any

import pytest

from infercast.router.ledger.ports import Ask, Entry, Granted, Lease, Measure, Moved, Quota, Reserved, Store
from infercast.router.ledger.store import SqlStore

NOON_S = 1_795_608_000.0  # 2026-11-25T12:00Z
DAY = Quota("t", "", Measure.MONEY, "2026-11-25")
MONTH = Quota("t", "", Measure.MONEY, "2026-11")
MINUTE = Quota("t", "", Measure.CALLS, "2026-11-25T12:00")
RUNNING = Quota("t", "m", Measure.RUNNING, "")
ME, YOU = "fra-1-aa-", "sin-2-bb-"


def entry(number: str = f"{ME}1", cost_nusd: int = 10, part: int = 0, **more: Any) -> Entry:
    """An answered call's entry at noon."""
    usual = ("t", "m", "fra", "fra", "small@fra", "answered", "settled")
    return Entry(number, part, NOON_S, *usual, cost_nusd)._replace(**more)


def ask(quota: Quota, limit: int, want: int, until_s: float = NOON_S + 10) -> Ask:
    return Ask(quota, limit, want, until_s)


def granted(store: SqlStore, holder: str, *asks: Ask, now_s: float = NOON_S) -> list[tuple[int, int, int]]:
    done = store.grant(holder, asks, now_s)
    assert [one.quota for one in done] == [one.quota for one in asks]
    return [(one.amount, one.elsewhere, one.used) for one in done]


def test_what_is_leased_to_one_is_not_free_for_another(store: SqlStore) -> None:
    assert granted(store, ME, ask(DAY, 100, 60)) == [(60, 0, 0)]
    assert granted(store, YOU, ask(DAY, 100, 60)) == [(40, 60, 0)]
    assert granted(store, YOU, ask(DAY, 100, 1)) == [(0, 60, 0)]
    assert granted(store, ME, ask(DAY, 130, 100)) == [(30, 40, 0)]


def test_quotas_of_other_tenants_models_measures_and_periods_are_others(store: SqlStore) -> None:
    assert granted(store, ME, ask(DAY, 100, 100)) == [(100, 0, 0)]
    for other in (
        DAY._replace(tenant="u"),
        DAY._replace(model="m"),
        MONTH,
        DAY._replace(measure=Measure.TOKENS, period="2026-11-25T12:00"),
    ):
        assert granted(store, YOU, ask(other, 100, 100)) == [(100, 0, 0)]


def test_one_grant_asks_for_one_quota_twice(store: SqlStore) -> None:
    assert granted(store, ME, ask(DAY, 100, 70), ask(DAY, 100, 70)) == [(70, 0, 0), (30, 0, 0)]
    assert store.renew(ME, NOON_S + 20, NOON_S) == {DAY: Lease(100)}


def test_an_expired_lease_is_free_again(store: SqlStore) -> None:
    granted(store, ME, ask(DAY, 100, 100, NOON_S + 10))
    assert granted(store, YOU, ask(DAY, 100, 50), now_s=NOON_S + 9.9) == [(0, 100, 0)]
    assert granted(store, YOU, ask(DAY, 100, 50, NOON_S + 20), now_s=NOON_S + 10) == [(50, 0, 0)]
    assert store.renew(ME, NOON_S + 30, NOON_S + 10) == {DAY: Lease(0)}


def test_a_minutes_lease_stands_until_its_minute_is_over(store: SqlStore) -> None:
    granted(store, ME, ask(MINUTE, 100, 100, NOON_S + 1))
    assert granted(store, YOU, ask(MINUTE, 100, 1), now_s=NOON_S + 59) == [(0, 100, 0)]
    assert store.renew(ME, NOON_S + 1, NOON_S + 59) == {MINUTE: Lease(100)}
    assert store.renew(ME, NOON_S + 500, NOON_S + 121) == {}


def test_a_renewed_lease_lives_on(store: SqlStore) -> None:
    granted(store, ME, ask(DAY, 100, 30), ask(RUNNING, 8, 4))
    assert store.renew(ME, NOON_S + 100, NOON_S + 5) == {DAY: Lease(30), RUNNING: Lease(4)}
    assert granted(store, YOU, ask(DAY, 100, 100), ask(RUNNING, 8, 8), now_s=NOON_S + 50) == [(70, 30, 0), (4, 4, 0)]


def test_what_is_given_back_is_free_again_and_no_more_than_that(store: SqlStore) -> None:
    granted(store, ME, ask(DAY, 100, 60), ask(RUNNING, 8, 4))
    granted(store, YOU, ask(DAY, 100, 40))
    store.give_back(ME, [(DAY, 15), (DAY, 5), (RUNNING, 400)])
    assert store.renew(ME, NOON_S + 10, NOON_S) == {DAY: Lease(40)}
    assert granted(store, YOU, ask(DAY, 100, 100), ask(RUNNING, 8, 9)) == [(20, 40, 0), (8, 0, 0)]


def test_what_is_settled_is_used_and_comes_off_the_writers_lease(store: SqlStore) -> None:
    quotas = [Quota("t", model, Measure.MONEY, period) for model in ("", "m") for period in ("2026-11-25", "2026-11")]
    asks = [ask(quota, 100, 60) for quota in [*quotas, MINUTE]]
    granted(store, ME, *asks)
    granted(store, YOU, ask(DAY, 100, 10))
    store.settle("j", 0, 50, [entry(cost_nusd=7), entry(f"{ME}2", 5, model="other")])
    left = [Lease(48, 12), Lease(48, 12), Lease(53, 7), Lease(53, 7), Lease(60)]
    assert store.renew(ME, NOON_S + 10, NOON_S) == dict(zip([*quotas, MINUTE], left, strict=True))
    assert [one.used for one in store.grant(YOU, asks, NOON_S)] == [12, 12, 7, 7, 0]
    assert store.renew(YOU, NOON_S + 10, NOON_S)[DAY] == Lease(10 + 30)  # 100 less 12 used, 48 leased and 10 had


def test_a_lease_falls_to_nothing_and_not_below(store: SqlStore) -> None:
    granted(store, ME, ask(DAY, 100, 10))
    store.settle("j", 0, 50, [entry(cost_nusd=25)])
    assert store.renew(ME, NOON_S + 10, NOON_S) == {DAY: Lease(0, 25)}
    assert granted(store, YOU, ask(DAY, 100, 100)) == [(75, 0, 25)]


def test_over_a_limit_nothing_is_granted(store: SqlStore) -> None:
    store.settle("j", 0, 50, [entry(cost_nusd=25)])
    assert store.grant(YOU, [ask(DAY, 20, 5)], NOON_S) == [Granted(DAY, 0, 0, 25)]


def test_bytes_are_settled_once(store: SqlStore) -> None:
    assert store.cursor("j") == 0
    assert store.settle("j", 0, 50, [entry()]) == 1
    with pytest.raises(Moved):
        store.settle("j", 0, 60, [entry(f"{ME}2")])
    assert store.cursor("j") == 50
    assert store.settle("j", 50, 90, [entry(f"{ME}3")]) == 1
    with pytest.raises(Moved):
        store.settle("other", 10, 90, [entry(f"{ME}4")])
    assert store.grant(YOU, [ask(DAY, 100, 0)], NOON_S) == [Granted(DAY, 0, 0, 20)]


def test_an_entry_is_booked_once_whichever_file_it_stands_in(store: SqlStore) -> None:
    entries = [entry(), entry(part=1, cost_nusd=3)]
    assert store.settle("j", 0, 50, [*entries, *entries]) == 2
    assert store.settle("copy of j", 0, 80, [*entries, entry(f"{ME}2")]) == 1
    assert store.grant(YOU, [ask(DAY, 100, 0)], NOON_S) == [Granted(DAY, 0, 0, 23)]


def test_a_reservation_is_open_until_its_call_has_ended(store: SqlStore) -> None:
    began = [Reserved(f"{ME}{number}", NOON_S, "t", "m", "fra", 9) for number in (1, 2, 3)]
    store.settle("j", 0, 50, [entry(f"{ME}1")], began)
    assert store.reservations("j") == began[1:]
    store.settle("j", 50, 90, [entry(f"{ME}3")])
    assert store.reservations("j") == began[1:2]
    assert store.reservations("other") == []


def test_an_orphan_that_turns_out_to_have_ended_is_settled_after_all(store: SqlStore) -> None:
    orphan = entry(cost_nusd=0, state="orphaned", outcome="failed", reserved_nusd=9)
    store.settle("j", 0, 0, [orphan])
    assert store.settle("copy", 0, 10, [orphan]) == 0
    assert store.settle("j", 0, 50, [entry(cost_nusd=7), entry(f"{ME}2", 1)]) == 2
    assert store.settle("late", 0, 50, [orphan]) == 0
    assert store.grant(YOU, [ask(DAY, 100, 0)], NOON_S) == [Granted(DAY, 0, 0, 8)]


def test_how_much_has_been_settled_is_told_until_a_day_after_the_period(store: SqlStore) -> None:
    granted(store, ME, ask(DAY, 100, 10), ask(MONTH, 100, 10))
    store.settle("j", 0, 50, [entry(cost_nusd=4)])
    midnight_s = NOON_S + 12 * 3600
    store.settle("j", 50, 90, [entry(f"{ME}2", 5)])  # the leases have expired by then; the call began before
    assert store.renew(ME, midnight_s, midnight_s + 86_399) == {DAY: Lease(0, 9), MONTH: Lease(0, 9)}
    assert store.renew(ME, midnight_s, midnight_s + 86_401) == {MONTH: Lease(0, 9)}
    assert store.renew(ME, midnight_s, midnight_s + 6 * 86_400 - 1) == {
        MONTH: Lease(0, 9)
    }  # the first of December is over
    assert store.renew(ME, midnight_s, midnight_s + 6 * 86_400 + 1) == {}


def test_what_is_used_is_told_of_each_quota(store: SqlStore) -> None:
    store.settle("j", 0, 50, [entry(cost_nusd=4), entry(f"{ME}2", 5, model="n")])
    other = DAY._replace(period="2026-11-24")
    assert store.used([MONTH, DAY, other, DAY._replace(model="n")]) == [9, 9, 0, 5]
    assert store.used([]) == []


def test_an_alert_is_the_first_once(store: SqlStore) -> None:
    assert store.alert(DAY, 100, 800_000)
    assert not store.alert(DAY, 100, 800_000)
    assert store.alert(DAY, 100, 1_000_000)
    assert store.alert(DAY, 200, 800_000)
    assert store.alert(MONTH, 100, 800_000)


def test_it_does_all_that_a_store_does(store: SqlStore) -> None:
    held: Store = store  # by its types
    assert held is store
