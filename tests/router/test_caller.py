"""The way of one call: decided before its body is read, tried where the policy allows, ended once and in time."""

import asyncio
import time

import pytest

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.model import Request, Rule
from infercast.policies.patience import DEADLINE_DEFAULT_US, PATIENCE_FLOOR_US
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.api import Api
from infercast.router.conduct.breaker import COOL_US, FAILURES_IN_A_ROW, State
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.ports import Received
from infercast.router.errors import Kind, Trouble
from infercast.router.upstream.hops import HOP
from tests.router.fakes import Clock, Scene, ask, example_engine, example_fleet, scene, without_deadline


def carry(at: Scene, request: Request) -> Answered:
    """Carry one call; time stands still unless the scene has a clock that a fake lets run."""
    with (at.runner.clock or Clock()).rules():
        return asyncio.run(at.caller.call(request, at.body))


def trouble_of(at: Scene, request: Request) -> Trouble:
    """The trouble that a call ends in."""
    with pytest.raises(Trouble) as caught:
        carry(at, request)
    return caught.value


def ranked(at: Scene, request: Request) -> list[str]:
    """The candidates of a call on this instant, best first."""
    decision = at.caller.engine.explain(request, at.snapshot)
    return [str(decision.chosen), *decision.alternatives]


def test_a_call_is_answered_by_the_first_choice() -> None:
    at = scene()
    request = ask()
    best = ranked(at, request)[0]
    answered = carry(at, request)
    assert answered.deployment == best
    assert (answered.tier, answered.attempts) == ("edge", 1)
    assert answered.answer.body == b"answer"
    assert at.runner.tried == [best]
    assert at.body.reads == 1
    line = at.journal.only()
    assert (line["outcome"], line["reason"], line["deployment"]) == ("answered", "", best)
    assert line["attempts"] == [best]
    assert line["cost_usd"] == answered.cost_usd > 0
    assert line["took_us"] >= 0
    assert (line["at_site_us"], line["service_us"]) == (1500, 1000)
    assert (line["tenant"], line["model"], line["entry"], line["origin"]) == ("studio", "digits", "fra", "zurich")
    assert line["classes"] == ["gameplay"]


def test_the_journal_holds_the_size_of_a_payload_and_nothing_of_it() -> None:
    at = scene()
    at.body.payload = b"a secret picture"
    carry(at, ask(payload_bytes=3))
    assert at.journal.only()["received_bytes"] == len(b"a secret picture")
    assert "secret" not in repr(at.journal.lines)
    (_, carried, _) = at.runner.calls[0]
    assert (carried.body, carried.request.payload_bytes) == (b"a secret picture", 16)


@pytest.mark.parametrize("entry", ["iad", "sin", "gru"])
def test_a_call_that_may_not_enter_is_refused_before_its_body_is_read(entry: str) -> None:
    at = scene(entry=entry)
    trouble = trouble_of(at, ask(tenant="hospital", entry=entry, origin="paris", classes=("personal",)))
    assert trouble.kind is Kind.WRONG_ENTRY
    assert f"may not enter at {entry}" in trouble.message
    assert trouble.remedy == "enter at fra, dub"
    assert trouble.extra["entries"] == ["fra", "dub"]
    assert (at.body.reads, at.runner.calls) == (0, [])
    line = at.journal.only()
    assert (line["outcome"], line["reason"], line["received_bytes"]) == ("refused", "wrong_entry", 0)
    assert (line["deployment"], line["decision"], line["cost_usd"], line["attempts"]) == (None, None, 0.0, [])


def test_a_call_that_may_enter_nowhere_is_told_so() -> None:
    trouble = trouble_of(scene(), ask(tenant="hospital", origin="berlin", classes=()))
    assert trouble.kind is Kind.WRONG_ENTRY
    assert trouble.remedy == "no class is named, so all count: name one in infercast-class (personal, biometric, open)"


