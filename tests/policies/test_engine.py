"""The engine: how a call ends, where it may enter, what its decision is called, and what it does not know."""

import os
import subprocess
import sys
from itertools import product
from typing import Any

import pytest

from infercast.policies import kernel
from infercast.policies.engine import Engine, Unknown, outcome_of
from infercast.policies.model import Outcome, Request, Rule
from infercast.policies.snapshot import Snapshot
from tests.support import decide, eligible, engine_of, fleet_of, policy_of, raw_fleet, request_of

ASK = {"preference": "fastest"}


def ended(always: dict[str, object], column: int, value: int, only: tuple[int, ...] = (1, 2, 3)) -> Outcome:
    """How a call ends when a signal of some deployments reads so."""
    engine = engine_of(always)
    snapshot = Snapshot.declared(engine.fleet)
    snapshot.live[list(only), column] = value
    snapshot.refresh()
    decision, choice = engine.explain(request_of(), snapshot), engine.choose(request_of(), snapshot)
    assert choice.outcome is decision.outcome
    return decision.outcome


def test_outcomes_say_what_would_help() -> None:
    assert ended({}, kernel.L_IN_FLIGHT, 0) is Outcome.CHOSEN
    assert ended({}, kernel.L_IN_FLIGHT, 64) is Outcome.SATURATED
    assert ended({}, kernel.L_HEALTHY, 0) is Outcome.UNAVAILABLE
    assert ended({"deadline_ms": 20}, kernel.L_IN_FLIGHT, 40) is Outcome.SATURATED
    assert ended({"deadline_ms": 1}, kernel.L_IN_FLIGHT, 0) is Outcome.REFUSED
    assert ended({"price_max_usd": 0}, kernel.L_HEALTHY, 0) is Outcome.REFUSED
    assert ended({"accuracy_min": {"digits": 0.99}}, kernel.L_IN_FLIGHT, 64) is Outcome.REFUSED


def test_one_that_would_pass_decides_the_outcome() -> None:
    assert outcome_of([]) is Outcome.REFUSED
    assert outcome_of([Rule.ACCURACY, Rule.HEALTH]) is Outcome.UNAVAILABLE
    assert outcome_of([Rule.ACCURACY, Rule.HEALTH, Rule.CAPACITY]) is Outcome.SATURATED
    assert outcome_of([Rule.DEADLINE, Rule.PRICE, Rule.RESIDENCY_TRANSIT]) is Outcome.REFUSED


@pytest.mark.parametrize(
    ("preference", "chosen"),
    [
        ("cheapest", "small@ber"),
        ("fastest", "small@ber"),
        ("most_accurate", "large@par"),
        ("most_private", "small@ber"),
        ("balanced", "small@ber"),
    ],
)
def test_each_preference_has_its_choice(preference: str, chosen: str) -> None:
    decision = decide(objective={"preference": preference})
    assert decision.chosen == chosen
    assert decision.outcome is Outcome.CHOSEN


def test_exchange_rates_buy_accuracy_with_time() -> None:
    def chosen(usd_per_error: float) -> str | None:
        return decide(objective={"waiting": {"usd_per_second": 0.01}, "usd_per_error": usd_per_error}).chosen

    assert chosen(0.0) == "small@ber"
    assert chosen(1.0) == "large@par"


def test_a_verdict_of_the_moment_says_the_values_it_compared() -> None:
    engine = engine_of({"deadline_ms": 60}, objective=ASK)
    snapshot = Snapshot.declared(engine.fleet)
    snapshot.live[1, kernel.L_IN_FLIGHT] = 64
    snapshot.refresh()
    decision = engine.explain(request_of(), snapshot)
    said = {verdict.deployment: verdict.detail for verdict in decision.verdicts}
    assert said["small@ber"].startswith("p95 ")
    assert "is past the deadline 60.0 ms for its load alone" in said["small@ber"]
    assert said["large@iad"].endswith("is past the deadline 60.0 ms")
    idle = engine_of(objective=ASK)
    full = Snapshot.declared(idle.fleet)
    full.live[1, kernel.L_IN_FLIGHT] = 64
    full.live[2, kernel.L_HEALTHY] = 0
    full.refresh()
    said = {verdict.deployment: verdict.detail for verdict in idle.explain(request_of(), full, (3,)).verdicts}
    assert said["small@ber"] == "full: there is room for 64 calls"
    assert said["large@par"] == "not healthy: never heard of"
    assert said["large@iad"] == "tried for this call already, and failed"


def test_a_price_above_the_ceiling_says_both() -> None:
    decision = decide({"price_max_usd": 0.0000002})
    verdict = decision.verdict_of("large@par")
    assert verdict.rule is Rule.PRICE
    assert verdict.detail == f"price {verdict.price_nusd / 1e9:.9f} USD is above the ceiling 0.000000200"


def test_fallbacks_are_as_many_as_the_policy_says() -> None:
    for fallbacks, count in ((0, 1), (1, 2), (7, 3)):
        engine = engine_of(behaviour={"fallbacks_max": fallbacks})
        choice = engine.choose(request_of(), Snapshot.declared(engine.fleet))
        assert len(choice.deployments) == len(choice.latency_us) == len(choice.price_nusd) == count


