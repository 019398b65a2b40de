"""Law 9, the engine's part: decided on metadata alone; a missing class is the strictest; a caller only tightens."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.engine import tighter
from infercast.policies.model import Outcome, Request, Rule
from tests.laws.worlds import CLASSES, World, eligible, worlds
from tests.support import decide, fleet_of, raw_fleet


def test_a_request_holds_metadata_only() -> None:
    kinds = {field.name: field.type for field in fields(Request)}
    assert kinds == {
        "id": str,
        "tenant": str,
        "model": str,
        "entry": str,
        "origin": str,
        "classes": tuple[str, ...],
        "payload_bytes": int,
        "deadline_us": int,
        "at_s": int,
        "variant": str,
    }
    assert "__dict__" not in dir(Request)


@given(worlds())
def test_a_missing_class_is_every_class_at_once(world: World) -> None:
    missing = world.asking(classes=[]).decide()
    every = world.asking(classes=list(CLASSES)).decide()
    assert [(v.deployment, v.rule) for v in missing.verdicts] == [(v.deployment, v.rule) for v in every.verdicts]
    assert missing.chosen == every.chosen


@given(worlds())
def test_a_missing_class_is_at_least_as_strict_as_each(world: World) -> None:
    missing = eligible(world.asking(classes=[]).decide())
    for name in CLASSES:
        assert missing <= eligible(world.asking(classes=[name]).decide())


@given(worlds(), st.permutations(CLASSES))
def test_a_further_class_only_takes_away(world: World, order: list[str]) -> None:
    left: set[str] | None = None
    for count in range(1, len(order) + 1):
        now = eligible(world.asking(classes=order[:count]).decide())
        assert left is None or now <= left
        left = now


@given(worlds(), st.lists(st.sampled_from(CLASSES), max_size=4))
def test_order_and_repetition_of_classes_do_not_matter(world: World, classes: list[str]) -> None:
    told = world.asking(classes=classes).request()
    sorted_once = world.asking(classes=sorted(set(classes))).request()
    assert told == sorted_once
    assert told.classes == tuple(sorted(set(classes)))


@given(worlds(), st.sampled_from([1, 4_000, 30_000, 10**6, 10**9]))
def test_a_callers_deadline_only_tightens(world: World, deadline_us: int) -> None:
    own = world.asking(deadline_us=0).decide()
    asked = world.asking(deadline_us=deadline_us).decide()
    assert eligible(asked) <= eligible(own)
    assert asked.deadline_us <= deadline_us
    assert not own.deadline_us or asked.deadline_us <= own.deadline_us


@given(st.integers(0, 10), st.integers(0, 10))
def test_the_tighter_of_two_deadlines(one: int, other: int) -> None:
    given_ones = [deadline for deadline in (one, other) if deadline]
    assert tighter(one, other) == min(given_ones, default=0)


@given(worlds())
def test_what_a_device_decides_keeps_the_data_there_when_the_policy_says_so(world: World) -> None:
    """Decided before a byte leaves: entry and origin are the device itself."""
    sites = [{**site, "tier": "device"} if site["id"] == "s1" else site for site in world.fleet["sites"]]
    world = world.but(fleet={**world.fleet, "sites": sites}).asking(entry="s1", origin="s1")
    stay = {"privacy": {"tiers": ["device"]}}
    decision = world.but(policy={**world.policy, "always": stay}).decide()
    assert {name.split("@")[1] for name in eligible(decision)} <= {"s1"}


@given(worlds())
def test_nothing_is_sent_into_a_device(world: World) -> None:
    fleet = world.engine().fleet
    for name in eligible(world.decide()):
        site = fleet.site_by_id[name.split("@")[1]]
        assert site.tier != "device" or site.id == world.call["entry"]


def test_a_call_that_may_not_enter_is_told_where_it_may_nearest_first() -> None:
    rule = {"residency": {"processing": ["DE", "FR"]}}
    decision = decide(rule, fleet_of(raw_fleet()), {"entry": "iad"})
    assert decision.outcome is Outcome.REFUSED
    assert {verdict.rule for verdict in decision.verdicts} == {Rule.ENTRY_RESIDENCY}
    assert decision.entries == ("ber", "par")
