"""Counterfactuals: the change that is named is enough: made in the very arrays of the call, it makes the candidate win."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from infercast.policies import kernel
from infercast.policies.counterfactual import Change, least_change
from infercast.policies.engine import tighter
from infercast.policies.model import Decision, Rule, Verdict
from infercast.policies.snapshot import Snapshot
from infercast.policies.tables import draw_of
from tests.laws.worlds import World, worlds
from tests.support import decide, engine_of, fleet_of, policy_of, raw_fleet, request_of

COLUMNS = {"latency": kernel.O_LATENCY_US, "price": kernel.O_PRICE}


def winner_after(world: World, deployment: str, change: Change) -> str:
    """Who is chosen when one thing of one candidate changes and all else stays."""
    engine = world.engine()
    request, snapshot = world.request(), world.snapshot(engine.fleet)
    kind, view = engine.compiled(request), snapshot.view(request.entry, request.model)
    names = [engine.fleet.deployments[index].id for index in kind.deployments]
    row = names.index(deployment)
    out = np.zeros((len(names), kernel.O_COLS), dtype=np.int64)
    with snapshot.tried(request.entry, request.model, world.tried_on(engine.fleet)):
        deadline_us = tighter(kind.deadline_us, request.deadline_us)
        kernel.evaluate(view, kind.codes, kind.exposure, kind.params, request.payload_bytes, deadline_us, out)
    params, line = kind.params.tolist(), out[row]
    error_ppm = int(view[kernel.V_ERROR_PPM, row])
    if change.what == "accuracy":
        error_ppm -= change.delta
        assert error_ppm >= 0
    else:
        line[COLUMNS[change.what]] += change.delta
        assert line[COLUMNS[change.what]] >= 0
    line[kernel.O_PRIMARY] = (
        params[kernel.P_PER_PRICE] * line[kernel.O_PRICE]
        + params[kernel.P_PER_S] * line[kernel.O_LATENCY_US] // 1_000_000
        + params[kernel.P_PER_ERROR] * error_ppm // 1_000_000
        + line[kernel.O_EXPOSURE]
    )
    line[kernel.O_SECONDARY] = line[kernel.O_PRICE if params[kernel.P_SECOND_PRICE] else kernel.O_LATENCY_US]
    order = np.zeros(len(names), dtype=np.int64)
    assert kernel.rank(view, out, kind.margin, draw_of(request.id), order)
    return names[int(order[0])]


def changes(world: World) -> list[tuple[Decision, Verdict, Change]]:
    decision = world.decide()
    terms = world.engine().compiled(world.request()).terms
    found = [(decision, verdict, least_change(decision, verdict, terms)) for verdict in decision.verdicts]
    return [(decision, verdict, change) for decision, verdict, change in found if change is not None]


@settings(max_examples=300)
@given(worlds(spread=False))
def test_the_change_that_is_named_makes_the_candidate_win(world: World) -> None:
    for _, verdict, change in changes(world):
        if verdict.rule is Rule.NONE:
            assert winner_after(world, verdict.deployment, change) == verdict.deployment


@settings(max_examples=300)
@given(worlds(spread=True))
def test_a_change_that_is_named_under_a_spread_makes_the_candidate_win(world: World) -> None:
    for _, verdict, change in changes(world):
        if verdict.rule is Rule.NONE:
            assert winner_after(world, verdict.deployment, change) == verdict.deployment


@given(worlds())
def test_the_chosen_one_needs_no_change_and_a_vetoed_one_names_its_rule(world: World) -> None:
    for decision, verdict, change in changes(world):
        assert verdict.deployment != decision.chosen
        if verdict.rule is Rule.NONE:
            assert change.delta != 0
        elif verdict.rule in (Rule.DEADLINE, Rule.DEADLINE_LOAD):
            assert (change.what, change.unit) == ("latency", "us")
        else:
            assert (change.what, change.delta) == ("rule", 0)
            assert verdict.rule.word in change.said


@given(worlds())
def test_a_deadline_that_much_later_is_no_longer_past(world: World) -> None:
    for decision, verdict, change in changes(world):
        if verdict.rule in (Rule.DEADLINE, Rule.DEADLINE_LOAD):
            assert verdict.deadline_latency_us + change.delta == decision.deadline_us
            deadline_ms = (decision.deadline_us - change.delta) / 1000
            blocks = {name: {**block, "deadline_ms": deadline_ms} for name, block in world.policy["classes"].items()}
            always = {**world.policy["always"], "deadline_ms": deadline_ms}
            extra = [_later(override, deadline_ms) for override in world.policy["overrides"]]
            policy = {**world.policy, "classes": blocks, "always": always, "overrides": extra}
            later = world.but(policy=policy).asking(deadline_us=0)
            assert later.decide().verdict_of(verdict.deployment).rule not in (Rule.DEADLINE, Rule.DEADLINE_LOAD)


def _later(override: dict[str, Any], deadline_ms: float) -> dict[str, Any]:
    constraints = override["constraints"]
    return {**override, "constraints": constraints and {**constraints, "deadline_ms": deadline_ms}}


@pytest.mark.parametrize(
    ("objective", "what", "unit"),
    [
        ({"preference": "fastest"}, "latency", "us"),
        ({"preference": "cheapest"}, "price", "nUSD"),
        ({"preference": "balanced", "waiting": {"usd_per_second": 0.0001}}, "latency", "us"),
    ],
)
def test_the_sentence_says_what_by_how_much(objective: dict[str, object], what: str, unit: str) -> None:
    decision = decide(objective=objective)
    change = least_change(decision, decision.verdict_of("large@par"), policy_of(objective=objective))
    assert change is not None
    assert (change.what, change.unit) == (what, unit)
    assert change.delta < 0
    assert change.said.startswith("would win if ")


def test_more_accuracy_wins_where_accuracy_counts() -> None:
    objective = {"preference": "most_accurate"}
    decision = decide(objective=objective)
    change = least_change(decision, decision.verdict_of("small@ber"), policy_of(objective=objective))
    assert change == Change("accuracy", 80_001, "ppm", "would win if accuracy were 0.9800 (+0.0800)")


def test_what_cannot_be_mended_by_one_change_names_none() -> None:
    objective = {"preference": "most_private"}
    decision = decide(objective=objective)
    assert least_change(decision, decision.verdict_of("large@iad"), policy_of(objective=objective)) is None


def test_where_nothing_is_chosen_an_eligible_one_does_not_exist_and_the_vetoed_name_their_rules() -> None:
    decision = decide({"residency": {"processing": ["CH"]}})
    said = [least_change(decision, verdict, policy_of()) for verdict in decision.verdicts]
    assert all(change is not None and "only if entry.residency allowed it" in change.said for change in said)


def test_health_and_capacity_are_named() -> None:
    engine = engine_of()
    snapshot = Snapshot.declared(engine.fleet)
    snapshot.live[2, kernel.L_HEALTHY] = 0
    snapshot.refresh()
    decision = engine.explain(request_of(), snapshot)
    change = least_change(decision, decision.verdict_of("large@par"), policy_of())
    assert change == Change("rule", 0, "", "only without health")


def test_a_better_accuracy_is_not_named_where_it_would_lift_its_rival_too() -> None:
    """An unmeasured rival counts as the worst measured variant: when that one gets better, so does the rival."""
    raw = raw_fleet(deployments=[{"variant": "small", "site": "par"}, {"variant": "large", "site": "ber"}])
    raw["cards"]["large"]["accuracy"] = None
    objective = {"preference": "most_accurate"}
    decision = decide(fleet=fleet_of(raw), objective=objective)
    assert decision.chosen == "large@ber"
    change = least_change(decision, decision.verdict_of("small@par"), policy_of(objective=objective))
    if change is not None:
        raw["cards"]["small"]["accuracy"]["value"] += change.delta / 1e6
        assert decide(fleet=fleet_of(raw), objective=objective).chosen == "small@par"