def test_a_call_that_no_link_brings_to_its_entry_is_told_where_to_enter() -> None:
    """A key of the ward in Berlin is used at a camera's agent."""
    at = scene(entry="berlin-cam")
    trouble = trouble_of(at, ask(tenant="hospital", entry="berlin-cam", origin="berlin", classes=("personal",)))
    assert (at.body.reads, at.runner.calls) == (0, [])
    assert trouble.kind is Kind.WRONG_ENTRY
    assert trouble.remedy == "enter at fra"


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [(kernel.L_HEALTHY, 0, Kind.UNAVAILABLE), (kernel.L_IN_FLIGHT, 10_000, Kind.SATURATED)],
)
def test_a_fleet_that_cannot_now_is_told_from_a_policy_that_does_not_let(column: int, value: int, kind: Kind) -> None:
    at = scene()
    at.snapshot.live[:, column] = value
    at.snapshot.refresh()
    trouble = trouble_of(at, ask())
    assert trouble.kind is kind
    assert trouble.message.startswith("0/")
    assert at.body.reads == 0
    assert at.journal.only()["outcome"] == "refused"


def test_a_refusal_counts_its_rules() -> None:
    trouble = trouble_of(scene(), ask(deadline_us=5_000))
    assert trouble.kind is Kind.REFUSED
    assert "deadline" in trouble.message
    assert trouble.extra["rule"] == "deadline"
    assert trouble.extra["outcome"] == "refused"
    assert trouble.remedy == "POST /v1/decide shows each candidate's verdict"


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        ({"model": "digts"}, Kind.NOT_FOUND, "no model is called 'digts' (did you mean 'digits'?)"),
        ({"classes": ("gamepley",)}, Kind.BAD_REQUEST, "no data class is called 'gamepley' (did you mean 'gameplay'?)"),
        ({"origin": "atlantis"}, Kind.BAD_REQUEST, "no origin is called 'atlantis'"),
    ],
)
def test_unknown_names_are_told_the_nearest(parts: dict[str, str], kind: Kind, said: str) -> None:
    at = scene()
    trouble = trouble_of(at, ask(**parts))
    assert trouble.kind is kind
    assert said in str(trouble)
    assert at.body.reads == 0
    assert at.journal.only()["reason"] == str(kind)


def test_a_lost_candidate_is_followed_by_the_next_best() -> None:
    at = scene("lost")
    order = ranked(at, ask())
    answered = carry(at, ask())
    assert at.runner.tried == [order[0], answered.deployment]
    assert answered.deployment in order[1:]
    assert answered.attempts == 2
    assert at.journal.only()["attempts"] == at.runner.tried
    assert at.tried_marks == 0


def test_a_lost_site_is_distrusted_whole_and_the_own_one_only_in_part() -> None:
    fleet = example_fleet()
    at = scene("lost", "lost", "lost")
    at.snapshot.live[[i for i, d in enumerate(fleet.deployments) if d.site == "fra"], kernel.L_HEALTHY] = 0
    at.snapshot.refresh()
    carry(at, ask())
    lost = {name.split("@")[1] for name in at.runner.tried[:3]}
    assert len(lost) == 3, "each lost site was tried once"
    for index, deployment in enumerate(fleet.deployments):
        if deployment.site != "fra":
            assert at.snapshot.live[index, kernel.L_HEALTHY] == (deployment.site not in lost)
    own = scene("lost")
    carry(own, ask())
    assert [name.split("@")[1] for name in own.runner.tried] == ["fra", "fra"]
    healthy = {d.id: bool(own.snapshot.live[i, kernel.L_HEALTHY]) for i, d in enumerate(fleet.deployments)}
    assert [name for name, is_healthy in healthy.items() if not is_healthy] == own.runner.tried[:1]


@pytest.mark.parametrize(("tenant", "origin", "classes", "most"), [
    ("studio", "zurich", ("gameplay",), 5),
    ("hospital", "paris", ("personal",), 3),
    ("bank", "zurich", ("ledger",), 2),
])  # fmt: skip
def test_no_more_is_tried_than_the_policy_says(tenant: str, origin: str, classes: tuple[str, ...], most: int) -> None:
    at = scene(*["lost"] * 20)
    trouble = trouble_of(at, ask(tenant=tenant, origin=origin, classes=classes))
    assert len(at.runner.tried) == len(set(at.runner.tried)) <= most
    assert trouble.kind is Kind.DEADLINE
    line = at.journal.only()
    assert line["attempts"] == at.runner.tried
    assert (line["outcome"], line["reason"]) == ("failed", "deadline")
    assert at.tried_marks == 0