def test_entries_are_told_only_to_who_may_not_enter() -> None:
    german = {"residency": {"entry": ["DE"]}}
    assert decide(german, ask={"entry": "par"}).entries == ("ber",)
    assert decide(german, ask={"entry": "ber"}).entries == ()
    assert decide({"residency": {"entry": ["CH"]}}).entries == ()


def test_a_device_decides_before_a_byte_leaves() -> None:
    decision = decide({"privacy": {"tiers": ["device"]}}, ask={"entry": "phone", "origin": "phone"})
    assert decision.chosen == "small@phone"
    assert eligible(decision) == {"small@phone"}


def test_a_spread_shares_the_load_by_the_requests_name_and_by_nothing_else() -> None:
    engine = engine_of(behaviour={"spread_margin_usd": 1.0})
    snapshot = Snapshot.declared(engine.fleet)
    chosen = [engine.choose(request_of(id=f"r{number}"), snapshot).deployment for number in range(300)]
    again = [engine.choose(request_of(id=f"r{number}"), snapshot).deployment for number in range(300)]
    assert chosen == again
    assert all(chosen.count(index) > 60 for index in (1, 2, 3))


def test_unknown_names_are_said_with_a_remedy() -> None:
    engine = engine_of()
    snapshot = Snapshot.declared(engine.fleet)
    wrong: dict[str, dict[str, Any]] = {
        "tenant": {"tenant": "x"},
        "model": {"model": "digit"},
        "entry": {"entry": "bre"},
        "origin": {"origin": "berlln"},
        "data class": {"classes": ("plane",)},
    }
    for (field, parts), tried in product(wrong.items(), [(), (1,)]):
        with pytest.raises(Unknown) as caught:
            engine.choose(request_of(**parts), snapshot, tried)
        assert caught.value.field == field
        assert caught.value.known
        assert "(did you mean" in str(caught.value) or "(known: " in str(caught.value)


def test_a_tenants_models_are_those_its_policy_names() -> None:
    engine = Engine(fleet_of(), {"t": policy_of(models=[]), "u": policy_of(tenant="u")})
    assert engine.models_of("t") == ()
    assert engine.models_of("u") == ("digits",)
    with pytest.raises(Unknown, match="no model is called 'digits'"):
        engine.choose(request_of(), Snapshot.declared(engine.fleet))


def test_a_model_without_a_deployment_is_refused() -> None:
    models = [*raw_fleet()["models"], {"id": "idle", "variants": [{"id": "none", "card": "n"}]}]
    cards = {**raw_fleet()["cards"], "none": {**raw_fleet()["cards"]["small"], "variant": "none"}}
    engine = engine_of(fleet=fleet_of(raw_fleet(models=models, cards=cards)))
    request, snapshot = request_of(model="idle"), Snapshot.declared(engine.fleet)
    decision = engine.explain(request, snapshot)
    assert (decision.outcome, decision.verdicts) == (Outcome.REFUSED, ())
    assert engine.choose(request, snapshot).outcome is Outcome.REFUSED


def test_after_warming_no_call_waits_for_its_vetoes(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise AssertionError("a call had to wait for this")

    evening = {"when": {"hours": "18:00-20:00"}, "constraints": {"privacy": {"tiers": ["edge"]}}}
    for overrides in ([], [evening]):
        engine = engine_of(overrides=overrides)
        engine.warm("ber", ["berlin", "ber"])
        with monkeypatch.context() as patch:
            for name in ("site_veto", "entry_veto", "accuracy_veto", "exposures"):
                patch.setattr(f"infercast.policies.compiled.{name}", late)
            for origin in ("berlin", "ber"):
                for classes in ((), ("plain",)):
                    request = request_of(origin=origin, classes=classes)
                    assert engine.choose(request, Snapshot.declared(engine.fleet)).outcome is Outcome.CHOSEN


def test_warming_for_nobody_is_no_fault() -> None:
    engine = engine_of()
    engine.warm("ber", [])
    assert engine._kinds == {}


def test_a_decisions_name_depends_on_the_call() -> None:
    engine = engine_of()
    snapshot = Snapshot.declared(engine.fleet)
    calls = [
        request_of(),
        request_of(id="r2"),
        request_of(payload_bytes=1),
        request_of(deadline_us=1),
        request_of(classes=("plain",)),
    ]
    names = {engine.decision_id(call, snapshot) for call in calls}
    assert len(names) == len(calls)
    assert engine.decision_id(request_of(), snapshot) == engine.explain(request_of(), snapshot).id


def test_a_request_counts_from_zero() -> None:
    for wrong in ({"payload_bytes": -1}, {"deadline_us": -1}):
        with pytest.raises(ValueError, match="count from 0"):
            request_of(**wrong)
    assert Request("i", "t", "m", "e", "o", ("b", "a", "b")).classes == ("a", "b")


def test_importing_the_ground_floor_costs_next_to_nothing() -> None:
    code = (
        "import sys, time; start = time.process_time(); import infercast.policies as p; took = time.process_time() - start;"
        "heavy = {'ray', 'pydantic', 'numba', 'networkx', 'numpy', 'yaml'} & set(sys.modules);"
        "print(took, sorted(heavy)); assert not heavy; assert took < 0.5; assert p.Tier.EDGE == 'edge';"
        "assert time.process_time() < 5"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_are_found_and_others_are_not() -> None:
    import infercast.policies as ground

    for name in ground.__all__:
        assert getattr(ground, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ground.Nothing
