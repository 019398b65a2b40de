"""Limits at one ingress, on a real ledger: what is let through, what is refused and in which words."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from infercast.policies.units import nusd
from infercast.router.api import Api
from infercast.router.conduct.open import UNLIMITED
from infercast.router.errors import Kind, Trouble
from infercast.router.ledger.ports import Measure, Quota
from infercast.router.quota.accounts import Ledgered
from infercast.router.quota.books import MOST_SHARE
from tests.router.fakes import WALL_S, FakeJournal
from tests.router.quota.support import (
    accounts_on,
    call_of,
    carrying_of,
    entry_of,
    ledger,
    opened,
    policies_of,
    reserved,
    running,
)

MINUTE = Quota("studio", "", Measure.CALLS, "2026-11-18T11:06")


def played(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene, or fail where it hangs."""
    asyncio.run(asyncio.wait_for(scene, 30))


async def refusal(waiting: Coroutine[Any, Any, Any]) -> Trouble:
    """The trouble that something ends in."""
    with pytest.raises(Trouble) as caught:
        await waiting
    return caught.value


def test_a_tenant_without_limits_is_not_even_asked_about() -> None:
    async def scene() -> None:
        with ledger() as store:
            accounts = accounts_on(store, {"requests_per_minute": 0})
            call = call_of(tenant="free")
            accounts.look(call.request)
            assert accounts.open(call, carrying_of(call)) is UNLIMITED

    played(scene())


def test_as_many_calls_begin_in_a_minute_as_the_policy_says_and_the_next_minute_has_its_own() -> None:
    async def scene() -> None:
        now = [float(WALL_S)]
        with ledger() as store:
            async with running(accounts_on(store, {"requests_per_minute": 5}, wall_s=lambda: now[0])) as accounts:
                for _ in range(5):
                    await opened(accounts, call_of())
                trouble = await refusal(opened(accounts, call_of()))
                assert trouble.kind is Kind.LIMITED
                left_s = 60 - WALL_S % 60
                assert str(trouble) == (
                    f"the limit is 5 calls a minute, and they are used up (the next minute begins in {left_s} s)"
                )
                assert trouble.extra["retry_after_s"] == left_s
                with pytest.raises(Trouble):  # and now before a body is read
                    accounts.look(call_of().request)
                later = call_of()
                later.request = type(later.request)(**{**_parts(later), "at_s": WALL_S + left_s})
                now[0] += left_s
                await opened(accounts, later)

    played(scene())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError


def _parts(call: Any) -> dict[str, Any]:
    names = ("id", "tenant", "model", "entry", "origin", "classes", "payload_bytes")
    return {name: getattr(call.request, name) for name in names}


def test_a_place_is_free_again_when_a_call_has_ended() -> None:
    async def scene() -> None:
        with ledger() as store:
            async with running(accounts_on(store, {"concurrent_max": 2})) as accounts:
                first, _ = await opened(accounts, call_of()), await opened(accounts, call_of())
                trouble = await refusal(opened(accounts, call_of()))
                assert (trouble.kind, trouble.extra["retry_after_s"]) == (Kind.LIMITED, 1)
                assert trouble.message == "the limit is 2 calls at once"
                first.end(0, 0)
                await opened(accounts, call_of())

    played(scene())


def test_a_text_sets_aside_all_tokens_that_it_may_use_and_gives_back_what_it_did_not() -> None:
    async def scene() -> None:
        with ledger() as store:
            async with running(accounts_on(store, {"tokens_per_minute": 100})) as accounts:
                text = call_of(b"x" * 40, 60, Api.CHAT, model="chat")  # 10 of the prompt
                hold = await opened(accounts, text)
                trouble = await refusal(opened(accounts, text))
                assert trouble.kind is Kind.LIMITED
                assert "100 tokens a minute" in trouble.message
                hold.end(0, 25)
                await asyncio.sleep(0.3)  # what the ledger was asked for in vain is not asked for again at once
                await opened(accounts, text)
                trouble = await refusal(opened(accounts, call_of(b"", 101, Api.CHAT, model="chat")))
                assert trouble.message == "this call may use 101 tokens, and the limit is 100 tokens a minute"
                assert trouble.remedy == "ask for fewer with max_tokens, or send a shorter prompt"
                await opened(accounts, call_of(b"x" * 4000))  # tensors have no tokens

    played(scene())


