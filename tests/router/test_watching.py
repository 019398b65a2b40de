"""What the parts of an entry count by themselves is what metrics say: turns, limits, kept answers, drains."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from infercast.router.cache.store import Store
from infercast.router.conduct.pacing import BURST
from infercast.router.errors import Trouble
from infercast.router.quota.accounts import Ledgered
from infercast.router.serving.watching import lasting, watch_accounts, watch_cache, watch_conduct
from infercast.router.sight.seeing import Seeing
from tests.router import test_waiting as waiting
from tests.router.cache.scenes import at_entry, engine_with, policy_of, question
from tests.router.cache.test_answers import how
from tests.router.fakes import Clock, example_fleet, scene
from tests.router.quota.support import accounts_on, call_of, entry_of, ledger, opened, reserved, running
from tests.router.quota.test_accounts import Away, until
from tests.router.test_sight_counting import Found, told, total


def seen(caller: Any) -> Seeing:
    """Let metrics look at a caller, as a worker has it."""
    seeing = Seeing(caller.entry, caller.fleet)
    caller._sight = seeing
    watch_conduct(seeing.watch, caller)
    return seeing


def test_who_waits_and_for_how_long() -> None:
    at = waiting.scene()
    seeing = seen(at.caller)

    async def story(at: waiting.Scene) -> None:
        await at.call("flood", 6)
        now = told(seeing)
        assert total(now, "infercast_deployment_calls_waiting", site="par", model="digits") == 4
        assert total(now, "infercast_deployment_calls_waiting") == 4
        assert total(now, "infercast_calls_under_way", entry="par") == 6
        await at.gate.let()
        assert total(told(seeing), "infercast_deployment_calls_waiting") == 3

    waiting.play(story, at)
    now, queued_us = told(seeing), [line["queued_us"] for line in at.journal.of("call") if line["queued_us"]]
    assert len(queued_us) == 4
    assert total(now, "infercast_turn_wait_seconds_count", tenant="flood", model="digits") == 4
    assert total(now, "infercast_turn_wait_seconds_sum") == pytest.approx(sum(queued_us) / 1e6)
    assert total(now, "infercast_deployment_calls_waiting") == total(now, "infercast_calls_under_way") == 0
    stage_s = {stage: total(now, "infercast_stage_duration_seconds_sum", stage=stage) for stage in ("decide", "queue")}
    assert stage_s["queue"] == pytest.approx(sum(queued_us) / 1e6)
    assert sum(stage_s.values()) <= total(now, "infercast_call_duration_seconds_sum")


def test_who_is_let_go_since_its_turn_does_not_come_in_time() -> None:
    at = waiting.scene()
    seeing = seen(at.caller)

    async def story(at: waiting.Scene) -> None:
        await at.call("flood", 2)
        assert total(told(seeing), "infercast_turns_shed_total") == 0
        await at.call("flood", deadline_us=100_000)
        await asyncio.wait([at.calls["flood2"]])
        assert total(told(seeing), "infercast_turns_shed_total", site="par") == 1
        assert total(told(seeing), "infercast_turn_wait_seconds_count") == 1

    waiting.play(story, at)


def test_refusals_that_are_held_back_are_counted() -> None:
    at = waiting.scene()
    seeing = seen(at.caller)

    async def story(at: waiting.Scene) -> None:
        with Clock().rules():
            await at.call("flood", waiting.QUEUE_MAX + BURST)
            assert total(told(seeing), "infercast_refusals_held_back_total") == 0
            await at.call("flood", 3)
            assert total(told(seeing), "infercast_refusals_held_back_total") == 3

    waiting.play(story, at)


def test_a_drained_site_is_told_and_told_again_once_it_is_not() -> None:
    at = scene()
    seeing = seen(at.caller)
    assert total(told(seeing), "infercast_site_drained") == 0
    at.caller.drained = frozenset({"iad"})
    assert total(told(seeing), "infercast_site_drained", site="iad", entry="fra") == 1
    at.caller.drained = frozenset()
    now = told(seeing)
    assert ("infercast_site_drained", (("entry", "fra"), ("site", "iad"))) in now
    assert total(now, "infercast_site_drained") == 0


def test_what_is_gone_is_0_and_no_other_is() -> None:
    now: dict[tuple[str, ...], float] = {("a",): 3, ("b",): 4}
    read = lasting(lambda: list(now.items()))
    assert dict(read()) == {("a",): 3, ("b",): 4}
    del now["a",]
    assert dict(read()) == {("a",): 0, ("b",): 4}
    now["a",] = 5
    assert dict(read()) == {("a",): 5, ("b",): 4}


def watched(accounts: Ledgered, entry: str = "fra") -> Seeing:
    seeing = Seeing(entry, example_fleet())
    watch_accounts(seeing.watch, accounts)
    return seeing


def shares(found: Found, name: str) -> dict[str, float]:
    """A share by its limit, over all else."""
    limits = {dict(labels)["limit"] for at, labels in found if at == name}
    return {limit: total(found, name, limit=limit) for limit in limits}


def test_leases_and_what_limits_refuse() -> None:
    limits = {"requests_per_minute": 64, "concurrent_max": 32, "budget_usd_per_month": 1.0}

    async def play() -> None:
        with ledger() as store:
            async with (
                running(accounts_on(store, limits, "a-1-")) as one,
                running(accounts_on(store, limits, "b-1-")) as other,
            ):
                seeings = [watched(one, "fra"), watched(other, "ams")]
                holds = [await opened(each, call_of()) for each in (one, other) for _ in range(5)]
                await reserved(holds[0], 10**8)
                first = told(seeings[0])
                held, left = (shares(first, f"infercast_lease_{what}_ratio") for what in ("held", "left"))
                assert held.keys() == {"requests_per_minute", "concurrent_max", "budget_usd_per_month"}
                assert held["concurrent_max"] == 5 / 32
                assert held["budget_usd_per_month"] >= 0.1
                assert all(left[limit] <= held[limit] for limit in held)
                through = 10
                with suppress(Trouble):
                    while True:
                        holds.append(await opened(one, call_of()))
                        through += 1
                both = [told(seeing) for seeing in seeings]
                for limit in held:
                    assert sum(shares(found, "infercast_lease_held_ratio")[limit] for found in both) <= 1
                assert through < 64
                assert total(both[0], "infercast_limit_refusals_total", tenant="studio", limit="concurrent_max") == 1
                assert total(both[1], "infercast_limit_refusals_total") == 0
                for hold in holds:
                    hold.end(0, 0)

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_ledger_that_is_away() -> None:
    async def play() -> None:
        with ledger() as inner:
            store = Away(inner)
            async with running(accounts_on(store, {"requests_per_minute": 64})) as accounts:
                seeing = watched(accounts)
                await opened(accounts, call_of())
                assert total(told(seeing), "infercast_ledger_out_of_reach") == 0
                store.away = True
                with suppress(Trouble):
                    while True:
                        await opened(accounts, call_of())
                now = told(seeing)
                assert total(now, "infercast_ledger_out_of_reach", entry="fra") == 1
                assert total(now, "infercast_limit_refusals_total", tenant="studio", limit="ledger") == 1
                store.away = False
                await until(lambda: total(told(seeing), "infercast_ledger_out_of_reach") == 0)

    asyncio.run(asyncio.wait_for(play(), 30))


def test_what_is_used_of_budgets_goes_on_after_their_last_alert() -> None:
    limits = {"budgets": [{"per": "day", "usd": 0.0000001, "when_spent": "alert", "alert_at": [0.5]}]}

    async def play() -> None:
        with ledger() as store:
            accounts = accounts_on(store, limits)
            seeing = watched(accounts)
            for number, used in ((1, 0.6), (2, 1.2)):
                store.settle("a", number - 1, number, [entry_of(f"a-1-{number}", 60)])
                await accounts.alerts.round({"studio": accounts.rules["studio"].alerts}, call_of().request.at_s)
                now = told(seeing)
                assert total(now, "infercast_budget_used_ratio", tenant="studio", per="day", model="") == used
                assert total(now, "infercast_budget_alerts_total", tenant="studio") == 1
            await accounts.alerts.round({}, call_of().request.at_s)
            assert total(told(seeing), "infercast_budget_used_ratio") == 0

    asyncio.run(play())


def test_what_the_cache_answers_is_what_callers_are_told() -> None:
    at = at_entry(engine_with(policy_of(), policy_of("other", cache=None)))
    seeing = Seeing("fra", at.runner.fleet)
    watch_cache(seeing.watch, at.cache)
    assert [how(at.infer()) for _ in range(3)] == ["miss", "hit", "hit"]
    assert how(at.infer(question(1.0))) == "miss"
    at.infer(key="other")
    now = told(seeing)
    for result, count in (("hit", 2), ("miss", 2), ("similar", 0)):
        assert total(now, "infercast_cache_calls_total", result=result) == count
        assert total(now, "infercast_cache_calls_total", result=result, tenant="t", model="digits") == count
    assert total(now, "infercast_cache_kept_answers", tenant="t") == 2
    assert total(now, "infercast_cache_kept_bytes") == at.cache.store.size_bytes > 0
    at.pass_s(3600)
    at.cache.sweep()
    assert total(told(seeing), "infercast_cache_kept_answers") == total(told(seeing), "infercast_cache_kept_bytes") == 0


def test_what_had_to_go_for_want_of_room() -> None:
    from tests.router.cache.test_store import kept, room_for

    at = at_entry()
    at.cache.store = Store(room_for(3))
    seeing = Seeing("fra", at.runner.fleet)
    watch_cache(seeing.watch, at.cache)
    for number in range(5):
        at.cache.store.put(kept(str(number), "t"))
    at.cache.store.drop(next(iter(at.cache.store)))
    assert total(told(seeing), "infercast_cache_evictions_total", tenant="t") == 2
