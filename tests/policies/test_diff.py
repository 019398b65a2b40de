"""What changes between two sets of policies: all that does and nothing that does not, counted, with the words to blame."""

from typing import Any

from hypothesis import given, settings

from infercast.policies.changed_words import JUDGED_MAX, changed_words
from infercast.policies.diff import Change, Decider, Difference, What, compare, compare_requests, kinds_of
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Snapshot
from tests.laws.worlds import SEEDS, World, policy_from, worlds
from tests.support import engine_of, fleet_of, policy_of, raw_policy, request_of

Raw = dict[str, Any]
NO_US: Raw = {"residency": {"processing": {"deny": ["US"]}}}
PRIVATE: Raw = {"preference": "most_accurate"}


def diff(old: Raw | None = None, new: Raw | None = None) -> Difference:
    """Compare two policies, given as parts of the plain one."""
    return compare(fleet_of(), {"t": policy_of(**(old or {}))}, {"t": policy_of(**(new or {}))})


def those(found: Difference, what: What) -> list[Change]:
    """The changes of a sort."""
    return [change for change in found.changes if change.what is what]


def test_the_same_policy_decides_the_same() -> None:
    found = diff({"description": "old"}, {"description": "new"})
    assert (found.differing, found.changes) == (0, ())
    fleet = fleet_of()
    assert found.calls == sum(1 for _ in kinds_of(fleet, policy_of(), policy_of()))
    # One class and none named, one model, five places to come from, four to enter at.
    assert found.calls == 2 * 1 * 5 * 4


def test_a_rule_more_vetoes_and_a_rule_less_allows() -> None:
    tighter = diff({}, {"always": NO_US})
    vetoed = {(change.subject, change.why) for change in those(tighter, What.VETOED)}
    # Calls that enter in Virginia are refused there; the others lose one candidate.
    assert ("large@iad", "residency.processing") in vetoed
    assert ("small@ber", "entry.residency") in vetoed
    assert not those(tighter, What.ALLOWED)
    looser = diff({"always": NO_US}, {})
    allowed = {(change.subject, change.why) for change in those(looser, What.ALLOWED)}
    assert allowed == vetoed
    assert looser.differing == tighter.differing
    assert {change.calls for change in those(looser, What.ANSWERED)} == {
        change.calls for change in those(tighter, What.REFUSED)
    }


def test_a_preference_moves_choices_and_vetoes_nothing() -> None:
    found = diff({"objective": {"preference": "fastest"}}, {"objective": {"preference": "most_accurate"}})
    moved = those(found, What.MOVED)
    assert {change.why for change in moved} == {"preferred now"}
    assert any(change.subject == "small@ber → large@par" for change in moved)
    assert not those(found, What.VETOED) + those(found, What.ALLOWED)


def test_a_moved_choice_says_which_rule_moved_it() -> None:
    dear = {"accuracy_min": {"digits": 0.95}}
    found = diff({"objective": {"preference": "fastest"}}, {"objective": {"preference": "fastest"}, "always": dear})
    assert ("small@ber → large@par", "accuracy vetoes small@ber") in {
        (change.subject, change.why) for change in those(found, What.MOVED)
    }


def test_a_spread_is_a_difference_for_every_kind_that_shares_and_not_only_where_one_draw_falls_elsewhere() -> None:
    balanced = {"objective": {"waiting": {"usd_per_second": 0.001}}}
    found = diff(balanced, {**balanced, "behaviour": {"spread_margin_usd": 1.0}})
    decider = Decider(fleet_of(), {"t": policy_of(**balanced)})
    sides = [decider.side(kind.request("diff")) for kind in kinds_of(fleet_of(), policy_of(), policy_of())]
    assert found.differing == sum(bool(side.fallbacks) for side in sides) > 0
    assert sum(change.calls for change in those(found, What.SHARED)) == found.differing


def test_fewer_fallbacks_are_a_difference() -> None:
    found = diff({"behaviour": {"fallbacks_max": 2}}, {"behaviour": {"fallbacks_max": 0}})
    assert found.differing == sum(change.calls for change in those(found, What.FALLBACKS)) > 0


def test_a_class_that_is_new_was_unknown_before() -> None:
    found = diff({"classes": {"plain": {}}}, {"classes": {"plain": {}, "open": {}}})
    answered = those(found, What.ANSWERED)
    assert {change.why for change in answered} == {"unknown data class"}
    assert {change.classes for change in answered} == {("open",)}


def test_a_time_window_is_looked_into() -> None:
    at_night = {"overrides": [{"when": {"hours": "20:00-06:00"}, "objective": {"preference": "most_accurate"}}]}
    found = diff({"objective": {"preference": "fastest"}}, {"objective": {"preference": "fastest"}, **at_night})
    assert those(found, What.MOVED)
    assert 0 < found.differing < found.calls


