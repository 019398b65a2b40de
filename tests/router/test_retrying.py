"""Retries: what is tried once more, how soon, and that their budget holds whatever happens."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.engine import Engine
from infercast.policies.policy import Policy
from infercast.policies.record import request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.retrying import (
    BACKOFF_US,
    BACKOFF_US_MAX,
    KEPT_MILLI,
    PER_CALL_MILLI,
    PER_S_MILLI,
    Budget,
    backoff_us,
)
from infercast.router.errors import Kind, Trouble
from tests.router.entry import BEGAN_US, ONLY, entry
from tests.router.fakes import example_fleet
from tests.router.timeless import Play

LUCK = st.floats(0, 1, exclude_max=True)
EVENTS = st.lists(st.tuples(st.sampled_from(["call", "take"]), st.integers(0, 3_000_000)), max_size=200)


@given(EVENTS)
def test_in_no_stretch_of_time_are_there_more_retries_than_its_calls_and_seconds_earn(
    events: list[tuple[str, int]],
) -> None:
    now_us, budget = 0, Budget(0)
    seen: list[tuple[int, str]] = []
    for what, after_us in events:
        now_us += after_us
        if what == "call":
            budget.called()
            seen.append((now_us, "call"))
        elif budget.take(now_us):
            seen.append((now_us, "retry"))
    for first in range(len(seen)):
        calls = retries = 0
        for at_us, what in seen[first:]:
            calls += what == "call"
            retries += what == "retry"
            earned = calls * PER_CALL_MILLI + (at_us - seen[first][0] + 1_000_000) * PER_S_MILLI // 1_000_000
            assert 1000 * retries <= KEPT_MILLI + earned


def test_a_budget_that_is_used_up_earns_a_retry_by_five_calls_or_by_a_second() -> None:
    budget = Budget(0)
    assert [budget.take(0) for _ in range(11)] == [True] * 10 + [False]
    for _ in range(4):
        budget.called()
    assert not budget.take(0)
    budget.called()
    assert budget.take(0)
    assert not budget.take(999_999)
    assert budget.take(1_000_000)


def test_asking_again_and_again_earns_nothing() -> None:
    budget = Budget(0)
    taken = sum(budget.take(at_us) for at_us in range(0, 10_000_000, 997))
    assert taken == 19, "ten that were kept, and one for each whole second"


@given(st.integers(1, 1000), LUCK)
def test_a_pause_is_anything_up_to_its_limit(failures: int, luck: float) -> None:
    assert 0 <= backoff_us(failures, luck) <= min(BACKOFF_US_MAX, BACKOFF_US * 2 ** (failures - 1))
    assert backoff_us(failures, 0.0) == 0
    assert backoff_us(failures, 0.999999) >= BACKOFF_US * 0.99


def test_without_being_told_to_nothing_is_tried_twice() -> None:
    with entry("broken", "full") as at:
        at.carry()
        assert len(set(at.player.tried)) == len(at.player.tried) == 3


def test_a_connection_that_was_reset_is_tried_once_more_on_the_same_candidate_after_a_moment() -> None:
    with entry("broken", retries_max=1) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        first, second = at.player.tried
        assert first == second == answered.deployment
        assert at.waits_ms == pytest.approx([0, 12.5], abs=0.1)
        assert at.caller.attempts.counts.retries == 1


def test_pauses_grow_and_then_the_next_candidate_is_tried() -> None:
    with entry(*["broken"] * 4, retries_max=3) as at:
        at.carry()
        assert [at.player.tried.count(name) for name in dict.fromkeys(at.player.tried)] == [4, 1]
        assert at.waits_ms == pytest.approx([0, 12.5, 37.5, 87.5, 87.5], abs=0.1)


@pytest.mark.parametrize("word", ["lost", "declined", "fault"])
def test_what_another_try_there_would_not_mend_is_tried_elsewhere_at_once(word: str) -> None:
    with entry(word, retries_max=7) as at:
        at.carry()
        assert len(set(at.player.tried)) == 2
        assert at.waits_ms == [0, 0]


def test_a_try_of_unknown_fate_is_never_made_again_where_it_was_and_is_paid_for() -> None:
    with entry(Play("ok", 10_000), retries_max=7) as at:
        at.carry()
        first, second = at.player.tried
        assert first != second
        assert [name for name, _ in at.journal.only()["spent"]] == [second, first]


def test_who_has_no_room_is_asked_again_only_when_nobody_else_can_and_not_before_its_time() -> None:
    with entry("full", "saturated", retries_max=1) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        assert len(set(at.player.tried)) == 3, "others come first"
    with entry("full", retries_max=1, only=ONLY) as at:
        answered = at.carry()
        assert isinstance(answered, Answered)
        assert at.player.tried == [ONLY, ONLY]
        assert at.waits_ms[1] >= 2000, "it said: in 2 s"


def test_a_retry_after_that_the_deadline_does_not_allow_is_the_callers_to_wait_for() -> None:
    with entry("full", retries_max=1, only=ONLY) as at:
        trouble = at.carry(deadline_us=1_500_000)
        assert isinstance(trouble, Trouble)
        assert (trouble.kind, trouble.extra["retry_after_s"]) == (Kind.SATURATED, 2)
        assert at.journal.only()["took_us"] < 1000, "it hears at once"


def test_retries_end_with_the_deadline() -> None:
    with entry(*["broken"] * 99, retries_max=7, only=ONLY) as at:
        trouble = at.carry(deadline_us=30_000)
        assert isinstance(trouble, Trouble)
        assert trouble.kind is Kind.DEADLINE
        assert at.journal.only()["took_us"] <= 30_000


def test_in_an_outage_retries_are_a_fifth_of_the_calls_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 500
    with entry(*["broken"] * 5000, retries_max=7, only=ONLY, fallbacks_max=0) as at:

        async def all_at_once() -> None:
            await asyncio.gather(*(at.call(id=str(turn)) for turn in range(calls)))

        monkeypatch.setattr(at.caller.attempts.circuits, "ended", lambda *_, **__: None)  # they would end it sooner
        at.run(all_at_once())
        counts = at.caller.attempts.counts
        seconds = (at.loop.now_us() - BEGAN_US) / 1_000_000
        assert 0 < counts.retries <= 10 + calls / 5 + seconds + 1
        assert counts.retries_denied > 0
        assert len(at.player.made) == calls + counts.retries


def test_a_retry_is_a_new_decision_and_goes_nowhere_that_the_policy_forbids_by_then() -> None:
    with entry("broken", retries_max=3) as at:
        first: list[int] = []

        def forbid(index: int, _: object) -> None:
            if not first:
                first.append(index)
                site = example_fleet().site_by_id[example_fleet().deployments[index].site]
                always = {"residency": {"processing": {"deny": [site.country]}}}
                policy = {"version": 1, "tenant": "studio", "classes": {"gameplay": {}}, "always": always}
                policy["behaviour"] = {"retries_max": 3}
                at.caller.install(Engine(example_fleet(), {"studio": Policy.model_validate(policy)}), None)

        at.player.each = forbid
        at.carry()
        fleet = example_fleet()
        countries = [fleet.site_by_id[fleet.deployments[made.index].site].country for made in at.player.made]
        assert countries.count(countries[0]) == 1


def test_when_circuits_open_later_calls_pass_their_candidate_by_and_the_log_can_say_why() -> None:
    with entry(*["fault"] * 5, fallbacks_max=0, only=ONLY) as at:
        for turn in range(5):
            assert isinstance(at.carry(id=str(turn)), Trouble)
        refused = at.carry(id="sixth")
        assert isinstance(refused, Trouble)
        assert refused.kind is Kind.UNAVAILABLE
        assert len(at.player.made) == 5
        record = at.log.records[-1]
        snapshot = Snapshot.restored(example_fleet(), at.log.states[record["epoch"]])
        decision = at.caller.engine.explain(request_from_json(record["request"]), snapshot)
        assert decision.id == record["id"]
        assert "its circuit is open for" in decision.verdict_of(ONLY).detail

        async def later() -> Answered | Trouble:
            await asyncio.sleep(1.3)
            return await at.call(id="seventh")

        assert isinstance(at.run(later()), Answered)
        assert isinstance(at.carry(id="eighth"), Answered)
