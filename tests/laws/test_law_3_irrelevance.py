"""Law 3: removing a candidate that was not chosen never changes the choice; with a spread, one outside of the margin."""

from hypothesis import given

from infercast.policies.model import Outcome, Rule
from infercast.policies.units import nusd
from tests.laws.worlds import World, worlds
from tests.support import card, decide, fleet_of, raw_fleet


def assert_indifferent(world: World, removed: str) -> None:
    """Without a candidate the choice is the same, and the others keep their order behind it."""
    before, after = world.decide(), world.without(removed).decide()
    assert after.chosen == before.chosen
    assert after.alternatives == tuple(name for name in before.alternatives if name != removed)


def removable(world: World) -> list[str]:
    """The candidates that were not chosen; none where nothing would be left of the fleet."""
    decision = world.decide()
    others = [verdict.deployment for verdict in decision.verdicts if verdict.deployment != decision.chosen]
    return others if len(world.fleet["deployments"]) > 1 else []


@given(worlds(spread=False, measured=True))
def test_without_a_spread_no_other_candidate_matters(world: World) -> None:
    for name in removable(world):
        assert_indifferent(world, name)


@given(worlds(spread=False))
def test_no_other_candidate_matters_where_accuracy_is_unmeasured(world: World) -> None:
    for name in removable(world):
        assert_indifferent(world, name)


@given(worlds(spread=True, measured=True))
def test_with_a_spread_no_candidate_outside_of_the_margin_matters(world: World) -> None:
    decision = world.decide()
    margin = nusd(world.policy["behaviour"]["spread_margin_usd"])
    least = min((v.score for v in decision.verdicts if v.rule is Rule.NONE), default=0)
    for name in removable(world):
        verdict = decision.verdict_of(name)
        if verdict.rule is not Rule.NONE or verdict.score - least > margin:
            assert_indifferent(world, name)


@given(worlds(measured=True))
def test_scores_do_not_depend_on_who_else_stands_there(world: World) -> None:
    before = world.decide()
    for name in removable(world):
        for verdict in world.without(name).decide().verdicts:
            same = before.verdict_of(verdict.deployment)
            assert (verdict.score, verdict.shares, verdict.rule) == (same.score, same.shares, same.rule)


@given(worlds(spread=False, measured=True))
def test_the_first_alternative_is_the_choice_without_the_chosen_one(world: World) -> None:
    decision = world.decide()
    if decision.outcome is Outcome.CHOSEN and len(world.fleet["deployments"]) > 1:
        after = world.without(str(decision.chosen)).decide()
        assert after.chosen == (decision.alternatives[0] if decision.alternatives else None)


def test_the_worst_measured_variant_is_the_models_not_the_deployments() -> None:
    raw = raw_fleet(
        models=[
            {"id": "digits", "variants": [{"id": name, "card": f"{name}.json"} for name in ("poor", "good", "dark")]}
        ],
        deployments=[
            {"variant": "poor", "site": "par"},
            {"variant": "good", "site": "ber"},
            {"variant": "dark", "site": "ber"},
        ],
        cards={"poor": card("poor", 0.5, 1), "good": card("good", 0.9, 2), "dark": card("dark", None, 1)},
    )
    objective = {"preference": "most_accurate"}
    assert decide(fleet=fleet_of(raw), objective=objective).chosen == "good@ber"
    raw["deployments"] = [d for d in raw["deployments"] if d["variant"] != "poor"]
    assert decide(fleet=fleet_of(raw), objective=objective).chosen == "good@ber"