def test_a_patients_picture_is_lost_rather_than_sent_to_britain() -> None:
    """Frankfurt's variants are lost; Dublin, which is in the EEA, lies behind a cable through Britain."""
    at = scene("lost", "lost", "lost")
    trouble = trouble_of(at, ask(tenant="hospital", origin="paris", classes=("personal",)))
    assert set(at.runner.tried) == {"digits-medium@fra", "digits-large@fra"}
    assert trouble.kind is Kind.DEADLINE
    assert "residency.transit" in trouble.message


def test_a_call_that_is_wrong_is_not_tried_again() -> None:
    at = scene("trouble")
    assert trouble_of(at, ask()).kind is Kind.BAD_REQUEST
    assert len(at.runner.calls) == 1
    line = at.journal.only()
    assert (line["outcome"], line["reason"]) == ("refused", str(Kind.BAD_REQUEST))
    assert line["attempts"] == at.runner.tried


def test_a_replicas_own_fault_is_tried_elsewhere_and_casts_no_doubt_on_its_site() -> None:
    at = scene("fault")
    first, second = ranked(at, ask())[:2]
    assert carry(at, ask()).deployment == second
    assert at.runner.tried == [first, second]
    assert all(at.snapshot.live[:, kernel.L_HEALTHY])


def test_where_every_replica_has_a_fault_that_is_what_the_caller_hears() -> None:
    at = scene(*["fault"] * 20)
    assert trouble_of(at, ask()).message == "the replica says it is its fault"
    assert len(set(at.runner.tried)) == len(at.runner.tried) > 1
    assert (at.journal.only()["outcome"], at.journal.only()["reason"]) == ("failed", "fault")


def test_what_nobody_foresaw_is_written_down_once_too() -> None:
    at = scene("broken")
    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        carry(at, ask())
    line = at.journal.only()
    assert (line["outcome"], line["reason"]) == ("failed", "fault")
    assert line["attempts"] == at.runner.tried
    assert at.tried_marks == 0


def test_a_hanging_candidate_is_given_up_in_real_time() -> None:
    at = scene("hang", engine=without_deadline())
    at.caller.admit(ask())  # the kernel is compiled
    began = time.monotonic()
    answered = asyncio.run(at.caller.call(ask(), at.body))
    took_us = (time.monotonic() - began) * 1_000_000
    (_, _, patience_s) = at.runner.calls[0]
    assert answered.attempts == 2
    assert patience_s == PATIENCE_FLOOR_US / 1_000_000
    assert PATIENCE_FLOOR_US <= took_us < DEADLINE_DEFAULT_US


@pytest.mark.parametrize("deadline_us", [0, 100_000])
def test_when_all_hang_the_call_ends_at_its_deadline(deadline_us: int) -> None:
    at = scene(*["hang"] * 20, clock=(clock := Clock()))
    trouble = trouble_of(at, ask(deadline_us=deadline_us))
    assert clock.now_us <= (deadline_us or 300_000)
    assert trouble.kind is Kind.DEADLINE
    assert at.journal.only()["took_us"] == clock.now_us


def test_the_only_candidate_may_take_all_the_time_there_is() -> None:
    at = scene("hang", clock=Clock())
    others = [i for i, d in enumerate(example_fleet().deployments) if d.id != "digits-small@fra"]
    at.snapshot.live[others, kernel.L_HEALTHY] = 0
    at.snapshot.refresh()
    trouble = trouble_of(at, ask())
    assert at.runner.calls[0][2] == 0.3
    assert trouble.kind is Kind.DEADLINE
    assert str(trouble) == "no answer within 300 ms; tried digits-small@fra (the call may be repeated)"
    assert (at.journal.only()["outcome"], at.journal.only()["reason"]) == ("failed", "deadline")