def test_money_is_set_aside_before_a_try_and_what_is_not_spent_is_free_again() -> None:
    async def scene() -> None:
        journal = FakeJournal()
        with ledger() as store:
            limits = {"budget_usd_per_day": 0.0000001}  # 100 nano-USD
            async with running(accounts_on(store, limits, journal=journal)) as accounts:
                hold = await opened(accounts, call_of())
                await reserved(hold, 60)
                other = await opened(accounts, call_of())
                trouble = await refusal(reserved(other, 60))
                assert trouble.kind is Kind.OVER_BUDGET
                assert trouble.message == (
                    "the budget is 0.0000001 USD for the day 2026-11-18 (UTC), and what is left of it does not cover this call, "
                    "which may cost 0.000000060 USD"
                )
                assert trouble.extra["budget_usd"] == 1e-7
                assert trouble.extra["ends_s"] % 86_400 == 0
                hold.lost(60, 0)
                await reserved(other, 60)
                other.end(50, 0)
                await reserved(hold, 50)
                hold.end(50, 0)
                assert (await refusal(reserved(other, 1))).kind is Kind.OVER_BUDGET
        lines = journal.of("reserved")
        assert [(line["tenant"], line["model"], line["reserved_nusd"]) for line in lines] == [
            ("studio", "digits", 60)
        ] * 2
        assert lines[0]["number"] == "fra-1-aa-1"

    played(scene())


@pytest.mark.parametrize("per", ["day", "month"])
def test_a_budget_of_one_model_leaves_the_others_alone(per: str) -> None:
    async def scene() -> None:
        limits = {"budgets": [{"per": per, "usd": 0.00000005, "models": ["digits"]}], "budget_usd_per_day": 1}
        with ledger() as store:
            async with running(accounts_on(store, limits)) as accounts:
                await reserved(await opened(accounts, call_of(model="vision")), 1000)
                trouble = await refusal(reserved(await opened(accounts, call_of()), 51))
                assert trouble.message.startswith(f"the budget of digits is 0.00000005 USD for the {per} ")
                await reserved(await opened(accounts, call_of()), 50)

    played(scene())


def test_limits_of_a_model_come_on_top_of_those_of_all() -> None:
    async def scene() -> None:
        limits = {"requests_per_minute": 3, "per_model": {"digits": {"requests_per_minute": 1}}}
        with ledger() as store:
            async with running(accounts_on(store, limits)) as accounts:
                await opened(accounts, call_of())
                assert "1 calls a minute of digits" in (await refusal(opened(accounts, call_of()))).message
                await opened(accounts, call_of(model="vision"))
                await opened(accounts, call_of(model="vision"))
                assert "3 calls a minute" in (await refusal(opened(accounts, call_of(model="vision")))).message

    played(scene())


def test_a_call_from_another_cluster_counts_and_its_money_is_that_clusters_affair() -> None:
    async def scene() -> None:
        journal = FakeJournal()
        limits = {"requests_per_minute": 2, "budget_usd_per_day": 0.0000001}
        with ledger() as store:
            async with running(accounts_on(store, limits, journal=journal)) as accounts:
                for _ in range(2):
                    hold = await opened(accounts, call_of(), hops=("far:1",))
                    await reserved(hold, 10**9)
                    hold.end(10**9, 0)
                assert (await refusal(opened(accounts, call_of(), hops=("far:1",)))).kind is Kind.LIMITED
        assert journal.lines == []

    played(scene())


