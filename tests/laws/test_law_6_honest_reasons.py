"""Law 6: every candidate has a verdict that names its rule; shares sum to the score; fast path = explained path."""

from dataclasses import replace

from hypothesis import assume, given

from infercast.policies import kernel
from infercast.policies.model import SATURATED_RULES, UNAVAILABLE_RULES, Outcome, Preference, Rule
from infercast.policies.record import as_json, reasons, summary
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import nusd, us_from_ms
from tests.laws import oracle
from tests.laws.worlds import World, eligible, worlds
from tests.support import engine_of, request_of


@given(worlds())
def test_every_candidate_has_one_verdict(world: World) -> None:
    decision = world.decide()
    fleet = world.engine().fleet
    candidates = [d.id for d in fleet.deployments if fleet.model_of[d.variant] == world.call["model"]]
    assert [verdict.deployment for verdict in decision.verdicts] == candidates
    for verdict in decision.verdicts:
        assert verdict.deployment == f"{verdict.variant}@{verdict.site}"
        assert verdict.tier == fleet.site_by_id[verdict.site].tier
        assert verdict.detail.strip()
        assert (verdict.detail == "eligible") is (verdict.rule is Rule.NONE)
        assert (verdict.rule.word == "none") is (verdict.rule is Rule.NONE)


@given(worlds())
def test_shares_sum_to_the_score(world: World) -> None:
    for verdict in world.decide().verdicts:
        assert sum(share for _, share in verdict.shares) == verdict.score
        assert all(share >= 0 for _, share in verdict.shares)
        assert verdict.price_nusd >= 0
        assert verdict.latency_us >= 0


@given(worlds())
def test_scores_are_what_the_policy_says_they_are(world: World) -> None:
    decision, objective = world.decide(), oracle.objective(world)
    for verdict in decision.verdicts:
        shares = dict(verdict.shares)
        if decision.preference is Preference.FASTEST:
            assert verdict.score in (verdict.latency_us, 0)
        if decision.preference is Preference.CHEAPEST:
            assert verdict.score in (verdict.price_nusd, 0)
        if decision.preference is Preference.BALANCED and shares:
            waiting = nusd(objective["waiting"]["usd_per_second"]) * verdict.latency_us // 1_000_000
            assert shares["waiting"] == waiting
            assert shares["price"] == verdict.price_nusd
            if verdict.accuracy_ppm is not None:
                wrong = nusd(objective["usd_per_error"]) * (1_000_000 - verdict.accuracy_ppm) // 1_000_000
                assert shares["error"] == wrong


@given(worlds())
def test_the_fast_answer_is_the_explained_one(world: World) -> None:
    decision = world.decide()
    choice, names = world.choose()
    assert choice.outcome is decision.outcome
    if decision.chosen is None:
        assert names == ()
        return
    places = 1 + world.policy["behaviour"]["fallbacks_max"]
    assert names == (decision.chosen, *decision.alternatives)[:places]
    verdicts = [decision.verdict_of(name) for name in names]
    assert choice.latency_us == tuple(verdict.deadline_latency_us for verdict in verdicts)
    assert choice.price_nusd == tuple(verdict.price_nusd for verdict in verdicts)


@given(worlds())
def test_a_refusal_is_the_same_fast_and_explained(world: World) -> None:
    decision, (choice, _) = world.decide(), world.choose()
    if decision.chosen is None:
        assert (choice.outcome, choice.rule) == (decision.outcome, max((v.rule for v in decision.verdicts), default=0))
        assert choice[1:-1] == ((),) * 5


@given(worlds(spread=False))
def test_choice_and_alternatives_are_the_eligible_best_first(world: World) -> None:
    decision = world.decide()
    ordered = [] if decision.chosen is None else [decision.chosen, *decision.alternatives]
    assert len(ordered) == len(set(ordered))
    assert set(ordered) == eligible(decision)
    scores = [decision.verdict_of(name).score for name in ordered]
    assert scores == sorted(scores)


@given(worlds(spread=True))
def test_a_spread_choice_is_within_the_margin_and_the_record_says_so(world: World) -> None:
    decision = world.decide()
    assume(decision.chosen is not None)
    scores = {name: decision.verdict_of(name).score for name in eligible(decision)}
    margin = nusd(world.policy["behaviour"]["spread_margin_usd"])
    near = {name for name, score in scores.items() if score - min(scores.values()) <= margin}
    assert decision.chosen in near
    assert decision.alternatives == tuple(name for name in _best_first(world) if name != decision.chosen)