def test_time_spent_on_reading_counts() -> None:
    with Clock().rules() as clock:
        at = scene(clock=clock)

        async def slowly() -> Received:
            clock.now_us += 400_000
            return Received(b"{}")

        with pytest.raises(Trouble, match="no answer within 300 ms; tried nothing"):
            asyncio.run(at.caller.call(ask(), slowly))
    assert at.runner.calls == []
    assert at.journal.only()["reason"] == "deadline"


def test_a_cancelled_call_is_written_down_as_such() -> None:
    at = scene("hang")

    async def hang_up() -> None:
        task = asyncio.create_task(at.caller.call(ask(), at.body))
        while not at.runner.tried:  # noqa: ASYNC110 - the runner offers no event
            await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(hang_up())
    line = at.journal.only()
    assert (line["outcome"], line["reason"]) == ("failed", "cancelled")
    assert line["attempts"] == at.runner.tried
    assert at.tried_marks == 0


def test_calls_at_the_same_time_do_not_mark_each_others_candidates() -> None:
    """A candidate that one call has lost is tried by another one, once it has been heard of again."""
    at = scene("lost", "ok", "ok")

    async def both() -> list[Answered]:
        first = await at.caller.call(ask(id="a"), at.body)
        at.snapshot.live[:, kernel.L_HEALTHY] = 1
        at.snapshot.refresh()
        return [first, await at.caller.call(ask(id="b"), at.body)]

    first, second = asyncio.run(both())
    assert second.deployment == at.runner.tried[0] != first.deployment
    assert len(at.journal.of("call")) == 2


def longest_wait_us(engine: Engine, deadline_us: int) -> int:
    """How long the last candidate of a call may take."""
    at = scene("hang", engine=engine, clock=Clock())
    others = [i for i, d in enumerate(example_fleet().deployments) if d.id != "digits-small@fra"]
    at.snapshot.live[others, kernel.L_HEALTHY] = 0
    at.snapshot.refresh()
    trouble_of(at, ask(deadline_us=deadline_us))
    return round(at.runner.calls[0][2] * 1_000_000)


def test_nothing_waits_for_ever() -> None:
    assert longest_wait_us(without_deadline(), 0) == DEADLINE_DEFAULT_US


@pytest.mark.parametrize("deadline_us", [50_000, 299_999, 300_000, 300_001, 60_000_000])
def test_a_callers_deadline_only_tightens(deadline_us: int) -> None:
    assert longest_wait_us(example_engine(), deadline_us) == min(deadline_us, 300_000)


def test_a_stated_deadline_may_be_longer_than_the_default() -> None:
    assert longest_wait_us(without_deadline(), 2 * DEADLINE_DEFAULT_US) == 2 * DEADLINE_DEFAULT_US


def test_a_body_that_never_comes_ends_at_the_deadline() -> None:
    at = scene()

    async def never() -> Received:
        await asyncio.sleep(3600)
        return Received(b"")

    async def carried() -> None:
        try:
            async with asyncio.timeout(30):
                await at.caller.call(ask(deadline_us=50_000), never)
        except TimeoutError:
            pytest.fail("the call was still waiting long after its deadline")

    with pytest.raises(Trouble) as caught:
        asyncio.run(carried())
    assert caught.value.kind is Kind.SLOW


@pytest.mark.parametrize(("deadline_us", "trusted"), [(PATIENCE_FLOOR_US - 1000, True), (3 * PATIENCE_FLOOR_US, False)])
def test_a_wait_that_its_callers_hurry_cut_short_casts_no_doubt_on_a_place(deadline_us: int, trusted: bool) -> None:
    with Clock().rules() as clock:
        at = scene(*["hang"] * 9, engine=without_deadline(), clock=clock)
        with pytest.raises(Trouble):
            asyncio.run(at.caller.call(ask(deadline_us=deadline_us), at.body))
    assert at.runner.tried
    assert bool(at.snapshot.live[:, kernel.L_HEALTHY].all()) is trusted


