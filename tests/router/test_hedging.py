"""A second try beside a slow first: when it is sent, which answer counts, what becomes of the loser, and what it costs."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.policy import Policy
from infercast.router.api import Api
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.hedging import Hedges
from infercast.router.conduct.ports import Carried
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.sight.counting import came_of
from tests.router.entry import ONLY, Entry, entry
from tests.router.fakes import ask, example_fleet
from tests.router.timeless import Made, Play, Purse, Stream

ALWAYS: dict[str, Any] = {"hedge": {"after_quantile": "p95", "budget_share": 1.0}}
SLOW = Play("ok", 140)


def test_a_try_that_takes_longer_than_expected_gets_a_second_beside_it_and_the_first_answer_counts() -> None:
    with entry(SLOW, "ok", **ALWAYS) as at:
        expected = at.caller.deciding.expected_us(at.caller.engine.choose(ask(payload_bytes=2), at.snapshot))
        answered = at.carry()
        assert isinstance(answered, Answered)
        slow, quick = at.player.made
        assert slow.index != quick.index
        assert quick.began_us - slow.began_us == pytest.approx(expected[2], abs=10)
        assert answered.deployment == at.player.tried[1]
        assert (slow.how, slow.ended_us) == ("CancelledError", quick.ended_us), "the loser ends at once"
        line = at.journal.only()
        assert (line["outcome"], line["attempts"]) == ("answered", at.player.tried)
        assert (at.caller.attempts.hedging.sent, at.caller.attempts.hedging.won) == (1, 1)


def test_a_try_that_is_in_time_gets_none() -> None:
    with entry(Play("ok", 1), **ALWAYS) as at:
        at.carry()
        assert len(at.player.made) == 1


def test_both_are_paid_for_and_the_answer_first() -> None:
    money = Purse()
    with entry(SLOW, "ok", money=money, **ALWAYS) as at:
        at.carry()
        line = at.journal.only()
        slow, quick = at.player.tried
        assert [name for name, _ in line["spent"]] == [quick, slow]
        assert all(cost > 0 for _, cost in line["spent"])
        assert line["cost_usd"] == pytest.approx(sum(cost for _, cost in line["spent"]) / 1e9)
        assert money.losses == [(money.asides[0], line["spent"][1][1])]
        assert money.ends == 1


def test_where_the_first_answers_after_all_the_second_ends_and_is_paid_for() -> None:
    with entry(Play("ok", 60), Play("ok", 100), **ALWAYS) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        assert answered.deployment == at.player.tried[0]
        assert at.player.made[1].how == "CancelledError"
        assert [name for name, _ in at.journal.only()["spent"]] == at.player.tried
        assert (at.caller.attempts.hedging.sent, at.caller.attempts.hedging.won) == (1, 0)


@pytest.mark.parametrize("winner", [0, 1])
def test_of_two_answers_at_the_same_moment_one_counts_and_nobody_leaves_the_others_stream_open(winner: int) -> None:
    """Both are woken in one turn of the loop; which of them runs first is up to it."""
    with entry(**ALWAYS) as at:
        woken, streams = list[asyncio.Future[None]](), list[Stream]()

        async def run(index: int, call: Carried, timeout_s: float) -> Answer:
            at.player.made.append(Made(index, at.loop.now_us()))
            woken.append(at.loop.create_future())
            await woken[-1]
            streams.append(Stream())
            place = example_fleet().deployments[index]
            return Answer(b"", None, place.variant, place.site, 1, stream=streams[-1])

        def wake() -> None:
            for one in woken if winner == 0 else reversed(woken):
                one.set_result(None)

        async def read() -> Answered:
            at.loop.call_later(0.06, wake)
            answered = await at.call(stream=True, api=Api.CHAT)
            assert isinstance(answered, Answered)
            assert answered.answer.stream is not None
            assert [event async for event in answered.answer.stream] == [b"a", b"b"]
            return answered

        at.player.run = run  # type: ignore[method-assign, assignment]
        answered = at.run(read())
        assert answered.deployment == at.player.tried[winner]
        assert len(streams) == 1 + winner, (
            "the second is woken up only to be cancelled, the first has its answer by then"
        )
        assert [stream.closed for stream in streams] == [False, True][: len(streams)]
        assert len(at.journal.only()["spent"]) == 2


def test_the_loser_of_a_race_is_not_distrusted_and_what_it_says_of_its_time_is_that_it_takes_longer() -> None:
    with entry(*(SLOW, Play()) * 8, **ALWAYS) as at:
        at.carry(id="0")
        first = at.player.made[0].index
        before = at.estimates._surprise.z_milli(first)
        for turn in range(1, 8):
            at.carry(id=str(turn))
        at.estimates.tell(at.snapshot)
        assert at.snapshot.live[:, kernel.L_HEALTHY].all()
        losers = [made.index for made in at.player.made if made.how == "CancelledError"]
        assert losers.count(first) >= 1
        assert at.estimates._surprise.z_milli(losers[0])[2] >= before[2]
        assert at.estimates._surprise.z_milli(first)[2] > 1000, "it was expected too early"


@pytest.mark.parametrize("reason", ["no fallback", "no share", "nobody else", "no money", "a whole text", "no hedge"])
def test_where_a_second_may_not_be_there_is_none_and_the_first_is_waited_for(reason: str) -> None:
    only = ONLY if reason == "nobody else" else None
    money = Purse(tries_max=1) if reason == "no money" else None
    hedge = None if reason == "no hedge" else {"budget_share": 0.05 if reason == "no share" else 1.0}
    further = 0 if reason == "no fallback" else 4
    with entry(SLOW, only=only, money=money, hedge=hedge, fallbacks_max=further) as at:
        answered = at.carry(api=Api.CHAT if reason == "a whole text" else Api.INFER)
        assert isinstance(answered, Answered)
        assert len(at.player.made) == 1
        assert at.journal.only()["outcome"] == "answered"
        assert at.caller.attempts.hedging.sent == 0
        if money is not None:
            assert (money.ends, money.losses) == (1, [])


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 1_000_000))
def test_hedged_calls_keep_to_their_share_of_all(wants: list[bool], share_ppm: int) -> None:
    hedges = Hedges()
    for want in wants:
        hedges.calls += 1
        if want and hedges.may(share_ppm):
            hedges.hedged += 1
        assert hedges.hedged * 1_000_000 <= share_ppm * hedges.calls


def test_of_many_slow_calls_at_once_no_more_are_hedged_than_their_share() -> None:
    """The share is taken before the money is waited for: not one of them takes what another has taken."""
    with entry(*[SLOW] * 80, money=Purse(waits_ms=1), hedge={"budget_share": 0.1}) as at:

        async def all_at_once() -> None:
            await asyncio.gather(*(at.call(id=str(turn)) for turn in range(40)))

        at.money.lost = lambda *_: None  # type: ignore[method-assign, union-attr]
        at.run(all_at_once())
        assert 1 <= at.caller.attempts.hedging.sent <= 4


def test_a_second_that_was_never_sent_takes_nothing_from_the_share() -> None:
    """The first answers while the second still waits for its money."""
    with entry(Play("ok", 60), money=Purse(waits_ms=100), **ALWAYS) as at:
        assert isinstance(at.carry(), Answered)
        hedging = at.caller.attempts.hedging
        assert (hedging.sent, hedging._of["studio"].calls, hedging._of["studio"].hedged) == (0, 1, 0)


@pytest.mark.parametrize("first_ms", [60, 139])
def test_a_loser_was_outrun_for_whoever_looks_whichever_it_is(first_ms: float) -> None:
    with entry(Play("ok", first_ms), Play("ok", 100), **ALWAYS) as at:
        seen: list[list[str]] = []

        def ended(carrying: Any, *_: Any) -> None:
            seen.append([came_of(one) for one in carrying.tries])

        sight: Any = SimpleNamespace(traces=False, ended=ended)
        at.caller._sight = sight
        at.carry()
        assert seen == [["answered", "outrun"] if first_ms == 60 else ["outrun", "answered"]]


def test_two_that_both_fail_are_followed_by_a_third() -> None:
    with entry(Play("broken", 60), Play("fault", 20), "ok", **ALWAYS) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        assert len(set(at.player.tried)) == 3


def test_where_one_fails_the_other_is_waited_for() -> None:
    with entry(Play("broken", 60), Play("ok", 100), **ALWAYS) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        assert at.player.tried[1] == answered.deployment
        assert len(at.player.made) == 2


def test_a_second_that_fails_does_not_end_the_first() -> None:
    for word in ("fault", "trouble", "lost"):
        with entry(SLOW, word, **ALWAYS) as at:
            answered = at.carry()
            assert isinstance(answered, Answered)
            assert at.player.tried[0] == answered.deployment


def test_the_deadline_ends_both() -> None:
    with entry(Play("ok", 10_000), Play("ok", 10_000), Play("ok", 10_000), **ALWAYS, fallbacks_max=1) as at:
        trouble = at.carry(deadline_us=200_000)
        assert isinstance(trouble, Trouble)
        assert trouble.kind is Kind.DEADLINE
        assert at.journal.only()["took_us"] <= 202_000
        assert {made.how for made in at.player.made} == {"TimeoutError"}


def test_whoever_hangs_up_ends_both_and_both_are_paid_for() -> None:
    with entry(Play("ok", 140), Play("ok", 140), **ALWAYS) as at:

        async def hang_up() -> None:
            call = asyncio.create_task(at.call())
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        at.run(hang_up())
        assert [made.how for made in at.player.made] == ["CancelledError"] * 2
        line = at.journal.only()
        assert (line["outcome"], line["reason"]) == ("failed", "cancelled")
        assert sorted(name for name, _ in line["spent"]) == sorted(at.player.tried)


def test_the_second_goes_only_where_the_policy_in_force_by_then_lets_it() -> None:
    fleet = example_fleet()
    with entry(SLOW, "ok", **ALWAYS) as at:

        def forbid(index: int, _: object) -> None:
            if len(at.player.made) == 1:
                at.caller.install(_only_at(at, fleet.deployments[index].site), None)

        at.player.each = forbid
        answered = at.carry()
        assert isinstance(answered, Answered)
        sites = {name.split("@")[1] for name in at.player.tried}
        assert len(sites) == 1


def _only_at(at: Entry, site: str) -> Any:
    country = example_fleet().site_by_id[site].country
    always = {"residency": {"processing": {"allow": [country]}}}
    policy = {"version": 1, "tenant": "studio", "classes": {"gameplay": {}}, "always": always, "behaviour": ALWAYS}
    return Engine(example_fleet(), {"studio": Policy.model_validate(policy)})