class Away:
    """A ledger that is out of reach when it is told to be."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise OSError("the wire is cut")
        return getattr(self._store, name)


def test_while_the_ledger_is_away_an_ingress_uses_what_it_has_and_then_says_why_not() -> None:
    async def scene() -> None:
        with ledger() as inner:
            store = Away(inner)
            async with running(accounts_on(store, {"requests_per_minute": 3200})) as accounts:
                await opened(accounts, call_of())
                store.away = True
                through = 0
                trouble = None
                for _ in range(3200):
                    try:
                        await opened(accounts, call_of())
                    except Trouble as error:
                        trouble = error
                        break
                    through += 1
                assert trouble is not None
                assert trouble.kind is Kind.UNAVAILABLE
                assert trouble.message.startswith("the ledger is out of reach")
                assert 0 < through <= 3200 // MOST_SHARE
                assert accounts.refused["studio", "ledger"] == 1
                store.away = False
                await until(lambda: not accounts.keeper.out_of_reach)
                await opened(accounts, call_of())

    played(scene())


def test_a_lower_limit_of_a_new_policy_holds_from_the_next_call_on() -> None:
    async def scene() -> None:
        with ledger() as store:
            async with running(accounts_on(store, {"requests_per_minute": 5})) as accounts:
                await opened(accounts, call_of())
                accounts.install(policies_of({"requests_per_minute": 1}))
                assert (await refusal(opened(accounts, call_of()))).message.startswith("the limit is 1 calls")
                accounts.install(policies_of({}))
                assert accounts.open(call_of(), carrying_of(call_of())) is UNLIMITED

    played(scene())


def test_what_lies_idle_goes_to_who_asks() -> None:
    """Two ingresses share ten calls; the first takes more than it uses."""

    async def scene() -> None:
        with ledger() as store:
            limits = {"requests_per_minute": 3200}
            async with running(accounts_on(store, limits)) as one:
                await opened(one, call_of())
                held = one.keeper.books[MINUTE].free
                assert held > 0
                await until(lambda: not one.keeper.books[MINUTE].free and not one.keeper.books[MINUTE].returning)
                (granted,) = store.grant("other-1-", [_ask(3199)], WALL_S)
                assert granted.amount == 3199

    played(scene())


def _ask(want: int) -> Any:
    from infercast.router.ledger.ports import Ask

    return Ask(MINUTE, 3200, want, WALL_S + 60)


def test_a_budget_that_only_tells_refuses_nothing_and_tells_each_share_once() -> None:
    async def scene() -> None:
        limits = {"budgets": [{"per": "day", "usd": 0.0000001, "when_spent": "alert", "alert_at": [0.5, 0.9, 1.0]}]}
        with ledger() as store:
            journals = [FakeJournal(), FakeJournal()]
            ones = [
                accounts_on(store, limits, f"{name}-1-", journal) for name, journal in zip("ab", journals, strict=True)
            ]
            for each in ones:
                await reserved(await opened(each, call_of()), 10**9)
            store.settle("a", 0, 1, [entry_of("a-1-1", 95)])
            told = [await _alerted(each) for each in (*ones, *ones)]
            assert told == [2, 0, 0, 0]
            store.settle("a", 1, 2, [entry_of("a-1-2", 5)])
            assert [await _alerted(each) for each in (ones[1], ones[0])] == [1, 0]
        lines = [line for journal in journals for line in journal.of("alert")]
        assert [(line["share"], line["used_usd"]) for line in lines] == [(0.5, 9.5e-8), (0.9, 9.5e-8), (1.0, 1e-7)]
        assert (lines[0]["tenant"], lines[0]["per"], lines[0]["period"]) == ("studio", "day", "2026-11-18")
        assert nusd(lines[0]["budget_usd"]) == 100
        rules = {"studio": ones[0].rules["studio"].alerts}
        assert await ones[0].alerts.round(rules, WALL_S + 86_400) == 0
        assert ones[0].alerts._told == set()  # days that are over are not remembered for ever

    played(scene())


def test_what_the_last_calls_of_a_day_have_used_is_told_when_it_is_over() -> None:
    async def scene() -> None:
        limits = {"budgets": [{"per": "day", "usd": 0.0000001, "when_spent": "alert", "alert_at": [0.5]}]}
        midnight_s = WALL_S - WALL_S % 86_400 + 86_400
        with ledger() as store:
            journal = FakeJournal()
            accounts = accounts_on(store, limits, journal=journal)
            rules = {"studio": accounts.rules["studio"].alerts}
            assert await accounts.alerts.round(rules, midnight_s - 1) == 0
            store.settle("a", 0, 1, [entry_of("a-1-1", 95, at_s=midnight_s - 0.5)])
            assert [await accounts.alerts.round(rules, midnight_s + at_s) for at_s in (1, 3, 90)] == [1, 0, 0]
            assert list(accounts.alerts.used.values()) == [0.0]  # of the day that it is
        assert [line["period"] for line in journal.of("alert")] == ["2026-11-18"]

    played(scene())


async def _alerted(accounts: Ledgered) -> int:
    return await accounts.alerts.round({"studio": accounts.rules["studio"].alerts}, WALL_S)