def test_who_asks_for_less_time_than_a_place_often_takes_casts_no_doubt_on_it() -> None:
    """Half of such calls come too late where all is well: else one tenant could take a site from all others by them."""
    hasty = {"version": 1, "tenant": "studio", "deadline_quantile": "p50", "classes": {"gameplay": {}}}
    with Clock().rules() as clock:
        at = scene("hang", engine=Engine(example_fleet(), {"studio": Policy.model_validate(hasty)}), clock=clock)
        for index in range(len(at.snapshot.live)):
            at.snapshot.hear(index, Report(0, 300_000, 900_000), clock.now_us)
        at.snapshot.believe(clock.now_us)
        with pytest.raises(Trouble):
            asyncio.run(at.caller.call(ask(deadline_us=3 * PATIENCE_FLOOR_US), at.body))
    assert len(at.runner.tried) == 1
    assert at.snapshot.live[:, kernel.L_HEALTHY].all()


@pytest.mark.parametrize(
    ("wait_us", "state"), [(PATIENCE_FLOOR_US - 1000, State.HALF_OPEN), (PATIENCE_FLOOR_US, State.OPEN)]
)
def test_a_hasty_call_that_tries_a_circuit_out_in_vain_opens_it_again(wait_us: int, state: State) -> None:
    hasty = {"version": 1, "tenant": "studio", "deadline_quantile": "p50", "classes": {"gameplay": {}}}
    with Clock(10**9).rules() as clock:
        at = scene("hang", engine=Engine(example_fleet(), {"studio": Policy.model_validate(hasty)}), clock=clock)
        for index in range(len(at.snapshot.live)):
            at.snapshot.hear(index, Report(0, 100_000, 900_000), clock.now_us)
        at.snapshot.believe(clock.now_us)
        circuits = at.caller.attempts.circuits
        for index in FAILURES_IN_A_ROW * list(range(len(at.snapshot.live))):
            circuits.ended(index, True, "studio")
        clock.now_us += COOL_US
        at.snapshot.believe(clock.now_us)
        with pytest.raises(Trouble):
            asyncio.run(at.caller.call(ask(deadline_us=wait_us), at.body))
        ((tried, _, timeout_s),) = at.runner.calls
        assert timeout_s == wait_us / 1_000_000
        assert circuits.state(tried) is state
        assert bool(at.snapshot.live[tried, kernel.L_HEALTHY]) is (state is State.HALF_OPEN)


def test_a_call_that_was_tried_is_not_refused_by_its_own_deadline() -> None:
    at = scene("lost", "lost", entry="dub", clock=Clock(), slow=990)
    trouble = trouble_of(at, ask(tenant="hospital", entry="dub", origin="paris", classes=("personal",)))
    assert set(at.runner.tried) == {"digits-medium@dub", "digits-large@dub"}
    assert trouble.kind is Kind.DEADLINE, str(trouble)


def test_a_refusal_after_an_attempt_names_what_was_tried() -> None:
    """The first replica is heard of again while the second is tried; that it was tried is why it is not taken."""
    at = scene("lost", "lost")
    both = {"digits-small@fra", "digits-medium@fra"}
    at.snapshot.live[[i for i, d in enumerate(example_fleet().deployments) if d.id not in both], kernel.L_HEALTHY] = 0
    at.snapshot.refresh()
    first: list[int] = []

    def hear_of_the_first(index: int) -> None:
        first.append(index)
        at.snapshot.live[first[0], kernel.L_HEALTHY] = 1
        at.snapshot.refresh()

    at.runner.each = hear_of_the_first
    trouble = trouble_of(at, ask())
    assert set(at.runner.tried) == both
    assert trouble.kind is Kind.DEADLINE
    assert Rule.TRIED.word in trouble.message, trouble.message


def test_the_decision_named_is_the_one_that_was_taken() -> None:
    at = scene()
    for index in range(len(at.snapshot.live)):
        at.snapshot.hear(index, Report(0, 300, 400), 0)
    at.snapshot.believe(0)
    request = ask(payload_bytes=2)
    taken = at.caller.engine.decision_id(request, at.snapshot)
    at.runner.each = lambda _: at.snapshot.believe(1)  # signals are exchanged while the call runs
    assert carry(at, request).decision_id == taken