def test_tenants_of_one_side_are_named() -> None:
    one, other = policy_of(tenant="one"), policy_of(tenant="other")
    found = compare(fleet_of(), {"one": one}, {"other": other})
    assert (found.added, found.removed, found.calls) == (("other",), ("one",), 0)


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_calls_that_differ_are_exactly_those_that_are_decided_otherwise(world: World, seed: int) -> None:
    """Held against two engines asked by hand, over random calls and policies."""
    fleet = world.engine().fleet
    old, new = Policy.model_validate(world.policy), Policy.model_validate(policy_from(seed))
    found = compare(fleet, {"t": old}, {"t": new})
    engines, snapshot = (Decider(fleet, {"t": old}).engine, Decider(fleet, {"t": new}).engine), Snapshot.declared(fleet)
    differing = 0
    for kind in kinds_of(fleet, old, new):
        request = kind.request("diff", 256)
        sides = []
        for engine in engines:
            decision = engine.explain(request, snapshot)
            passing = {verdict.deployment for verdict in decision.verdicts if verdict.rule == 0}
            kept = engine.policies["t"].behaviour.fallbacks_max
            # Who may not enter is refused as a whole; that candidates are then not healthy or full is not asked.
            shared = decision.spread if len(decision.spread) > 1 else ()
            sides.append((str(decision.outcome), decision.chosen, decision.alternatives[:kept], passing, shared))
        differing += sides[0] != sides[1]
    assert found.differing == differing
    assert bool(found.changes) is bool(found.differing)


def test_calls_that_came_once_are_counted_as_often_as_they_came() -> None:
    requests = [request_of(entry="iad", origin="iad")] * 3 + [request_of()] + [request_of(tenant="stranger")]
    before, after = {"t": policy_of()}, {"t": policy_of(NO_US)}
    found = compare_requests(fleet_of(), before, after, requests)
    assert (found.calls, found.differing) == (4, 4)
    assert [change.calls for change in those(found, What.REFUSED)] == [3]


def test_a_call_that_neither_knows_is_no_difference() -> None:
    requests = [Request("r", "t", "nothing", "ber", "berlin")]
    found = compare_requests(fleet_of(), {"t": policy_of()}, {"t": policy_of(NO_US)}, requests)
    assert (found.calls, found.differing) == (1, 0)


def words(old: Raw, new: Raw) -> dict[str, bool | None]:
    """Each changed place of a policy, and whether it matters."""
    policies = (Policy.model_validate(raw_policy(**parts)) for parts in (old, new))
    return {word.place: word.matters for word in changed_words(fleet_of(), *policies)}


def test_words_that_change_nothing_stand_apart() -> None:
    found = words(
        {"always": {"deadline_ms": 5000.0}, "description": "old"},
        {"always": {"deadline_ms": 4000.0, "residency": {"processing": {"deny": ["US", "JP"]}}}, "description": "new"},
    )
    assert found == {"description": False, "always.deadline_ms": False, "always.residency.processing": True}


def test_claims_and_limits_are_read_by_no_decision() -> None:
    found = words({}, {"claims": [{"refused": True}], "limits": {"requests_per_minute": 5}})
    assert found == {"claims": False, "limits.requests_per_minute": False}


def test_two_words_of_which_one_would_do_both_matter() -> None:
    """Taking one of them away changes nothing, putting one of them in does."""
    old = {"always": {"privacy": {"operators": {"allow": ["acme", "me", "hyper"]}}}}
    new = {"always": {"privacy": {"operators": {"allow": ["acme", "me"], "deny": ["hyper"]}}}}
    found = words(old, new)
    assert found == {"always.privacy.operators.allow": True, "always.privacy.operators.deny": True}


def test_a_new_class_is_one_word() -> None:
    assert words({}, {"classes": {"plain": {}, "open": {"deadline_ms": 100.0}}}) == {"classes.open": True}


def test_many_words_are_not_looked_at_one_by_one() -> None:
    names = [f"c{number}" for number in range(11)]
    old = {"classes": {name: {"deadline_ms": 100.0, "price_max_usd": 1.0} for name in names}}
    new = {"classes": {name: {"deadline_ms": 200.0, "price_max_usd": 2.0} for name in names}}
    found = words(old, new)
    assert len(found) > JUDGED_MAX
    assert set(found.values()) == {None}


def test_the_decider_says_what_the_engine_says() -> None:
    engine = engine_of()
    side = Decider(engine.fleet, engine.policies).side(request_of())
    decision = engine.explain(request_of(), Snapshot.declared(engine.fleet))
    assert (side.outcome, side.chosen) == (decision.outcome, decision.chosen)