def _best_first(world: World) -> list[str]:
    behaviour = {**world.policy["behaviour"], "spread_margin_usd": 0.0}
    decision = world.but(policy={**world.policy, "behaviour": behaviour}).decide()
    return [str(decision.chosen), *decision.alternatives]


def test_a_spread_is_recorded() -> None:
    engine = engine_of(behaviour={"spread_margin_usd": 1000.0})
    snapshot = Snapshot.declared(engine.fleet)
    decisions = [engine.explain(request_of(id=f"r{number}"), snapshot) for number in range(40)]
    near = {"small@ber", "large@par", "large@iad"}  # nothing sends into the phone
    assert {decision.chosen for decision in decisions} == near
    assert {frozenset(decision.spread) for decision in decisions} == {frozenset(near)}
    assert all(sorted(as_json(decision)["spread"]) == sorted(near) for decision in decisions)


@given(worlds())
def test_a_verdict_by_the_moment_is_true(world: World) -> None:
    decision = world.decide()
    blocks = oracle.binding(world)
    ceilings = [nusd(b["price_max_usd"]) for b in blocks if b.get("price_max_usd") is not None]
    deadlines = [us_from_ms(b["deadline_ms"]) for b in blocks if b.get("deadline_ms") is not None]
    deadlines += [world.call["deadline_us"]] * bool(world.call["deadline_us"])
    assert decision.deadline_us == min(deadlines, default=0)
    for verdict in decision.verdicts:
        signals = dict(verdict.signals)
        if verdict.rule is Rule.PRICE:
            assert verdict.price_nusd > min(ceilings)
        if verdict.rule in (Rule.DEADLINE, Rule.DEADLINE_LOAD):
            assert verdict.deadline_latency_us > decision.deadline_us > 0
        if verdict.rule is Rule.CAPACITY:
            assert signals["in_flight"] >= 8
        if verdict.rule is Rule.TRIED:
            assert verdict.deployment in world.tried
        if verdict.rule is Rule.NONE:
            assert verdict.deployment not in world.tried
            assert verdict.price_nusd <= min(ceilings, default=verdict.price_nusd)
            assert not decision.deadline_us or verdict.deadline_latency_us <= decision.deadline_us
            assert 0 <= signals["age_us"] <= 4_000_000
            report = world.signals[verdict.deployment]
            assert report is not None
            assert report[3] == 1
            deployment = world.fleet["deployments"][_index(world, verdict.deployment)]
            assert signals["in_flight"] < deployment["queue_max"]


def _index(world: World, name: str) -> int:
    return world.engine().fleet.deployment_index[name]


@given(worlds())
def test_an_outcome_says_what_would_help(world: World) -> None:
    decision = world.decide()
    rules = {verdict.rule for verdict in decision.verdicts}
    assert (decision.chosen is None) is (Rule.NONE not in rules)
    if Rule.NONE in rules:
        assert decision.outcome is Outcome.CHOSEN
    elif rules & SATURATED_RULES:
        assert decision.outcome is Outcome.SATURATED
    elif rules & UNAVAILABLE_RULES:
        assert decision.outcome is Outcome.UNAVAILABLE
    else:
        assert decision.outcome is Outcome.REFUSED
        assert not rules & (SATURATED_RULES | UNAVAILABLE_RULES)


@given(worlds())
def test_records_count_every_veto(world: World) -> None:
    decision = world.decide()
    vetoed = [verdict for verdict in decision.verdicts if verdict.rule is not Rule.NONE]
    said = reasons(decision)
    counted = 0 if said == "no candidates" else sum(int(part.split(" ")[0]) for part in said.split(", "))
    assert counted == len(vetoed)
    assert all(verdict.rule.word in said for verdict in vetoed)
    assert (str(decision.chosen) in summary(decision)) or decision.chosen is None
    record = as_json(decision)
    assert [verdict["rule"] for verdict in record["verdicts"]] == [verdict.rule.word for verdict in decision.verdicts]


def test_decisions_that_differ_have_names_that_differ() -> None:
    engine = engine_of()
    request = request_of()
    idle, down = (Snapshot.declared(engine.fleet) for _ in range(2))
    down.live[:, kernel.L_HEALTHY] = 0
    down.refresh()
    decisions = [engine.explain(request, snapshot) for snapshot in (idle, down)] + [engine.explain(request, idle, (1,))]
    same_name = {replace(decision, id="") for decision in decisions}
    assert len(same_name) == 3
    assert len({decision.id for decision in decisions}) == 3