def test_the_snapshot_is_the_callers_own() -> None:
    snapshot = Snapshot.declared(example_fleet())
    assert scene(snapshot=snapshot).caller.snapshot is snapshot
    assert scene().caller.fleet is example_fleet()


def test_a_body_that_names_the_model_is_read_only_where_each_of_the_tenants_models_may_enter() -> None:
    at = scene(entry="iad")
    trouble = trouble_of(at, ask(model="", tenant="hospital", entry="iad", origin="newyork", classes=("personal",)))
    assert trouble.kind is Kind.WRONG_ENTRY
    assert at.body.reads == 0
    assert at.journal.only()["received_bytes"] == 0


def test_what_the_body_says_is_what_is_decided() -> None:
    at = scene()
    named = ask(id="from-body")

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT, request=named)

    answered = asyncio.run(at.caller.call(ask(model="", id="r1"), receive))
    assert answered.deployment.startswith("digits")
    (_, call, _) = at.runner.calls[0]
    assert (call.request.id, call.request.model, call.api) == ("from-body", "digits", Api.CHAT)
    assert at.journal.only()["request"] == "from-body"


def test_a_name_in_the_body_that_nobody_declared_ends_the_call() -> None:
    at = scene()

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT, request=ask(model="nothing"))

    with pytest.raises(Trouble) as caught:
        asyncio.run(at.caller.call(ask(model=""), receive))
    assert caught.value.kind is Kind.NOT_FOUND
    assert at.runner.calls == []


@pytest.mark.parametrize("word", ["full", "declined", "saturated", "unavailable"])
def test_who_has_no_room_or_declines_is_left_out_of_this_call_and_not_distrusted(word: str) -> None:
    at = scene(word)
    request = ask()
    first, second = ranked(at, request)[:2]
    assert carry(at, request).deployment == second
    assert at.runner.tried == [first, second]
    assert all(at.snapshot.live[:, kernel.L_HEALTHY])
    assert ranked(at, request)[0] == first


def test_where_the_last_that_was_tried_had_no_room_the_caller_hears_when_to_come_back() -> None:
    for script in (["full"] * 9, ["lost", *["full"] * 9]):
        trouble = trouble_of(scene(*script), ask())
        assert (trouble.kind, trouble.extra["retry_after_s"]) == (Kind.SATURATED, 7)
    assert trouble_of(scene("full", *["lost"] * 9), ask()).kind is Kind.DEADLINE
    assert trouble_of(scene(*["saturated"] * 9), ask()).kind is Kind.SATURATED


def test_a_call_of_a_peer_is_not_settled_here_and_carries_its_way_on() -> None:
    at = scene()
    hops = ("0123456789abcdef/par-7-1",)
    with Clock().rules():
        asyncio.run(at.caller.call(ask(), at.body, hops))
        asyncio.run(at.caller.call(ask(), at.body))
    peers, own = at.journal.of("call")
    assert (peers["hops"], peers["settled"]) == (list(hops), False)
    assert (own["hops"], own["settled"]) == ([], True)
    assert [call.hops for _, call, _ in at.runner.calls] == [hops, ()]
    assert [call.number for _, call, _ in at.runner.calls] == [peers["number"], own["number"]]


def test_a_refused_call_of_a_peer_is_not_settled_here_either() -> None:
    at = scene(entry="iad")
    refused = ask(tenant="hospital", entry="iad", origin="paris", classes=("personal",))
    with Clock().rules(), pytest.raises(Trouble):
        asyncio.run(at.caller.call(refused, at.body, ("0123456789abcdef/par-7-1",)))
    assert at.journal.only()["settled"] is False


def test_no_number_repeats_in_a_process_that_bears_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infercast.router.conduct.caller.os.getpid", lambda: 1)
    numbers = []
    for _ in range(2):
        at = scene()
        carry(at, ask())
        carry(at, ask())
        numbers += [line["number"] for line in at.journal.lines]
    assert len(set(numbers)) == 4
    assert all(HOP.fullmatch(f"{'a' * 16}/{number}") for number in numbers)
